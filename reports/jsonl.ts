/** A record: the events of a run as JSON lines, written as they happen, read back for a replay. */
import { EVENTS_VERSION, type Event } from './events.ts'
import type { Report, Write } from './report.ts'

export const jsonlReport = (write: Write): Report => ({
  event: event => write(`${JSON.stringify(event)}\n`),
})

/** A record that cannot be read: which line, and why. */
export class RecordError extends Error {
  override readonly name = 'RecordError'
}

/** As an object, so that one that is forgotten does not compile. */
const TYPES: Readonly<Record<Event['type'], true>> = {
  run: true,
  file: true,
  test: true,
  subtest: true,
  output: true,
  failure: true,
  attempt: true,
  end: true,
  'file-end': true,
  'run-end': true,
}

/**
 * The events of a record. A last line without its newline is a write that was cut short, and is left out. Events of
 * a type that is not known are left out too: a newer minor vocabulary only adds. Throws `RecordError`.
 */
export function* readRecord(text: string): Generator<Event> {
  let line = 0
  for (let start = 0, end = text.indexOf('\n'); end >= 0; start = end + 1, end = text.indexOf('\n', start)) {
    line++
    const json = text.slice(start, end)
    if (json === '') continue
    let event: Event
    try {
      event = JSON.parse(json)
    } catch {
      throw new RecordError(`line ${line} is not JSON: ${json.slice(0, 60)}`)
    }
    if (line === 1 && event?.type !== 'run')
      throw new RecordError('line 1 is not a run event: this is no record of a run')
    if (event.type === 'run' && event.version !== EVENTS_VERSION)
      throw new RecordError(`line ${line}: version ${event.version} of the events; this is version ${EVENTS_VERSION}`)
    if (Object.hasOwn(TYPES, event.type)) yield event
  }
  if (line === 0) throw new RecordError('holds no event')
}
