/**
 * What is kept of compiled code: for each machine the regions it runs, of which there are so many at most; and by the
 * content of pages the modules they were made from, for the next machine of this thread that has the same code, and for the
 * next process, where somebody keeps them.
 */
import type { Hpa } from '#bits'
import type { CodePage } from '../code.ts'
import type { PhysicalMemory } from '../memory.ts'
import type { Context } from './context.ts'
import type { Sites } from './sites.ts'
import { type Made, pack, type Shared, unpack } from './translation.ts'

/** Live regions of a machine, and bytes of WebAssembly in them: an instance takes 12 to 17 KiB besides (Node 24). */
export const MOST_REGIONS = 1000
export const MOST_BYTES = 8 * 2 ** 20
/** Bytes of pages and modules that are kept by content. */
const MOST_SHARED = 16 * 2 ** 20

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

const shared = new Map<string, Shared[]>()
let sharedBytes = 0

/** Keeps bytes by name for other processes, with the same sources. What it gives is what was put, or nothing. */
export type Keeper = {
  /** A short name for bytes. */
  nameOf(bytes: Uint8Array): string
  get(name: string): Uint8Array<ArrayBuffer> | undefined
  put(name: string, bytes: Uint8Array): void
}
let keeper: Keeper | undefined

/** From now on, what other processes compiled is taken from `by`. */
export const keepTranslations = (by: Keeper | undefined): void => {
  keeper = by
}

/** Gives the keeper what was compiled since. */
export const saveTranslations = (): void => {
  if (keeper === undefined) return
  for (const pages of shared.values())
    for (const page of pages) {
      if (page.changed) keeper.put(nameOf(page, keeper), pack(page))
      page.changed = false
    }
}

const hashOf = (bytes: Uint8Array): number => {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  let hash = 0x811c_9dc5
  for (let n = 0; n < words.length; n++) hash = Math.imul(hash ^ words[n]!, 0x0100_0193)
  return hash >>> 0
}

/** Another page may have the same name: that is seen when it is unpacked. */
const nameOf = ({ bytes, context }: Shared, by: Keeper): string =>
  `${by.nameOf(bytes)}-${by.nameOf(Buffer.from(context.name))}`

const kept = (bytes: number): void => {
  sharedBytes += bytes
  if (sharedBytes <= MOST_SHARED) return
  saveTranslations()
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
  if (found !== undefined) return found
  kept(bytes.length)
  const made: Shared = { bytes, context, modules: new Map(), changed: false }
  const packed = keeper?.get(nameOf(made, keeper))
  if (packed !== undefined) {
    unpack(packed, made)
    for (const { bytes } of new Set(made.modules.values())) kept(bytes.length)
  }
  if (same === undefined) shared.set(key, [made])
  else same.push(made)
  return made
}

/** Keeps a module for machines to come. */
export const share = (page: Shared, made: Made): void => {
  const { modules } = page
  kept(made.bytes.length)
  page.changed = true
  for (const offset of made.entries)
    if (offset === made.start || made.dynamic || !modules.has(offset)) modules.set(offset, made)
}

/** Forgets a module, by its sites. */
export const forget = (page: Shared, sites: Sites): void => {
  page.changed = true
  for (const [offset, made] of page.modules) if (made.sites === sites) page.modules.delete(offset)
}
