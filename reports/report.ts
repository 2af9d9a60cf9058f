/** What a report is: something that takes events one by one and writes text. */
import type { Event } from './events.ts'

export type Report = {
  event(event: Event): void
  /** Takes down what is on the screen; nothing comes after. */
  close?(): void
}

export type Write = (text: string) => void

export type FileEvent = Extract<Event, { file: string }>

/** Hands on the events of each file together, files in the order of the run, as early as that allows. */
export const inOrder = (each: (event: Event) => void): ((event: Event) => void) => {
  let order: readonly string[] = []
  let next = 0
  const waiting = new Map<string, FileEvent[]>()
  const take = (event: FileEvent): void => {
    each(event)
    if (event.type !== 'file-end') return
    const file = order[++next]
    if (file === undefined) return
    const held = waiting.get(file) ?? []
    waiting.delete(file)
    for (const event of held) take(event)
  }
  return event => {
    if (event.type === 'run') order = event.files
    if (!('file' in event)) {
      // A run that was cut short leaves files waiting: what they said is still said, in order.
      if (event.type === 'run-end')
        for (const file of order.slice(next)) for (const held of waiting.get(file) ?? []) each(held)
      return each(event)
    }
    if (event.file === order[next] || !order.includes(event.file)) return take(event)
    const held = waiting.get(event.file)
    if (held === undefined) waiting.set(event.file, [event])
    else held.push(event)
  }
}
