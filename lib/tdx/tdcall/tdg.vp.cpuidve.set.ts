import { TDG_VP_CPUIDVE_SET, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { bit } from '#bits'
import { tdcall } from '../leaf.ts'
import { check } from '../status.ts'

/** TDG.VP.CPUIDVE.SET: whether CPUID is a #VE at CPL 0 and above it. tdg_vp_cpuidve_set.c. */
export const vpCpuidveSet = tdcall(TDG_VP_CPUIDVE_SET, ({ vcpu, cpu }) => {
  const control = cpu.gpr[1]!
  check(control >> 2n === 0n, TDX_OPERAND_INVALID, 'RCX')
  vcpu.cpuidSupervisorVe = bit(control, 0)
  vcpu.cpuidUserVe = bit(control, 1)
  return TDX_SUCCESS
})
