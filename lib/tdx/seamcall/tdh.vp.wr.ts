import { TDH_VP_WR, TDX_ATTR_DEBUG, TDX_SUCCESS } from '#abi'
import { cpuOf } from '../guest/make.ts'
import { seamcall } from '../leaf.ts'
import { findVpField, writeVpField } from '../metadata/vp.ts'
import { METADATA_WRITE } from './op-states.ts'

/** TDH.VP.WR: write a field of TDVPS; R8 is the old value then. tdh_vp_rd_wr.c. */
export const vpWr = seamcall(TDH_VP_WR, (module, regs, lp) => {
  const { rcx, rdx, r8, r9 } = regs
  regs.r8 = 0n
  const vcpu = module.vcpu(rcx, 'RCX')
  vcpu.td.checkState(METADATA_WRITE)
  vcpu.checkPages()
  vcpu.associate(lp.id)
  if ((vcpu.td.attributes & TDX_ATTR_DEBUG) !== 0n) cpuOf(module, vcpu)
  regs.r8 = writeVpField(module, vcpu, findVpField(rdx), r8, r9, 'host')
  return TDX_SUCCESS
})
