/** TD exits: what the host finds in its registers. intel/tdx-module, src/td_transitions/td_exit.c, vm_exits/tdg_vp_vmcall.c. */
import { TDX_NON_RECOVERABLE_VCPU, TDX_SUCCESS, VCPU_DISABLED, VCPU_READY, VMX_EEQ_NONE } from '#abi'
import { seen } from '#bits'
import { type Cpu, EPT_QUALIFICATION, EXIT_REASON_EPT_VIOLATION, EXIT_REASON_TDCALL } from '#x86'
import type { SeamcallRegs } from '../leaf.ts'
import { isLeaf, stateOfEntry } from '../sept.ts'
import type { Vcpu } from '../vcpu.ts'

const FATAL = 1n << 61n
const XMM_BYTES = 16
const YMM_BYTES = 32

/** The host's other registers are zero; RBP keeps the host's value where the TD does not use it. */
const clear = (vcpu: Vcpu, regs: SeamcallRegs): void => {
  regs.rbx = 0n
  if (!vcpu.td.keepsRbp) regs.rbp = 0n
  regs.rsi = 0n
  regs.rdi = 0n
  regs.r10 = 0n
  regs.r11 = 0n
  regs.r12 = 0n
  regs.r13 = 0n
  regs.r14 = 0n
  regs.r15 = 0n
  regs.xmm?.fill(0)
}

/** An asynchronous TD exit. async_tdexit_to_vmm. */
export const asyncExit = (
  vcpu: Vcpu,
  regs: SeamcallRegs,
  reason: number,
  {
    status = TDX_SUCCESS,
    qualification = 0n,
    extended = VMX_EEQ_NONE,
    gpa = 0n,
    interruption = 0n,
  }: { status?: bigint; qualification?: bigint; extended?: bigint; gpa?: bigint; interruption?: bigint } = {},
): void => {
  vcpu.state = VCPU_READY
  vcpu.lastExit = 'fault'
  let code = status
  if (status === TDX_NON_RECOVERABLE_VCPU) vcpu.state = VCPU_DISABLED
  else if (status !== TDX_SUCCESS) {
    vcpu.td.fatal = true
    code |= FATAL
  }
  clear(vcpu, regs)
  regs.rax = code | BigInt(reason)
  regs.rcx = qualification
  regs.rdx = extended
  regs.r8 = gpa
  regs.r9 = interruption
}

/** Bits 12:7 tell of the guest's linear address: not for the host. */
const LINEAR_BITS = 0x1f80n

export const eptViolationExit = (
  vcpu: Vcpu,
  regs: SeamcallRegs,
  gpa: bigint,
  qualification: bigint,
  extended: bigint = VMX_EEQ_NONE,
): void =>
  asyncExit(vcpu, regs, EXIT_REASON_EPT_VIOLATION, {
    qualification: qualification & ~LINEAR_BITS,
    extended,
    gpa: gpa & ~0xfffn,
  })

/**
 * The TD exit of a leaf that found an entry of the tree other than it wants it: `type` says which leaf.
 * Requested level, level and state of the entry, whether it is a leaf: vmcs_defs.h, tdaccept_vmx_eeq_info.
 */
export const entryViolationExit = (
  vcpu: Vcpu,
  regs: SeamcallRegs,
  gpa: bigint,
  level: number,
  entry: bigint,
  reached: number,
  type: bigint,
): void => {
  const info = level | (reached << 3) | (stateOfEntry(entry) << 6) | (isLeaf(entry) ? 1 << 14 : 0)
  const rights = (entry & 7n) << 3n
  eptViolationExit(vcpu, regs, gpa, EPT_QUALIFICATION.WRITE | rights, type | (BigInt(info) << 32n))
}

const SUCCESS = Number(TDX_SUCCESS)
const RCX = 1
const RDX = 2
const RBP = 5
const REGISTERS = 16

/** TDG.VP.VMCALL leaves: the registers the guest chose, the others zero. */
export const vmcallExit = (vcpu: Vcpu, cpu: Cpu, regs: SeamcallRegs, mask: number): void => {
  // The host's register file and the guest's have the same order.
  const { words } = regs
  const guest = cpu.words
  const rbpLow = words[2 * RBP]!
  const rbpHigh = words[2 * RBP + 1]!
  for (let n = RDX; n < REGISTERS; n++) {
    const isShown = (mask & (1 << n)) !== 0
    words[2 * n] = isShown ? guest[2 * n]! : 0
    words[2 * n + 1] = isShown ? guest[2 * n + 1]! : 0
  }
  if ((mask & (1 << RBP)) === 0 && vcpu.td.keepsRbp) {
    words[2 * RBP] = rbpLow
    words[2 * RBP + 1] = rbpHigh
  }
  const xmms = mask >>> 16
  if (regs.xmm !== undefined) {
    regs.xmm.fill(0)
    for (let n = 0; n < 16; n++)
      if (((xmms >> n) & 1) === 1)
        regs.xmm.set(cpu.vec.subarray(n * YMM_BYTES, n * YMM_BYTES + XMM_BYTES), n * XMM_BYTES)
  }
  if (seen !== undefined) {
    vcpu.asked = cpu.gpr[10] === 0n ? cpu.gpr[11]! : -1n
    if (vcpu.asked >= 0n) seen(`VMCALL ${vcpu.asked}`, 'asked')
  }
  vcpu.vmcallMask = mask
  vcpu.state = VCPU_READY
  vcpu.lastExit = 'tdvmcall'
  words[0] = EXIT_REASON_TDCALL
  words[1] = 0
  words[2 * RCX] = guest[2 * RCX]!
  words[2 * RCX + 1] = guest[2 * RCX + 1]!
}

/** The host's answer to a TDG.VP.VMCALL: the same registers come back, RAX is success. save_regs_after_tdvmcall. */
export const vmcallReturn = (vcpu: Vcpu, cpu: Cpu, regs: SeamcallRegs): void => {
  const mask = vcpu.vmcallMask
  const { words } = regs
  const guest = cpu.words
  for (let n = RDX; n < REGISTERS; n++) {
    if ((mask & (1 << n)) === 0) continue
    guest[2 * n] = words[2 * n]!
    guest[2 * n + 1] = words[2 * n + 1]!
  }
  const xmms = mask >>> 16
  if (xmms !== 0)
    for (let n = 0; n < 16; n++) {
      if (((xmms >> n) & 1) === 0) continue
      const to = n * YMM_BYTES
      if (regs.xmm === undefined) cpu.vec.fill(0, to, to + XMM_BYTES)
      else cpu.vec.set(regs.xmm.subarray(n * XMM_BYTES, (n + 1) * XMM_BYTES), to)
    }
  if (seen !== undefined && vcpu.asked >= 0n && ((mask >> 10) & 1) === 1) seen(`VMCALL ${vcpu.asked}`, `${cpu.gpr[10]}`)
  guest[0] = SUCCESS
  guest[1] = 0
  guest[2 * RCX] = mask
  guest[2 * RCX + 1] = 0
}
