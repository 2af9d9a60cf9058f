/** A trust domain as KVM sees it: key ID, control pages, Secure EPT, and the road from create to reclaim. */

import {
  TDH_MNG_ADDCX,
  TDH_MNG_CREATE,
  TDH_MNG_INIT,
  TDH_MNG_KEY_CONFIG,
  TDH_MNG_KEY_FREEID,
  TDH_MNG_VPFLUSHDONE,
  TDH_MR_FINALIZE,
  TDH_PHYMEM_CACHE_WB,
  TDH_PHYMEM_PAGE_RECLAIM,
  TDH_PHYMEM_PAGE_WBINVD,
  TDX_INTERRUPTED_RESUMABLE,
  TDX_NO_HKID_READY_TO_WBCACHE,
  TDX_OPERAND_BUSY,
  TDX_OPERAND_INVALID,
  TDX_RND_NO_ENTROPY,
} from '#abi'
import { type Hpa, hex, hpa } from '#bits'
import { Errno } from './errno.ts'
import type { Tdx } from './module.ts'
import { type Seam, statusOf } from './seam.ts'
import { type BugOn, Sept } from './sept.ts'

/** What MNG.INIT gets besides the user's TD_PARAMS bytes. */
export type TdParams = {
  /** The 1024 bytes of TD_PARAMS. */
  readonly bytes: Uint8Array
  readonly attributes: bigint
  readonly xfam: bigint
  /** Guest physical address width: 48 or 52. */
  readonly gpaWidth: 48 | 52
}

/** Linux's name for how far a TD has come; the TDX module has its own (TDCS.OP_STATE). */
export type TdState = 'uninitialized' | 'initialized' | 'runnable'

export class Td {
  state: TdState = 'uninitialized'
  attributes = 0n
  xfam = 0n
  gpaWidth: 48 | 52 = 48
  /** Private key ID, or -1. */
  hkid = -1
  tdr: Hpa = hpa(0)
  readonly tdx: Tdx
  readonly #seam: Seam
  /** Whose VM dies of a SEAMCALL that fails; another one's once the TD has moved. */
  bugOn: BugOn
  readonly #tdcs: Hpa[] = []
  #sept: Sept | undefined

  constructor(tdx: Tdx, bugOn: BugOn) {
    this.tdx = tdx
    this.#seam = tdx.seam(0)
    this.bugOn = bugOn
  }

  /** The shared bit of a GPA: 47, or 51 in a TD with 52 address bits. */
  get sharedBit(): number {
    return this.gpaWidth - 1
  }

