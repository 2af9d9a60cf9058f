/** KVM_RUN: completes the exit before, enters the TD (or the ordinary VM, as ordinary/run.ts does), and turns what comes back into a kvm_run. Linux arch/x86/kvm/x86.c and vmx/tdx.c. */

import {
  KVM_EXIT_DIRTY_RING_FULL,
  KVM_EXIT_EXCEPTION,
  KVM_EXIT_FAIL_ENTRY,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_INTR,
  KVM_EXIT_SHUTDOWN,
  KVM_EXIT_UNKNOWN,
  KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
  KVM_MP_STATE_HALTED,
  KVM_MP_STATE_INIT_RECEIVED,
  KVM_MP_STATE_RUNNABLE,
  KVM_MP_STATE_UNINITIALIZED,
  kvm_run,
  kvm_run_ex,
  kvm_run_fail_entry,
  kvm_run_internal,
  TDH_VP_ENTER,
  TDVMCALL_CPUID,
  TDVMCALL_GET_QUOTE,
  TDVMCALL_GET_TD_VM_CALL_INFO,
  TDVMCALL_HLT,
  TDVMCALL_IO,
  TDVMCALL_MAP_GPA,
  TDVMCALL_MMIO,
  TDVMCALL_RDMSR,
  TDVMCALL_REPORT_FATAL_ERROR,
  TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT,
  TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED,
  TDVMCALL_WRMSR,
  TDX_OPERAND_BUSY,
} from '#abi'
import { hex } from '#bits'
import { WORD } from '#tdx'
import {
  EXIT_REASON_EPT_MISCONFIG,
  EXIT_REASON_EPT_VIOLATION,
  EXIT_REASON_EXCEPTION_NMI,
  EXIT_REASON_EXTERNAL_INTERRUPT,
  EXIT_REASON_TDCALL,
  EXIT_REASON_TRIPLE_FAULT,
} from '#x86'
import { Errno } from './errno.ts'
import { handleCpuid } from './exit/cpuid.ts'
import { handleReportFatalError } from './exit/fatal.ts'
import { handleHlt } from './exit/hlt.ts'
import { handleHypercall } from './exit/hypercall.ts'
import { completeNothing, handleIo } from './exit/io.ts'
import { handleMapGpa } from './exit/mapgpa.ts'
import { handleMmio } from './exit/mmio.ts'
import { handleRdmsr, handleWrmsr } from './exit/msr.ts'
import { handleGetQuote, handleGetTdVmCallInfo, handleSetupEventNotifyInterrupt } from './exit/userspace.ts'
import { handleEptViolation } from './fault.ts'
import type { OrdinaryCpu } from './ordinary/cpu.ts'
import { enterOrdinary } from './ordinary/run.ts'
import { statusOf } from './seam.ts'
import type { Vcpu } from './vcpu.ts'

/** Guest instructions between two of the host's timer interrupts. */
const TICK = 1_000_000
const TDCALL = BigInt(EXIT_REASON_TDCALL)
const ERROR = 1n << 63n
const NON_RECOVERABLE = 1n << 62n
/** VMX exit reason, bit 31: VM-entry failure. */
const ENTRY_FAILURE = 1n << 31n

// Thrown on every completion of a ucall: made once, because an Error with a stack costs more than the completion.
const IMMEDIATE = new Errno('EINTR', 'KVM_RUN: kvm_run.immediate_exit is set')
const SIGNAL = new Errno('EINTR', 'KVM_RUN: a signal is pending')
const BLOCKED = new Errno('EINTR', 'KVM_RUN: the vCPU is halted and nothing is left that could wake it')

const interrupted = (vcpu: Vcpu, why: Errno): Errno => {
  vcpu.exitReason = KVM_EXIT_INTR
  vcpu.counts.signal_exits++
  return why
}

/** A TDVMCALL with R10 = 0. True: enter again. */
const handleTdvmcall = (vcpu: Vcpu): boolean => {
  const { words } = vcpu.args
  switch (words[WORD.R11 + 1] === 0 ? words[WORD.R11]! : -1) {
    case TDVMCALL_MMIO:
      return handleMmio(vcpu)
    case TDVMCALL_IO:
      return handleIo(vcpu)
    case TDVMCALL_CPUID:
      return handleCpuid(vcpu)
    case TDVMCALL_HLT:
      return handleHlt(vcpu)
    case TDVMCALL_RDMSR:
      return handleRdmsr(vcpu)
    case TDVMCALL_WRMSR:
      return handleWrmsr(vcpu)
    case TDVMCALL_MAP_GPA:
      return handleMapGpa(vcpu)
    case TDVMCALL_REPORT_FATAL_ERROR:
      return handleReportFatalError(vcpu)
    case TDVMCALL_GET_TD_VM_CALL_INFO:
      return handleGetTdVmCallInfo(vcpu)
    case TDVMCALL_GET_QUOTE:
      return handleGetQuote(vcpu)
    case TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT:
      return handleSetupEventNotifyInterrupt(vcpu)
    default:
      vcpu.args.r10 = TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED
      return true
  }
}

/** KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: the whole status word and the processor it came from. */
const unexpected = (vcpu: Vcpu): boolean => {
  vcpu.exitReason = KVM_EXIT_INTERNAL_ERROR
  kvm_run_internal.write(vcpu.view, vcpu.exit, {
    suberror: KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
    ndata: 2,
    data: [vcpu.enterStatus, BigInt(vcpu.seam.lp.id)],
  })
  return false
}

/** What VP.ENTER came back with. True: enter again; false: back to userspace. */
const handleExit = (vcpu: Vcpu): boolean => {
  const { words } = vcpu.args
  if (words[WORD.RAX] === EXIT_REASON_TDCALL && words[WORD.RAX + 1] === 0) {
    vcpu.enterStatus = TDCALL
    return (words[WORD.R10]! | words[WORD.R10 + 1]!) === 0 ? handleTdvmcall(vcpu) : handleHypercall(vcpu)
  }
  const { rax } = vcpu.args
  vcpu.enterStatus = rax
  // Zero-step mitigation or a TRACK in progress: not a failure, enter again.
  if (statusOf(rax) === TDX_OPERAND_BUSY) return true
  if (rax === BigInt(EXIT_REASON_EPT_MISCONFIG))
    throw vcpu.vm.bug('KVM_RUN: EPT misconfiguration in shared memory', rax)
  if ((rax & ENTRY_FAILURE) !== 0n) {
    vcpu.exitReason = KVM_EXIT_FAIL_ENTRY
    kvm_run_fail_entry.write(vcpu.view, vcpu.exit, {
      hardware_entry_failure_reason: rax & 0xffff_ffffn,
      cpu: vcpu.seam.lp.id,
    })
    return false
  }
  const reason = Number(rax & 0xffffn)
  if ((rax & (ERROR | NON_RECOVERABLE)) !== 0n && reason !== EXIT_REASON_TRIPLE_FAULT) return unexpected(vcpu)
  switch (reason) {
    case EXIT_REASON_EXTERNAL_INTERRUPT:
      return true
    case EXIT_REASON_EPT_VIOLATION:
      return handleEptViolation(vcpu)
    case EXIT_REASON_TRIPLE_FAULT:
      vcpu.exitReason = KVM_EXIT_SHUTDOWN
      return false
    case EXIT_REASON_TDCALL:
      // With a bus lock pended in bit 26.
      return vcpu.args.r10 === 0n ? handleTdvmcall(vcpu) : handleHypercall(vcpu)
    case EXIT_REASON_EXCEPTION_NMI: {
      const info = Number(vcpu.args.r9 & 0xffff_ffffn)
      const kind = (info >>> 8) & 7
      // NMIs and machine checks have been the host's own.
      if (kind === 2 || (kind === 3 && (info & 0xff) === 18)) return true
      vcpu.exitReason = KVM_EXIT_EXCEPTION
      kvm_run_ex.write(vcpu.view, vcpu.exit, { exception: info & 0xff, error_code: 0 })
      return false
    }
    default:
      return unexpected(vcpu)
  }
}

/** A halted vCPU waits: for an event, a signal, or the host's word that nothing will come. */
const block = (vcpu: Vcpu): void => {
  const { host } = vcpu.vm
  while (!vcpu.hasEvents) {
    if (host.signalPending?.(vcpu.signalMask)) throw interrupted(vcpu, SIGNAL)
    if ((vcpu.ordinary ?? vcpu.posted)?.sleep(host.sleepLimit?.(vcpu.id)) === true) continue
    if (!host.onBlock?.(vcpu.id)) throw interrupted(vcpu, BLOCKED)
  }
  vcpu.mpState = KVM_MP_STATE_RUNNABLE
}

/** A vCPU that waits for INIT and SIPI. */
const awaitStart = (vcpu: Vcpu): void => {
  const { host } = vcpu.vm
  while (vcpu.mpState === KVM_MP_STATE_UNINITIALIZED || vcpu.mpState === KVM_MP_STATE_INIT_RECEIVED) {
    if (host.signalPending?.(vcpu.signalMask)) throw interrupted(vcpu, SIGNAL)
    if (!host.onBlock?.(vcpu.id)) throw interrupted(vcpu, BLOCKED)
  }
}

/** Userspace has to look at the dirty ring before the guest writes more. */
const ringIsFull = (vcpu: Vcpu): boolean => {
  if (vcpu.ring?.isFull !== true) return false
  vcpu.exitReason = KVM_EXIT_DIRTY_RING_FULL
  return true
}

