/** How long the command takes to start, and to come to its first test, against a Node that does nothing. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Row } from './measure.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Milliseconds until the first output that `until` matches, or to the end of the process, which has to be a good one. */
const processTime = (args: readonly string[], until?: RegExp, environment: NodeJS.ProcessEnv = {}): Promise<number> =>
  new Promise((resolve, reject) => {
    const start = performance.now()
    const env = { ...process.env, ...environment }
    const child = spawn(process.execPath, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'ignore'] })
    let time: number | undefined
    let said = ''
    child.stdout.setEncoding('utf8').on('data', text => {
      if (time !== undefined || until === undefined) return
      said += text
      if (until.test(said)) time = performance.now() - start
    })
    child.on('error', reject)
    child.on('close', status => {
      if (status !== 0) reject(new Error(`node ${args.join(' ')}: exit status ${status}`))
      else resolve(time ?? performance.now() - start)
    })
  })

const FILE = 'selftests/tdx_vm_test.ts'
const ONE = ['runner/seamless.js', FILE, '-r', 'global.verify_td_lifecycle', '--record', 'none']
const FIRST = ['runner/seamless.js', FILE, '--record', 'none', '--report', 'jsonl']
const TEST = /"type":"test"/

const COMMANDS: Readonly<Record<string, () => Promise<number>>> = {
  'seamless --version': () => processTime(['runner/seamless.js', '--version']),
  'seamless -l (one file)': () => processTime(['runner/seamless.js', '-l', FILE]),
  'seamless, to its first test': () => processTime(FIRST, TEST),
  'the same without an image': () => processTime(FIRST, TEST, { SEAMLESS_IMAGE: 'none' }),
  'seamless (one test), to its end': () => processTime(ONE),
}

/** Each command in turn, so that a machine's moods meet all of them. */
export const startRows = async (count: number): Promise<Row[]> => {
  const nothing: number[] = []
  const ours = Object.values(COMMANDS).map((): number[] => [])
  for (let round = 0; round <= count; round++) {
    const base = await processTime(['-e', '0'])
    const times: number[] = []
    for (const command of Object.values(COMMANDS)) times.push(await command())
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
