/** The rest of an ordinary vCPU's state: FPU, XSAVE, XCRs, debug registers, pending events, local APIC. Linux arch/x86/kvm/x86.c. */
import {
  KVM_VCPUEVENT_VALID_NMI_PENDING,
  KVM_VCPUEVENT_VALID_SHADOW,
  KVM_VCPUEVENT_VALID_SIPI_VECTOR,
  KVM_VCPUEVENT_VALID_SMM,
  KVM_X86_SHADOW_INT_MOV_SS,
  KVM_X86_SHADOW_INT_STI,
  kvm_debugregs,
  kvm_fpu,
  kvm_interrupt,
  kvm_lapic_state,
  kvm_translation,
  kvm_vcpu_events,
  kvm_xcr,
  kvm_xcrs,
  kvm_xsave,
} from '#abi'
import { hex, hva } from '#bits'
import { completeXsetbv, Fault, loadArea, saveArea, translate } from '#x86'
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'
import { ordinaryOf } from './regs.ts'

const FX_SIZE = 512
const XSAVE_SIZE = 4096
/** Where FXSAVE has the x87 registers, the XMM registers and MXCSR. */
const FX = { ST: 32, XMM: 160, MXCSR: 24 }

export const getFpu = (vcpu: Vcpu, arg: bigint): number => {
  const area = saveArea(ordinaryOf(vcpu).cpu, FX_SIZE)
  const view = new DataView(area.buffer)
  vcpu.vm.host.space.set(kvm_fpu, hva(arg), {
    fpr: area.slice(FX.ST, FX.ST + 128),
    fcw: view.getUint16(0, true),
    fsw: view.getUint16(2, true),
    ftwx: view.getUint8(4),
    pad1: 0,
    last_opcode: view.getUint16(6, true),
    last_ip: view.getBigUint64(8, true),
    last_dp: view.getBigUint64(16, true),
    xmm: area.slice(FX.XMM, FX.XMM + 256),
    mxcsr: view.getUint32(FX.MXCSR, true),
  })
  return 0
}

/** MXCSR is left as it is, as KVM leaves it. */
export const setFpu = (vcpu: Vcpu, arg: bigint): number => {
  const { cpu } = ordinaryOf(vcpu)
  const fpu = vcpu.vm.host.space.get(kvm_fpu, hva(arg))
  const area = saveArea(cpu, FX_SIZE)
  const view = new DataView(area.buffer)
  area.set(fpu.fpr, FX.ST)
  area.set(fpu.xmm, FX.XMM)
  view.setUint16(0, fpu.fcw, true)
  view.setUint16(2, fpu.fsw, true)
  view.setUint8(4, fpu.ftwx)
  view.setUint16(6, fpu.last_opcode, true)
  view.setBigUint64(8, fpu.last_ip, true)
  view.setBigUint64(16, fpu.last_dp, true)
  loadArea(cpu, area)
  return 0
}

export const getXsave = (vcpu: Vcpu, arg: bigint): number => {
  vcpu.vm.host.space.set(kvm_xsave, hva(arg), { region: saveArea(ordinaryOf(vcpu).cpu, XSAVE_SIZE) })
  return 0
}

/** EINVAL: a header with components that there are not, or a reserved bit of MXCSR. */
export const setXsave = (vcpu: Vcpu, arg: bigint): number => {
  const { region } = vcpu.vm.host.space.get(kvm_xsave, hva(arg))
  if (!loadArea(ordinaryOf(vcpu).cpu, region)) {
    throw new Errno('EINVAL', 'KVM_SET_XSAVE: the area is none that XRSTOR takes: XSTATE_BV or MXCSR has unknown bits')
  }
  return 0
}

export const getXcrs = (vcpu: Vcpu, arg: bigint): number => {
  const xcrs = new Uint8Array(256)
  kvm_xcr.write(new DataView(xcrs.buffer), 0, { xcr: 0, reserved: 0, value: ordinaryOf(vcpu).cpu.xcr0 })
  vcpu.vm.host.space.set(kvm_xcrs, hva(arg), { nr_xcrs: 1, flags: 0, xcrs })
  return 0
}

