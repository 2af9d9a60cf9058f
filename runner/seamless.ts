/** The command `seamless`: reads the command line, finds and filters tests, runs them, and ends with kselftest's codes. */
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { type Event, exitCode, isOk } from '#reports'
import { ending } from './ending.ts'
import { EXIT_INTERNAL, EXIT_INTERRUPTED, UsageError } from './errors.ts'
import { testEnvironment } from './executable.ts'
import { type Extra, isTrace, TRACES } from './explore.ts'
import { all, CONFIG_FILES, type CommandLine, has, last, numberOf, read, timeOf } from './options.ts'
import { openReports } from './outputs.ts'
import { OWN } from './own.ts'
import { Pool } from './pool.ts'
import { type Part, type RunOptions, run } from './run.ts'
import { DEFAULT_SEED, parseSeed } from './seed.ts'
import { listing, select } from './select.ts'
import { lastDurations } from './state.ts'

const SECOND = 1000
const DEFAULT_TIMEOUT = 30 * SECOND
/** A test that takes longer is said to be slow. */
const SLOW = 10 * SECOND
/** How long a test that was told to end may take to do so. */
const GRACE = 2 * SECOND

/** Commands besides `run`, each loaded when it is asked for. */
const COMMANDS: Readonly<Record<string, () => Promise<(line: CommandLine) => Promise<number>>>> = {
  replay: async () => (await import('./replay.ts')).replay,
  merge: async () => (await import('./replay.ts')).merge,
}

const main = async (argv: readonly string[]): Promise<number> => {
  if (argv[0] === 'run_kselftest') return (await import('./kselftest.ts')).runKselftest(argv.slice(1))
  // An installed test file that is run as a program.
  if (argv[0] === 'direct') return main(['run', '--report', 'harness', '--record', 'none', ...argv.slice(1)])
  const own = OWN[argv[0] ?? '']
  if (own !== undefined) {
    const [run, { sayingGaps }] = await Promise.all([own(), import('./parse.ts')])
    return await sayingGaps(argv[0]!, () => run(argv.slice(1)))
  }
  const command = COMMANDS[argv[0] ?? '']
  const words = argv[0] === 'run' || command !== undefined ? argv.slice(1) : argv
  const line = read(words)
  if (line === undefined) {
    const { complaint, help } = await import('./words.ts')
    const error = await complaint(words)
    if (error !== undefined) throw error
    process.stdout.write(`${help()}\n`)
    return 0
  }
  if (has(line, 'version')) {
    process.stdout.write(`${version()}\n`)
    return 0
  }
  if (command !== undefined) return await (await command())(line)
  const full = await withSettings(line)
  if (has(full, 'show-config')) {
    const { shown } = await import('./config.ts')
    process.stdout.write(shown(full))
    return 0
  }
  if (has(full, 'watch')) return (await import('./watch.ts')).watch(full)
  const options = runOptions(full)
  const pool = new Pool(options.jobs)
  if (full.files.every(file => /(\.[cm]?[jt]s(:\d+)?|\/)$/.test(file))) pool.warm()
  try {
    if (has(full, 'list')) return await showList(pool, full, options)
    const { parts, ...cut } = await select(pool, full, options.timeout, options.seed)
    // With a worker for each file there is nothing to schedule; a bail ends at the first failure in the order shown.
    const durations =
      parts.length > options.jobs && !has(full, 'bail') && !has(full, 'shuffle') ? lastDurations() : undefined
    return await report(pool, parts, full, { ...options, ...cut, ...(durations && { durations }) })
  } finally {
    pool.close(GRACE)
  }
}

/** Adds what a file or the environment sets; most runs have neither, and load nothing for it. */
const withSettings = async (line: CommandLine): Promise<CommandLine> => {
  const isSet =
    has(line, 'profile') ||
    has(line, 'show-config') ||
    Object.keys(process.env).some(name => name.startsWith('SEAMLESS_')) ||
    CONFIG_FILES.some(name => existsSync(name))
  return isSet ? (await import('./config.ts')).configured(line, process.cwd(), process.env) : line
}

