/** Decides what a run runs: files found, tests filtered, shards cut, orders shuffled. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Event, isOk, RecordError, readRecord } from '#reports'
import { discover, type TestFile, testFile } from './discover.ts'
import { messageOf, UsageError } from './errors.ts'
import { compile, type Subject } from './expression.ts'
import { misses, near, selects, suggestion } from './filter.ts'
import { all, type CommandLine, clauses, has, last } from './options.ts'
import type { Pool } from './pool.ts'
import type { Listed } from './protocol.ts'
import { type Listing, list, type Part, type RunOptions } from './run.ts'
import { testSeed } from './seed.ts'
import { durationsOf, lastRecord } from './state.ts'

/** A file as listed, with the tests that the filters leave. */
type Chosen = Listing & { readonly kept: readonly Listed[] }

export type Selection = { readonly parts: readonly Part[]; readonly shard?: NonNullable<RunOptions['shard']> }

/** What is to be run. Throws `UsageError` if that is nothing. */
export const select = async (pool: Pool, line: CommandLine, timeout: number, seed: string): Promise<Selection> => {
  const failed = has(line, 'rerun-failed') ? failedBefore() : has(line, 'last') ? ranBefore() : undefined
  const { files, lines } = filesOf(line, failed)
  const expect = last(line, 'expect')
  const isFiltered = filters(line).length > 0 || lines.size > 0
  const needsTests = isFiltered || expect !== undefined
  let parts: readonly Part[]
  if (needsTests) parts = nonEmpty(await choose(pool, files, lines, line, timeout), line)
  else parts = files.map(file => ({ file }))
  if (failed !== undefined) parts = parts.flatMap(part => onlyFailed(part, failed))
  const shard = last(line, 'shard')
  if (expect !== undefined && !isFiltered && failed === undefined)
    parts = withLost(parts, readExpected(expect), line.files.length === 0)
  const count = parts.length
  const [index, total] = shard === undefined ? [0, 1] : parseShard(shard, process.env)
  if (shard !== undefined) parts = shardOf(parts, index, total, historyOf(line))
  if (has(line, 'shuffle')) parts = shuffled(parts, seed)
  return { parts, ...(shard !== undefined && { shard: { part: index + 1, total, files: count } }) }
}

/** What `--list` shows: as text a line per test, or JSON. */
export const listing = async (
  pool: Pool,
  line: CommandLine,
  timeout: number,
): Promise<{ text: string; broken: readonly Listing[] }> => {
  const { files, lines } = filesOf(line, undefined)
  const chosen = await choose(pool, files, lines, line, timeout)
  const broken = chosen.filter(({ broken }) => broken !== undefined)
  const tests = chosen.flatMap(({ file, kept }) =>
    kept.map(test => ({ file: file.file, collection: file.collection, ...test })),
  )
  const text = has(line, 'json')
    ? `${JSON.stringify({ version: 1, tests }, null, 2)}\n`
    : tests.map(test => `${test.file} ${test.name}\n`).join('')
  return { text, broken }
}

const filters = (line: CommandLine): string[] => [
  ...clauses(line).map(({ letter, value }) => `-${letter} ${value}`),
  ...all(line, 'expression').map(text => `-E '${text}'`),
]

/** The files named, and the line of each that was named as `file:line`. */
const filesOf = (
  line: CommandLine,
  failed: Failed | undefined,
): { files: readonly TestFile[]; lines: ReadonlyMap<string, readonly number[]> } => {
  const cwd = process.cwd()
  const lines = new Map<string, number[]>()
  const named = line.files.length === 0 && failed !== undefined ? [...failed.keys()] : line.files
  const paths = named.map(given => {
    const match = /^(.+):(\d+)$/.exec(given)
    if (match === null) return given
    const [, path = '', number] = match
    const [file] = discover(cwd, [path])
    if (file === undefined) throw new UsageError(`${given}: no such file`)
    lines.set(file.file, [...(lines.get(file.file) ?? []), Number(number)])
    return path
  })
  const found = discover(cwd, paths)
  const collections = all(line, 'collection')
  const known = [...new Set(found.map(file => file.collection))]
  for (const name of collections)
    if (!known.includes(name)) throw new UsageError(`no such collection '${name}'${suggestion(near(name, known))}`)
  const files = collections.length === 0 ? found : found.filter(file => collections.includes(file.collection))
  return { files, lines }
}

