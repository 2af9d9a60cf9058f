/** A run of an installed kselftest tree, in the lines of the run_kselftest.sh that each Linux release ships. */
import type { Event } from './events.ts'
import { inOrder, type Report, type Write } from './report.ts'
import { emptyTally, totals } from './tally.ts'
import { fileLine, rawLines } from './tap.ts'
import { lines, safeName } from './text.ts'

/** The generations of upstream's script: Linux 6.12 to 6.18, 6.19 to 7.0, 7.1 and later. */
export const COMPATS = ['6.12', '6.19', '7.1'] as const
export type Compat = (typeof COMPATS)[number]

export type KselftestOptions = {
  readonly compat: Compat
  /** How many tests each collection runs: before 7.1 a collection is a document of its own. */
  readonly plans: ReadonlyMap<string, number>
  /** Where the output of a test goes; standard output if absent. */
  readonly log?: (test: { collection: string; name: string }) => Write
}

export const kselftestReport = (write: Write, { compat, plans, log }: KselftestOptions): Report => {
  const whole = compat === '7.1'
  const tally = emptyTally()
  let collection: string | undefined
  let number = 0
  let name = ''
  let toLog: Write = write
  let body: (event: Event) => string[] = () => []
  /** Said about the test before its output: which limit holds, what is odd about its file. */
  let isHeaded = false

  const print = (to: Write, text: readonly string[]): void => {
    if (text.length > 0) to(`${text.join('\n')}\n`)
  }
  const begin = (count: number): void => print(write, ['TAP version 13', `1..${count}`])
  const head = (): void => {
    if (!isHeaded) print(write, [`# ${name}`])
    isHeaded = true
  }

  const event = inOrder(event => {
    switch (event.type) {
      case 'run':
        if (whole) begin(event.files.length)
        return
      case 'file':
        if (!whole && event.collection !== collection) {
          number = 0
          begin(plans.get(event.collection) ?? 0)
        }
        collection = event.collection
        name = `selftests: ${safeName(event.collection)}: ${safeName(event.name)}`
        toLog = log?.(event) ?? write
        body = rawLines()
        isHeaded = false
        return
      case 'output':
        // The limit stands before the header, warnings after it, as upstream prints them.
        if (event.stream === 'log' && /^(timeout set|overriding timeout) to /.test(event.text))
          return print(
            toLog,
            lines(event.text).map(line => `# ${line}`),
          )
        head()
        return print(
          event.stream === 'log' ? write : toLog,
          body(event).map(line => `# ${line}`),
        )
      case 'file-end': {
        head()
        print(
          toLog,
          body(event).map(line => `# ${line}`),
        )
        number++
        // A test that could not be run is a failure like any other to the script.
        tally[event.status === 'error' ? 'fail' : event.status]++
        if (event.status === 'timeout' && compat === '6.12') print(write, ['#'])
        // Upstream gives no reason for a skip, and knows no other way to fail than an exit code.
        const { status, reason = '' } = event
        const line = fileLine(number, name, { ...event, reason: status === 'skip' || status === 'xfail' ? '' : reason })
        return print(write, [status === 'error' ? `not ok ${number} ${name}${reason && ` # ${reason}`}` : line])
      }
      case 'run-end':
        if (!whole) return
        if (tally.skip > 0)
          print(write, [
            `# ${tally.skip} skipped test(s) detected.  Consider enabling relevant config options to improve coverage.`,
          ])
        return print(write, [`# ${totals(tally)}`])
      case 'test':
      case 'failure':
      case 'subtest':
      case 'attempt':
      case 'end':
        return
    }
  })
  return { event }
}
