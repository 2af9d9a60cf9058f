/** MRTD: the SHA-384 of how a TD was built. intel/tdx-module, tdh_mem_page_add.c, tdh_mr_extend.c, tdh_mr_finalize.c. */
import { createHash, type Hash } from 'node:crypto'
import type { PhysicalMemory } from '#x86'

const BLOCK = 128
export const CHUNK = 256
/** One PAGE.ADD and the sixteen EXTENDs of its page, so that a measured page is one update. */
const PENDING = BLOCK + 16 * (BLOCK + CHUNK)

const PAGE_ADD = new TextEncoder().encode('MEM.PAGE.ADD')
const EXTEND = new TextEncoder().encode('MR.EXTEND')

/**
 * What TDs were built of, page by page: those that are built alike share the steps, and the digest at the end. Most TDs of a
 * worker begin with the same pages, and SHA-384 is slower than comparing them.
 */
type Step = {
  readonly from: Step | undefined
  readonly bytes: Uint8Array
  readonly next: Step[]
  digest: Uint8Array | undefined
}
const step = (from: Step | undefined, bytes: Uint8Array): Step => ({ from, bytes, next: [], digest: undefined })

/** Pages that are remembered of all TDs (about 6 KiB each), and of one. */
const MOST_STEPS = 512
const LONGEST = 64
let first = step(undefined, new Uint8Array(0))
let steps = 0

const hashOf = (last: Step): Hash => {
  const hash = last.from === undefined ? createHash('sha384') : hashOf(last.from)
  return hash.update(last.bytes)
}

export class Measurement {
  readonly #pending = new Uint8Array(PENDING)
  readonly #view = new DataView(this.#pending.buffer)
  #length = 0
  /** Where the build is among those that are remembered; then, past the longest of them, the hash so far. */
  #step = first
  #depth = 0
  #hash: Hash | undefined

  pageAdd(gpa: bigint): void {
    this.#header(PAGE_ADD, gpa, BLOCK)
  }

  /** `at` is the address of the chunk's 256 bytes. */
  extend(gpa: bigint, memory: PhysicalMemory, at: number): void {
    this.#header(EXTEND, gpa, BLOCK + CHUNK)
    this.#pending.set(memory.u8.subarray(at, at + CHUNK), this.#length)
    this.#length += CHUNK
  }

  finish(): Uint8Array {
    this.#flush()
    if (this.#hash !== undefined) return new Uint8Array(this.#hash.digest())
    this.#step.digest ??= new Uint8Array(hashOf(this.#step).digest())
    return this.#step.digest.slice()
  }

  #header(name: Uint8Array, gpa: bigint, room: number): void {
    if (this.#length + room > PENDING) this.#flush()
    const at = this.#length
    this.#pending.fill(0, at, at + BLOCK)
    this.#pending.set(name, at)
    this.#view.setBigUint64(at + 16, gpa, true)
    this.#length += BLOCK
  }

  #flush(): void {
    const bytes = this.#pending.subarray(0, this.#length)
    this.#length = 0
    if (this.#hash === undefined && this.#depth === LONGEST) this.#hash = hashOf(this.#step)
    if (this.#hash !== undefined) this.#hash.update(bytes)
    else this.#follow(bytes)
  }

  #follow(bytes: Uint8Array): void {
    this.#depth++
    const known = this.#step.next.find(next => Buffer.compare(next.bytes, bytes) === 0)
    if (known !== undefined) {
      this.#step = known
      return
    }
    // TDs that are being built keep the steps they stand on.
    if (steps++ === MOST_STEPS) {
      first = step(undefined, new Uint8Array(0))
      steps = 1
    }
    const made = step(this.#step, bytes.slice())
    this.#step.next.push(made)
    this.#step = made
  }
}

/** RTMR[i] ← SHA384(RTMR[i] ‖ data). intel/tdx-module, tdg_mr_rtmr_extend.c. */
export const extendRtmr = (rtmr: Uint8Array, data: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha384').update(rtmr).update(data).digest())
