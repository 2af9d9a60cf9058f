/** Tests that end their worker in every way there is, and ones that must not suffer from it. */
import { writeSync } from 'node:fs'
import type { Fake } from './harness.ts'

const pass = { status: 'pass', instructions: 7 } as const

export default {
  'global.before': () => pass,
  'global.exits': () => process.exit(0),
  'global.killed': () => {
    process.kill(process.pid, 'SIGKILL')
    return pass
  },
  'global.throws_late': () => {
    setTimeout(() => {
      throw new Error('from a timer')
    }, 1)
    return new Promise(() => {})
  },
  'global.overflows': () => {
    const deeper = (): number => 1 + deeper()
    deeper()
    return pass
  },
  'global.writes_to_fd': () => {
    writeSync(1, 'raw words\n')
    return pass
  },
  'global.loops': () => {
    for (;;);
  },
  'global.after': () => pass,
} satisfies Fake
