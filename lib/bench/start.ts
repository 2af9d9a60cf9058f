/** How long the command takes to start, and to run its first test, against a Node that does nothing. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Row } from './measure.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Milliseconds of a whole process. Its output is thrown away; it has to end well. */
const processTime = (args: readonly string[]): number => {
  const start = performance.now()
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'ignore' })
  if (status !== 0) throw new Error(`node ${args.join(' ')}: exit status ${status}`)
  return performance.now() - start
}

const COMMANDS = {
  'seamless --version': ['runner/seamless.js', '--version'],
  'seamless -l (one file)': ['runner/seamless.js', '-l', 'selftests/tdx_vm_test.ts'],
  'seamless (one test)': ['runner/seamless.js', 'selftests/tdx_vm_test.ts'],
} as const

export const startRows = (count: number): Row[] => {
  const nothing: number[] = []
  const ours = Object.values(COMMANDS).map((): number[] => [])
  for (let round = 0; round <= count; round++) {
    const base = processTime(['-e', '0'])
    const times = Object.values(COMMANDS).map(args => processTime(args))
    // The first round fills the disk's cache.
    if (round === 0) continue
    nothing.push(base)
    for (const [n, time] of times.entries()) ours[n]!.push(time)
  }
  return Object.keys(COMMANDS).map((what, n) => ({
    what: `process: ${what}`,
    unit: 'ms',
    ours: ours[n]!,
    peer: { name: 'node -e 0', figures: nothing },
  }))
}
