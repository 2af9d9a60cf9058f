/**
 * Fault injection: statuses that a host meets on a busy machine and that one thread alone never makes.
 * Off by default. Deterministic: which calls fail follows from the seed.
 */

import type { OperandName } from '#abi'
import * as abi from '#abi'
import { Random } from './random.ts'
import { about } from './status.ts'

/** One in how many calls completes so; 0 is never. */
export type FaultOptions = {
  readonly seed: bigint
  /** TDX_OPERAND_BUSY, TDX_SYS_BUSY: another processor holds a lock the leaf needs, or is in the module. */
  readonly busy?: number
  /** TDX_RND_NO_ENTROPY of MNG.CREATE and MNG.ADDCX. */
  readonly noEntropy?: number
  /** TDX_KEY_GENERATION_FAILED of MNG.KEY.CONFIG and SYS.KEY.CONFIG. */
  readonly keyGeneration?: number
}

/** The locks a leaf takes, by the operand id it reports. Linux retries each of them. */
const LOCKS: ReadonlyMap<number, readonly OperandName[]> = new Map<number, readonly OperandName[]>([
  [abi.TDH_VP_ENTER, ['TDVPR', 'SEPT_TREE', 'TD_EPOCH']],
  [abi.TDH_MNG_ADDCX, ['RCX', 'RDX']],
  [abi.TDH_MEM_PAGE_ADD, ['RCX', 'RDX', 'SEPT_TREE']],
  [abi.TDH_MEM_SEPT_ADD, ['RCX', 'RDX', 'SEPT_TREE']],
  [abi.TDH_VP_ADDCX, ['RCX', 'RDX']],
  [abi.TDH_MEM_PAGE_RELOCATE, ['RCX', 'RDX', 'SEPT_TREE']],
  [abi.TDH_MEM_PAGE_AUG, ['RCX', 'RDX', 'SEPT_TREE']],
  [abi.TDH_MEM_RANGE_BLOCK, ['RCX', 'RDX', 'SEPT_TREE']],
  [abi.TDH_MNG_KEY_CONFIG, ['RCX', 'KOT']],
  [abi.TDH_MNG_CREATE, ['RCX', 'KOT']],
  [abi.TDH_VP_CREATE, ['RCX', 'RDX']],
  [abi.TDH_MEM_PAGE_DEMOTE, ['RCX', 'RDX', 'SEPT_TREE']],
  [abi.TDH_MEM_RD, ['RDX', 'SEPT_TREE']],
  [abi.TDH_MEM_WR, ['RDX', 'SEPT_TREE']],
  [abi.TDH_MR_EXTEND, ['RDX', 'SEPT_TREE']],
  [abi.TDH_MR_FINALIZE, ['RCX', 'OP_STATE']],
  [abi.TDH_MNG_VPFLUSHDONE, ['RCX', 'KOT']],
  [abi.TDH_MNG_KEY_FREEID, ['RCX', 'KOT']],
  [abi.TDH_MNG_INIT, ['RCX']],
  [abi.TDH_VP_INIT, ['RCX']],
  [abi.TDH_MEM_PAGE_PROMOTE, ['RCX', 'RDX', 'SEPT_TREE']],
  [abi.TDH_PHYMEM_PAGE_RECLAIM, ['RCX']],
  [abi.TDH_MEM_PAGE_REMOVE, ['RCX', 'RDX', 'SEPT_TREE']],
  [abi.TDH_MEM_SEPT_REMOVE, ['RCX', 'RDX', 'SEPT_TREE']],
  [abi.TDH_MEM_TRACK, ['RCX', 'TD_EPOCH']],
  [abi.TDH_MEM_RANGE_UNBLOCK, ['RCX', 'RDX', 'SEPT_TREE']],
  [abi.TDH_PHYMEM_CACHE_WB, ['WBCACHE', 'KOT']],
  [abi.TDH_SYS_TDMR_INIT, ['RCX']],
])

/** Leaves that want the module for themselves: TDX_SYS_BUSY while another processor is in it. */
const TAKES_MODULE: readonly number[] = [
  abi.TDH_SYS_CONFIG,
  abi.TDH_SYS_KEY_CONFIG,
  abi.TDH_SYS_SHUTDOWN,
  abi.TDH_SYS_UPDATE,
]

const GUEST_LOCKS: ReadonlyMap<number, OperandName> = new Map<number, OperandName>([
  [abi.TDG_MEM_PAGE_ACCEPT, 'RCX'],
  [abi.TDG_MR_RTMR_EXTEND, 'RTMR'],
  [abi.TDG_MR_REPORT, 'RTMR'],
])

const USES_ENTROPY: readonly number[] = [abi.TDH_MNG_CREATE, abi.TDH_MNG_ADDCX]
const MAKES_KEY: readonly number[] = [abi.TDH_MNG_KEY_CONFIG, abi.TDH_SYS_KEY_CONFIG]

export class Faults {
  readonly #random: Random
  readonly #options: FaultOptions

  constructor(options: FaultOptions) {
    this.#options = options
    this.#random = new Random(options.seed)
  }

  /** The status a SEAMCALL completes with instead of being done; `undefined` where it is done. */
  seamcall(leaf: number): bigint | undefined {
    const { noEntropy = 0, keyGeneration = 0, busy = 0 } = this.#options
    if (USES_ENTROPY.includes(leaf) && this.#strikes(noEntropy)) return abi.TDX_RND_NO_ENTROPY
    if (MAKES_KEY.includes(leaf) && this.#strikes(keyGeneration)) return abi.TDX_KEY_GENERATION_FAILED
    if (TAKES_MODULE.includes(leaf)) return this.#strikes(busy) ? abi.TDX_SYS_BUSY : undefined
    const locks = LOCKS.get(leaf)
    if (locks === undefined || !this.#strikes(busy)) return undefined
    return about(abi.TDX_OPERAND_BUSY, locks[Number(this.#random.next() % BigInt(locks.length))])
  }

  tdcall(leaf: number): bigint | undefined {
    const lock = GUEST_LOCKS.get(leaf)
    return lock !== undefined && this.#strikes(this.#options.busy ?? 0) ? about(abi.TDX_OPERAND_BUSY, lock) : undefined
  }

  #strikes(oneIn: number): boolean {
    return oneIn > 0 && this.#random.next() % BigInt(oneIn) === 0n
  }
}
