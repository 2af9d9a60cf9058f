/** Guest memory that a TDCALL names by GPA. intel/tdx-module, helpers.c (check_walk_and_map_guest_side_gpa). */
import { TD_CTLS_PENDING_VE_DISABLE, TDX_OPERAND_INVALID, VMX_EEQ_PENDING_EPT_VIOLATION } from '#abi'
import { gpa as asGpa, type Hpa, hpa } from '#bits'
import { type Cpu, EPT_QUALIFICATION, EXIT_REASON_EPT_MISCONFIG, EXIT_REASON_EPT_VIOLATION, vmExit } from '#x86'
import type { SeamcallRegs, TdcallResult } from '../leaf.ts'
import { isPending, stateOfEntry } from '../sept.ts'
import { check } from '../status.ts'
import type { Vcpu } from '../vcpu.ts'
import { asyncExit, eptViolationExit } from './exit.ts'
import { injectVe } from './ve.ts'

/**
 * The host address behind a GPA operand, or what the TDCALL comes to instead: a #VE, or a TD exit after which it is
 * executed again. An address the TD cannot have is TDX_OPERAND_INVALID about `operand`.
 */
export const guestMemory = (
  vcpu: Vcpu,
  cpu: Cpu,
  regs: SeamcallRegs,
  address: bigint,
  access: 'read' | 'write',
  operand: 'RCX' | 'RDX',
  privateOnly: boolean,
): Hpa | TdcallResult => {
  const { td, stage } = vcpu
  const isShared = (address & td.sharedBit) !== 0n
  check(address < td.sharedBit << 1n && !(privateOnly && isShared), TDX_OPERAND_INVALID, operand)
  if (stage === undefined) throw new Error('a running vCPU has a second stage')
  const frame = stage.frame(asGpa(address), access)
  if (frame !== -1) return hpa(frame + Number(address & 0xfffn))
  const qualification = access === 'read' ? EPT_QUALIFICATION.READ : EPT_QUALIFICATION.READ | EPT_QUALIFICATION.WRITE
  const exit = vmExit(EXIT_REASON_EPT_VIOLATION, { qualification, instructionLength: 4 })
  if (isShared) {
    const miss = stage.explainShared(address, access === 'read' ? 1 : 2)
    if (miss === 'convertible') {
      injectVe(vcpu, cpu, exit, qualification, 0n, address)
      return 'resume'
    }
    if (miss === 'misconfiguration') asyncExit(vcpu, regs, EXIT_REASON_EPT_MISCONFIG, { gpa: address & ~0xfffn })
    else eptViolationExit(vcpu, regs, address, qualification)
    return 'exit'
  }
  if (!isPending(stateOfEntry(td.tree.walk(Number(address), 0)))) {
    eptViolationExit(vcpu, regs, address, qualification)
    return 'exit'
  }
  if ((td.tdCtls & TD_CTLS_PENDING_VE_DISABLE) !== 0n) {
    eptViolationExit(vcpu, regs, address, qualification, VMX_EEQ_PENDING_EPT_VIOLATION)
    return 'exit'
  }
  injectVe(vcpu, cpu, exit, qualification, 0n, address)
  return 'resume'
}
