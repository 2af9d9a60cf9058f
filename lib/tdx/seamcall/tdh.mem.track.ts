import { TDH_MEM_TRACK, TDX_PREVIOUS_TLB_EPOCH_BUSY, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'
import { TRACK } from './op-states.ts'

/** TDH.MEM.TRACK: begin the next epoch; vCPUs that enter from now on see no blocked range. tdh_mem_track.c. */
export const memTrack = seamcall(TDH_MEM_TRACK, (module, { rcx }) => {
  const td = module.td(rcx, 'RCX')
  td.checkState(TRACK)
  check(td.refcount[td.parity === 0 ? 1 : 0] === 0, TDX_PREVIOUS_TLB_EPOCH_BUSY)

  td.nextEpoch()
  return TDX_SUCCESS
})
