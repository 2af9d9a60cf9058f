/** TLB tracking: when no vCPU can hold a translation that the host has blocked. intel/tdx-module, helpers.h (is_tlb_tracked). */
import {
  OP_STATE_LIVE_EXPORT,
  OP_STATE_LIVE_IMPORT,
  OP_STATE_RUNNABLE,
  TDX_GPA_RANGE_NOT_BLOCKED,
  TDX_TLB_TRACKING_NOT_DONE,
} from '#abi'
import type { SeamcallRegs } from './leaf.ts'
import type { TdxModule } from './module.ts'
import { failSept } from './operand.ts'
import { isBlocked, stateOfEntry } from './sept.ts'
import { check } from './status.ts'
import { opStates, type Td } from './td.ts'

/** Operation states in which vCPUs may run. op_state_lookup.c, tlb_tracking_required. */
const TRACKED = opStates(OP_STATE_RUNNABLE, OP_STATE_LIVE_EXPORT, OP_STATE_LIVE_IMPORT)

/** Has every vCPU left or flushed since the range was blocked in epoch `bepoch`? */
export const isTracked = (td: Td, bepoch: bigint): boolean => {
  const previous = td.epoch - 1n
  return bepoch < previous || (bepoch === previous && td.refcount[Number(bepoch & 1n) as 0 | 1] === 0)
}

/** Before MR.FINALIZE no vCPU has run: nothing needs tracking. */
export const needsTracking = (td: Td): boolean => ((TRACKED >> td.opState) & 1) === 1

/**
 * What is taken away from a TD that may be running must be blocked, and the block tracked. `pamtEntry` is that of the
 * page or table. REMOVE, RELOCATE, DEMOTE, PROMOTE and SEPT.REMOVE have it in common.
 */
export const checkTracked = (
  module: TdxModule,
  td: Td,
  regs: SeamcallRegs,
  entry: bigint,
  level: number,
  pamtEntry: number,
): void => {
  if (!needsTracking(td)) return
  if (!isBlocked(stateOfEntry(entry))) failSept(regs, TDX_GPA_RANGE_NOT_BLOCKED, entry, level)
  check(isTracked(td, module.pamt.bepoch(pamtEntry)), TDX_TLB_TRACKING_NOT_DONE, 'RCX')
}
