import { TDG_VP_INVEPT, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { tdcall } from '../leaf.ts'
import { check } from '../status.ts'

/**
 * TDG.VP.INVEPT: drop translations of the L2 VMs in the mask. tdg_vp_invept.c.
 * A TD without L2 VMs has nothing to name: bit 0 (the TD itself) is never legal, the others are VMs that are not there.
 */
export const vpInvept = tdcall(TDG_VP_INVEPT, ({ cpu }) => {
  check(cpu.gpr[1] === 0n, TDX_OPERAND_INVALID, 'RCX')
  return TDX_SUCCESS
})