const choose = async (
  pool: Pool,
  files: readonly TestFile[],
  lines: ReadonlyMap<string, readonly number[]>,
  line: CommandLine,
  timeout: number,
): Promise<readonly Chosen[]> => {
  const letters = clauses(line)
  const expressions = all(line, 'expression').map(compile)
  const listings = await list(pool, files, timeout)
  const tests = listings.flatMap(listing => listing.tests)
  const broken = listings.filter(listing => listing.broken !== undefined)
  const miss = misses(letters, tests)[0]
  if (miss !== undefined) throw new UsageError(noMatch(`-${miss.letter} ${miss.value}`, suggestion(miss.near), broken))
  return listings.map(listing => {
    const atLines = lines.get(listing.file.file)?.map(number => testAt(listing, number))
    const kept = listing.tests.filter(
      test =>
        selects(letters, test) &&
        expressions.every(holds => holds(subjectOf(listing.file, test))) &&
        (atLines === undefined || atLines.includes(test.line)),
    )
    return { ...listing, kept }
  })
}

const subjectOf = ({ file, collection }: TestFile, test: Listed): Subject => {
  const { name, fixture, variant = '', tags } = test
  return { file, collection, name, fixture, variant, test: test.test, tags }
}

/** The line of the test that stands at a line, or last before it. */
const testAt = ({ file, tests, broken }: Listing, number: number): number | undefined => {
  const at = tests.flatMap(test => (test.line !== undefined && test.line <= number ? [test.line] : []))
  if (at.length === 0 && broken === undefined) throw new UsageError(`${file.file}:${number}: no test stands there`)
  return at.length === 0 ? undefined : Math.max(...at)
}

/** A file that does not load stays in: what was asked for may be in it. */
const nonEmpty = (chosen: readonly Chosen[], line: CommandLine): Part[] => {
  const parts = chosen.filter(({ kept, broken }) => kept.length > 0 || broken !== undefined)
  if (parts.length === 0) throw new UsageError(noMatch(filters(line).join(' '), '', []))
  return parts.map(({ file, kept, tests, broken }) => {
    const all = tests.map(test => test.name)
    if (broken !== undefined) return { file }
    if (kept.length === tests.length) return { file, all }
    return { file, all, tests: kept.map(test => test.name) }
  })
}

const noMatch = (filter: string, suggestion: string, broken: readonly Listing[]): string => {
  const also = broken.map(({ file }) => file.file).join(', ')
  return `${filter} matches no test${suggestion}${also === '' ? '' : `; ${also} did not load`}`
}

/** File → its tests that did not pass; all of them (undefined) if the file failed as a whole or was not reached. */
type Failed = ReadonlyMap<string, readonly string[] | undefined>

const failedBefore = (): Failed => {
  const record = lastRecord()
  if (record === undefined) throw new UsageError('--rerun-failed: no run is recorded here yet')
  const failed = new Map<string, string[] | undefined>()
  for (const event of events(record, '--rerun-failed')) {
    if (event.type === 'run') for (const file of event.files) failed.set(file, undefined)
    if (event.type === 'file') failed.set(event.file, [...event.tests])
    if (event.type === 'end' && isOk(event.status)) {
      const left = failed.get(event.file)?.filter(test => test !== event.test)
      failed.set(event.file, left)
    }
    if (event.type !== 'file-end') continue
    if (isOk(event.status)) failed.delete(event.file)
    else if (event.failure !== undefined || failed.get(event.file)?.length === 0) failed.set(event.file, undefined)
  }
  if (failed.size === 0) throw new UsageError('--rerun-failed: nothing failed in the last run')
  return failed
}

/** What the last run ran, whatever came of it. */
const ranBefore = (): Failed => {
  const record = lastRecord()
  if (record === undefined) throw new UsageError('--last: no run is recorded here yet')
  const ran = new Map<string, readonly string[] | undefined>()
  for (const event of events(record, '--last')) {
    if (event.type === 'run') for (const file of event.files) ran.set(file, undefined)
    if (event.type === 'file' && event.tests.length > 0) ran.set(event.file, event.tests)
  }
  return ran
}

const events = function* (record: string, option: string): Generator<Event> {
  try {
    yield* readRecord(readFileSync(record, 'utf8'))
  } catch (error) {
    if (error instanceof RecordError) throw new UsageError(`${option}: ${record}: ${messageOf(error)}`)
    throw error
  }
}

const onlyFailed = (part: Part, failed: Failed): Part[] => {
  if (!failed.has(part.file.file)) return []
  const names = failed.get(part.file.file)
  if (names === undefined) return [part]
  const tests = part.tests === undefined ? names : names.filter(name => part.tests?.includes(name))
  return tests.length === 0 ? [] : [{ file: part.file, tests }]
}

