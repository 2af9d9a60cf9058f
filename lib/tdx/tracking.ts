/** TLB tracking: when no vCPU can hold a translation that the host has blocked. intel/tdx-module, helpers.h (is_tlb_tracked). */
import { OP_STATE_INITIALIZED, OP_STATE_UNINITIALIZED } from '#abi'
import type { Td } from './td.ts'

/** Has every vCPU left or flushed since the range was blocked in epoch `bepoch`? */
export const isTracked = (td: Td, bepoch: bigint): boolean => {
  const previous = td.epoch - 1n
  return bepoch < previous || (bepoch === previous && td.refcount[Number(bepoch & 1n) as 0 | 1] === 0)
}

/** Before MR.FINALIZE no vCPU has run: nothing needs tracking. op_state_lookup.c, tlb_tracking_required. */
export const needsTracking = (td: Td): boolean =>
  td.opState !== OP_STATE_UNINITIALIZED && td.opState !== OP_STATE_INITIALIZED
