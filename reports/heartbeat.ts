/** A sign of life where nobody watches a page: a line now and then, of what is done, what failed and what runs. */
import type { Event } from './events.ts'
import type { Report, Write } from './report.ts'
import { isOk } from './tally.ts'
import { safeName } from './text.ts'

/** A clock and its timer, so that tests have their own. */
export type Clock = {
  now(): number
  /** Calls `tick` every `ms` milliseconds until the function it gives is called. */
  every(ms: number, tick: () => void): () => void
}

const CLOCK: Clock = {
  now: () => Date.now(),
  every(ms, tick) {
    const timer = setInterval(tick, ms)
    // A run that is over does not wait for its next beat.
    timer.unref()
    return () => clearInterval(timer)
  },
}

export const HEARTBEAT = 30_000

export const heartbeat = (write: Write, clock: Clock = CLOCK): Report => {
  let planned = 0
  let done = 0
  let failed = 0
  let skipped = 0
  let stop = () => {}
  const running = new Map<string, { name: string; since: number }>()
  const beat = () => {
    const now = clock.now()
    const names = [...running.values()].map(({ name, since }) => `${name} (${Math.round((now - since) / 1000)} s)`)
    const what = names.length === 0 ? '' : `; running ${names.join(', ')}`
    write(`# ${done} of ${planned} files done, tests: ${failed} failed, ${skipped} skipped${what}\n`)
  }
  const take = (event: Event): void => {
    switch (event.type) {
      case 'run':
        planned = event.files.length
        stop = clock.every(HEARTBEAT, beat)
        return
      case 'file':
        running.set(event.file, { name: safeName(event.name), since: clock.now() })
        return
      case 'test':
        running.set(event.file, { name: safeName(event.test), since: clock.now() })
        return
      case 'end':
        if (!isOk(event.status)) failed++
        if (event.status === 'skip') skipped++
        return
      case 'file-end':
        running.delete(event.file)
        done++
        return
      case 'run-end':
        stop()
        return
      default:
        return
    }
  }
  return { event: take, close: () => stop() }
}
