/**
 * Which answers of the emulated interfaces a run has met, and in which test: for `make coverage-abi`.
 * Off unless SEAMLESS_COVERAGE names a directory when the process starts; then `seen` is there to be called.
 */
import { appendFileSync, mkdirSync } from 'node:fs'
import { join, relative } from 'node:path'

const root = new URL('../..', import.meta.url).pathname
const met = new Set<string>()
let by = relative(root, process.argv[1] ?? '')

const recorder = (directory: string): ((what: string, answer: string) => void) => {
  mkdirSync(directory, { recursive: true })
  const file = join(directory, `${process.pid}.tsv`)
  return (what, answer) => {
    const line = `${by}\t${what}\t${answer}\n`
    if (met.has(line)) return
    met.add(line)
    appendFileSync(file, line)
  }
}

const directory = process.env['SEAMLESS_COVERAGE']

/** Notes that `what` (a leaf, an ioctl, a sub-function) was answered so. `undefined` where nobody asked. */
export const seen: ((what: string, answer: string) => void) | undefined =
  directory === undefined || directory === '' ? undefined : recorder(directory)

/** The test file that runs from now on; at first it is the program itself. */
export const ranBy = (file: string): void => {
  by = file
}
