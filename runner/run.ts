/** A run: files handed to workers, events handed to reports, and what it all comes to. */
import { EVENTS_VERSION, type Event, emptyTally, type Tally } from '#reports'
import type { TestFile } from './discover.ts'
import { type ExecutableOptions, endDaemons, runExecutable } from './executable.ts'
import { Fifos } from './fifo.ts'
import type { Pool } from './pool.ts'
import type { Answer, Listed } from './protocol.ts'
import { Resources } from './resources.ts'
import { runSelftest, type SelftestOptions } from './selftest.ts'

export type RunOptions = SelftestOptions & {
  /** Files at a time. */
  readonly jobs: number
  readonly executable: ExecutableOptions
  /** Tests that pass are repeated for about so long, milliseconds. */
  readonly stress?: number
  /** Which part of a run this is. */
  readonly shard?: { readonly part: number; readonly total: number; readonly files: number }
  /** Options to repeat in the command that repeats a test. */
  readonly again: readonly string[]
  /** How long files took before, milliseconds: the longest begin first. Reports keep the order of the parts. */
  readonly durations?: ReadonlyMap<string, number>
}

/** A file, and which of its tests. */
export type Part = {
  readonly file: TestFile
  readonly tests?: readonly string[]
  /** All that it holds, where it has been listed. */
  readonly all?: readonly string[]
}

/** Runs `parts` and emits everything that happens. `interrupt` stops it early. */
export const run = async (
  pool: Pool,
  parts: readonly Part[],
  options: RunOptions,
  emit: (event: Event) => void,
  interrupt: AbortSignal,
): Promise<Tally> => {
  const began = performance.now()
  const tally = emptyTally()
  const stop = () => pool.close(options.grace)
  interrupt.addEventListener('abort', stop)
  emit({
    type: 'run',
    version: EVENTS_VERSION,
    seed: options.seed,
    files: parts.map(part => part.file.file),
    ...(options.shard === undefined ? {} : { shard: options.shard }),
    ...(options.again.length === 0 ? {} : { options: options.again }),
    time: Date.now(),
  })
  const fifos = new Fifos()
  const resources = new Resources(pool.size)
  // Every file gets its share of the time: those that begin late too.
  const share = ((options.stress ?? 0) * Math.min(pool.size, parts.length)) / parts.length
  const said = (event: Event): void => {
    if (!interrupt.aborted) emit(event)
  }
  await each(longestFirst(parts, options.durations), pool.size, async ({ file, tests }) => {
    if (interrupt.aborted) return
    const { retries, repeat } = options
    const until = share > 0 ? { until: performance.now() + share } : {}
    const status =
      file.kind === 'selftest'
        ? await runSelftest(pool, resources, file, tests, { ...options, share }, said)
        : await runExecutable(
            fifos,
            resources,
            file,
            { ...options.executable, slow: options.slow, retries, repeat, ...until },
            said,
            interrupt,
          )
    if (!interrupt.aborted) tally[status]++
  })
  fifos.close()
  if (parts.some(({ file }) => file.kind === 'executable'))
    for (const line of endDaemons()) process.stderr.write(`seamless: ${line}\n`)
  interrupt.removeEventListener('abort', stop)
  const reason = interrupt.aborted ? { reason: String(interrupt.reason) } : {}
  emit({
    type: 'run-end',
    interrupted: interrupt.aborted,
    ...reason,
    duration: performance.now() - began,
    time: Date.now(),
  })
  return tally
}

/** A file that is not known may be long: it begins first. */
const longestFirst = (parts: readonly Part[], durations: ReadonlyMap<string, number> = new Map()): readonly Part[] => {
  const took = ({ file }: Part) => durations.get(file.file) ?? Number.POSITIVE_INFINITY
  return durations.size === 0 ? parts : parts.toSorted((a, b) => (took(a) === took(b) ? 0 : took(b) - took(a)))
}

/** What a file holds, or why it did not load. */
export type Listing = { readonly file: TestFile; readonly tests: readonly Listed[]; readonly broken?: string }

/** Loads `files` in workers and lists their tests, in the order given. */
export const list = async (pool: Pool, files: readonly TestFile[], timeout: number): Promise<Listing[]> => {
  const listings: Listing[] = []
  await each(files, pool.size, async (file, index) => {
    if (file.kind === 'executable') {
      // A program has no tests to list: it is one by itself.
      listings[index] = { file, tests: [{ name: file.name, fixture: file.collection, test: file.name, tags: [] }] }
      return
    }
    const worker = await pool.take()
    const timer = timeout > 0 ? setTimeout(() => worker.kill(0), timeout) : undefined
    let tests: readonly Listed[] = []
    let broken: string | undefined
    const exit = await worker.do(
      { type: 'list', path: file.path, file: file.file },
      (answer: Answer) => {
        if (answer.type === 'listed') tests = answer.tests
        else if (answer.type === 'broken' || answer.type === 'uncaught') broken = answer.message
      },
      () => {},
    )
    clearTimeout(timer)
    pool.give(worker)
    if (exit !== undefined) broken ??= 'its worker ended while it loaded'
    listings[index] = { file, tests, ...(broken === undefined ? {} : { broken }) }
  })
  return listings
}

/** Calls `work` for every item, at most `limit` at a time, begun in order. */
const each = async <T>(items: readonly T[], limit: number, work: (item: T, index: number) => Promise<void>) => {
  let next = 0
  const lane = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) await work(items[index]!, index)
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane))
}
