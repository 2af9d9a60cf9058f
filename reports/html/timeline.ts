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

/** The picture and, for who cannot see it, the same as a table. `safe` makes text safe for HTML. */
export const timeline = (files: readonly FileResult[], begin: number, safe: (text: string) => string): string => {
  const bars = lanesOf(files, begin)
  const end = Math.max(1, ...bars.map(bar => bar.start + bar.file.duration))
  const lanes = Math.max(1, ...bars.map(bar => bar.lane + 1))
  const x = (ms: number): string => ((ms / end) * WIDTH).toFixed(1)
  const height = lanes * LANE + 18
  const rects = bars.map(({ file, lane, start }) => {
    const kind = file.status === 'skip' ? 'skip' : isOk(file.status) ? 'pass' : 'fail'
    const title = `${file.name}: ${file.status}, ${Math.round(file.duration)} ms, from ${Math.round(start)} ms`
    const width = Math.max(1, (file.duration / end) * WIDTH).toFixed(1)
    return `<rect class="bar ${kind}" x="${x(start)}" y="${lane * LANE}" width="${width}" height="${LANE - 4}" rx="2"><title>${safe(title)}</title></rect>`
  })
  const marks = [0, 0.25, 0.5, 0.75, 1].map(part => {
    const anchor = part === 0 ? 'start' : part === 1 ? 'end' : 'middle'
    return `<text x="${part * WIDTH}" y="${height - 4}" text-anchor="${anchor}">${Math.round(end * part)} ms</text>`
  })
  const rows = bars.map(
    ({ file, lane, start }) =>
      `<tr><td>${safe(file.name)}</td><td>${lane + 1}</td><td>${Math.round(start)}</td><td>${Math.round(file.duration)}</td><td>${file.status}</td></tr>`,
  )
  return `<svg class="timeline" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Timeline of ${bars.length} files in ${lanes} lanes over ${Math.round(end)} ms; the table below says the same">${rects.join('')}${marks.join('')}</svg>
<details><summary class="muted">as a table</summary><table><thead><tr><th scope="col">file</th><th scope="col">lane</th><th scope="col">from, ms</th><th scope="col">for, ms</th><th scope="col">status</th></tr></thead><tbody>${rows.join('')}</tbody></table></details>`
}
