/** A vCPU between VP.ENTER and TD exit: the CPU runs, and the module answers its VM exits. tdx_td_dispatcher.c. */
import {
  PF,
  TD_CTLS_PENDING_VE_DISABLE,
  TDX_ATTR_PERFMON,
  TDX_NON_RECOVERABLE_TD_NON_ACCESSIBLE,
  TDX_NON_RECOVERABLE_VCPU,
  VECTOR_NMI,
  VMX_EEQ_NONE,
  VMX_EEQ_PENDING_EPT_VIOLATION,
  XFAM_XCR0_MASK,
} from '#abi'
import { NotModelled } from '#bits'
import * as x86 from '#x86'
import { type Cpu, EPT_QUALIFICATION, type VmExit } from '#x86'
import type { SeamcallRegs } from '../leaf.ts'
import type { TdxModule } from '../module.ts'
import { isPending, stateOfEntry } from '../sept.ts'
import { tdcallExit } from '../tdcall/index.ts'
import type { Vcpu } from '../vcpu.ts'
import { emulateCpuid } from './cpuid.ts'
import { accessCr } from './cr.ts'
import { asyncExit, eptViolationExit } from './exit.ts'
import { type MsrOutcome, readMsr, writeMsr } from './msr.ts'
import type { TdStage } from './stage.ts'
import { injectGp, injectPf, injectUd, injectVe } from './ve.ts'

/** What became of a VM exit: the guest goes on, or the registers of a TD exit are set. */
type Outcome = 'resume' | 'exit'

const CONVERTIBLE_RIGHTS = EPT_QUALIFICATION.READ | EPT_QUALIFICATION.WRITE | EPT_QUALIFICATION.FETCH

/** Vector 18, hardware exception, valid. SDM Vol. 3C, "VM-Exit Interruption Information". */
const MACHINE_CHECK = 0x8000_0312n

const sharedViolation = (vcpu: Vcpu, cpu: Cpu, stage: TdStage, regs: SeamcallRegs, exit: VmExit): Outcome => {
  const rights = Number(exit.qualification & CONVERTIBLE_RIGHTS)
  if ((exit.qualification & EPT_QUALIFICATION.FETCH) !== 0n) {
    // Code in shared memory is never executed. How we know: KVM takes an exit for it as broken hardware; the fault itself is
    // the one for an address the fetch may not have (Intel "TDX CPU Architectural Extensions", "Shared Memory Access").
    injectPf(cpu, exit.gla, PF.P | PF.RSVD | PF.FETCH | (cpu.cpl === 3 ? PF.USER : 0))
    return 'resume'
  }
  const miss = stage.explainShared(exit.gpa, rights)
  if (miss === 'misconfiguration') {
    asyncExit(vcpu, regs, x86.EXIT_REASON_EPT_MISCONFIG, { gpa: exit.gpa & ~0xfffn })
    return 'exit'
  }
  // The CPU itself makes it a #VE unless one is waiting to be read. SDM Vol. 3C, "Convertible EPT Violations".
  if (miss === 'convertible' && vcpu.ve.valid === 0) {
    injectVe(vcpu, cpu, exit, exit.qualification, exit.gla, exit.gpa)
    return 'resume'
  }
  eptViolationExit(vcpu, regs, exit.gpa, exit.qualification)
  return 'exit'
}

