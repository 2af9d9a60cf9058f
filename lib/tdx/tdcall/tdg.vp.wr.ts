import { TDG_VP_WR, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { tdcall } from '../leaf.ts'
import { findVpField, writeVpField } from '../metadata/vp.ts'
import { check } from '../status.ts'

/** TDG.VP.WR: write a field of the vCPU itself; R8 is the old value then. tdg_vp_rd_wr.c. */
export const vpWr = tdcall(TDG_VP_WR, ({ module, vcpu, cpu }) => {
  const { gpr } = cpu
  const [id, value, mask] = [gpr[2]!, gpr[8]!, gpr[9]!]
  gpr[8] = 0n
  check(gpr[1] === 0n, TDX_OPERAND_INVALID, 'RCX')
  gpr[8] = writeVpField(module, vcpu, findVpField(id), value, mask, 'guest')
  return TDX_SUCCESS
})
