/**
 * KVM's mirror of a TD's Secure EPT: which tables and pages the TDX module holds, and the SEAMCALLs that change them.
 * Linux arch/x86/kvm/vmx/tdx.c, the tdx_sept_* and tdx_mem_page_* functions.
 */

import {
  TDH_MEM_PAGE_ADD,
  TDH_MEM_PAGE_AUG,
  TDH_MEM_PAGE_REMOVE,
  TDH_MEM_RANGE_BLOCK,
  TDH_MEM_SEPT_ADD,
  TDH_MEM_TRACK,
  TDH_MR_EXTEND,
  TDH_PHYMEM_PAGE_RECLAIM,
  TDH_PHYMEM_PAGE_WBINVD,
} from '#abi'
import { type Hpa, PAGE_SIZE } from '#bits'
import type { PhysicalMemory } from '#x86'
import type { Errno } from './errno.ts'
import type { Seam } from './seam.ts'

const EXTEND_CHUNK = 256

/** A SEAMCALL that KVM expected to succeed did not: the VM is dead, and this is the EIO to throw where an ioctl can still fail. */
export type BugOn = (status: bigint, what: string) => Errno

export class Sept {
  readonly #memory: PhysicalMemory
  readonly #seam: Seam
  readonly #tdr: bigint
  /** The key ID where it stands in a physical address. */
  readonly #key: bigint
  readonly #levels: 4 | 5
  readonly #bugOn: BugOn
  /** Tables below the root (which is a TDCX page): per level, index of the range to the table's frame. */
  readonly #tables: Map<number, Hpa>[] = []
  /** Guest frame number to the frame mapped there. */
  readonly #pages = new Map<number, Hpa>()
  /** Frames that the module would not give back; PHYMEM.PAGE.RECLAIM takes them when the TD is torn down. */
  readonly stuck = new Set<Hpa>()

  constructor(memory: PhysicalMemory, seam: Seam, tdr: Hpa, key: bigint, levels: 4 | 5, bugOn: BugOn) {
    this.#memory = memory
    this.#seam = seam
    this.#tdr = BigInt(tdr)
    this.#key = key
    this.#levels = levels
    this.#bugOn = bugOn
    for (let level = 0; level < levels; level++) this.#tables.push(new Map())
  }

  has(gfn: number): boolean {
    return this.#pages.has(gfn)
  }

  /** The frame mapped at a guest frame number, undefined where none is. */
  frame(gfn: number): Hpa | undefined {
    return this.#pages.get(gfn)
  }

  /** The 2 MiB, as a number of them, whose tables were seen to last: most pages follow each other. */
  #seen = -1

  /** TDH.MEM.SEPT.ADD for every table on the way to the page that is not there. */
  #tablesFor(gfn: number): void {
    const range = Math.floor(gfn / 512)
    if (range === this.#seen) return
    this.#addTables(gfn)
    this.#seen = range
  }

  #addTables(gfn: number): void {
    for (let level = this.#levels - 1; level > 0; level--) {
      const range = 512 ** level
      const index = Math.floor(gfn / range)
      const known = this.#tables[level]!
      if (known.has(index)) continue
      const table = this.#memory.allocate()
      const status = this.#seam.call(
        TDH_MEM_SEPT_ADD,
        (BigInt(index * range) * 4096n) | BigInt(level),
        this.#tdr,
        BigInt(table),
      )
      if (status !== 0n) {
        this.#memory.free(table)
        throw this.#bugOn(status, 'TDH.MEM.SEPT.ADD')
      }
      known.set(index, table)
    }
  }

  /** Build time: maps the page with the content of `source`, and measures it. */
  add(gfn: number, frame: Hpa, source: Hpa, measure: boolean): void {
    this.#tablesFor(gfn)
    const gpa = BigInt(gfn) * 4096n
    const status = this.#seam.call(TDH_MEM_PAGE_ADD, gpa, this.#tdr, BigInt(frame), BigInt(source))
    if (status !== 0n) throw this.#bugOn(status, 'TDH.MEM.PAGE.ADD')
    this.#pages.set(gfn, frame)
    if (!measure) return
    const start = gfn * PAGE_SIZE
    const tdr = Number(this.#tdr)
    for (let at = start; at < start + PAGE_SIZE; at += EXTEND_CHUNK) {
      const extended = this.#seam.callAt(TDH_MR_EXTEND, at, tdr)
      if (extended !== 0n) throw this.#bugOn(extended, 'TDH.MR.EXTEND')
    }
  }

  /** Run time: maps the page pending; the guest accepts it. */
  aug(gfn: number, frame: Hpa): void {
    this.#tablesFor(gfn)
    const status = this.#seam.call(TDH_MEM_PAGE_AUG, BigInt(gfn) * 4096n, this.#tdr, BigInt(frame))
    if (status !== 0n) throw this.#bugOn(status, 'TDH.MEM.PAGE.AUG')
    this.#pages.set(gfn, frame)
  }

  /** Takes pages [gfn, gfn + pages) from the TD: BLOCK, TRACK (once the TD is runnable), REMOVE, one page at a time. */
  zap(gfn: number, pages: number, runnable: boolean): void {
    if (pages > this.#pages.size) {
      for (const known of [...this.#pages.keys()]) {
        if (known >= gfn && known < gfn + pages) this.#remove(known, runnable)
      }
      return
    }
    for (let page = gfn; page < gfn + pages; page++) if (this.#pages.has(page)) this.#remove(page, runnable)
  }

  /** Never throws: KVM's zaps have nobody to tell, so a failure shows in the VM being dead afterwards. */
  #remove(gfn: number, runnable: boolean): void {
    const frame = this.#pages.get(gfn)!
    this.#pages.delete(gfn)
    // Until all have succeeded the frame is the module's.
    this.stuck.add(frame)
    const gpa = BigInt(gfn) * 4096n
    let status = this.#seam.call(TDH_MEM_RANGE_BLOCK, gpa, this.#tdr)
    if (status !== 0n) {
      this.#bugOn(status, 'TDH.MEM.RANGE.BLOCK')
      return
    }
    if (runnable) {
      status = this.#seam.call(TDH_MEM_TRACK, this.#tdr)
      if (status !== 0n) {
        this.#bugOn(status, 'TDH.MEM.TRACK')
        return
      }
    }
    status = this.#seam.call(TDH_MEM_PAGE_REMOVE, gpa, this.#tdr)
    if (status !== 0n) {
      this.#bugOn(status, 'TDH.MEM.PAGE.REMOVE')
      return
    }
    status = this.#seam.call(TDH_PHYMEM_PAGE_WBINVD, this.#key | BigInt(frame))
    if (status !== 0n) {
      this.#bugOn(status, 'TDH.PHYMEM.PAGE.WBINVD')
      return
    }
    this.stuck.delete(frame)
  }

  /** Teardown, after the key has gone: every page and table goes back to the host. */
  reclaim(): void {
    for (const frame of this.#pages.values()) this.stuck.add(frame)
    this.#pages.clear()
    for (const frame of this.stuck) this.#reclaimOne(frame)
    this.stuck.clear()
    for (const tables of this.#tables) {
      for (const table of tables.values()) this.#reclaimOne(table)
      tables.clear()
    }
    this.#seen = -1
  }

  #reclaimOne(frame: Hpa): void {
    this.#seam.must('TDH.PHYMEM.PAGE.RECLAIM', TDH_PHYMEM_PAGE_RECLAIM, BigInt(frame))
    this.#memory.free(frame)
  }
}
