/** What the runner costs: programs of a kselftest tree against run_kselftest.sh and prove, tests of ours, memory. */
import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Row } from './measure.ts'

const SEAMLESS = fileURLToPath(new URL('../../runner/seamless.js', import.meta.url))
const HARNESS = fileURLToPath(new URL('../harness/index.ts', import.meta.url))
const PROGRAMS = 500
const TESTS = 10_000

/** Milliseconds of processor time, user and system, that a command and its children take. It may fail. */
const cpuOf = (cwd: string, command: readonly string[]): number => {
  const script = `TIMEFORMAT='%U %S'; { time "$@" >/dev/null 2>&1; } 2>&1`
  const { stdout } = spawnSync('bash', ['-c', script, '-', ...command], { cwd, encoding: 'utf8' })
  const [user = 0, system = 0] = stdout.trim().split(' ').map(Number)
  return (user + system) * 1000
}

const seamless = (...args: string[]): string[] => [process.execPath, SEAMLESS, ...args, '--record', 'none']

/** run_kselftest.sh of a kernel that KSELFTEST_SRC names or a distribution has unpacked, or undefined. */
const upstream = (): string | undefined => {
  const unpacked = existsSync('/usr/src') ? readdirSync('/usr/src').map(name => join('/usr/src', name)) : []
  return [...(process.env['KSELFTEST_SRC'] ?? '').split(':'), ...unpacked]
    .map(root => join(root, 'tools/testing/selftests'))
    .find(selftests => existsSync(join(selftests, 'run_kselftest.sh')))
}

const programRows = (directory: string, count: number): Row[] => {
  const names = Array.from({ length: PROGRAMS }, (_, i) => `t${i}`)
  mkdirSync(join(directory, 'c'))
  for (const name of names) {
    writeFileSync(join(directory, 'c', name), '#!/bin/sh\nexit 0\n')
    chmodSync(join(directory, 'c', name), 0o755)
  }
  writeFileSync(join(directory, 'kselftest-list.txt'), names.map(name => `c:${name}\n`).join(''))
  const each = (cwd: string, command: readonly string[]) =>
    Array.from({ length: count }, () => cpuOf(cwd, command) / PROGRAMS)
  const ours = each(directory, [process.execPath, SEAMLESS, 'run_kselftest'])
  const row = { what: `runner: a trivial program of ${PROGRAMS}`, unit: 'ms CPU', ours }
  const script = upstream()
  const rows: Row[] = []
  if (script === undefined) rows.push({ ...row, note: 'no unpacked kernel: KSELFTEST_SRC' })
  else {
    for (const file of ['kselftest', 'run_kselftest.sh'])
      cpSync(join(script, file), join(directory, file), { recursive: true })
    // One round: it takes about ten seconds.
    const figures = [cpuOf(directory, ['bash', '-c', './run_kselftest.sh | cat']) / PROGRAMS]
    rows.push({ ...row, peer: { name: 'run_kselftest.sh', figures } })
  }
  for (const name of names) writeFileSync(join(directory, 'c', name), '#!/bin/sh\necho 1..1\necho ok 1\n')
  const proved = each(directory, ['bash', '-c', 'prove -j1 c/*'])
  if (proved.every(figure => figure > 0)) rows.push({ ...row, peer: { name: 'prove', figures: proved } })
  return rows
}

/** A file of `count` tests that do nothing, each with a function of its own; some say what their worker has used of a processor. */
const suite = (directory: string, name: string, count: number): string => {
  const used = 'const { user, system } = process.cpuUsage(); console.log(user + system)'
  const tests = Array.from({ length: count }, (_, i) => `test('t${i}', () => {${(i + 1) % 1000 === 0 ? used : ''}})`)
  const file = join(directory, `${name}_test.ts`)
  writeFileSync(file, `import { test } from ${JSON.stringify(HARNESS)}\n${tests.join('\n')}\n`)
  return file
}

