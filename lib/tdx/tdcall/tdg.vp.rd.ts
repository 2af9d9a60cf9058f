import {
  MD_FIELD_ID_NA,
  TDG_VP_RD,
  TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT,
  TDX_OPERAND_INVALID,
  TDX_SUCCESS,
} from '#abi'
import { tdcall } from '../leaf.ts'
import { findVpField, firstVpField, nextVpField, readVpField } from '../metadata/vp.ts'
import { check } from '../status.ts'

/** TDG.VP.RD: a field of the vCPU itself; RDX is the id of the next one then. tdg_vp_rd_wr.c. */
export const vpRd = tdcall(TDG_VP_RD, ({ vcpu, cpu }) => {
  const { gpr } = cpu
  const id = gpr[2]!
  gpr[2] = MD_FIELD_ID_NA
  gpr[8] = 0n
  check(gpr[1] === 0n, TDX_OPERAND_INVALID, 'RCX')
  if (id === MD_FIELD_ID_NA) {
    gpr[2] = firstVpField(vcpu, 'guest')
    return TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT
  }
  const field = findVpField(id)
  gpr[8] = readVpField(vcpu, field, 'guest')
  gpr[2] = nextVpField(vcpu, field, 'guest')
  return TDX_SUCCESS
})
