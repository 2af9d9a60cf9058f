/** Runs an executable that follows the kselftest protocol: exit code, output, limits, and nobody left behind. */
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { StringDecoder } from 'node:string_decoder'
import type { Event, Status } from '#reports'
import { again, type Repetition, type Tried } from './attempts.ts'
import type { TestFile } from './discover.ts'
import { messageOf } from './errors.ts'
import { type Fifos, openFifo } from './fifo.ts'
import { holders, MARK, marked, members, type Process, signal } from './processes.ts'
import { needOf, PLAIN, type Resources } from './resources.ts'
import { subResults } from './subresults.ts'

/** kselftest.h's exit codes, as kselftest/runner.sh reads them from Linux 7.1 on. */
const KSFT_XFAIL = 2
const KSFT_SKIP = 4

/** Seconds, as kselftest/runner.sh has it. */
const DEFAULT_TIMEOUT = 45

/** How long a test that has exited may keep its output open. */
const LINGER = 300

/** More output than this, in characters, is left out. */
const MOST_OUTPUT = 16 * 1024 * 1024

export type ExecutableOptions = Partial<Repetition> & {
  /** Milliseconds; beats the settings file. 0 is no limit. */
  readonly timeout?: number
  /** Milliseconds after which one that still runs is said to be slow. */
  readonly slow?: number
  /** Milliseconds from SIGTERM to SIGKILL. */
  readonly grace: number
  /** Whether exit code 2 is an expected failure (Linux 7.1) or any other failure (before). */
  readonly xfail: boolean
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Says which limit holds, as run_kselftest.sh does. */
  readonly saysLimit?: boolean
  /** Runs it in a network namespace of its own. */
  readonly netns?: boolean
}

/** Runs `file` and emits its events. `stop` ends it early. */
export const runExecutable = async (
  fifos: Fifos,
  resources: Resources,
  file: TestFile,
  options: ExecutableOptions,
  emit: (event: Event) => void,
  stop: AbortSignal,
): Promise<Status> => {
  const began = performance.now()
  const settings = settingsOf(dirname(file.path))
  const limit = options.timeout ?? settings.timeout
  const release = await resources.take(needOf(settings.resources) ?? PLAIN)
  emit({
    type: 'file',
    kind: 'executable',
    file: file.file,
    collection: file.collection,
    name: file.name,
    tests: [],
    time: Date.now(),
  })
  const note = (text: string) => emit({ type: 'output', file: file.file, stream: 'log', text: `${text}\n` })
  if (options.saysLimit === true)
    note(`${options.timeout === undefined ? 'timeout set' : 'overriding timeout'} to ${limit / 1000}`)
  if (file.warning !== undefined) note(file.warning)
  const rules: Repetition = { retries: 0, repeat: 1, ...options }
  const mayRepeat = rules.retries > 0 || rules.repeat > 1 || rules.until !== undefined
  const tried: Tried = { passed: 0, failed: 0 }
  let status: Status
  let reason: string
  for (;;) {
    const start = performance.now()
    // Results of its own count once, those of the last attempt.
    const held: Event[] = []
    const end = await attempt(fifos, file, limit, options, mayRepeat ? event => held.push(event) : emit, emit, stop)
    ;[status, reason] = verdict(end, limit, options.xfail)
    if (!again(status, tried, rules) || stop.aborted) {
      for (const event of held) emit(event)
      break
    }
    const number = tried.passed + tried.failed
    const duration = performance.now() - start
    emit({ type: 'attempt', file: file.file, test: file.name, attempt: number, status, reason, duration })
    note(`seamless: attempt ${number}: ${`${status} ${reason}`.trim()}, runs again`)
  }
  release()
  emit({
    type: 'file-end',
    file: file.file,
    status,
    ...(reason === '' ? {} : { reason }),
    duration: performance.now() - began,
    time: Date.now(),
  })
  return status
}

