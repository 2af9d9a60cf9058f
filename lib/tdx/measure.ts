/** MRTD: the SHA-384 of how a TD was built. intel/tdx-module, tdh_mem_page_add.c, tdh_mr_extend.c, tdh_mr_finalize.c. */
import { createHash, type Hash } from 'node:crypto'
import type { PhysicalMemory } from '#x86'

const BLOCK = 128
export const CHUNK = 256
/** One PAGE.ADD and the sixteen EXTENDs of its page, so that a measured page is one update. */
const PENDING = BLOCK + 16 * (BLOCK + CHUNK)

/** A header without its GPA, as words. */
const headerOf = (name: string): Uint32Array => {
  const bytes = new Uint8Array(BLOCK)
  bytes.set(new TextEncoder().encode(name))
  return new Uint32Array(bytes.buffer)
}
const PAGE_ADD = headerOf('MEM.PAGE.ADD')
const EXTEND = headerOf('MR.EXTEND')

/** Buffers of measurements that are finished. */
const spare: Uint32Array[] = []

/**
 * What TDs were built of, page by page: those that are built alike share the steps, and the digest at the end. Most TDs of a
 * worker begin with the same pages, and SHA-384 is slower than comparing them.
 */
type Step = {
  readonly from: Step | undefined
  readonly bytes: Uint8Array
  readonly words: Uint32Array
  /** What the blocks are that are no content. */
  readonly headers: readonly (Uint32Array | undefined)[]
  readonly next: Step[]
  /** The one of `next` that was taken last. */
  usual: Step | undefined
  digest: Uint8Array | undefined
}
const step = (from: Step | undefined, bytes: Uint8Array, headers: Step['headers']): Step => ({
  from,
  bytes,
  words: new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4),
  headers,
  next: [],
  usual: undefined,
  digest: undefined,
})

/** Pages that are remembered of all TDs (about 6 KiB each), and of one. */
const MOST_STEPS = 512
const LONGEST = 64
let first = step(undefined, new Uint8Array(0), [])
let steps = 0

const hashOf = (last: Step): Hash => {
  const hash = last.from === undefined ? createHash('sha384') : hashOf(last.from)
  return hash.update(last.bytes)
}

export class Measurement {
  readonly #pending = spare.pop() ?? new Uint32Array(PENDING / 4)
  /** Words. */
  #length = 0
  /** Which header a block of the buffer holds already: pages are measured alike, one after the other. */
  readonly #headers: (Uint32Array | undefined)[] = new Array<Uint32Array | undefined>(PENDING / BLOCK).fill(undefined)
  /** Where the build is among those that are remembered; then, past the longest of them, the hash so far. */
  #step = first
  #depth = 0
  #hash: Hash | undefined
  /** What has been the same so far as this next step is not in the buffer. */
  #ahead = first.usual

  pageAdd(gpa: number): void {
    this.#header(PAGE_ADD, gpa, BLOCK)
  }

  /** `at` is the address of the chunk's 256 bytes. */
  extend(gpa: number, { words }: PhysicalMemory, at: number): void {
    this.#header(EXTEND, gpa, BLOCK + CHUNK)
    const to = this.#length
    const from = at / 4
    if (this.#ahead !== undefined) {
      const { words: known } = this.#ahead
      let n = 0
      while (n < CHUNK / 4 && known[to + n] === words[from + n]) n++
      if (n === CHUNK / 4) {
        this.#length += CHUNK / 4
        return
      }
      this.#leave(this.#ahead)
    }
    // A loop: what makes views of so few bytes costs more.
    const pending = this.#pending
    for (let i = 0; i < CHUNK / 4; i++) pending[to + i] = words[from + i]!
    const block = to / (BLOCK / 4)
    this.#headers[block] = undefined
    this.#headers[block + 1] = undefined
    this.#length += CHUNK / 4
  }

  /** The digest; the measurement is over. */
  finish(): Uint8Array {
    this.#flush()
    spare.push(this.#pending)
    if (this.#hash !== undefined) return new Uint8Array(this.#hash.digest())
    this.#step.digest ??= new Uint8Array(hashOf(this.#step).digest())
    return this.#step.digest.slice()
  }

  #header(name: Uint32Array, gpa: number, room: number): void {
    if (this.#length + room / 4 > PENDING / 4) this.#flush()
    const at = this.#length
    const block = at / (BLOCK / 4)
    const low = gpa >>> 0
    const high = Math.floor(gpa / 2 ** 32)
    if (this.#ahead !== undefined) {
      const { headers, words } = this.#ahead
      if (headers[block] === name && words[at + 4] === low && words[at + 5] === high) {
        this.#length += BLOCK / 4
        return
      }
      this.#leave(this.#ahead)
    }
    const pending = this.#pending
    if (this.#headers[block] !== name) {
      for (let i = 0; i < BLOCK / 4; i++) pending[at + i] = name[i]!
      this.#headers[block] = name
    }
    pending[at + 4] = low
    pending[at + 5] = high
    this.#length += BLOCK / 4
  }

  /** What comes is not what came the last time: what was the same goes to the buffer. */
  #leave({ words, headers }: Step): void {
    this.#pending.set(words.subarray(0, this.#length))
    for (let block = 0; block < this.#length / (BLOCK / 4); block++) this.#headers[block] = headers[block]
    this.#ahead = undefined
  }

  #flush(): void {
    const ahead = this.#ahead
    if (ahead !== undefined && this.#length === ahead.words.length) this.#take(ahead)
    else {
      if (ahead !== undefined) this.#leave(ahead)
      const bytes = new Uint8Array(this.#pending.buffer, 0, this.#length * 4)
      if (this.#hash === undefined && this.#depth === LONGEST) this.#hash = hashOf(this.#step)
      if (this.#hash !== undefined) this.#hash.update(bytes)
      else this.#follow(bytes)
    }
    this.#length = 0
  }

  #take(next: Step): void {
    this.#step.usual = next
    this.#step = next
    this.#depth++
    this.#ahead = this.#depth < LONGEST ? next.usual : undefined
  }

  #follow(bytes: Uint8Array): void {
    const known = this.#step.next.find(next => Buffer.compare(next.bytes, bytes) === 0)
    if (known !== undefined) {
      this.#take(known)
      return
    }
    // TDs that are being built keep the steps they stand on.
    if (steps++ === MOST_STEPS) {
      first = step(undefined, new Uint8Array(0), [])
      steps = 1
    }
    const made = step(this.#step, bytes.slice(), this.#headers.slice(0, bytes.length / BLOCK))
    this.#step.next.push(made)
    this.#take(made)
  }
}

/** RTMR[i] ← SHA384(RTMR[i] ‖ data). intel/tdx-module, tdg_mr_rtmr_extend.c. */
export const extendRtmr = (rtmr: Uint8Array, data: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha384').update(rtmr).update(data).digest())