  /** The key ID where it stands in a physical address. */
  get #key(): bigint {
    return BigInt(this.hkid) << this.tdx.keyShift
  }

  /** The Secure EPT of an initialized TD. */
  get sept(): Sept {
    if (this.#sept === undefined) throw new Error('a TD that is not initialized has no Secure EPT')
    return this.#sept
  }

  /** Is the frame still the module's, though its owner in KVM is gone? */
  keeps(frame: Hpa): boolean {
    return this.#sept?.stuck.has(frame) ?? false
  }

  /** MNG.CREATE, KEY.CONFIG, ADDCX, INIT. On failure everything is as before. EINVAL with the status, EIO, EAGAIN, ENOSPC. */
  init(params: TdParams): void {
    const { memory, info } = this.tdx
    this.hkid = this.tdx.keyIds.allocate()
    this.tdr = memory.allocate()
    const created = this.#seam.call(TDH_MNG_CREATE, BigInt(this.tdr), BigInt(this.hkid))
    if (created !== 0n) {
      memory.free(this.tdr)
      this.tdx.keyIds.free(this.hkid)
      this.tdr = hpa(0)
      this.hkid = -1
      throw this.#failed(created, 'TDH.MNG.CREATE')
    }
    try {
      const configured = this.#seam.call(TDH_MNG_KEY_CONFIG, BigInt(this.tdr))
      if (configured !== 0n) throw this.#failed(configured, 'TDH.MNG.KEY.CONFIG')
      for (let i = 0; i < info.tdcsPages; i++) {
        const page = memory.allocate()
        const added = this.#seam.call(TDH_MNG_ADDCX, BigInt(page), BigInt(this.tdr))
        if (added !== 0n) {
          memory.free(page)
          throw this.#failed(added, 'TDH.MNG.ADDCX')
        }
        this.#tdcs.push(page)
      }
      const page = memory.allocate()
      memory.set(page, params.bytes)
      const status = this.#seam.call(TDH_MNG_INIT, BigInt(this.tdr), BigInt(page))
      memory.free(page)
      if (statusOf(status) === TDX_OPERAND_INVALID) {
        throw new Errno(
          'EINVAL',
          `KVM_TDX_INIT_VM: TDH.MNG.INIT refuses operand ${status & 0xffff_ffffn} of TD_PARAMS`,
          status,
        )
      }
      if (status !== 0n) throw this.#failed(status, 'TDH.MNG.INIT')
    } catch (error) {
      this.releaseKey()
      this.reclaim()
      throw error
    }
    this.attributes = params.attributes
    this.xfam = params.xfam
    this.gpaWidth = params.gpaWidth
    const levels = params.gpaWidth === 52 ? 5 : 4
    this.#sept = new Sept(memory, this.#seam, this.tdr, this.#key, levels, (status, what) => this.bugOn(status, what))
    this.state = 'initialized'
  }

  #failed(status: bigint, what: string): Errno {
    if (statusOf(status) !== TDX_RND_NO_ENTROPY) return this.bugOn(status, what)
    return new Errno('EAGAIN', `KVM_TDX_INIT_VM: ${what}: the processor has no entropy just now`, status)
  }

  /** MR.FINALIZE. EBUSY, EIO with the status. */
  finalize(): void {
    const status = this.#seam.call(TDH_MR_FINALIZE, BigInt(this.tdr))
    if (statusOf(status) === TDX_OPERAND_BUSY) {
      throw new Errno('EBUSY', `KVM_TDX_FINALIZE_VM: TDH.MR.FINALIZE: operand busy (${hex(status)})`, status)
    }
    if (status !== 0n) throw this.bugOn(status, 'TDH.MR.FINALIZE')
    this.state = 'runnable'
  }

  /** Teardown, first half: the key goes. Every vCPU has been flushed. */
  releaseKey(): void {
    if (this.hkid < 0) return
    const tdr = BigInt(this.tdr)
    this.#seam.must('TDH.MNG.VPFLUSHDONE', TDH_MNG_VPFLUSHDONE, tdr)
    let status = this.#seam.call(TDH_PHYMEM_CACHE_WB, 0n)
    while (statusOf(status) === TDX_INTERRUPTED_RESUMABLE) status = this.#seam.call(TDH_PHYMEM_CACHE_WB, 1n)
    if (status !== 0n && statusOf(status) !== TDX_NO_HKID_READY_TO_WBCACHE) {
      throw new Error(`SEAMCALL TDH.PHYMEM.CACHE.WB: ${hex(status)}`)
    }
    this.#seam.must('TDH.MNG.KEY.FREEID', TDH_MNG_KEY_FREEID, tdr)
    this.tdx.keyIds.free(this.hkid)
  }

  /** One control page back to the host. */
  reclaimPage(page: Hpa): void {
    this.#seam.must('TDH.PHYMEM.PAGE.RECLAIM', TDH_PHYMEM_PAGE_RECLAIM, BigInt(page))
    this.tdx.memory.free(page)
  }

  /** Teardown, second half: what is left of the TD goes back, its root last. vCPU pages have gone before. */
  reclaim(): void {
    if (this.tdr === 0) return
    this.#sept?.reclaim()
    this.#sept = undefined
    for (const page of this.#tdcs) this.reclaimPage(page)
    this.#tdcs.length = 0
    this.#seam.must('TDH.PHYMEM.PAGE.RECLAIM', TDH_PHYMEM_PAGE_RECLAIM, BigInt(this.tdr))
    this.#seam.must('TDH.PHYMEM.PAGE.WBINVD', TDH_PHYMEM_PAGE_WBINVD, this.#key | BigInt(this.tdr))
    this.tdx.memory.free(this.tdr)
    this.tdr = hpa(0)
    this.hkid = -1
    this.state = 'uninitialized'
  }
}