/** EINVAL: flags, too many registers, or a value that XSETBV refuses. Registers other than XCR0 are passed over. */
export const setXcrs = (vcpu: Vcpu, arg: bigint): number => {
  const { cpu } = ordinaryOf(vcpu)
  const { nr_xcrs, flags, xcrs } = vcpu.vm.host.space.get(kvm_xcrs, hva(arg))
  if (nr_xcrs > 16 || flags !== 0) throw new Errno('EINVAL', `KVM_SET_XCRS: ${nr_xcrs} registers, flags ${flags}`)
  const view = new DataView(xcrs.buffer, xcrs.byteOffset)
  for (let i = 0; i < nr_xcrs; i++) {
    const { xcr, value } = kvm_xcr.read(view, i * kvm_xcr.size)
    if (xcr !== 0) continue
    try {
      completeXsetbv(cpu, 0, value)
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault
      throw new Errno('EINVAL', `KVM_SET_XCRS: XCR0 ${hex(value)} is none that XSETBV takes`)
    }
  }
  return 0
}

export const getDebugregs = (vcpu: Vcpu, arg: bigint): number => {
  const { dr } = ordinaryOf(vcpu).cpu
  vcpu.vm.host.space.set(kvm_debugregs, hva(arg), {
    db: dr.slice(0, 4),
    dr6: dr[6]!,
    dr7: dr[7]!,
    flags: 0n,
    reserved: Array.from({ length: 9 }, () => 0n),
  })
  return 0
}

/** EINVAL: flags, or upper halves of DR6 and DR7. */
export const setDebugregs = (vcpu: Vcpu, arg: bigint): number => {
  const { cpu } = ordinaryOf(vcpu)
  const { db, dr6, dr7, flags } = vcpu.vm.host.space.get(kvm_debugregs, hva(arg))
  if (flags !== 0n || dr6 >> 32n !== 0n || dr7 >> 32n !== 0n) {
    throw new Errno('EINVAL', `KVM_SET_DEBUGREGS: DR6 ${hex(dr6)}, DR7 ${hex(dr7)}, flags ${hex(flags)}`)
  }
  for (const [n, value] of db.entries()) cpu.dr[n] = value
  cpu.dr[6] = dr6 | 0xffff_0ff0n
  cpu.dr[7] = dr7 | 0x400n
  return 0
}

const SHADOW = { none: 0, sti: KVM_X86_SHADOW_INT_STI, 'mov-ss': KVM_X86_SHADOW_INT_MOV_SS } as const

export const getVcpuEvents = (vcpu: Vcpu, arg: bigint): number => {
  const { ordinary } = vcpu
  // Of a TD only the NMI that KVM has not handed over is known.
  const pending = ordinary === undefined ? vcpu.isNmiPending : ordinary.cpu.pending.some(({ kind }) => kind === 'nmi')
  const exception = ordinary?.cpu.pending.find(({ kind }) => kind === 'exception')
  const { external } = vcpu
  vcpu.vm.host.space.write(
    hva(arg),
    kvm_vcpu_events.encode({
      exception_injected: exception === undefined ? 0 : 1,
      exception_nr: exception?.vector ?? 0,
      exception_has_error_code: exception?.errorCode === undefined ? 0 : 1,
      exception_error_code: exception?.errorCode ?? 0,
      interrupt_injected: external === undefined ? 0 : 1,
      interrupt_nr: external ?? 0,
      interrupt_shadow: ordinary === undefined ? 0 : SHADOW[ordinary.cpu.shadow],
      nmi_pending: pending ? 1 : 0,
      nmi_masked: ordinary?.cpu.nmiBlocked === true ? 1 : 0,
      flags: KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM,
    }),
  )
  return 0
}

const KNOWN_EVENTS =
  KVM_VCPUEVENT_VALID_NMI_PENDING |
  KVM_VCPUEVENT_VALID_SIPI_VECTOR |
  KVM_VCPUEVENT_VALID_SHADOW |
  KVM_VCPUEVENT_VALID_SMM
/** smm, pending, smm_inside_nmi, latched_init. */
const OF_SMM = 3

/**
 * EINVAL: flags of what this KVM does not offer (payloads, triple faults), an exception that is none, or system management
 * mode, which there is not.
 */
