import { TDG_VP_VMCALL, TDX_OPERAND_INVALID } from '#abi'
import { vmcallExit } from '../guest/exit.ts'
import { tdcall } from '../leaf.ts'
import { check } from '../status.ts'

/** RAX, RCX and RSP are never the guest's to give; RBP only without NO_RBP_MOD. */
const NEVER = (1 << 0) | (1 << 1) | (1 << 4)
const RBP = 1 << 5

/** TDG.VP.VMCALL: ask the host, with the registers RCX selects. tdg_vp_vmcall.c. */
export const vpVmcall = tdcall(TDG_VP_VMCALL, ({ vcpu, cpu, regs }) => {
  // RCX in two halves.
  const mask = cpu.words[2]!
  const high = cpu.words[3]!
  const forbidden = vcpu.td.keepsRbp ? NEVER | RBP : NEVER
  check((mask & forbidden) === 0 && high === 0, TDX_OPERAND_INVALID, 'RCX')
  vmcallExit(vcpu, cpu, regs, mask)
  return 'vmcall'
})
