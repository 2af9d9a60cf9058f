/** Closes what a run left open: a record that was cut short, or a run that was interrupted, still tells of every test. */
import type { Event } from './events.ts'

/** Hands events on; before the end of an interrupted run, ends the tests and files that had begun. */
export const closing = (emit: (event: Event) => void): ((event: Event) => void) => {
  const open = new Map<string, { tests: Set<string>; begun: number }>()
  return event => {
    switch (event.type) {
      case 'file':
        open.set(event.file, { tests: new Set(event.tests), begun: event.time })
        break
      case 'test':
        open.get(event.file)?.tests.add(event.test)
        break
      case 'end':
        open.get(event.file)?.tests.delete(event.test)
        break
      case 'file-end':
        open.delete(event.file)
        break
      case 'run-end':
        for (const [file, { tests, begun }] of open) {
          const reason = 'the run was cut short'
          for (const test of tests)
            emit({ type: 'end', file, test, status: 'error', reason, duration: 0, instructions: 0 })
          emit({ type: 'file-end', file, status: 'error', reason, duration: event.time - begun, time: event.time })
        }
        open.clear()
        break
      case 'run':
      case 'subtest':
      case 'attempt':
      case 'output':
      case 'failure':
        break
    }
    emit(event)
  }
}