/** Runs it once: what it prints, and who it leaves behind. */
const attempt = async (
  fifos: Fifos,
  file: TestFile,
  limit: number,
  options: ExecutableOptions,
  result: (event: Event) => void,
  emit: (event: Event) => void,
  stop: AbortSignal,
): Promise<End> => {
  const results = subResults(file.file, result)
  let size = 0
  const say = (text: string): void => {
    const part = text.slice(0, Math.max(0, MOST_OUTPUT - size))
    size += text.length
    if (part === '') return
    emit({ type: 'output', file: file.file, stream: 'stdout', text: part })
    results.take(part)
  }
  const note = (text: string) => emit({ type: 'output', file: file.file, stream: 'log', text: `${text}\n` })
  const { slow = 0 } = options
  const isLong = slow > 0 && (limit === 0 || slow < limit)
  const timer = isLong ? setTimeout(() => note(`seamless: slow: runs for ${slow / 1000} seconds`), slow) : undefined
  const end = await execute(fifos, file, limit, options, say, stop)
  clearTimeout(timer)
  if (size > MOST_OUTPUT) note(`seamless: ${size - MOST_OUTPUT} more characters of output left out`)
  // What we ended together with the test was not left behind.
  if (!end.fired)
    for (const { pid, command } of end.left) note(`seamless: left behind and killed: process ${pid}: ${command}`)
  results.end()
  return end
}

/** A new network namespace with its loopback up, or undefined if this machine or user has none to give. */
const netnsOf = (name: string): string | undefined => {
  const space = `${name}-${crypto.randomUUID().slice(0, 6)}`
  if (spawnSync('ip', ['netns', 'add', space]).status !== 0) return undefined
  spawnSync('ip', ['-netns', space, 'link', 'set', 'lo', 'up'])
  return space
}

type End = {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** We ended it: it took too long. */
  readonly fired: boolean
  /** It could not be started. */
  readonly error?: string
  readonly left: readonly Process[]
}

const verdict = (end: End, limit: number, xfail: boolean): [Status, string] => {
  if (end.error !== undefined) return ['error', end.error]
  if (end.fired) return ['timeout', `${limit / 1000} seconds`]
  const code = end.signal === null ? (end.code ?? 0) : 128 + constants.signals[end.signal]
  if (code === 0) return ['pass', '']
  if (code === KSFT_SKIP) return ['skip', '']
  if (code === KSFT_XFAIL && xfail) return ['xfail', '']
  return ['fail', `exit=${code}`]
}

const execute = async (
  fifos: Fifos,
  file: TestFile,
  limit: number,
  { grace, environment, netns = false }: ExecutableOptions,
  say: (text: string) => void,
  stop: AbortSignal,
): Promise<End> => {
  const [program, ...words] = file.command ?? [`./${file.name}`, ...argumentsOf(file.name, environment)]
  const nothing = { code: null, signal: null, fired: false, left: [] }
  if (program === undefined) return { ...nothing, error: '' }
  const space = netns ? netnsOf(file.name) : undefined
  if (netns && space === undefined) return { ...nothing, error: 'Create NS failed' }
  const path = fifos.take()
  const decoder = new StringDecoder('utf8')
  const { writeEnd, reader } = openFifo(path, bytes => say(decoder.write(bytes)))
  const closed = new Promise<void>(resolve => {
    reader.on('close', () => resolve())
  })
  reader.resume()
  reader.on('error', () => reader.destroy())
  // A group of its own: the limit ends whatever the test started, and ctrl-C reaches only us.
  const command = space === undefined ? [program, ...words] : ['ip', 'netns', 'exec', space, program, ...words]
  const child = spawn(command[0]!, command.slice(1), {
    cwd: dirname(file.path),
    env: { ...environment, [MARK]: `${RUN}${file.file}` },
    stdio: ['ignore', writeEnd, writeEnd],
    detached: true,
  })
  closeSync(writeEnd)
  let fired = false
  let error: string | undefined
  const timers: NodeJS.Timeout[] = []
  const kill = (): void => {
    if (child.pid === undefined) return
    signal(-child.pid, 'SIGTERM')
    timers.push(setTimeout(() => signal(-child.pid!, 'SIGKILL'), grace))
  }
  if (limit > 0)
    timers.push(
      setTimeout(() => {
        fired = true
        kill()
      }, limit),
    )
  stop.addEventListener('abort', kill)
  const exit = await new Promise<Pick<End, 'code' | 'signal'>>(resolve => {
    child.on('exit', (code, signal) => resolve({ code, signal }))
    child.on('error', thrown => {
      error = messageOf(thrown)
      resolve({ code: null, signal: null })
    })
  })
  for (const timer of timers) clearTimeout(timer)
  stop.removeEventListener('abort', kill)
  const left = child.pid === undefined ? [] : await nobodyLeft(child.pid, path, closed)
  reader.destroy()
  say(decoder.end())
  fifos.give(path, left.length > 0)
  if (space !== undefined) spawnSync('ip', ['netns', 'delete', space])
  return { ...exit, fired, left, ...(error === undefined ? {} : { error }) }
}

