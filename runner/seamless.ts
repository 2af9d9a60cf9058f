/** The command `seamless`: reads the command line, finds and filters tests, runs them, and ends with kselftest's codes. */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { exitCode } from '#reports'
import { discover, type TestFile } from './discover.ts'
import { EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_USAGE, UsageError } from './errors.ts'
import { testEnvironment } from './executable.ts'
import { misses, near, selects, suggestion } from './filter.ts'
import { all, type CommandLine, clauses, has, last, numberOf, read } from './options.ts'
import { openReports } from './outputs.ts'
import { Pool } from './pool.ts'
import { type Listing, list, type Part, type RunOptions, run } from './run.ts'
import { DEFAULT_SEED, parseSeed } from './seed.ts'

const SECOND = 1000
const DEFAULT_TIMEOUT = 30 * SECOND
/** How long a test that was told to end may take to do so. */
const GRACE = 2 * SECOND

/** Commands besides `run`, each loaded when it is asked for. */
const COMMANDS: Readonly<Record<string, () => Promise<(line: CommandLine) => Promise<number>>>> = {
  replay: async () => (await import('./replay.ts')).replay,
  merge: async () => (await import('./replay.ts')).merge,
}

const main = async (argv: readonly string[]): Promise<number> => {
  const command = COMMANDS[argv[0] ?? '']
  const words = argv[0] === 'run' || command !== undefined ? argv.slice(1) : argv
  const line = read(words)
  if (line === undefined) {
    const { complaint, help } = await import('./words.ts')
    const error = await complaint(words)
    if (error !== undefined) throw error
    process.stdout.write(`${await help()}\n`)
    return 0
  }
  if (has(line, 'version')) {
    process.stdout.write(`${version()}\n`)
    return 0
  }
  if (command !== undefined) return await (await command())(line)
  const options = runOptions(line)
  const pool = new Pool(Math.floor(numberOf(line, 'jobs', 1) ?? availableParallelism()))
  const files = inCollections(discover(process.cwd(), line.files), all(line, 'collection'))
  try {
    const parts = await select(pool, files, line, options)
    return parts === undefined ? 0 : await report(pool, parts, line, options)
  } finally {
    pool.close(GRACE)
  }
}

const version = (): string => JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version

const runOptions = (line: CommandLine): RunOptions => {
  const timeout = numberOf(line, 'timeout', 0)
  return {
    seed: parseSeed(last(line, 'seed') ?? DEFAULT_SEED),
    timeout: timeout === undefined ? DEFAULT_TIMEOUT : timeout * SECOND,
    grace: GRACE,
    executable: {
      grace: GRACE,
      xfail: true,
      environment: testEnvironment(process.env),
      ...(timeout === undefined ? {} : { timeout: timeout * SECOND }),
    },
    again: timeout === undefined ? [] : ['--timeout', String(timeout)],
  }
}

const inCollections = (files: readonly TestFile[], names: readonly string[]): readonly TestFile[] => {
  if (names.length === 0) return files
  const known = [...new Set(files.map(file => file.collection))]
  for (const name of names)
    if (!known.includes(name)) throw new UsageError(`no such collection '${name}'${suggestion(near(name, known))}`)
  return files.filter(file => names.includes(file.collection))
}

/** The tests to run, or undefined if they were to be listed only. Throws `UsageError` if there are none. */
const select = async (
  pool: Pool,
  files: readonly TestFile[],
  line: CommandLine,
  { timeout }: RunOptions,
): Promise<readonly Part[] | undefined> => {
  const filters = clauses(line)
  if (filters.length === 0 && !has(line, 'list')) return files.map(file => ({ file }))
  const listings = await list(pool, files, timeout)
  const broken = listings.filter(listing => listing.broken !== undefined)
  const miss = misses(
    filters,
    listings.flatMap(listing => listing.tests),
  )[0]
  if (miss !== undefined) throw new UsageError(noMatch(`-${miss.letter} ${miss.value}`, suggestion(miss.near), broken))
  const chosen = listings.map(listing => ({ ...listing, tests: listing.tests.filter(test => selects(filters, test)) }))
  if (has(line, 'list')) {
    for (const { file, tests } of chosen) for (const { name } of tests) process.stdout.write(`${file.file} ${name}\n`)
    for (const { file, broken: why } of broken) process.stderr.write(`seamless: ${file.file}: does not load: ${why}\n`)
    return broken.length === 0 ? undefined : []
  }
  // A file that does not load stays in: what was asked for may be in it.
  const parts = chosen.filter(({ tests, broken }) => tests.length > 0 || broken !== undefined)
  if (chosen.every(({ tests }) => tests.length === 0) && broken.length === 0)
    throw new UsageError(noMatch(filters.map(({ letter, value }) => `-${letter} ${value}`).join(' '), '', []))
  return parts.map(({ file, tests, broken }) =>
    broken === undefined ? { file, tests: tests.map(test => test.name) } : { file },
  )
}

const noMatch = (filter: string, suggestion: string, broken: readonly Listing[]): string => {
  const also = broken.map(({ file }) => file.file).join(', ')
  return `${filter} matches no test${suggestion}${also === '' ? '' : `; ${also} did not load`}`
}

const report = async (pool: Pool, parts: readonly Part[], line: CommandLine, options: RunOptions): Promise<number> => {
  if (parts.length === 0) return 1
  const { event, close } = await openReports(all(line, 'report'), last(line, 'record') ?? 'auto')
  const interrupt = new AbortController()
  const onSignal = () => interrupt.abort()
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  const tally = await run(pool, parts, options, event, interrupt.signal)
  close?.()
  return interrupt.signal.aborted ? EXIT_INTERRUPTED : exitCode(tally)
}

// A reader that has seen enough (`seamless | head`) is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT_INTERRUPTED)
  throw error
})

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (error instanceof UsageError) {
    process.stderr.write(`seamless: ${error.message}\n`)
    process.exitCode = EXIT_USAGE
  } else {
    process.stderr.write(
      `seamless: internal error: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`,
    )
    process.exitCode = EXIT_INTERNAL
  }
}
