/**
 * The software TLB: direct-mapped entries in machine memory, made to be read by compiled code. Accesses with different
 * rights have tables of their own, which are small (they share one frame) until a guest has shown that one is too
 * small; so that a thousand idle guests cost little, and a busy one has reach.
 *
 * An entry is 32 bytes: three 64-bit tags (read, write, fetch), then 32 bits that added to the low half of the linear
 * address (modulo 2^32) give the host physical address, then the host physical address of the page. A tag is the page's
 * linear address: that of an access, exclusive-or the tag, is the offset in the page, or more than any offset; so one
 * comparison says that the page is known and that the access ends in it. A write tag is only there once the page is
 * dirty, and while nothing was made from the frame's bytes, so a hit needs no further check.
 */
import { type Hpa, hpa, PAGE_SIZE } from '#bits'
import { OutOfMemory, type PhysicalMemory } from './memory.ts'
import type { Access } from './vmx.ts'

/** Supervisor accesses that may touch user pages: no SMAP, or RFLAGS.AC set. */
export const KEY_SUPERVISOR = 0
/** Accesses of CPL 3. */
export const KEY_USER = 1
/** Supervisor accesses under SMAP: explicit ones with RFLAGS.AC clear, and all implicit ones. */
export const KEY_SMAP = 2
const KEYS = [KEY_SUPERVISOR, KEY_USER, KEY_SMAP] as const

/** 32-bit words of an entry, and of the tags in it. */
export const TLB_ENTRY_WORDS = 8
export const TLB_WORD: Record<Access, number> = { read: 0, write: 2, fetch: 4 }
export const TLB_DELTA_WORD = 6
export const TLB_FRAME_WORD = 7
const TAG_WORDS = 6
const ENTRIES_PER_FRAME = PAGE_SIZE / (TLB_ENTRY_WORDS * 4)
/** Entries of a table at first. */
const SMALL = ENTRIES_PER_FRAME / 4
/** Misses after which a table gets so many frames. */
const GROWTH: readonly { readonly misses: number; readonly frames: number }[] = [
  { misses: 256, frames: 8 },
  { misses: 16_384, frames: 32 },
  { misses: 65_536, frames: 128 },
]
/** Up to this many entries are flushed one by one. */
const FEW = 32
/**
 * Both halves of a tag of no page, but in the last entry: there it would be that of the last page, and zero is no
 * page's.
 */
const NONE = 0xffff_ffff

/** Translations for the accesses under one key. */
class Table {
  frame: Hpa
  words: Uint32Array
  /** Number of entries minus one. */
  mask: number
  /** Frames of its own. */
  frames = 0
  misses = 0
  /** The first entries made since the last flush, as word offsets, and how many were made. */
  readonly entered: number[] = []
  count = 0

  constructor(memory: PhysicalMemory, frame: Hpa, entries: number) {
    this.frame = frame
    this.words = new Uint32Array(memory.memory.buffer, frame, entries * TLB_ENTRY_WORDS)
    this.mask = entries - 1
    this.clear()
  }

  /** Where the entry of a page is, in words. */
  at(low: number): number {
    return ((low >>> 12) & this.mask) * TLB_ENTRY_WORDS
  }

  /** Fills tags of an entry with what is no page's. */
  drop(at: number, from: number, to: number): void {
    this.words.fill(at === this.mask * TLB_ENTRY_WORDS ? 0 : NONE, at + from, at + to)
  }

  clear(): void {
    this.words.fill(NONE)
    this.drop(this.mask * TLB_ENTRY_WORDS, 0, TAG_WORDS)
    this.count = 0
  }

  flush(): void {
    if (this.count > FEW) this.clear()
    else for (let n = 0; n < this.count; n++) this.drop(this.entered[n]!, 0, TAG_WORDS)
    this.count = 0
  }

  dropWrites(frame: Hpa): void {
    if (this.count > FEW) for (let at = 0; at < this.words.length; at += TLB_ENTRY_WORDS) this.#dropWrite(at, frame)
    else for (let n = 0; n < this.count; n++) this.#dropWrite(this.entered[n]!, frame)
  }

  #dropWrite(at: number, frame: Hpa): void {
    if (this.words[at + TLB_FRAME_WORD] === frame) this.drop(at, TLB_WORD.write, TLB_WORD.write + 2)
  }
}