/**
 * A file of tests with one function for all, so that what their worker gains is its own and not the code of tests that ran:
 * every thousandth says its memory, and the heap after a collection, for which there has to be one.
 */
const memorySuite = (directory: string, collects: boolean): string => {
  const file = join(directory, `${collects ? 'heap' : 'memory'}_test.ts`)
  writeFileSync(
    file,
    `import { test } from ${JSON.stringify(HARNESS)}
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
setFlagsFromString('--expose-gc')
const collect = ${collects ? "runInNewContext('gc')" : '() => {}'}
const nothing = () => {}
const used = () => { collect(); console.log(process.memoryUsage().${collects ? 'heapUsed' : 'rss'}, 0) }
for (let i = 1; i <= ${TESTS}; i++) test('t' + i, i % 1000 === 0 ? used : nothing)
`,
  )
  return file
}

/** Bytes that a worker says it has, from test 1000 on, in MiB. */
const gained = async (file: string): Promise<number> => {
  const { stdout } = await peakOf(seamless(file))
  const said = [...stdout.matchAll(/^# # (\d+) 0$/gm)].map(([, bytes]) => Number(bytes))
  if (said.length !== TESTS / 1000) throw new Error(`${file}: ${said.length} figures`)
  return (said.at(-1)! - said[0]!) / 2 ** 20
}

/** The most memory that a command had at once, MiB, and what it printed. */
const peakOf = async (command: readonly string[]): Promise<{ peak: number; stdout: string }> => {
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'ignore'] })
  let peak = 0
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', text => {
    stdout += text
    const [, kib] = /^VmHWM:\s+(\d+)/m.exec(readStatus(child.pid)) ?? []
    peak = Math.max(peak, Number(kib ?? 0) / 1024)
  })
  await new Promise(resolve => child.on('close', resolve))
  return { peak, stdout }
}

const readStatus = (pid: number | undefined): string => {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return ''
  }
}

/** Processor time of both sides: the runner's from outside, less what it takes to start; the worker's by its own word. */
const testRows = async (directory: string, count: number): Promise<Row[]> => {
  const one = suite(directory, 'one', 1)
  const many = suite(directory, 'many', TESTS)
  const memory = memorySuite(directory, false)
  const heap = memorySuite(directory, true)
  const each: number[] = []
  const grown: number[] = []
  const kept: number[] = []
  const peaks: number[] = []
  for (let round = 0; round < count; round++) {
    const runner = (cpuOf(directory, seamless(many)) - cpuOf(directory, seamless(one))) / (TESTS - 1)
    const { peak, stdout } = await peakOf(seamless(many))
    const used = [...stdout.matchAll(/^# # (\d+)$/gm)].map(([, cpu]) => Number(cpu))
    const [first, last] = [used[0], used.at(-1)]
    if (first === undefined || last === undefined || first === last) continue
    each.push(runner + (last - first) / 1000 / (TESTS - 1000))
    grown.push(await gained(memory))
    kept.push(await gained(heap))
    peaks.push(peak)
  }
  return [
    { what: `runner: a trivial test of ${TESTS} in one file`, unit: 'ms CPU', ours: each, note: 'bar: 1' },
    { what: `runner: memory a worker gains from test 1000 to ${TESTS}`, unit: 'MiB', ours: grown, note: 'bar: flat' },
    { what: 'runner: the same of its heap, collected', unit: 'MiB', ours: kept, note: 'bar: flat' },
    { what: `runner: most memory of the runner over ${TESTS} tests`, unit: 'MiB', ours: peaks },
  ]
}

export const runnerRows = async (count: number): Promise<Row[]> => {
  const directory = mkdtempSync(join(tmpdir(), 'seamless-bench-'))
  try {
    return [...programRows(directory, count), ...(await testRows(directory, count))]
  } finally {
    rmSync(directory, { recursive: true })
  }
}