const showList = async (pool: Pool, line: CommandLine, { timeout }: RunOptions): Promise<number> => {
  const { text, broken } = await listing(pool, line, timeout)
  process.stdout.write(text)
  for (const { file, broken: why } of broken) process.stderr.write(`seamless: ${file.file}: does not load: ${why}\n`)
  return broken.length === 0 ? 0 : 1
}

const version = (): string => JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version

const runOptions = (line: CommandLine): RunOptions => {
  const timeout = numberOf(line, 'timeout', 0)
  const stress = timeOf(line, 'stress')
  return {
    seed: parseSeed(last(line, 'seed') ?? DEFAULT_SEED),
    timeout: timeout === undefined ? DEFAULT_TIMEOUT : timeout * SECOND,
    grace: GRACE,
    slow: timeOf(line, 'slow') ?? SLOW,
    executable: {
      grace: GRACE,
      xfail: true,
      environment: testEnvironment(process.env),
      ...(timeout === undefined ? {} : { timeout: timeout * SECOND }),
    },
    retries: Math.floor(numberOf(line, 'retries', 0) ?? 0),
    repeat: Math.floor(numberOf(line, 'repeat', 1) ?? 1),
    ...(stress === undefined ? {} : { stress }),
    jobs: Math.floor(numberOf(line, 'jobs', 1) ?? availableParallelism()),
    extra: extraOf(line),
    // An interleaving has a seed of its own, which is repeated instead of --explore.
    again: ['timeout', 'instructions'].flatMap(name => {
      const value = last(line, name)
      return value === undefined ? [] : [`--${name}`, value]
    }),
  }
}

const extraOf = (line: CommandLine): Extra => {
  const explore = numberOf(line, 'explore', 1)
  const instructions = numberOf(line, 'instructions', 1)
  const trace = all(line, 'trace').flatMap(kinds => kinds.split(','))
  const wrong = trace.find(kind => !isTrace(kind))
  if (wrong !== undefined) throw new UsageError(`--trace ${wrong}: none of ${TRACES.join(', ')}`)
  const dump = last(line, 'dump')
  return {
    ...(explore === undefined ? {} : { explore: Math.floor(explore) }),
    ...(instructions === undefined ? {} : { instructions: Math.floor(instructions) }),
    ...(trace.length === 0 ? {} : { trace }),
    ...(dump === undefined ? {} : { dump }),
  }
}

const report = async (pool: Pool, parts: readonly Part[], line: CommandLine, options: RunOptions): Promise<number> => {
  const outputs = await openReports(all(line, 'report'), last(line, 'record') ?? 'auto', line)
  const stop = new AbortController()
  const onSignal = () => stop.abort('interrupted')
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  const watched = new Watch()
  const tally = await run(
    pool,
    parts,
    options,
    happened => {
      outputs.event(happened)
      watched.event(happened)
      if (watched.failed && has(line, 'bail')) stop.abort('a test failed')
    },
    stop.signal,
  )
  outputs.close()
  if (stop.signal.reason === 'interrupted') return EXIT_INTERRUPTED
  if (outputs.isBroken) return EXIT_INTERNAL
  if (watched.failed || (watched.flaky && has(line, 'fail-on-flaky'))) return 1
  return exitCode(tally)
}

/** What the exit code depends on besides how files ended. */
class Watch {
  failed = false
  flaky = false
  readonly #wobbly = new Set<string>()
  readonly #executables = new Set<string>()

  event(event: Event): void {
    if (event.type === 'attempt' && !isOk(event.status)) {
      this.#wobbly.add(`${event.file} ${event.test}`)
      this.#wobbly.add(event.file)
    }
    if (event.type === 'file-end' && isOk(event.status) && this.#executables.has(event.file))
      this.flaky ||= this.#wobbly.has(event.file)
    if (event.type === 'end' && isOk(event.status)) this.flaky ||= this.#wobbly.has(`${event.file} ${event.test}`)
    if (event.type === 'file' && event.kind === 'executable') this.#executables.add(event.file)
    // A result that an executable printed itself is its own affair: its exit code decides.
    if (event.type === 'end' && this.#executables.has(event.file)) return
    if ((event.type === 'end' || event.type === 'file-end') && !isOk(event.status)) this.failed = true
  }
}

await ending(() => main(process.argv.slice(2)))