export class Tlb {
  /** The table of the key in use: its frame, its words, and its number of entries minus one. */
  frame: Hpa
  words: Uint32Array
  mask: number
  /** Changes whenever translations have been dropped. */
  generation = 0
  readonly #memory: PhysicalMemory
  readonly #small: Hpa
  readonly #tables: readonly Table[]
  #key = KEY_SUPERVISOR
  /** The last entry made for writes. */
  #writable = 0

  constructor(memory: PhysicalMemory) {
    this.#memory = memory
    this.#small = memory.allocate()
    const size = SMALL * TLB_ENTRY_WORDS * 4
    this.#tables = KEYS.map(key => new Table(memory, hpa(this.#small + key * size), SMALL))
    const { frame, words, mask } = this.#tables[this.#key]!
    this.frame = frame
    this.words = words
    this.mask = mask
  }

  close(): void {
    this.#memory.free(this.#small)
    for (const table of this.#tables) this.#free(table)
  }

  #free({ frame, frames }: Table): void {
    for (let n = 0; n < frames; n++) this.#memory.free(hpa(frame + n * PAGE_SIZE))
  }

  /** Accesses are under `key` from now on. */
  use(key: number): void {
    this.#key = key
    const { frame, words, mask } = this.#tables[key]!
    this.frame = frame
    this.words = words
    this.mask = mask
  }

  table(key: number): Readonly<Pick<Table, 'words' | 'mask'>> {
    return this.#tables[key]!
  }

  /** The entry, in words, of a page that the accesses of the key in use may write: that of `low`, or another; or -1. */
  writable(low: number): number {
    const { words, mask } = this
    const isOf = (at: number): boolean =>
      (words[at + TLB_WORD.write]! & 0xfff) === 0 &&
      ((words[at + TLB_WORD.write]! >>> 12) & mask) * TLB_ENTRY_WORDS === at
    const at = ((low >>> 12) & mask) * TLB_ENTRY_WORDS
    if (isOf(at)) return at
    if (this.#writable < words.length && isOf(this.#writable)) return this.#writable
    return -1
  }

  /** How often a translation had to be looked up. */
  get misses(): number {
    return this.#tables.reduce((sum, { misses }) => sum + misses, 0)
  }

  /** Counts a miss; true where the table has just become larger and lies elsewhere. */
  missed(key: number): boolean {
    const table = this.#tables[key]!
    table.misses++
    const step = GROWTH.find(({ misses }) => misses === table.misses)
    if (step === undefined) return false
    let frame: Hpa
    try {
      frame = this.#memory.allocateRun(step.frames)
    } catch (error) {
      // A machine that is nearly full keeps its small TLBs.
      if (error instanceof OutOfMemory) return false
      throw error
    }
    this.#free(table)
    table.frame = frame
    table.frames = step.frames
    table.words = new Uint32Array(this.#memory.memory.buffer, frame, (step.frames * PAGE_SIZE) / 4)
    table.mask = step.frames * ENTRIES_PER_FRAME - 1
    table.clear()
    this.use(this.#key)
    return true
  }

  flush(): void {
    this.generation++
    for (const table of this.#tables) table.flush()
  }

  /** Drops what allows writes to `frame`: they are to be looked at from now on. */
  dropWrites(frame: Hpa): void {
    for (const table of this.#tables) table.dropWrites(frame)
  }

  /** Drops what is known about the page at `low`, whatever its upper half. */
  flushPage(low: number): void {
    this.generation++
    for (const table of this.#tables) table.drop(table.at(low), 0, TAG_WORDS)
  }

  /** Enters that the page at `high:low` is in `frame` for this kind of access under `key`. */
  enter(low: number, high: number, access: Access, key: number, frame: Hpa): void {
    const table = this.#tables[key]!
    const { words } = table
    const page = low & ~0xfff
    const at = table.at(low)
    // The three tags of an entry share a frame: what named another one goes.
    const delta = (frame - page) >>> 0
    if (words[at + TLB_DELTA_WORD] !== delta || words[at + TLB_FRAME_WORD] !== frame) {
      table.drop(at, 0, TAG_WORDS)
      words[at + TLB_DELTA_WORD] = delta
      words[at + TLB_FRAME_WORD] = frame
    }
    const tag = at + TLB_WORD[access]
    if (access === 'write') this.#writable = at
    words[tag] = page
    words[tag + 1] = high
    if (table.count < FEW) table.entered[table.count] = at
    table.count++
  }
}
