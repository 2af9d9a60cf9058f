import { TDG_VP_ENTER, TDX_OPERAND_INVALID } from '#abi'
import { tdcall } from '../leaf.ts'
import { check, fail } from '../status.ts'

/** Bytes that the list of an L2 VM's registers is aligned to. */
const ALIGNMENT = 256n

/** TDG.VP.ENTER: enter an L2 VM. A TD without L2 VMs cannot name one. tdg_vp_enter.c. */
export const vpEnterL2 = tdcall(TDG_VP_ENTER, ({ vcpu, cpu }) => {
  const list = cpu.gpr[2]!
  check(list % ALIGNMENT === 0n && list < vcpu.td.sharedBit, TDX_OPERAND_INVALID, 'RDX')
  return fail(TDX_OPERAND_INVALID, 'RCX')
})
