/** How the command ends: with its exit status, or with a line that says what is wrong. */
import { EXIT_INTERNAL, EXIT_INTERRUPTED, type UsageError } from './errors.ts'

/** By its name: a command that runs guests brings an `errors.ts` of its own. */
const isUsage = (error: unknown): error is UsageError => error instanceof Error && error.name === 'UsageError'

/** Runs `main` and sets the exit status. */
export const ending = async (main: () => Promise<number>): Promise<void> => {
  // A reader that has seen enough (`seamless | head`) is no fault.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT_INTERRUPTED)
    throw error
  })
  try {
    process.exitCode = await main()
  } catch (error) {
    if (isUsage(error)) {
      process.stderr.write(`seamless: ${error.message}\n`)
      process.exitCode = error.code
      return
    }
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    process.stderr.write(`seamless: internal error: ${text}\n`)
    process.exitCode = EXIT_INTERNAL
  }
}
