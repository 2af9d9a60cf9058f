/** A page for a person at a terminal: what runs now in one line at the bottom, failures as they come, a summary. */
import { styleText } from 'node:util'
import type { Event, Status } from './events.ts'
import { againCommand, failureLines } from './failure.ts'
import { subtestLine } from './harness.ts'
import type { Report, Write } from './report.ts'
import { count, emptyTally, hasFailed, isOk, type Tally } from './tally.ts'
import { lines } from './text.ts'

/** The line at the bottom that is written over: ora's, or none. */
export type Sticky = { text: string; stop(): unknown; start(): unknown }

export type TerminalOptions = {
  readonly sticky?: Sticky
  readonly color: boolean
  /** Only the line at the bottom: the results go elsewhere. */
  readonly progressOnly?: boolean
  /** Milliseconds after which a running test is named with its time. */
  readonly slow?: number
  readonly now?: () => number
}

type Running = { readonly test: string; readonly since: number }
type Failed = {
  readonly file: string
  readonly test?: string
  readonly status: Status
  readonly reason: string
  readonly seed?: string | undefined
}

export const terminalReport = (write: Write, options: TerminalOptions): Report & { tick(): void } => {
  const { sticky, slow = 2000, now = () => performance.now() } = options
  const paint = (style: Parameters<typeof styleText>[0], text: string) =>
    options.color ? styleText(style, text, { validateStream: false }) : text
  const color = options.color ? paint : undefined
  const tests = emptyTally()
  const perFile = new Map<string, Tally>()
  const said = new Map<string, string[]>()
  /** What programs have printed, in pieces. */
  const printed = new Map<string, string[]>()
  const running = new Map<string, Running>()
  const failed: Failed[] = []
  const flaky: Failed[] = []
  const wobbly = new Set<string>()
  let run = { seed: '', options: [] as readonly string[], files: 0 }
  let files = 0

  const print = (text: string): void => {
    if (options.progressOnly) return
    sticky?.stop()
    write(`${text}\n`)
    sticky?.start()
  }
  const progress = (): void => {
    if (sticky === undefined) return
    const names = [...running].map(([file, { test, since }]) => {
      const took = now() - since
      return `${test || file}${took > slow ? ` (${Math.round(took / 1000)} s)` : ''}`
    })
    sticky.text = [`${files}/${run.files}`, ...counts(tests), ...names].join('  ')
  }
  const counts = (tally: Tally): string[] => {
    const styles = { pass: 'green', skip: 'yellow', xfail: 'yellow', xpass: 'yellow' } as const
    return Object.entries(tally)
      .filter(([, n]) => n > 0)
      .map(([status, n]) =>
        paint(status in styles ? styles[status as keyof typeof styles] : 'red', `${n} ${WORDS[status as Status]}`),
      )
  }
  const summary = (event: Extract<Event, { type: 'run-end' }>): void => {
    for (const { file, test, status, reason, seed = run.seed } of failed) {
      const why = reason === '' ? '' : ` (${reason})`
      print(`${paint('red', status === 'fail' ? 'failed' : WORDS[status])}  ${test ?? file}${why}`)
      print(`        ${againCommand({ file, ...(test === undefined ? {} : { test }), seed, options: run.options })}`)
    }
    for (const { file, test } of flaky)
      print([paint('yellow', 'flaky'), ...(test === undefined ? [] : [test]), file].join('  '))
    const total = count(tests) === 0 ? 'no test ran' : counts(tests).join('  ')
    print(
      `${event.interrupted ? paint('red', 'interrupted: ') : ''}${total}  in ${files} file${files === 1 ? '' : 's'}, ${time(event.duration)}`,
    )
  }

  return {
    event(event) {
      switch (event.type) {
        case 'run':
          run = { seed: event.seed, options: event.options ?? [], files: event.files.length }
          break
        case 'file':
          perFile.set(event.file, emptyTally())
          running.set(event.file, { test: '', since: now() })
          if (event.kind === 'executable') printed.set(event.file, [])
          break
        case 'test':
          running.set(event.file, { test: event.test, since: now() })
          said.set(event.file, [])
          break
        case 'output':
          if (printed.has(event.file)) printed.get(event.file)?.push(event.text)
          else said.get(event.file)?.push(...lines(event.text))
          break
        case 'failure': {
          const { file, test } = event
          print(`${paint('red', '✖')} ${test}`)
          const text = [...(said.get(file) ?? []), ...failureLines(event.failure, { file, test, ...run }, color)]
          said.set(file, [])
          print(text.map(line => `  ${line}`).join('\n'))
          break
        }
        case 'subtest':
          said.get(event.file)?.push(subtestLine(event))
          break
        case 'attempt':
          if (!isOk(event.status)) wobbly.add(printed.has(event.file) ? event.file : `${event.file} ${event.test}`)
          break
        case 'end': {
          tests[event.status]++
          const tally = perFile.get(event.file)
          if (tally !== undefined) tally[event.status]++
          const { file, test, status, reason = '', seed } = event
          if (!isOk(status)) failed.push({ file, test, status, reason, seed })
          else if (wobbly.has(`${file} ${test}`)) flaky.push({ file, test, status, reason })
          break
        }
        case 'file-end': {
          files++
          running.delete(event.file)
          const { file, status, failure } = event
          if (failure !== undefined) {
            failed.push({ file, status, reason: event.reason ?? '' })
            print(
              failureLines(failure, { file, ...run })
                .map(line => `  ${line}`)
                .join('\n'),
            )
          }
          const tally = perFile.get(file) ?? emptyTally()
          const output = printed.get(file)
          printed.delete(file)
          if (!isOk(status) && output !== undefined)
            print(
              lines(output.join(''))
                .map(line => `  ${line}`)
                .join('\n'),
            )
          // A program without results of its own is one test; so is one that failed though they are all well.
          if (count(tally) === 0 || (!isOk(status) && failure === undefined && !hasFailed(tally))) {
            tally[status]++
            tests[status]++
            if (!isOk(status) && failure === undefined) failed.push({ file, status, reason: event.reason ?? '' })
          }
          if (isOk(status) && wobbly.has(file)) flaky.push({ file, status, reason: '' })
          const mark = isOk(status) ? paint('green', '✔') : paint('red', '✖')
          print([`${mark} ${file}`, ...counts(tally), paint('dim', time(event.duration))].join('  '))
          break
        }
        case 'run-end':
          sticky?.stop()
          summary(event)
          sticky?.stop()
          return
      }
      progress()
    },
    /** Time has passed: what runs now has run for longer. */
    tick: progress,
    close() {
      sticky?.stop()
    },
  }
}

const WORDS: Readonly<Record<Status, string>> = {
  pass: 'passed',
  fail: 'failed',
  skip: 'skipped',
  xfail: 'failed as expected',
  xpass: 'passed unexpectedly',
  timeout: 'timed out',
  error: 'broken',
}

const time = (ms: number): string => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`)

/** The page on standard error, with ora's line at the bottom; ora is loaded only here. */
export const terminalPage = async (progressOnly: boolean): Promise<Report> => {
  // A terminal that does not say how wide it is has no room for a line that is written over (and ora never returns).
  const spinner =
    process.stderr.columns > 0
      ? (await import('ora')).default({ stream: process.stderr, discardStdin: false, hideCursor: false })
      : undefined
  const report = terminalReport(text => process.stderr.write(text), {
    ...(spinner === undefined ? {} : { sticky: spinner }),
    color: process.stderr.hasColors?.() === true && !process.env['NO_COLOR'],
    progressOnly,
  })
  spinner?.start()
  const timer = setInterval(report.tick, 1000).unref()
  return {
    event: report.event,
    close() {
      clearInterval(timer)
      report.close?.()
    },
  }
}
