/** Runs one file of our tests in a worker: watches the clock, and goes on in a fresh worker after a crash. */
import { constants } from 'node:os'
import { pathToFileURL } from 'node:url'
import { type Event, emptyTally, type Failure, isOk, type Site, type Status, statusOf } from '#reports'
import { again, type Repetition, type Tried } from './attempts.ts'
import type { TestFile } from './discover.ts'
import type { Standing } from './dump.ts'
import type { Extra } from './explore.ts'
import { near, suggestion } from './filter.ts'
import type { Exit, Pool } from './pool.ts'
import type { Answer, Listed } from './protocol.ts'
import { needOf, PLAIN, type Resources } from './resources.ts'

export type SelftestOptions = Repetition & {
  readonly seed: string
  /** Milliseconds a test may take that does not say; 0 is no limit. */
  readonly timeout: number
  /** Milliseconds from a limit to SIGTERM, and from there to SIGKILL. */
  readonly grace: number
  /** Milliseconds after which a test that still runs is said to be slow; 0 never. */
  readonly slow: number
  /** Milliseconds for which tests that pass are repeated, from when the file has loaded. */
  readonly share?: number
  readonly extra?: Extra
}

/** What stopped a worker from outside the test. */
type Uncaught = { readonly message: string; readonly stack: string }

/** How a worker came back from an order. */
type Return = {
  readonly exit: Exit | undefined
  readonly broken?: Uncaught
  readonly uncaught?: Uncaught
  /** The limit that we ended it for, milliseconds. */
  readonly fired?: number
  /** Where it stood then, and the guest of its test. */
  readonly stood?: Standing
}

const seconds = (ms: number): string => `${ms / 1000} second${ms === 1000 ? '' : 's'}`

/** Runs `tests` of `file` (all, if absent) and emits its events. Never throws for what the file does. */
export const runSelftest = async (
  pool: Pool,
  resources: Resources,
  file: TestFile,
  tests: readonly string[] | undefined,
  options: SelftestOptions,
  emit: (event: Event) => void,
): Promise<Status> => {
  const began = performance.now()
  const book = new Book(file, tests, options, emit)
  const fileEnd = (status: Status, reason?: string, failure?: Failure): Status => {
    book.announce([])
    emit({
      type: 'file-end',
      file: file.file,
      status,
      ...(reason === undefined ? {} : { reason }),
      ...(failure === undefined ? {} : { failure }),
      duration: performance.now() - began,
      time: Date.now(),
    })
    return status
  }

  for (;;) {
    const before = book.attempts
    const order = book.order()
    const { exit, broken, uncaught, fired, stood } = await work(pool, resources, file, order, book, options)
    const stack = uncaught !== undefined ? { stack: uncaught.stack } : stood?.stack ? { stack: stood.stack } : {}
    const kind = fired === undefined ? 'crash' : 'timeout'
    if (broken !== undefined) {
      const { message, stack } = broken
      const failure: Failure = { kind: 'crash', side: 'host', message: `does not load: ${message}`, steps: [], stack }
      return fileEnd('error', `does not load: ${message}`, failure)
    }
    const { running } = book
    if (exit !== undefined && running !== undefined) {
      const { test, site } = running
      const message =
        fired !== undefined
          ? `did not end within ${seconds(fired)}, and did not listen: killed`
          : (uncaught?.message ?? `Test terminated unexpectedly by ${exitText(exit)}`)
      const where = site === undefined ? {} : { site }
      const guest = { steps: stood?.steps ?? [], ...(stood?.guest && { guest: stood.guest }) }
      const failure: Failure = { kind, side: 'host', message, ...guest, ...where, ...stack }
      emit({ type: 'failure', file: file.file, test, failure })
      if (fired === undefined) book.end(test, 'fail', message)
      else book.end(test, 'timeout', seconds(fired))
    } else if (exit !== undefined && (!book.isAnnounced || book.attempts === before || book.left.length === 0)) {
      const when = book.isAnnounced ? 'between its tests' : 'while it loaded'
      const how = fired === undefined ? (uncaught?.message ?? exitText(exit)) : `no end within ${seconds(fired)}`
      const message = `worker ended ${when}: ${how}`
      for (const name of book.left) book.end(name, 'error', 'not run')
      return fileEnd('error', message, { kind, side: 'host', message, steps: [], ...stack })
    }
    if (exit === undefined && book.attempts === before) for (const name of book.left) book.end(name, 'error', 'not run')
    // A worker that is through has run all it was asked for: a name it did not know has vanished since the listing.
    if (exit === undefined)
      for (const name of book.unknown(order.tests)) book.end(name, 'error', `not there any more${book.likely(name)}`)
    if (book.left.length > 0) continue
    if (book.isEmpty) return fileEnd('error', 'holds no test')
    const status = statusOf(book.tally)
    if (status === 'fail') return fileEnd(status, 'exit=1')
    return fileEnd(status, ...(status === 'skip' ? ['all tests skipped'] : []))
  }
}

