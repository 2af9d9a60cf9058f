/**
 * What stores have overwritten, byte by byte and each byte once: however often a run stores, this is as large as the pages it
 * stored to. See lockstep.ts.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '#bits'
import type { PhysicalMemory } from '../memory.ts'

/** A page as it was; `written`: 1 where a byte of it has been stored to. */
type Page = { readonly old: Uint8Array; readonly written: Uint8Array }

/** Bytes in a row that were stored to: where, what was there, and what there is when one asks. */
export type Stored = { readonly host: number; readonly old: Uint8Array; readonly seen: Uint8Array }

const pages = new Map<number, Page>()
/** Pages of an earlier log, to be used again. */
const spare: Page[] = []
const MOST_SPARE = 64

export const clearLog = (): void => {
  for (const page of pages.values()) {
    if (spare.length === MOST_SPARE) break
    page.written.fill(0)
    spare.push(page)
  }
  pages.clear()
}

/** Notes that `size` bytes at `host` are about to be written. */
export const logStore = ({ u8 }: PhysicalMemory, host: number, size: number): void => {
  const first = host >>> 0
  for (let at = first; at < first + size; ) {
    const number = at >>> PAGE_SHIFT
    let page = pages.get(number)
    if (page === undefined) {
      page = spare.pop() ?? { old: new Uint8Array(PAGE_SIZE), written: new Uint8Array(PAGE_SIZE) }
      pages.set(number, page)
    }
    const { old, written } = page
    const end = Math.min(first + size, (number + 1) * PAGE_SIZE)
    for (; at < end; at++) {
      const offset = at & (PAGE_SIZE - 1)
      if (written[offset] !== 0) continue
      written[offset] = 1
      old[offset] = u8[at]!
    }
  }
}

/** All that was stored to since the log was cleared. */
export const stored = ({ u8 }: PhysicalMemory): Stored[] => {
  const found: Stored[] = []
  for (const [number, { old, written }] of pages)
    for (let from = written.indexOf(1); from >= 0; ) {
      const gap = written.indexOf(0, from)
      const end = gap < 0 ? PAGE_SIZE : gap
      const host = number * PAGE_SIZE + from
      found.push({ host, old: old.slice(from, end), seen: u8.slice(host, host + end - from) })
      from = written.indexOf(1, end)
    }
  return found
}