const loopOrdinary = (vcpu: Vcpu, ordinary: OrdinaryCpu): void => {
  const { host } = vcpu.vm
  for (;;) {
    if (vcpu.mpState === KVM_MP_STATE_HALTED) block(vcpu)
    awaitStart(vcpu)
    if (host.signalPending?.(vcpu.signalMask)) throw interrupted(vcpu, SIGNAL)
    if (ringIsFull(vcpu)) return
    vcpu.counts.exits++
    if (!enterOrdinary(vcpu, ordinary, host.quantum?.(vcpu.id) ?? TICK)) return
    vcpu.vm.requireAlive()
  }
}

const loop = (vcpu: Vcpu): void => {
  const { host } = vcpu.vm
  const { module, lp } = vcpu.seam
  const { args } = vcpu
  const { tdvpr } = vcpu
  for (;;) {
    if (vcpu.mpState === KVM_MP_STATE_HALTED) block(vcpu)
    if (host.signalPending?.(vcpu.signalMask)) throw interrupted(vcpu, SIGNAL)
    if (ringIsFull(vcpu)) return
    vcpu.prepareEntry()
    const timer = vcpu.posted?.ticksToTimer ?? TICK
    lp.quantum = Math.max(1, Math.min(host.quantum?.(vcpu.id) ?? TICK, timer))
    args.words[WORD.RAX] = TDH_VP_ENTER
    args.words[WORD.RAX + 1] = 0
    args.words[WORD.RCX] = tdvpr
    args.words[WORD.RCX + 1] = Math.floor(tdvpr / 2 ** 32)
    module.seamcall(lp, args)
    vcpu.counts.exits++
    if (!handleExit(vcpu)) return
    vcpu.vm.requireAlive()
  }
}

const VALID = kvm_run.offset.kvm_valid_regs
const DIRTY = kvm_run.offset.kvm_dirty_regs

/** Does userspace want registers in kvm_run, or want them taken from there? */
const asksForRegisters = ({ view, run: at }: Vcpu): boolean =>
  (view.getUint32(at + VALID, true) |
    view.getUint32(at + VALID + 4, true) |
    view.getUint32(at + DIRTY, true) |
    view.getUint32(at + DIRTY + 4, true)) !==
  0

/** As `run`, with immediate_exit told and not thrown: a ucall's completion ends with it every time. */
export const attempt = (vcpu: Vcpu): number | Errno => {
  const { view, run: at, complete } = vcpu
  const isPlain =
    view.getUint8(at + kvm_run.offset.immediate_exit) !== 0 && complete === completeNothing && !asksForRegisters(vcpu)
  if (!isPlain) return run(vcpu)
  view.setUint16(at + kvm_run.offset.flags, 0, true)
  vcpu.complete = undefined
  vcpu.saveRun()
  return IMMEDIATE
}

/**
 * The ioctl. Returns 0 with kvm_run filled. EINTR: a signal, or immediate_exit; EFAULT with KVM_EXIT_MEMORY_FAULT;
 * EINVAL: the vCPU or the TD is not ready, or kvm_run asks for what a TD does not have; EIO: the VM is dead.
 */
export const run = (vcpu: Vcpu): number => {
  const { view, run: at, vm } = vcpu
  vm.running = vcpu
  view.setUint16(at + kvm_run.offset.flags, 0, true)
  try {
    if (asksForRegisters(vcpu)) {
      const valid = view.getBigUint64(at + kvm_run.offset.kvm_valid_regs, true)
      const dirty = view.getBigUint64(at + kvm_run.offset.kvm_dirty_regs, true)
      throw new Errno('EINVAL', `KVM_RUN: kvm_valid_regs ${hex(valid)}, kvm_dirty_regs ${hex(dirty)}; want 0`)
    }
    const { complete } = vcpu
    if (complete !== undefined) {
      vcpu.complete = undefined
      if (!complete(vcpu)) return 0
    }
    if (view.getUint8(at + kvm_run.offset.immediate_exit) !== 0) throw IMMEDIATE
    const { ordinary } = vcpu
    if (ordinary !== undefined) {
      // Without a local APIC in the kernel, userspace has CR8.
      if (ordinary.apic === undefined) ordinary.cpu.cr8 = view.getBigUint64(at + kvm_run.offset.cr8, true) & 0xfn
      vcpu.exitReason = KVM_EXIT_UNKNOWN
      loopOrdinary(vcpu, ordinary)
      return 0
    }
    if (!vcpu.isInitialized) throw new Errno('EINVAL', `KVM_RUN: vCPU ${vcpu.id} has not had KVM_TDX_INIT_VCPU`)
    if (vm.td.state !== 'runnable') throw new Errno('EINVAL', 'KVM_RUN: the TD has not had KVM_TDX_FINALIZE_VM')
    vcpu.exitReason = KVM_EXIT_UNKNOWN
    loop(vcpu)
    return 0
  } finally {
    vcpu.saveRun()
  }
}