/** What our programs bear, before their names. */
const RUN = `run ${process.pid} ${Math.round(performance.timeOrigin).toString(36)} `

/** Ends daemons of programs that ran, which hold nothing and are in nobody's group: a line for each, with who left it. */
export const endDaemons = (): string[] =>
  marked(RUN).flatMap(({ pid, command, rest }) =>
    signal(pid, 'SIGKILL') ? [`left behind and killed: process ${pid}: ${command}, of ${rest}`] : [],
  )

/** Waits for the output to end, for a moment; then finds and ends who holds it, or is still in the test's group. */
const nobodyLeft = async (group: number, path: string, closed: Promise<void>): Promise<Process[]> => {
  const found = new Map<number, Process>()
  if (signal(-group, 0)) {
    for (const one of members(group)) found.set(one.pid, one)
    signal(-group, 'SIGKILL')
  }
  let timer: NodeJS.Timeout | undefined
  const lingers = new Promise<true>(resolve => {
    timer = setTimeout(() => resolve(true), LINGER)
  })
  if ((await Promise.race([closed, lingers])) === true)
    for (const one of holders(path)) {
      found.set(one.pid, one)
      signal(one.pid, 'SIGKILL')
    }
  clearTimeout(timer)
  return [...found.values()]
}

/** `KSELFTEST_<NAME>_ARGS`, split at blanks as the shell does there; without such a name KSELFTEST_ARGS. */
export const argumentsOf = (name: string, environment: Readonly<Record<string, string | undefined>>): string[] => {
  const variable = `KSELFTEST_${name
    .replace(/[\s\p{Cc}]/gu, '')
    .replace(/\W/g, '_')
    .toUpperCase()}_ARGS`
  return (environment[variable] ?? '').split(/\s+/).filter(word => word !== '')
}

const PRELOADS = ['/usr/libexec/coreutils/libstdbuf.so', '/usr/lib/coreutils/libstdbuf.so'].filter(existsSync)

/**
 * The environment of the tests: the runner's, and what stdbuf(1) --output=L would add, without a process for it: a test
 * that is killed keeps the lines it had printed.
 */
export const testEnvironment = (
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> => {
  const [library] = PRELOADS
  if (library === undefined) return { ...environment }
  const others = environment['LD_PRELOAD']
  return { ...environment, _STDBUF_O: 'L', LD_PRELOAD: others === undefined ? library : `${others}:${library}` }
}

export type Settings = {
  /** Milliseconds. */
  readonly timeout: number
  /** What tests need for themselves: `exclusive`, `kvm`, `vcpus=4`, `memory=512M`. A setting of ours. */
  readonly resources: readonly string[]
}

const known = new Map<string, Settings>()

/** The settings file beside a test: `timeout=` and `resources=`. It is read, never run: upstream evaluates it. */
export const settingsOf = (directory: string): Settings => {
  const before = known.get(directory)
  if (before !== undefined) return before
  let timeout = DEFAULT_TIMEOUT
  let resources: string[] = []
  try {
    for (const line of readFileSync(join(directory, 'settings'), 'utf8').split('\n')) {
      const [, key, value = ''] = /^\s*(timeout|resources)=([^#]*?)\s*(?:#.*)?$/.exec(line) ?? []
      if (key === 'timeout' && /^\d+$/.test(value)) timeout = Number(value)
      if (key === 'resources') resources = value.split(/[\s,]+/).filter(word => word !== '')
    }
  } catch {
    // No settings: the defaults.
  }
  const settings = { timeout: timeout * 1000, resources }
  known.set(directory, settings)
  return settings
}