type Work = { readonly tests: readonly string[] | undefined; readonly isAgain: boolean }

/** Gives a worker one order, and ends it if a test takes too long. */
const work = async (
  pool: Pool,
  resources: Resources,
  file: TestFile,
  order: Work,
  book: Book,
  options: SelftestOptions,
): Promise<Return> => {
  let release = await resources.take(PLAIN)
  const worker = await pool.take(order.isAgain)
  const grant = async (tags: readonly string[]): Promise<void> => {
    clearTimeout(timer)
    clearTimeout(slow)
    release()
    release = await resources.take(needOf(tags) ?? PLAIN)
    watch(options.timeout)
    worker.go()
  }
  let back: Omit<Return, 'exit'> = {}
  let timer: NodeJS.Timeout | undefined
  let slow: NodeJS.Timeout | undefined
  // A test that takes long is said to be slow; one past its limit, that did not end by itself, is asked where it stands
  // and gets SIGTERM, then SIGKILL.
  const watch = (limit: number): void => {
    clearTimeout(timer)
    clearTimeout(slow)
    if (options.slow > 0 && (limit === 0 || options.slow < limit))
      slow = setTimeout(() => book.output('log', `seamless: slow: runs for ${seconds(options.slow)}\n`), options.slow)
    if (limit > 0)
      timer = setTimeout(
        async () => {
          back = { ...back, fired: limit }
          const stood = await worker.dump()
          back = { ...back, stood: { ...stood, stack: shortened(stood.stack) } }
          worker.kill(options.grace)
        },
        // Each interleaving has as long as a test has.
        limit * (options.extra?.explore ?? 1) + options.grace,
      )
  }
  watch(options.timeout)
  const exit = await worker.do(
    {
      type: 'run',
      path: file.path,
      file: file.file,
      seed: options.seed,
      timeout: options.timeout,
      ...(options.extra === undefined ? {} : { extra: options.extra }),
      ...(order.tests === undefined ? {} : { tests: order.tests }),
    },
    (answer: Answer) => {
      if (answer.type === 'needs') void grant(answer.tags)
      else if (answer.type === 'listed') book.announce(answer.tests)
      else if (answer.type === 'broken') back = { ...back, broken: answer }
      else if (answer.type === 'uncaught') back = { ...back, uncaught: answer }
      else if (answer.type === 'events')
        for (const event of answer.events) {
          book.take(event)
          if (event.type === 'test') watch(book.limits.get(event.test) ?? options.timeout)
        }
    },
    (stream, text) => book.output(stream, text),
  )
  clearTimeout(timer)
  clearTimeout(slow)
  pool.give(worker)
  release()
  return { ...back, exit }
}

/** Of a stack, the test's own part with its paths as the run names them. */
const shortened = (stack: string): string => stack.replaceAll(pathToFileURL(`${process.cwd()}/`).href, '')

/** What has become of a file's tests so far, and which are left to run. */
class Book {
  readonly tally = emptyTally()
  /** Limits of tests that have their own, milliseconds. */
  readonly limits = new Map<string, number>()
  running: { test: string; site?: Site; began: number } | undefined
  /** All attempts that ended. */
  attempts = 0