/** vm_exits/td_ept_violation.c. */
const eptViolation = (vcpu: Vcpu, cpu: Cpu, stage: TdStage, regs: SeamcallRegs, exit: VmExit): Outcome => {
  if (stage.poisonHit) {
    stage.poisonHit = false
    asyncExit(vcpu, regs, x86.EXIT_REASON_EXCEPTION_NMI, {
      status: TDX_NON_RECOVERABLE_TD_NON_ACCESSIBLE,
      interruption: MACHINE_CHECK,
    })
    return 'exit'
  }
  const { td } = vcpu
  if ((exit.gpa & td.sharedBit) !== 0n) return sharedViolation(vcpu, cpu, stage, regs, exit)
  let extended = VMX_EEQ_NONE
  if (isPending(stateOfEntry(td.tree.walk(Number(exit.gpa), 0)))) {
    if ((td.tdCtls & TD_CTLS_PENDING_VE_DISABLE) === 0n) {
      injectVe(vcpu, cpu, exit, exit.qualification, exit.gla, exit.gpa)
      return 'resume'
    }
    extended = VMX_EEQ_PENDING_EPT_VIOLATION
  }
  vcpu.zeroStep.violated(cpu, exit.qualification, exit.gpa)
  eptViolationExit(vcpu, regs, exit.gpa, exit.qualification, extended)
  return 'exit'
}

/** vm_exits/td_xsetbv.c. */
const xsetbv = (module: TdxModule, vcpu: Vcpu, cpu: Cpu, exit: VmExit): void => {
  const { gpr } = cpu
  const value = ((gpr[2]! & 0xffff_ffffn) << 32n) | (gpr[0]! & 0xffff_ffffn)
  const has = (mask: bigint) => (value & mask) !== 0n
  const all = (mask: bigint) => !has(mask) || (value & mask) === mask
  const isLegal =
    (gpr[1]! & 0xffff_ffffn) === 0n &&
    (value & ~(module.platform.xcr0 & vcpu.td.xfam & XFAM_XCR0_MASK)) === 0n &&
    has(1n) &&
    (!has(4n) || has(2n)) &&
    all(0xe0n) &&
    (!has(0xe0n) || has(4n)) &&
    all(3n << 17n)
  if (!isLegal) {
    injectGp(cpu)
    return
  }
  cpu.xcr0 = value
  cpu.advance(exit.instructionLength)
}

/** Offset of SELF IPI in the APIC page, which is what the exit qualification of an APIC write says. */
const SELF_IPI_OFFSET = 0x3f0n

const finish = (vcpu: Vcpu, cpu: Cpu, exit: VmExit, outcome: MsrOutcome): Outcome => {
  switch (outcome) {
    case 'done':
      cpu.advance(exit.instructionLength)
      break
    case 'gp':
      injectGp(cpu)
      break
    case 've':
      injectVe(vcpu, cpu, exit)
      break
    case 'apic-write':
      // Trap-like: RIP is past the instruction, and its length is undefined. SDM Vol. 3C, "APIC-Write VM Exits".
      cpu.advance(exit.instructionLength)
      injectVe(
        vcpu,
        cpu,
        { ...exit, reason: x86.EXIT_REASON_APIC_WRITE, instructionLength: 0, instructionInfo: 0 },
        SELF_IPI_OFFSET,
      )
  }
  return 'resume'
}

