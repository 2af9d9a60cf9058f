/**
 * KVM_SET_GUEST_DEBUG of an ordinary VM's vCPU: userspace steps the guest, or stops it at addresses, with KVM_EXIT_DEBUG.
 * Linux arch/x86/kvm/x86.c, kvm_arch_vcpu_ioctl_set_guest_debug; SDM Vol. 3B, "Debug Registers".
 * A guest that is debugged runs instruction by instruction: what it does is the same, and the guest cannot tell.
 */
import {
  KVM_EXIT_DEBUG,
  KVM_GUESTDBG_ENABLE,
  KVM_GUESTDBG_INJECT_BP,
  KVM_GUESTDBG_INJECT_DB,
  KVM_GUESTDBG_SINGLESTEP,
  KVM_GUESTDBG_USE_HW_BP,
  KVM_GUESTDBG_USE_SW_BP,
  kvm_guest_debug,
  kvm_run_debug,
  VECTOR_BP,
  VECTOR_DB,
} from '#abi'
import { gva, hva } from '#bits'
import { type Breakpoints, breakpointsIn, CS, EXIT_REASON_EXCEPTION_NMI, type VmExit } from '#x86'
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'
import type { OrdinaryCpu } from './cpu.ts'

/** What userspace asked for. */
export type GuestDebug = {
  readonly isStepped: boolean
  /** INT3 is userspace's. */
  readonly hasSoftware: boolean
  /** Linear addresses of instructions, by number of the debug register; undefined where it is off. */
  readonly addresses: readonly (bigint | undefined)[]
  readonly dr7: bigint
  /** Of accesses to data; the guest's own count as long as there are any of userspace's. */
  readonly data: Breakpoints | undefined
}

const INT3 = 0xcc
const RF = 1n << 16n
/** DR6 with nothing in it, as a processor with RTM and bus locks has it; BS. */
const DR6_FIXED = 0xffff_0ff0n
const DR6_BS = 0x4000n
const DR7_FIXED = 0x400n

/** DR7 with the breakpoints alone that are data's: those of ports never meet an IN or OUT, which leaves the guest before. */
const dataOf = (dr: readonly bigint[], dr7: bigint): Breakpoints | undefined => {
  let enabled = 0n
  for (let n = 0n; n < 4n; n++) if (((dr7 >> (16n + 4n * n)) & 1n) === 1n) enabled |= 3n << (2n * n)
  return breakpointsIn([...dr.slice(0, 7), dr7 & (enabled | 0xffff_0000n)], false)
}

/** EBUSY: an exception is pending already. */
export const setGuestDebug = (vcpu: Vcpu, arg: bigint): number => {
  const { control, debugreg } = vcpu.vm.host.space.get(kvm_guest_debug, hva(arg))
  const { ordinary } = vcpu
  if (ordinary === undefined) throw new Error('a TD has no registers for userspace')
  const { cpu } = ordinary
  if ((control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP)) !== 0) {
    if (cpu.pending.some(({ kind }) => kind === 'exception'))
      throw new Errno('EBUSY', 'KVM_SET_GUEST_DEBUG: an exception is pending already')
    cpu.inject({ vector: (control & KVM_GUESTDBG_INJECT_DB) !== 0 ? VECTOR_DB : VECTOR_BP, kind: 'exception' })
  }
  if ((control & KVM_GUESTDBG_ENABLE) === 0) {
    ordinary.debug = undefined
    return 0
  }
  const dr7 = (control & KVM_GUESTDBG_USE_HW_BP) !== 0 ? (debugreg[7] ?? 0n) : DR7_FIXED
  const addresses = [0, 1, 2, 3].map(n => {
    if (((dr7 >> BigInt(2 * n)) & 3n) === 0n) return undefined
    return ((dr7 >> BigInt(16 + 4 * n)) & 3n) === 0n ? (debugreg[n] ?? 0n) : undefined
  })
  ordinary.debug = {
    isStepped: (control & KVM_GUESTDBG_SINGLESTEP) !== 0,
    hasSoftware: (control & KVM_GUESTDBG_USE_SW_BP) !== 0,
    addresses,
    dr7,
    data: dataOf(debugreg, dr7),
  }
  return 0
}

const exitDebug = (vcpu: Vcpu, exception: number, pc: bigint, dr6: bigint, dr7: bigint): false => {
  vcpu.exitReason = KVM_EXIT_DEBUG
  kvm_run_debug.write(vcpu.view, vcpu.exit, { exception, pc, dr6, dr7 })
  return false
}

const linear = ({ cpu }: OrdinaryCpu): bigint => (cpu.mode === 64 ? cpu.rip : cpu.segments[CS]!.base + cpu.rip)

/** The first byte of the next instruction, undefined where the guest could not fetch it. */
const nextByte = (ordinary: OrdinaryCpu): number | undefined => {
  try {
    return ordinary.cpu.readBytes(gva(linear(ordinary)), 1)[0]
  } catch {
    // A fault or an exit: the instruction will meet it itself.
    return undefined
  }
}

/** Is the guest at an address at which it is to stop? Then kvm_run says so. */
export const stopsBefore = (vcpu: Vcpu, ordinary: OrdinaryCpu, debug: GuestDebug): boolean => {
  const { cpu } = ordinary
  // An event comes first, and the instruction after it.
  if (cpu.pending.length > 0) return false
  const pc = linear(ordinary)
  const hit = debug.addresses.indexOf(pc)
  if (hit >= 0 && (cpu.rflags & RF) === 0n) {
    exitDebug(vcpu, VECTOR_DB, pc, DR6_FIXED | (1n << BigInt(hit)), debug.dr7)
    return true
  }
  if (debug.hasSoftware && nextByte(ordinary) === INT3) {
    exitDebug(vcpu, VECTOR_BP, pc, 0n, 0n)
    return true
  }
  return false
}

/** One instruction, which stops at userspace's data. What userspace answers of it is none that a breakpoint meets. */
export const step = (ordinary: OrdinaryCpu, { data }: GuestDebug): { exit: VmExit | undefined; met: bigint } => {
  const { cpu } = ordinary
  if (data === undefined) return { exit: cpu.step(), met: 0n }
  let met = 0n
  const { onFault } = cpu
  cpu.debugger = data
  cpu.onFault = ({ vector, dr6 }) => {
    if (vector !== VECTOR_DB) return 'deliver'
    met = dr6
    return 'stop'
  }
  const exit = cpu.step()
  cpu.debugger = undefined
  cpu.onFault = onFault
  cpu.refresh()
  return exit?.reason === EXIT_REASON_EXCEPTION_NMI ? { exit: undefined, met } : { exit, met: 0n }
}

/** Userspace's data has been met by the instruction that is over. */
export const stopsAfter = (vcpu: Vcpu, ordinary: OrdinaryCpu, debug: GuestDebug, met: bigint): false =>
  exitDebug(vcpu, VECTOR_DB, linear(ordinary), DR6_FIXED | met | (debug.isStepped ? DR6_BS : 0n), debug.dr7)

/** An instruction is over. True: on with the guest; false: userspace wanted one. */
export const goesOn = (vcpu: Vcpu, ordinary: OrdinaryCpu, debug: GuestDebug): boolean =>
  !debug.isStepped || exitDebug(vcpu, VECTOR_DB, linear(ordinary), DR6_FIXED | DR6_BS, debug.dr7)
