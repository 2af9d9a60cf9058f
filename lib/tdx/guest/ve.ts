/** Events that the module hands its guest. intel/tdx-module, vm_exits/td_other_exits.c, helpers.c (inject_*). */
import { RFLAGS_RF, VECTOR_DF, VECTOR_GP, VECTOR_PF, VECTOR_UD, VECTOR_VE } from '#abi'
import type { Cpu, VmExit } from '#x86'
import type { Vcpu } from '../vcpu.ts'

/** VE_INFO is there to be read. */
export const VE_INFO_VALID = 0xffff_ffff

/** Marks for `#VE` of an exit whose linear and physical address mean something: EPT violations only. */
export const injectVe = (
  vcpu: Vcpu,
  cpu: Cpu,
  exit: VmExit,
  qualification: bigint = exit.qualification,
  gla = 0n,
  gpa = 0n,
): void => {
  const { ve } = vcpu
  cpu.rflags |= RFLAGS_RF
  if (ve.valid !== 0) {
    cpu.inject({ vector: VECTOR_DF, kind: 'exception', errorCode: 0 })
    return
  }
  ve.exitReason = exit.reason
  ve.exitQualification = qualification
  ve.gla = gla
  ve.gpa = gpa
  ve.eptpIndex = 0
  ve.instructionLength = exit.instructionLength
  ve.instructionInfo = exit.instructionInfo
  ve.valid = VE_INFO_VALID
  cpu.inject({ vector: VECTOR_VE, kind: 'exception' })
}

export const injectGp = (cpu: Cpu): void => {
  cpu.rflags |= RFLAGS_RF
  cpu.inject({ vector: VECTOR_GP, kind: 'exception', errorCode: 0 })
}

export const injectUd = (cpu: Cpu): void => {
  cpu.rflags |= RFLAGS_RF
  cpu.inject({ vector: VECTOR_UD, kind: 'exception' })
}

export const injectPf = (cpu: Cpu, gla: bigint, errorCode: number): void => {
  cpu.rflags |= RFLAGS_RF
  cpu.cr2 = gla
  cpu.inject({ vector: VECTOR_PF, kind: 'exception', errorCode })
}