/** Environment of a CI → which part this is, counted from 0, of how many. */
const CI: readonly (readonly [index: string, total: string, first: 0 | 1])[] = [
  ['CI_NODE_INDEX', 'CI_NODE_TOTAL', 1],
  ['CIRCLE_NODE_INDEX', 'CIRCLE_NODE_TOTAL', 0],
  ['BUILDKITE_PARALLEL_JOB', 'BUILDKITE_PARALLEL_JOB_COUNT', 0],
  ['SEMAPHORE_JOB_INDEX', 'SEMAPHORE_JOB_COUNT', 1],
]

/** `M/N` or `auto`, as a part counted from 0 and their number. Throws `UsageError`. */
export const parseShard = (
  text: string,
  environment: Readonly<Record<string, string | undefined>>,
): [number, number] => {
  if (text === 'auto') {
    for (const [index, total, first] of CI) {
      const [at, of] = [environment[index], environment[total]]
      if (at !== undefined && of !== undefined) return parseShard(`${Number(at) + 1 - first}/${of}`, {})
    }
    throw new UsageError(`--shard auto: none of ${CI.map(([index]) => index).join(', ')} is set`)
  }
  const [, part, of] = /^(\d+)\/(\d+)$/.exec(text) ?? []
  if (part === undefined || of === undefined || Number(part) < 1 || Number(part) > Number(of))
    throw new UsageError(`--shard ${text}: not M/N with M from 1 to N, nor "auto"`)
  return [Number(part) - 1, Number(of)]
}

const historyOf = (line: CommandLine): ReadonlyMap<string, number> => {
  const record = last(line, 'history')
  if (record === undefined) return new Map()
  try {
    return durationsOf(record)
  } catch (error) {
    throw new UsageError(`--history: ${messageOf(error)}`)
  }
}

/**
 * Every file falls into one shard, whatever machine asks, given the same history: the longest first, each to the shard
 * with the least so far. A file that is not known takes as long as the average; without a history files are dealt out in
 * their order.
 */
export const shardOf = (
  parts: readonly Part[],
  index: number,
  total: number,
  durations: ReadonlyMap<string, number> = new Map(),
): Part[] => {
  const known = parts.flatMap(({ file }) => durations.get(file.file) ?? [])
  const average = known.length === 0 ? 1 : known.reduce((sum, time) => sum + time, 0) / known.length
  const times = new Map(parts.map(part => [part, durations.get(part.file.file) ?? average]))
  const loads = Array.from({ length: total }, () => 0)
  const mine = new Set<Part>()
  for (const [part, time] of [...times].sort(([, a], [, b]) => b - a)) {
    const least = loads.indexOf(Math.min(...loads))
    loads[least]! += time
    if (least === index) mine.add(part)
  }
  return parts.filter(part => mine.has(part))
}

/** File → tests, of a list as `--list` prints it. Throws `UsageError`. */
const readExpected = (path: string): ReadonlyMap<string, readonly string[]> => {
  const expected = new Map<string, string[]>()
  try {
    for (const text of readFileSync(path, 'utf8').split('\n')) {
      const at = text.lastIndexOf(' ')
      if (at <= 0) continue
      const file = text.slice(0, at)
      expected.set(file, [...(expected.get(file) ?? []), text.slice(at + 1)])
    }
  } catch (error) {
    throw new UsageError(`--expect: ${messageOf(error)}`)
  }
  return expected
}

/** Adds the tests that are expected and not there: each ends as an error, in every report. */
const withLost = (
  parts: readonly Part[],
  expected: ReadonlyMap<string, readonly string[]>,
  all: boolean,
): readonly Part[] => {
  const found = new Map(parts.map(part => [part.file.file, part]))
  const cwd = process.cwd()
  const lost = [...expected].filter(([file]) => all && !found.has(file))
  return [
    ...parts.map(part => {
      const gone = (expected.get(part.file.file) ?? []).filter(name => part.all?.includes(name) === false)
      return gone.length === 0 ? part : { file: part.file, tests: [...(part.tests ?? part.all ?? []), ...gone] }
    }),
    ...lost.map(([file, tests]) => ({ file: testFile(cwd, resolve(cwd, file), 'selftest'), tests })),
  ]
}

/** Files and tests in an order that the seed decides. */
const shuffled = (parts: readonly Part[], seed: string): Part[] => {
  const byHash = <T>(items: readonly T[], name: (item: T) => string): T[] =>
    items
      .map(item => ({ item, hash: testSeed(seed, `shuffle ${name(item)}`) }))
      .sort((a, b) => (a.hash < b.hash ? -1 : 1))
      .map(({ item }) => item)
  return byHash(parts, part => part.file.file).map(({ file, tests }) => ({
    file,
    ...(tests === undefined ? {} : { tests: byHash(tests, test => test) }),
  }))
}