  readonly #file: TestFile
  readonly #wanted: readonly string[] | undefined
  readonly #options: SelftestOptions
  readonly #emit: (event: Event) => void
  #announced: readonly string[] | undefined
  #listed: readonly string[] = []
  readonly #ended = new Set<string>()
  /** Attempts of each test so far. */
  readonly #tried = new Map<string, Tried>()
  /** To be run again when the others are through. */
  #waiting: string[] = []
  /** One of them has failed. */
  #needsClean = false
  #until = 0

  constructor(
    file: TestFile,
    wanted: readonly string[] | undefined,
    options: SelftestOptions,
    emit: (event: Event) => void,
  ) {
    this.#file = file
    this.#wanted = wanted
    this.#options = options
    this.#emit = emit
  }

  get isAnnounced(): boolean {
    return this.#announced !== undefined
  }

  get isEmpty(): boolean {
    return this.#announced?.length === 0
  }

  get left(): string[] {
    return (this.#announced ?? []).filter(name => !this.#ended.has(name))
  }

  /** The tests to run next: those not tried yet, then those to be tried again. */
  order(): Work {
    if (this.#announced === undefined) return { tests: this.#wanted, isAgain: false }
    const fresh = this.left.filter(name => !this.#tried.has(name))
    if (fresh.length > 0) return { tests: fresh, isAgain: false }
    const tests = this.#waiting
    const isAgain = this.#needsClean
    this.#waiting = []
    this.#needsClean = false
    return { tests, isAgain }
  }

  /** Of the tests that were ordered, those that the file did not know. */
  unknown(ordered: readonly string[] | undefined): string[] {
    return (ordered ?? this.left).filter(name => !this.#tried.has(name))
  }

  /** What a test that is not there may be called now. */
  likely(name: string): string {
    return suggestion(near(name, this.#listed))
  }

  announce(listed: readonly Listed[]): void {
    if (this.#announced !== undefined) return
    this.#until = performance.now() + (this.#options.share ?? 0)
    this.#listed = listed.map(test => test.name)
    this.#announced = this.#wanted ?? listed.map(test => test.name)
    for (const { name, timeout } of listed) if (timeout !== undefined) this.limits.set(name, timeout)
    const { file, collection, name } = this.#file
    this.#emit({ type: 'file', file, collection, name, tests: this.#announced, time: Date.now() })
  }

  output(stream: 'stdout' | 'stderr' | 'log', text: string): void {
    const { running } = this
    this.#emit({ type: 'output', file: this.#file.file, ...(running && { test: running.test }), stream, text })
  }

  /** Ends a test that could not say so itself. */
  end(test: string, status: Status, reason: string): void {
    const duration = this.running?.test === test ? performance.now() - this.running.began : 0
    this.take({ type: 'end', file: this.#file.file, test, status, reason, duration, instructions: 0 })
  }

  take(event: Event): void {
    if (event.type === 'test') {
      const { test, site } = event
      this.running = { test, began: performance.now(), ...(site === undefined ? {} : { site }) }
    }
    if (event.type === 'end') this.#ends(event)
    else this.#emit(event)
  }

  #ends(event: Extract<Event, { type: 'end' }>): void {
    const { file, test, status, reason, duration } = event
    const tried = this.#tried.get(test) ?? { passed: 0, failed: 0 }
    this.#tried.set(test, tried)
    this.running = undefined
    this.attempts++
    const isAgain = again(status, tried, { ...this.#options, until: this.#until })
    const attempt = tried.passed + tried.failed
    if (isAgain) {
      this.#waiting.push(test)
      this.#needsClean ||= !isOk(status)
      this.#emit({
        type: 'attempt',
        file,
        test,
        attempt,
        status,
        duration,
        ...(reason === undefined ? {} : { reason }),
      })
      return
    }
    this.#ended.add(test)
    this.tally[status]++
    this.#emit(attempt === 1 ? event : { ...event, attempts: attempt })
  }
}

/** How a process ended: `signal 9 (SIGKILL)`, as kselftest_harness.h numbers it. */
export const exitText = ({ code, signal }: Exit): string =>
  signal === null ? `exit code ${code}` : `signal ${constants.signals[signal]} (${signal})`
