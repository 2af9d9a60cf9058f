/** How a run ends that is not about tests: exit codes of their own, never mixed with a test's failure. */

/** The command line, a file or a filter is wrong. Exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export const EXIT_USAGE = 2
export const EXIT_INTERNAL = 3
/** 128 + SIGINT. */
export const EXIT_INTERRUPTED = 130

/** The message of anything thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
