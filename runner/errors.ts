/** How a run ends that is not about tests: exit codes of their own, never mixed with a test's failure. */

export const EXIT_USAGE = 2

/** The command line, a file or a filter is wrong. Exit code 2, or the one that a script we stand in for has. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  readonly code: number

  constructor(message: string, code = EXIT_USAGE) {
    super(message)
    this.code = code
  }
}

export const EXIT_INTERNAL = 3
/** 128 + SIGINT. */
export const EXIT_INTERRUPTED = 130

/** The message of anything thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