const handle = (module: TdxModule, vcpu: Vcpu, cpu: Cpu, stage: TdStage, regs: SeamcallRegs, exit: VmExit): Outcome => {
  const { platform } = module
  switch (exit.reason) {
    case x86.EXIT_REASON_TDCALL:
      return tdcallExit(module, vcpu, cpu, regs, exit)
    case x86.EXIT_REASON_PREEMPTION_TIMER:
      asyncExit(vcpu, regs, x86.EXIT_REASON_EXTERNAL_INTERRUPT)
      return 'exit'
    case x86.EXIT_REASON_EPT_VIOLATION:
      return eptViolation(vcpu, cpu, stage, regs, exit)
    case x86.EXIT_REASON_CPUID:
      return finish(
        vcpu,
        cpu,
        exit,
        vcpu.td.cpuid !== undefined && emulateCpuid(platform, vcpu, cpu, vcpu.td.cpuid) ? 'done' : 've',
      )
    case x86.EXIT_REASON_RDMSR:
      return finish(vcpu, cpu, exit, readMsr(platform, vcpu, cpu))
    case x86.EXIT_REASON_WRMSR:
      return finish(vcpu, cpu, exit, writeMsr(platform, vcpu, cpu))
    case x86.EXIT_REASON_CR_ACCESS:
      return finish(vcpu, cpu, exit, accessCr(platform, vcpu, cpu, exit.qualification))
    case x86.EXIT_REASON_XSETBV:
      xsetbv(module, vcpu, cpu, exit)
      return 'resume'
    case x86.EXIT_REASON_IO_INSTRUCTION:
    case x86.EXIT_REASON_HLT:
    case x86.EXIT_REASON_INVD:
    case x86.EXIT_REASON_WBINVD:
    case x86.EXIT_REASON_VMCALL:
    case x86.EXIT_REASON_MONITOR:
    case x86.EXIT_REASON_MWAIT:
      injectVe(vcpu, cpu, exit)
      return 'resume'
    case x86.EXIT_REASON_RDPMC:
      injectGp(cpu)
      return 'resume'
    case x86.EXIT_REASON_GETSEC:
    case x86.EXIT_REASON_RSM:
    case x86.EXIT_REASON_VMXON:
    case x86.EXIT_REASON_SEAMCALL:
      injectUd(cpu)
      return 'resume'
    case x86.EXIT_REASON_TRIPLE_FAULT:
      asyncExit(vcpu, regs, exit.reason, { status: TDX_NON_RECOVERABLE_VCPU, qualification: exit.qualification })
      return 'exit'
    case x86.EXIT_REASON_TASK_SWITCH:
      asyncExit(vcpu, regs, exit.reason, { qualification: exit.qualification })
      return 'exit'
    default:
      throw new NotModelled(`a TD's VM exit with reason ${exit.reason}`)
  }
}

const IF = 1 << 9

/**
 * Hands over what waits: an NMI of the host, else the highest virtual interrupt.
 * True where something waits that the guest cannot take yet: then it is asked again after the next instruction.
 */
const deliverWaiting = (vcpu: Vcpu, cpu: Cpu): boolean => {
  if (cpu.pending.length > 0) return false
  if (vcpu.pendNmi && vcpu.ve.valid === 0) {
    if (cpu.nmiBlocked || cpu.shadow === 'mov-ss') return true
    vcpu.pendNmi = false
    cpu.inject({ vector: VECTOR_NMI, kind: 'nmi' })
    return false
  }
  if (vcpu.vapic.isIdle) return false
  const vector = vcpu.vapic.deliverable(cpu.cr8)
  if (vector < 0) return false
  if ((cpu.systemFlags & IF) === 0 || cpu.shadow !== 'none') return true
  vcpu.vapic.accept(vector)
  cpu.inject({ vector, kind: 'external' })
  return false
}

/** Runs until a TD exit, whose registers are set then. At most `quantum` instructions. */
export const runVcpu = (module: TdxModule, vcpu: Vcpu, cpu: Cpu, regs: SeamcallRegs, quantum: number): void => {
  const { stage, zeroStep } = vcpu
  if (stage === undefined) throw new Error('a running vCPU has a second stage')
  const end = cpu.instructions + quantum
  for (;;) {
    const left = end - cpu.instructions
    if (left <= 0) {
      asyncExit(vcpu, regs, x86.EXIT_REASON_EXTERNAL_INTERRUPT)
      return
    }
    const exit = deliverWaiting(vcpu, cpu) ? cpu.step() : cpu.run(left)
    if (exit === undefined) continue
    vcpu.vmExit = exit
    if (zeroStep.count !== 0) zeroStep.left(cpu)
    if (handle(module, vcpu, cpu, stage, regs, exit) === 'exit') return
  }
}

/** Does RDPMC leave? Only a TD with PERFMON has counters. */
export const rdpmcExits = (attributes: bigint): boolean => (attributes & TDX_ATTR_PERFMON) === 0n
