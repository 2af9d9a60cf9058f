/** A run as kselftest's runner prints it: one TAP 13 document, what each file printed as comments before its result. */
import type { Event } from './events.ts'
import { failureLines } from './failure.ts'
import { harnessLines } from './harness.ts'
import { inOrder, type Report, type Write } from './report.ts'
import { emptyTally, totals } from './tally.ts'
import { lines, safeName, safeReason } from './text.ts'

/**
 * TAP as every known reader takes it: version and plan first, numbers always, one document, nested results as
 * `# ok` comments. Files come in the order of the run, whatever order they end in.
 */
export const tapReport = (write: Write): Report => {
  const tally = emptyTally()
  let run = { seed: '', options: [] as readonly string[] }
  let number = 0
  let name = ''
  let planned = 0
  let body: (event: Event) => string[] = () => []

  const print = (event: Event): string[] => {
    switch (event.type) {
      case 'run':
        run = { seed: event.seed, options: event.options ?? [] }
        return ['TAP version 13', `1..${event.files.length}`]
      case 'file':
        planned = event.tests.length
        name = `selftests: ${safeName(event.collection)}: ${safeName(event.name)}`
        body = event.kind === 'executable' ? rawLines() : harnessLines(run)
        return [`# ${name}`, ...body(event).map(nested)]
      case 'file-end': {
        const failure = event.failure
        const last = body(event)
        tally[event.status]++
        number++
        const why = failure === undefined ? [] : failureLines(failure, { file: event.file, ...run }).flatMap(lines)
        // A file that did not load has said nothing of its own but why.
        const said = failure !== undefined && planned === 0 ? why : [...why, ...last]
        return [...said.map(nested), fileLine(number, name, event)]
      }
      case 'run-end':
        return [...(event.interrupted ? [`Bail out! ${event.reason ?? 'interrupted'}`] : []), `# ${totals(tally)}`]
      case 'test':
      case 'output':
      case 'failure':
      case 'subtest':
      case 'attempt':
      case 'end':
        return body(event).map(nested)
    }
  }
  return {
    event: inOrder(event => {
      const text = print(event)
      if (text.length > 0) write(`${text.join('\n')}\n`)
    }),
  }
}

const nested = (line: string): string => `# ${line}`.trimEnd()

/** What an executable printed, a line at a time: text may come in pieces, and may lack its last newline. */
export const rawLines = (): ((event: Event) => string[]) => {
  let rest = ''
  return event => {
    if (event.type === 'output') {
      const end = event.text.lastIndexOf('\n') + 1
      if (end === 0) {
        rest += event.text
        return []
      }
      const whole = rest + event.text.slice(0, end)
      rest = event.text.slice(end)
      return lines(whole)
    }
    if (event.type !== 'file-end') return []
    const last = lines(rest)
    rest = ''
    return last
  }
}

/** A file's result in the words of kselftest/runner.sh. */
export const fileLine = (number: number, name: string, end: Extract<Event, { type: 'file-end' }>): string => {
  const reason = safeReason(end.reason ?? '')
  const also = reason === '' ? '' : ` ${reason}`
  switch (end.status) {
    case 'pass':
      return `ok ${number} ${name}`
    case 'skip':
      return `ok ${number} ${name} # SKIP${also}`
    case 'xfail':
      return `ok ${number} ${name} # XFAIL${also}`
    case 'xpass':
    case 'fail':
      return `not ok ${number} ${name}${reason === '' ? '' : ` # ${reason}`}`
    case 'timeout':
      return `not ok ${number} ${name} # TIMEOUT${also}`
    case 'error':
      return `not ok ${number} ${name} # ERROR${also}`
  }
}
