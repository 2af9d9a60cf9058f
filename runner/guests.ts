/** The commands that run code outside of a test go on as an image, where there is one of these very sources. */
import { statSync } from 'node:fs'
import { IN_USE, imageOf, renew } from './image.ts'

const COMMANDS = ['run-elf', 'run-flat', 'run-multiboot']

/**
 * What V8 is told. Young objects stay where they are for 16 MiB instead of one; and our own code is optimised when it has run
 * fifty times as often as V8 would have it: short guests end before that, and a quarter of their time was V8's threads at it.
 */
const FLAGS = [
  '--min-semi-space-size=16',
  '--invocation-count-for-maglev=20000',
  '--invocation-count-for-turbofan=60000',
  '--disable-warning=ExperimentalWarning',
  '--no-rehash-snapshot',
  '--snapshot-blob',
]

/** Comes back where there is no image, or what the words say is no such command. */
export const becomeGuests = (argv: readonly string[]): void => {
  if (!COMMANDS.includes(argv[0] ?? '') || process.execve === undefined || process.execArgv.length > 0) return
  const image = imageOf()
  const size = image === undefined ? undefined : statSync(image.guests, { throwIfNoEntry: false })?.size
  if (image === undefined || size !== image.guestsSize || !image.isCurrent()) {
    renew()
    return
  }
  const { execPath, env } = process
  const words = [execPath, ...FLAGS, image.guests, process.argv[1] ?? '', ...argv]
  process.execve(execPath, words, { ...env, [IN_USE]: image.guests })
}
