import { OP_STATE_RUNNABLE, TDH_MR_FINALIZE, TDX_NO_VCPUS, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'
import { BUILD } from './op-states.ts'

/** TDH.MR.FINALIZE: the measurement is complete, the TD may run. tdh_mr_finalize.c. */
export const mrFinalize = seamcall(TDH_MR_FINALIZE, (module, { rcx }) => {
  const td = module.td(rcx, 'RCX')
  td.checkState(BUILD)
  check(td.numVcpus > 0, TDX_NO_VCPUS)

  if (td.measurement !== undefined) td.mrtd = td.measurement.finish()
  td.measurement = undefined
  td.opState = OP_STATE_RUNNABLE
  return TDX_SUCCESS
})
