/** MRTD: the SHA-384 of how a TD was built. intel/tdx-module, tdh_mem_page_add.c, tdh_mr_extend.c, tdh_mr_finalize.c. */
import { createHash, type Hash } from 'node:crypto'
import type { PhysicalMemory } from '#x86'

const BLOCK = 128
export const CHUNK = 256
/** One PAGE.ADD and the sixteen EXTENDs of its page, so that a measured page is one update. */
const PENDING = BLOCK + 16 * (BLOCK + CHUNK)

const PAGE_ADD = new TextEncoder().encode('MEM.PAGE.ADD')
const EXTEND = new TextEncoder().encode('MR.EXTEND')

export class Measurement {
  readonly #hash: Hash = createHash('sha384')
  readonly #pending = new Uint8Array(PENDING)
  readonly #view = new DataView(this.#pending.buffer)
  #length = 0

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
    return new Uint8Array(this.#hash.update(this.#pending.subarray(0, this.#length)).digest())
  }

  #header(name: Uint8Array, gpa: bigint, room: number): void {
    if (this.#length + room > PENDING) {
      this.#hash.update(this.#pending.subarray(0, this.#length))
      this.#length = 0
    }
    const at = this.#length
    this.#pending.fill(0, at, at + BLOCK)
    this.#pending.set(name, at)
    this.#view.setBigUint64(at + 16, gpa, true)
    this.#length += BLOCK
  }
}

/** RTMR[i] ← SHA384(RTMR[i] ‖ data). intel/tdx-module, tdg_mr_rtmr_extend.c. */
export const extendRtmr = (rtmr: Uint8Array, data: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha384').update(rtmr).update(data).digest())
