import { TDG_VP_VEINFO_GET, TDX_NO_VALID_VE_INFO, TDX_SUCCESS } from '#abi'
import { tdcall } from '../leaf.ts'
import { check } from '../status.ts'

/** TDG.VP.VEINFO.GET: why there was a #VE; makes room for the next. tdg_vp_veinfo_get.c. */
export const vpVeinfoGet = tdcall(TDG_VP_VEINFO_GET, ({ vcpu, cpu }) => {
  const { gpr } = cpu
  const { ve } = vcpu
  for (const n of [1, 2, 8, 9, 10]) gpr[n] = 0n
  check(ve.valid !== 0, TDX_NO_VALID_VE_INFO)

  gpr[1] = BigInt(ve.exitReason)
  gpr[2] = ve.exitQualification
  gpr[8] = ve.gla
  gpr[9] = ve.gpa
  gpr[10] = BigInt(ve.instructionLength) | (BigInt(ve.instructionInfo >>> 0) << 32n)
  ve.valid = 0
  return TDX_SUCCESS
})
