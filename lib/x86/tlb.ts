/**
 * The software TLB: direct-mapped entries in machine memory, made to be read by compiled code. It has one frame, and
 * eight once a guest has shown that one is too small; so that a thousand idle guests cost little, and a busy one has
 * reach.
 *
 * An entry is 32 bytes: three 64-bit tags (read, write, fetch), then 32 bits that added to the low half of the linear
 * address (modulo 2^32) give the host physical address, then 32 bits that are not used. A tag holds the page's linear
 * address, and in its low bits the key of the accesses it is good for. A write tag is only there once the page is
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

/** 32-bit words of an entry, and of the tags in it. */
export const TLB_ENTRY_WORDS = 8
export const TLB_WORD: Record<Access, number> = { read: 0, write: 2, fetch: 4 }
export const TLB_DELTA_WORD = 6
const ENTRIES_PER_FRAME = PAGE_SIZE / (TLB_ENTRY_WORDS * 4)
const LARGE_FRAMES = 8
/** Up to this many entries are flushed one by one. */
const FEW = 32
/** Misses after which the TLB becomes large. */
const GROW_AFTER = 1024
/** Never equal to the low half of a tag: no key has these low bits. */
const NONE = 0xffff_ffff

export class Tlb {
  frame: Hpa
  words: Uint32Array
  /** Number of entries minus one. */
  mask = ENTRIES_PER_FRAME - 1
  readonly #memory: PhysicalMemory
  #frames = 1
  #misses = 0
  /** The first entries made since the last flush, as word offsets, and how many were made. */
  readonly #entered = new Uint16Array(FEW)
  #count = 0

  constructor(memory: PhysicalMemory) {
    this.#memory = memory
    this.frame = memory.allocate()
    this.words = new Uint32Array(memory.memory.buffer, this.frame, PAGE_SIZE / 4)
    this.words.fill(NONE)
  }

  close(): void {
    for (let n = 0; n < this.#frames; n++) this.#memory.free(hpa(this.frame + n * PAGE_SIZE))
  }

  /** How often a translation had to be looked up. */
  get misses(): number {
    return this.#misses
  }

  /** Counts a miss; true where the TLB has just become large and lies elsewhere. */
  missed(): boolean {
    if (++this.#misses !== GROW_AFTER) return false
    let frame: Hpa
    try {
      frame = this.#memory.allocateRun(LARGE_FRAMES)
    } catch (error) {
      // A machine that is nearly full keeps its small TLBs.
      if (error instanceof OutOfMemory) return false
      throw error
    }
    this.close()
    this.frame = frame
    this.#frames = LARGE_FRAMES
    this.words = new Uint32Array(this.#memory.memory.buffer, frame, (LARGE_FRAMES * PAGE_SIZE) / 4)
    this.mask = LARGE_FRAMES * ENTRIES_PER_FRAME - 1
    this.words.fill(NONE)
    this.#count = 0
    return true
  }

  flush(): void {
    const { words } = this
    if (this.#count > FEW) words.fill(NONE)
    else for (let n = 0; n < this.#count; n++) words.fill(NONE, this.#entered[n]!, this.#entered[n]! + TLB_ENTRY_WORDS)
    this.#count = 0
  }

  /** Drops what allows writes to `frame`: they are to be looked at from now on. */
  dropWrites(frame: Hpa): void {
    const { words } = this
    if (this.#count === 0) return
    for (let at = TLB_WORD.write; at < words.length; at += TLB_ENTRY_WORDS) {
      if (words[at] === NONE) continue
      const delta = words[at - TLB_WORD.write + TLB_DELTA_WORD]!
      if (((words[at]! & ~0xfff) + delta) >>> 0 === frame) words.fill(NONE, at, at + 2)
    }
  }

  /** Drops what is known about the page at `low`, whatever its upper half. */
  flushPage(low: number): void {
    const at = ((low >>> 12) & this.mask) * TLB_ENTRY_WORDS
    this.words.fill(NONE, at, at + TLB_ENTRY_WORDS)
  }

  /** Enters that the page at `high:low` is in `frame` for this kind of access under `key`. */
  enter(low: number, high: number, access: Access, key: number, frame: Hpa): void {
    const { words } = this
    const page = low & ~0xfff
    const at = ((low >>> 12) & this.mask) * TLB_ENTRY_WORDS
    const delta = (frame - page) >>> 0
    // The three tags of an entry share a frame: what named another one goes.
    if (words[at + TLB_DELTA_WORD] !== delta) {
      words.fill(NONE, at, at + TLB_DELTA_WORD)
      words[at + TLB_DELTA_WORD] = delta
    }
    const tag = at + TLB_WORD[access]
    words[tag] = page | key
    words[tag + 1] = high
    if (this.#count < FEW) this.#entered[this.#count] = at
    this.#count++
  }
}
