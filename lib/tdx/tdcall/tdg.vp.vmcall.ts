import { TDG_VP_VMCALL, TDX_OPERAND_INVALID } from '#abi'
import { vmcallExit } from '../guest/exit.ts'
import { tdcall } from '../leaf.ts'
import { check } from '../status.ts'

/** RAX, RCX and RSP are never the guest's to give; RBP only without NO_RBP_MOD. */
const NEVER = (1n << 0n) | (1n << 1n) | (1n << 4n)
const RBP = 1n << 5n

/** TDG.VP.VMCALL: ask the host, with the registers RCX selects. tdg_vp_vmcall.c. */
export const vpVmcall = tdcall(TDG_VP_VMCALL, ({ vcpu, cpu, regs }) => {
  const mask = cpu.gpr[1]!
  const forbidden = vcpu.td.keepsRbp ? NEVER | RBP : NEVER
  check((mask & forbidden) === 0n && mask >> 32n === 0n, TDX_OPERAND_INVALID, 'RCX')
  vmcallExit(vcpu, cpu, regs, Number(mask))
  return 'vmcall'
})
