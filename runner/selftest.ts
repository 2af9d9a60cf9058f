/** Runs one file of our tests in a worker: watches the clock, and goes on in a fresh worker after a crash. */
import { constants } from 'node:os'
import { type Event, emptyTally, type Failure, type Site, type Status, statusOf } from '#reports'
import type { TestFile } from './discover.ts'
import type { Exit, Pool } from './pool.ts'
import type { Answer, Listed } from './protocol.ts'

export type SelftestOptions = {
  readonly seed: string
  /** Milliseconds a test may take that does not say; 0 is no limit. */
  readonly timeout: number
  /** Milliseconds from a limit to SIGTERM, and from there to SIGKILL. */
  readonly grace: number
}

/** What stopped a worker from outside the test. */
type Uncaught = { readonly message: string; readonly stack: string }

/** Runs `tests` of `file` (all, if absent) and emits its events. Never throws for what the file does. */
export const runSelftest = async (
  pool: Pool,
  file: TestFile,
  tests: readonly string[] | undefined,
  options: SelftestOptions,
  emit: (event: Event) => void,
): Promise<Status> => {
  const began = performance.now()
  const tally = emptyTally()
  const seconds = (ms: number) => `${ms / 1000} second${ms === 1000 ? '' : 's'}`
  let announced: readonly string[] | undefined
  let limits = new Map<string, number>()
  let running: { test: string; site?: Site; began: number } | undefined
  const ended = new Set<string>()

  const announce = (listed: readonly Listed[]): void => {
    if (announced !== undefined) return
    announced = tests ?? listed.map(test => test.name)
    limits = new Map(listed.flatMap(({ name, timeout }) => (timeout === undefined ? [] : [[name, timeout]])))
    emit({
      type: 'file',
      file: file.file,
      collection: file.collection,
      name: file.name,
      tests: announced,
      time: Date.now(),
    })
  }
  const end = (test: string, status: Status, reason: string): void => {
    const duration = running?.test === test ? performance.now() - running.began : 0
    take({ type: 'end', file: file.file, test, status, reason, duration, instructions: 0 })
  }
  const take = (event: Event): void => {
    if (event.type === 'test') {
      const { test, site } = event
      running = { test, began: performance.now(), ...(site === undefined ? {} : { site }) }
    }
    if (event.type === 'end') {
      running = undefined
      ended.add(event.test)
      tally[event.status]++
    }
    emit(event)
  }
  const fileEnd = (status: Status, reason?: string, failure?: Failure): Status => {
    announce([])
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
    const before = ended.size
    const remaining = announced?.filter(name => !ended.has(name)) ?? tests
    const worker = await pool.take()
    let broken: Uncaught | undefined
    let uncaught: Uncaught | undefined
    let fired: number | undefined
    let timer: NodeJS.Timeout | undefined
    const watch = (limit: number): void => {
      clearTimeout(timer)
      if (limit > 0)
        timer = setTimeout(() => {
          fired = limit
          worker.kill(options.grace)
        }, limit + options.grace)
    }
    watch(options.timeout)
    const exit = await worker.do(
      {
        type: 'run',
        path: file.path,
        file: file.file,
        seed: options.seed,
        timeout: options.timeout,
        ...(remaining === undefined ? {} : { tests: remaining }),
      },
      (answer: Answer) => {
        if (answer.type === 'listed') announce(answer.tests)
        else if (answer.type === 'broken') broken = answer
        else if (answer.type === 'uncaught') uncaught = answer
        else if (answer.type === 'events')
          for (const event of answer.events) {
            take(event)
            if (event.type === 'test') watch(limits.get(event.test) ?? options.timeout)
          }
      },
      (stream, text) => emit({ type: 'output', file: file.file, ...(running && { test: running.test }), stream, text }),
    )
    clearTimeout(timer)
    pool.give(worker)

    if (broken !== undefined) {
      const { message, stack } = broken
      const failure: Failure = { kind: 'crash', side: 'host', message: `does not load: ${message}`, steps: [], stack }
      return fileEnd('error', `does not load: ${message}`, failure)
    }
    if (exit !== undefined && running !== undefined) {
      const { test, site } = running
      const message =
        fired !== undefined
          ? `did not end within ${seconds(fired)}, and did not listen: killed`
          : (uncaught?.message ?? `Test terminated unexpectedly by ${exitText(exit)}`)
      const stack = uncaught === undefined ? {} : { stack: uncaught.stack }
      const kind = fired === undefined ? 'crash' : 'timeout'
      const where = site === undefined ? {} : { site }
      const failure: Failure = { kind, side: 'host', message, steps: [], ...where, ...stack }
      emit({ type: 'failure', file: file.file, test, failure })
      if (fired === undefined) end(test, 'fail', message)
      else end(test, 'timeout', seconds(fired))
    } else if (exit !== undefined) {
      const when = announced === undefined ? 'while it loaded' : 'between its tests'
      const how = fired === undefined ? (uncaught?.message ?? exitText(exit)) : `no end within ${seconds(fired)}`
      const message = `worker ended ${when}: ${how}`
      if (announced === undefined || ended.size === before || ended.size === announced.length) {
        for (const name of announced ?? []) if (!ended.has(name)) end(name, 'error', 'not run')
        const stack = uncaught === undefined ? {} : { stack: uncaught.stack }
        const kind = fired === undefined ? 'crash' : 'timeout'
        return fileEnd('error', message, { kind, side: 'host', message, steps: [], ...stack })
      }
    }
    const missing = announced?.filter(name => !ended.has(name)) ?? []
    if (missing.length > 0 && exit !== undefined) continue
    // A worker that is through has run all it was asked for: a name it did not know has vanished since the listing.
    for (const name of missing) end(name, 'error', 'not there any more')
    if (announced?.length === 0) return fileEnd('error', 'holds no test')
    const status = statusOf(tally)
    if (status === 'fail') return fileEnd(status, 'exit=1')
    return fileEnd(status, ...(status === 'skip' ? ['all tests skipped'] : []))
  }
}

/** How a process ended: `signal 9 (SIGKILL)`, as kselftest_harness.h numbers it. */
export const exitText = ({ code, signal }: Exit): string =>
  signal === null ? `exit code ${code}` : `signal ${constants.signals[signal]} (${signal})`
