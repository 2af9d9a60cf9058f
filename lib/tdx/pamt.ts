/**
 * The Physical Address Metadata Table: what every page of the TD memory regions is used for, in real 16-byte entries in
 * the PAMT regions that SYS.CONFIG was given. intel/tdx-module, src/common/memory_handlers/pamt_manager.h.
 *
 * An entry stands at the level of its page: a 2 MiB page has one entry in the 2 MiB table, and the 4 KiB entries under it
 * stay NDA ("not directly assigned"). A 4 KiB page is found by finding both higher entries NDA.
 */
import { PAMT_ENTRY_SIZE, PT_NDA, PT_RSVD } from '#abi'
import { type Hpa, hpa } from '#bits'
import type { PhysicalMemory } from '#x86'

/** A TD memory region, as TDH.SYS.CONFIG accepted it; addresses and sizes in bytes. */
export type Tdmr = {
  readonly base: number
  readonly size: number
  /** PAMT base by page level: 4 KiB, 2 MiB, 1 GiB. */
  readonly pamt: readonly [number, number, number]
  readonly reserved: readonly { readonly offset: number; readonly size: number }[]
  /** Bytes of each of those. */
  readonly pamtSize: readonly [number, number, number]
  /** How far TDH.SYS.TDMR.INIT came. */
  initialised: number
}

/** Bytes of a page by level. */
export const LEVEL_SIZE = [2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39, 2 ** 48] as const

export class Pamt {
  readonly tdmrs: Tdmr[] = []
  readonly #memory: PhysicalMemory
  /** Level of the entry that `find` found. */
  level: 0 | 1 | 2 = 0

  constructor(memory: PhysicalMemory) {
    this.#memory = memory
  }

  /** Address of the entry of the page that holds `at`, its level in `level`; 0 where no initialised TDMR holds it. */
  find(at: number): number {
    for (const tdmr of this.tdmrs) {
      if (at < tdmr.base || at >= tdmr.initialised) continue
      const offset = at - tdmr.base
      for (let level = 2; level > 0; level--) {
        const entry = tdmr.pamt[level as 1 | 2] + Math.floor(offset / LEVEL_SIZE[level as 1 | 2]) * PAMT_ENTRY_SIZE
        if (this.#memory.view.getUint8(entry + 2) !== PT_NDA) {
          this.level = level as 1 | 2
          return entry
        }
      }
      this.level = 0
      return tdmr.pamt[0] + Math.floor(offset / 4096) * PAMT_ENTRY_SIZE
    }
    return 0
  }

  /** Address of the entry at exactly this level, whatever it and the others say; 0 outside all TDMRs. */
  at(at: number, level: 0 | 1 | 2): number {
    for (const tdmr of this.tdmrs) {
      if (at >= tdmr.base && at < tdmr.initialised)
        return tdmr.pamt[level] + Math.floor((at - tdmr.base) / LEVEL_SIZE[level]) * PAMT_ENTRY_SIZE
    }
    return 0
  }

  /** Does the page hold PAMT entries? Such memory is the module's own. */
  holds(at: number): boolean {
    for (const { pamt, pamtSize } of this.tdmrs)
      for (let level = 0; level < 3; level++)
        if (at >= pamt[level as 0] && at < pamt[level as 0] + pamtSize[level as 0]) return true
    return false
  }

  /** Are all 4 KiB pages of the 2 MiB page at `at` free? */
  is2MFree(at: number): boolean {
    const first = this.at(at, 0)
    for (let i = 0; i < 512; i++) if (this.type(first + i * PAMT_ENTRY_SIZE) !== PT_NDA) return false
    return true
  }

  type(entry: number): number {
    return this.#memory.view.getUint8(entry + 2)
  }

  /** HPA of the owner's TDR; 0 where the page has none. */
  owner(entry: number): Hpa {
    return hpa(this.#memory.view.getUint32(entry + 3, true) * 4096)
  }

  bepoch(entry: number): bigint {
    return this.#memory.view.getBigUint64(entry + 8, true)
  }

  setBepoch(entry: number, epoch: bigint): void {
    this.#memory.view.setBigUint64(entry + 8, epoch, true)
  }

  assign(entry: number, type: number, owner: number): void {
    const { view } = this.#memory
    view.setUint8(entry + 2, type)
    view.setUint32(entry + 3, Math.floor(owner / 4096), true)
    view.setUint8(entry + 7, 0)
    view.setBigUint64(entry + 8, 0n, true)
  }

  release(entry: number): void {
    this.assign(entry, PT_NDA, 0)
  }

  /** TDH.SYS.TDMR.INIT of the TDMR's next GiB: all pages free except the reserved ones. */
  initialiseNext(tdmr: Tdmr): void {
    const start = tdmr.initialised - tdmr.base
    const end = start + LEVEL_SIZE[2]
    for (const level of [0, 1, 2] as const) {
      const size = LEVEL_SIZE[level]
      clear(this.#memory, tdmr.pamt[level] + (start / size) * PAMT_ENTRY_SIZE, (LEVEL_SIZE[2] / size) * PAMT_ENTRY_SIZE)
    }
    for (const area of tdmr.reserved) {
      const first = Math.max(area.offset, start)
      const last = Math.min(area.offset + area.size, end)
      for (let offset = first; offset < last; offset += 4096)
        this.#memory.view.setUint8(tdmr.pamt[0] + (offset / 4096) * PAMT_ENTRY_SIZE + 2, PT_RSVD)
    }
    tdmr.initialised += LEVEL_SIZE[2]
  }
}

const ZEROES = Buffer.alloc(65536)

/** Zeroes bytes, leaving alone what is zero already: fresh memory costs the operating system nothing until it is written. */
const clear = (memory: PhysicalMemory, at: number, length: number): void => {
  for (let done = 0; done < length; done += ZEROES.length) {
    const size = Math.min(ZEROES.length, length - done)
    const block = memory.u8.subarray(at + done, at + done + size)
    if (ZEROES.compare(block, 0, size, 0, size) !== 0) block.fill(0)
  }
}
