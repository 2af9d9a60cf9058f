/** Events gathered into what came of each file: for reports that need a file whole. */
import type { Event, Failure, Site, Status } from './events.ts'
import { inOrder } from './report.ts'
import { emptyTally, hasFailed, isOk, type Tally } from './tally.ts'

export type TestResult = {
  readonly name: string
  readonly site?: Site
  readonly status: Status
  readonly reason: string
  readonly duration: number
  /** Guest instructions. */
  readonly instructions: number
  readonly failures: readonly Failure[]
  readonly output: string
  /** Its parts, in the order they ended: those of a part before it. */
  readonly parts?: readonly Part[]
  /** Attempts before this one. */
  readonly earlier: readonly Attempt[]
}

/** A part of a test (`t.step`). */
export type Part = Extract<Event, { type: 'subtest' }>

export type Attempt = Pick<TestResult, 'status' | 'reason' | 'duration' | 'failures' | 'output'>

/** Passed only when run again. */
export const isFlaky = ({ status, earlier }: Pick<TestResult, 'status' | 'earlier'>): boolean =>
  isOk(status) && earlier.some(one => !isOk(one.status))

export type FileResult = {
  readonly file: string
  readonly kind: 'selftest' | 'executable'
  readonly collection: string
  readonly name: string
  readonly tests: readonly TestResult[]
  readonly tally: Tally
  readonly status: Status
  readonly reason: string
  readonly failure?: Failure
  /** What the file said outside its tests. */
  readonly output: string
  /** Attempts of a program before this one. */
  readonly earlier: readonly Attempt[]
  readonly duration: number
  /** When it began, milliseconds since 1970. */
  readonly time: number
}

/** A program that failed though the results it printed are all well, or had to be run again: a result by itself. */
const speaksForItself = ({ kind, status, tally, earlier }: FileResult): boolean =>
  kind === 'executable' && (earlier.length > 0 || (!isOk(status) && !hasFailed(tally)))

/** The tests of a file; one that has none, or failed as a whole, is the last of them itself. */
export const testsOf = (file: FileResult): readonly TestResult[] =>
  file.tests.length === 0 || file.failure !== undefined || speaksForItself(file)
    ? [...file.tests, asTest(file)]
    : file.tests

const asTest = ({ name, kind, status, reason, duration, failure, output, earlier }: FileResult): TestResult => ({
  name,
  status,
  reason,
  duration,
  instructions: 0,
  failures: failure === undefined ? [] : [failure],
  output: kind === 'executable' ? output : '',
  earlier,
})

/** What a file said that none of its tests did. */
export const restOf = (file: FileResult, tests: readonly TestResult[]): string =>
  file.kind === 'executable' && tests.length > file.tests.length ? '' : file.output

/** The run as a whole, as far as it is known. */
export type RunResult = { seed: string; options: readonly string[]; files: readonly string[]; time: number }

type Open = {
  begin: Extract<Event, { type: 'file' }>
  tests: TestResult[]
  tally: Tally
  output: string
  earlier: Map<string, Attempt[]>
  test?: { name: string; site?: Site; failures: Failure[]; output: string; parts: Part[] }
}

/**
 * Takes events in any order of files; calls `each` with every file that ended, in the order of the run, and `end` when
 * the run is through.
 */
export const gather = (
  each: (result: FileResult, run: RunResult) => void,
  end: (run: RunResult, event: Extract<Event, { type: 'run-end' }>) => void = () => {},
  begin: (run: RunResult) => void = () => {},
): ((event: Event) => void) => {
  let run: RunResult = { seed: '', options: [], files: [], time: 0 }
  let open: Open | undefined
  return inOrder(event => {
    switch (event.type) {
      case 'run':
        run = { seed: event.seed, options: event.options ?? [], files: event.files, time: event.time }
        return begin(run)
      case 'run-end':
        return end(run, event)
      case 'file':
        open = { begin: event, tests: [], tally: emptyTally(), output: '', earlier: new Map() }
        return
      case 'test':
        if (open === undefined) return
        open.test = { name: event.test, failures: [], output: '', parts: [], ...(event.site && { site: event.site }) }
        return
      case 'output':
        if (open === undefined) return
        if (event.test !== undefined && event.test === open.test?.name) open.test.output += ended(event.text)
        else open.output += event.text
        return
      case 'failure':
        open?.test?.failures.push(event.failure)
        return
      case 'subtest':
        open?.test?.parts.push(event)
        return
      case 'attempt': {
        if (open === undefined) return
        const { test: name, status, reason = '', duration } = event
        const { failures = [], output = '' } = open.test?.name === name ? open.test : {}
        const earlier = open.earlier.get(name) ?? []
        open.earlier.set(name, [...earlier, { status, reason, duration, failures, output }])
        delete open.test
        return
      }
      case 'end': {
        if (open === undefined) return
        const { test: name, status, reason = '', duration, instructions } = event
        const { failures = [], output = '', parts = [], site } = open.test?.name === name ? open.test : {}
        open.tests.push({
          name,
          status,
          reason,
          duration,
          instructions,
          failures,
          output,
          ...(parts.length > 0 && { parts }),
          earlier: open.earlier.get(name) ?? [],
          ...(site && { site }),
        })
        open.tally[status]++
        delete open.test
        return
      }
      case 'file-end': {
        if (open === undefined) return
        const { file, kind = 'selftest', collection, name, time } = open.begin
        const { tests, tally, output } = open
        const earlier = kind === 'executable' ? (open.earlier.get(name) ?? []) : []
        const { status, reason = '', duration, failure } = event
        const whole = { file, kind, collection, name, tests, tally, status, reason, output, earlier, duration, time }
        open = undefined
        return each({ ...whole, ...(failure && { failure }) }, run)
      }
    }
  })
}

const ended = (text: string): string => (text === '' || text.endsWith('\n') ? text : `${text}\n`)
