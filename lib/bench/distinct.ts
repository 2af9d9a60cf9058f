/** The first ten thousand different instructions of a process, each once: nothing is compiled, and V8 has seen nothing yet. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Row } from './measure.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const MAIN = 'lib/x86/cold/distinct.main.ts'
const TEST = 'lib/bench/testdata/distinct_test.ts'
const BAR = { name: 'bar', figures: [30] }

/** What a process prints as the milliseconds of its thread: those of a clock are the load's. */
const ms = (args: readonly string[], environment: NodeJS.ProcessEnv = {}): number => {
  const env = { ...process.env, ...environment }
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8' })
  const found = /thread ([\d.]+) ms/.exec(stdout)
  if (found === null) throw new Error(`node ${args.join(' ')}: ${stdout}${stderr}`)
  return Number(found[1])
}

/** With the instructions and without, in turn. */
export const distinctRows = (count: number): Row[] => {
  const directory = mkdtempSync(join(tmpdir(), 'seamless-distinct-'))
  const file = join(directory, 'distinct.bin')
  const made = spawnSync(process.execPath, [MAIN, 'make', file], { cwd: root, encoding: 'utf8' })
  if (made.status !== 0) throw new Error(made.stderr)
  const ways = {
    'from the sources': (some: boolean) => ms([MAIN, 'run', file, ...(some ? [] : ['--none'])]),
    'from the image': (some: boolean) =>
      ms(['runner/seamless.js', TEST, '--record', 'none'], { DISTINCT: some ? file : '' }),
  }
  const figures = Object.values(ways).map((): number[] => [])
  for (let round = 0; round <= count; round++)
    for (const [n, way] of Object.values(ways).entries()) {
      const figure = way(true) - way(false)
      // The first round fills the disk's cache.
      if (round > 0) figures[n]!.push(figure)
    }
  rmSync(directory, { recursive: true })
  return Object.keys(ways).map((way, n) => ({
    what: `first 10 000 distinct instructions of a process, ${way}`,
    unit: 'ms of its thread',
    ours: figures[n]!,
    peer: BAR,
  }))
}