export const setVcpuEvents = (vcpu: Vcpu, arg: bigint): number => {
  const ordinary = ordinaryOf(vcpu)
  const { cpu } = ordinary
  const events = vcpu.vm.host.space.get(kvm_vcpu_events, hva(arg))
  if ((events.flags & ~KNOWN_EVENTS) !== 0) {
    throw new Errno('EINVAL', `KVM_SET_VCPU_EVENTS: flags ${events.flags}; this KVM has ${KNOWN_EVENTS}`)
  }
  const { exception_injected: isException, exception_nr: vector } = events
  if (isException !== 0 && (vector > 31 || vector === 2)) {
    throw new Errno('EINVAL', `KVM_SET_VCPU_EVENTS: exception ${vector}; want 0 to 31, and not 2, which is the NMI`)
  }
  const isInSmm = events.smi.subarray(0, OF_SMM).some(byte => byte !== 0)
  if ((events.flags & KVM_VCPUEVENT_VALID_SMM) !== 0 && isInSmm)
    throw new Errno('EINVAL', 'KVM_SET_VCPU_EVENTS: there is no system management mode here')
  cpu.pending.splice(0, cpu.pending.length, ...cpu.pending.filter(({ source }) => source !== undefined))
  if (isException !== 0) {
    const errorCode = events.exception_has_error_code === 0 ? {} : { errorCode: events.exception_error_code }
    cpu.inject({ vector, kind: 'exception', ...errorCode })
  }
  vcpu.external = events.interrupt_injected === 0 ? undefined : events.interrupt_nr
  if ((events.flags & KVM_VCPUEVENT_VALID_SHADOW) !== 0) {
    const shadow = events.interrupt_shadow
    cpu.shadow =
      (shadow & KVM_X86_SHADOW_INT_MOV_SS) !== 0 ? 'mov-ss' : (shadow & KVM_X86_SHADOW_INT_STI) !== 0 ? 'sti' : 'none'
  }
  const isNmi = (events.flags & KVM_VCPUEVENT_VALID_NMI_PENDING) !== 0 && events.nmi_pending !== 0
  if (isNmi || events.nmi_injected !== 0) ordinary.nmi()
  cpu.nmiBlocked = events.nmi_masked !== 0
  return 0
}

/** EINVAL: without KVM's own local APIC. */
export const getLapic = (vcpu: Vcpu, arg: bigint): number => {
  const { apic } = ordinaryOf(vcpu)
  if (apic === undefined) throw new Errno('EINVAL', 'KVM_GET_LAPIC: the VM has no irqchip')
  vcpu.vm.host.space.set(kvm_lapic_state, hva(arg), { regs: apic.save() })
  return 0
}

export const setLapic = (vcpu: Vcpu, arg: bigint): number => {
  const { apic } = ordinaryOf(vcpu)
  if (apic === undefined) throw new Errno('EINVAL', 'KVM_SET_LAPIC: the VM has no irqchip')
  apic.load(vcpu.vm.host.space.get(kvm_lapic_state, hva(arg)).regs)
  return 0
}

/** EINVAL: no vector; ENXIO: KVM has the interrupt controller; EEXIST: one waits already. Linux kvm_vcpu_ioctl_interrupt. */
export const interrupt = (vcpu: Vcpu, arg: bigint): number => {
  const { irq } = vcpu.vm.host.space.get(kvm_interrupt, hva(arg))
  if (irq > 255) throw new Errno('EINVAL', `KVM_INTERRUPT: vector ${irq} is not below 256`)
  const { irqchip } = vcpu.vm
  if (irqchip === 'kernel') throw new Errno('ENXIO', 'KVM_INTERRUPT: KVM has the interrupt controller of this VM')
  if (irqchip === 'split' && vcpu.external !== undefined) {
    throw new Errno('EEXIST', `KVM_INTERRUPT: vector ${vcpu.external} has not been taken yet`)
  }
  vcpu.external = irq
  return 0
}

/** Always 0: `valid` says whether the guest's page tables map the address. */
export const translateAddress = (vcpu: Vcpu, arg: bigint): number => {
  const { space } = vcpu.vm.host
  const { linear_address: linear } = space.get(kvm_translation, hva(arg))
  const gpa = translate(ordinaryOf(vcpu).cpu, linear)
  space.set(kvm_translation, hva(arg), {
    physical_address: gpa ?? 0xffff_ffff_ffff_ffffn,
    valid: gpa === undefined ? 0 : 1,
    writeable: 1,
    usermode: 0,
  })
  return 0
}
