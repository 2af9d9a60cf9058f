/** When each file ran, in lanes: as many as ran at once, which is the workers there were. */
import type { FileResult } from '../results.ts'
import { isOk } from '../tally.ts'

const WIDTH = 1000
const LANE = 22

export type Bar = { readonly file: FileResult; readonly lane: number; readonly start: number }

/** Files by the time they began, each in the first lane that is free. Milliseconds from the beginning of the run. */
export const lanesOf = (files: readonly FileResult[], begin: number): Bar[] => {
  const free: number[] = []
  const bars: Bar[] = []
  for (const file of [...files].sort((a, b) => a.time - b.time)) {
    const start = Math.max(0, file.time - begin)
    // Times are whole milliseconds: a file may seem to begin before the one in front of it ended.
    const found = free.findIndex(end => end <= start + 1)
    const lane = found < 0 ? free.length : found
    free[lane] = start + file.duration
    bars.push({ file, lane, start })
  }
  return bars
}

/** Bars that would be drawn on the same pixel of a lane are one: the worst of them, and how many. */
const merged = (bars: readonly Bar[], scale: number): (Bar & { readonly count: number })[] => {
  const pixels = new Map<string, Bar & { count: number }>()
  for (const bar of bars) {
    const at = `${bar.lane} ${bar.file.duration * scale >= 1 ? `=${bar.start}` : Math.floor(bar.start * scale)}`
    const other = pixels.get(at)
    if (other === undefined) pixels.set(at, { ...bar, count: 1 })
    else pixels.set(at, { ...(isOk(other.file.status) ? bar : other), start: other.start, count: other.count + 1 })
  }
  return [...pixels.values()]
}

/** The picture, and room for a table that says the same, which the page fills in. `safe` makes text safe for HTML. */
export const timeline = (bars: readonly Bar[], safe: (text: string) => string): string => {
  const end = bars.reduce((last, bar) => Math.max(last, bar.start + bar.file.duration), 1)
  const lanes = bars.reduce((most, bar) => Math.max(most, bar.lane + 1), 1)
  const x = (ms: number): string => ((ms / end) * WIDTH).toFixed(1)
  const height = lanes * LANE + 18
  const rects = merged(bars, WIDTH / end).map(({ file, lane, start, count }) => {
    const kind = file.status === 'skip' ? 'skip' : isOk(file.status) ? 'pass' : 'fail'
    const more = count === 1 ? '' : `, and ${count - 1} more`
    const title = `${file.name}: ${file.status}, ${Math.round(file.duration)} ms, from ${Math.round(start)} ms${more}`
    const width = Math.max(1, (file.duration / end) * WIDTH).toFixed(1)
    return `<rect class="bar ${kind}" x="${x(start)}" y="${lane * LANE}" width="${width}" height="${LANE - 4}" rx="2"><title>${safe(title)}</title></rect>`
  })
  const marks = [0, 0.25, 0.5, 0.75, 1].map(part => {
    const anchor = part === 0 ? 'start' : part === 1 ? 'end' : 'middle'
    return `<text x="${part * WIDTH}" y="${height - 4}" text-anchor="${anchor}">${Math.round(end * part)} ms</text>`
  })
  return `<svg class="timeline" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Timeline of ${bars.length} files in ${lanes} lanes over ${Math.round(end)} ms; the table below says the same">${rects.join('')}${marks.join('')}</svg>
<details class="bars"><summary class="muted">as a table</summary><table><thead><tr><th scope="col">file</th><th scope="col">lane</th><th scope="col">from, ms</th><th scope="col">for, ms</th><th scope="col">status</th></tr></thead><tbody></tbody></table></details>`
}
