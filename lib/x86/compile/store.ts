/**
 * What is kept of compiled code: for each machine the regions it runs, of which there are so many at most; and by the
 * content of pages the modules they were made from, for the next machine of this thread that has the same code.
 */
import type { Hpa } from '#bits'
import type { CodePage } from '../code.ts'
import type { PhysicalMemory } from '../memory.ts'
import type { Context } from './context.ts'
import type { Generated } from './generate.ts'
import type { Sites } from './sites.ts'

/** Live regions of a machine, and bytes of WebAssembly in them: an instance takes 12 to 17 KiB besides (Node 24). */
export const MOST_REGIONS = 1000
export const MOST_BYTES = 8 * 2 ** 20
/** Bytes of pages and modules that are kept by content. */
const MOST_SHARED = 16 * 2 ** 20

/** A region as a module. */
export type Made = {
  readonly module: WebAssembly.Module
  readonly size: number
  readonly sites: Sites
  readonly windows: Generated['windows']
  /** It calls functions of units. */
  readonly calls: boolean
  /** Where it was begun. */
  readonly start: number
  /** Offsets in the page where it can be entered. */
  readonly entries: readonly number[]
  /** For each of them, the flags that it reads before it sets them. */
  readonly live: readonly number[]
  /** Computed jumps need the map of its entries. */
  readonly dynamic: boolean
}

type Region = { readonly size: number; readonly map: Hpa | undefined; readonly drop: () => void }

/** The regions of one machine, oldest first. */
class Live {
  readonly #memory: PhysicalMemory
  readonly #regions: Region[] = []
  readonly #maps: Hpa[] = []
  bytes = 0
  /** Frames taken for maps. */
  maps = 0

  constructor(memory: PhysicalMemory) {
    this.#memory = memory
  }

  get count(): number {
    return this.#regions.length
  }

  /** A zeroed frame to map the entries of a region. */
  map(): Hpa {
    const kept = this.#maps.pop()
    if (kept !== undefined) {
      this.#memory.u8.fill(0, kept, kept + 4096)
      return kept
    }
    this.maps++
    return this.#memory.reserve()
  }

  /** `region` is there from now on; the oldest ones go where there are too many. */
  add(region: Region): void {
    this.#regions.push(region)
    this.bytes += region.size
    while (this.#regions.length > MOST_REGIONS || this.bytes > MOST_BYTES) {
      const { size, map, drop } = this.#regions.shift()!
      drop()
      this.bytes -= size
      if (map !== undefined) this.#maps.push(map)
    }
  }
}

const lives = new WeakMap<PhysicalMemory, Live>()
export const liveOf = (memory: PhysicalMemory): Live => {
  const known = lives.get(memory) ?? new Live(memory)
  lives.set(memory, known)
  return known
}

/** Modules of a page's code in one context, by where they can be entered. */
export type Shared = Map<number, Made>

const shared = new Map<string, { bytes: Uint8Array; modules: Shared }[]>()
let sharedBytes = 0

const hashOf = (bytes: Uint8Array): number => {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  let hash = 0x811c_9dc5
  for (const word of words) hash = Math.imul(hash ^ word, 0x0100_0193)
  return hash
}

const kept = (bytes: number): void => {
  sharedBytes += bytes
  if (sharedBytes <= MOST_SHARED) return
  shared.clear()
  sharedBytes = bytes
}

/** What there is of the page's content; nothing is shared of a page whose bytes are memory itself. */
export const sharedOf = (page: CodePage, context: Context, memory: PhysicalMemory): Shared | undefined => {
  const { bytes } = page
  if (bytes.buffer === memory.u8.buffer) return undefined
  const key = `${context.id} ${hashOf(bytes)}`
  const same = shared.get(key)
  const found = same?.find(other => Buffer.compare(other.bytes, bytes) === 0)
  if (found !== undefined) return found.modules
  kept(bytes.length)
  const modules: Shared = new Map()
  if (same === undefined) shared.set(key, [{ bytes, modules }])
  else same.push({ bytes, modules })
  return modules
}

/** Keeps a module for machines to come. */
export const share = (modules: Shared, made: Made): void => {
  kept(made.size)
  for (const offset of made.entries)
    if (offset === made.start || made.dynamic || !modules.has(offset)) modules.set(offset, made)
}
