/** KVM_GET/SET_REGS, SREGS, SREGS2: the registers of an ordinary VM's vCPU. Linux arch/x86/kvm/x86.c, __get_regs, __set_sregs_common. */
import {
  CR0_PG,
  CR4_PAE,
  EFER_LMA,
  EFER_LME,
  IA32_APIC_BASE,
  KVM_SREGS2_FLAGS_PDPTRS_VALID,
  kvm_dtable,
  kvm_regs,
  kvm_segment,
  kvm_sregs,
  kvm_sregs2,
  RIGHTS,
} from '#abi'
import { hex, hva } from '#bits'
import { type Cpu, CS, DS, ES, FS, GS, type SegmentRegister, SS, type TableRegister } from '#x86'
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'
import type { OrdinaryCpu } from './cpu.ts'

/** The processor of a vCPU that is no TD's. */
export const ordinaryOf = ({ ordinary }: Vcpu): OrdinaryCpu => {
  if (ordinary === undefined) throw new Error("a TD's vCPU has no processor of KVM's")
  return ordinary
}

/** kvm_regs's order of the register numbers. */
const ORDER = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const
const UPPER = ['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const
const NAMES = [...ORDER, ...UPPER]

export const getRegs = (vcpu: Vcpu, arg: bigint): number => {
  const { cpu } = ordinaryOf(vcpu)
  const gpr = Object.fromEntries(NAMES.map((name, n) => [name, cpu.gpr[n]!]))
  vcpu.vm.host.space.set(kvm_regs, hva(arg), { ...gpr, rip: cpu.rip, rflags: cpu.rflags })
  return 0
}

/** What was to be injected is dropped, as KVM clears a pending exception. */
export const setRegs = (vcpu: Vcpu, arg: bigint): number => {
  const { cpu } = ordinaryOf(vcpu)
  const regs = vcpu.vm.host.space.get(kvm_regs, hva(arg))
  for (const [n, name] of NAMES.entries()) cpu.gpr[n] = regs[name]
  cpu.rip = regs.rip
  cpu.rflags = regs.rflags
  cpu.refresh()
  return 0
}

const segmentBytes = ({ base, limit, selector, rights }: SegmentRegister): Uint8Array =>
  kvm_segment.encode({
    base,
    limit,
    selector,
    type: rights & 15,
    s: (rights >> 4) & 1,
    dpl: (rights >> 5) & 3,
    present: (rights >> 7) & 1,
    avl: (rights >> 12) & 1,
    l: (rights >> 13) & 1,
    db: (rights >> 14) & 1,
    g: (rights >> 15) & 1,
    unusable: (rights & RIGHTS.UNUSABLE) === 0 ? 0 : 1,
  })

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

/** A segment that is not present, or said to be so, is unusable. Linux arch/x86/kvm/vmx/vmx.c, vmx_segment_access_rights. */
const setSegment = (to: SegmentRegister, bytes: Uint8Array): void => {
  const s = kvm_segment.read(viewOf(bytes), 0)
  let rights = (s.type & 15) | ((s.s & 1) << 4) | ((s.dpl & 3) << 5) | ((s.present & 1) << 7)
  rights |= ((s.avl & 1) << 12) | ((s.l & 1) << 13) | ((s.db & 1) << 14) | ((s.g & 1) << 15)
  if (s.unusable !== 0 || s.present === 0) rights |= RIGHTS.UNUSABLE
  to.set(s.selector, s.base, s.limit, rights)
}

const tableBytes = ({ base, limit }: TableRegister): Uint8Array => kvm_dtable.encode({ base, limit })
const setTable = (to: TableRegister, bytes: Uint8Array): void => {
  const { base, limit } = kvm_dtable.read(viewOf(bytes), 0)
  to.base = base
  to.limit = limit
}

const SEGMENTS = [
  ['es', ES],
  ['cs', CS],
  ['ss', SS],
  ['ds', DS],
  ['fs', FS],
  ['gs', GS],
] as const

const common = (vcpu: Vcpu, cpu: Cpu) => ({
  ...(Object.fromEntries(SEGMENTS.map(([name, n]) => [name, segmentBytes(cpu.segments[n]!)])) as Record<
    (typeof SEGMENTS)[number][0],
    Uint8Array
  >),
  tr: segmentBytes(cpu.tr),
  ldt: segmentBytes(cpu.ldtr),
  gdt: tableBytes(cpu.gdtr),
  idt: tableBytes(cpu.idtr),
  cr0: cpu.cr0,
  cr2: cpu.cr2,
  cr3: cpu.cr3,
  cr4: cpu.cr4,
  cr8: cpu.cr8,
  efer: cpu.efer,
  apic_base: ordinaryOf(vcpu).apic?.base ?? cpu.msrs.get(IA32_APIC_BASE),
})

export const getSregs = (vcpu: Vcpu, arg: bigint): number => {
  const { cpu } = ordinaryOf(vcpu)
  const { external } = vcpu
  const interrupt_bitmap = [0n, 0n, 0n, 0n]
  if (external !== undefined) interrupt_bitmap[external >>> 6] = 1n << BigInt(external & 63)
  vcpu.vm.host.space.set(kvm_sregs, hva(arg), { ...common(vcpu, cpu), interrupt_bitmap })
  return 0
}

const isPae = (cpu: Cpu): boolean =>
  (cpu.cr0 & CR0_PG) !== 0n && (cpu.cr4 & CR4_PAE) !== 0n && (cpu.efer & EFER_LMA) === 0n

export const getSregs2 = (vcpu: Vcpu, arg: bigint): number => {
  const { cpu } = ordinaryOf(vcpu)
  const pdptrs = isPae(cpu) ? [...cpu.pdptes] : []
  const flags = isPae(cpu) ? KVM_SREGS2_FLAGS_PDPTRS_VALID : 0n
  vcpu.vm.host.space.set(kvm_sregs2, hva(arg), { ...common(vcpu, cpu), flags, pdptrs })
  return 0
}

type Sregs = Omit<ReturnType<typeof kvm_sregs2.read>, 'flags' | 'pdptrs'>

/** Linux arch/x86/kvm/x86.c, kvm_is_valid_sregs. */
const check = (what: string, { cr0, cr4, efer, cs }: Sregs): void => {
  const invalid = (why: string): Errno => new Errno('EINVAL', `${what}: ${why}`)
  const isLong = (efer & EFER_LME) !== 0n && (cr0 & CR0_PG) !== 0n
  if (isLong && ((cr4 & CR4_PAE) === 0n || (efer & EFER_LMA) === 0n)) {
    throw invalid(`EFER ${hex(efer)} and CR4 ${hex(cr4)}: with EFER.LME and CR0.PG there are EFER.LMA and CR4.PAE`)
  }
  if (!isLong && ((efer & EFER_LMA) !== 0n || viewOf(cs).getUint8(kvm_segment.offset.l) !== 0)) {
    throw invalid(`EFER ${hex(efer)}: no EFER.LMA and no 64-bit CS without EFER.LME and CR0.PG`)
  }
  if (cr0 >> 32n !== 0n) throw invalid(`CR0 ${hex(cr0)} has reserved bits`)
  if ((cr0 & CR0_PG) !== 0n && (cr0 & 1n) === 0n) throw invalid(`CR0 ${hex(cr0)}: paging without protection`)
  if (cr4 >> 32n !== 0n) throw invalid(`CR4 ${hex(cr4)} has reserved bits`)
}

const setCommon = (vcpu: Vcpu, what: string, sregs: Sregs): void => {
  const { cpu, apic } = ordinaryOf(vcpu)
  check(what, sregs)
  if (apic !== undefined) apic.base = sregs.apic_base
  else cpu.msrs.set(IA32_APIC_BASE, sregs.apic_base)
  for (const [name, n] of SEGMENTS) setSegment(cpu.segments[n]!, sregs[name])
  setSegment(cpu.tr, sregs.tr)
  setSegment(cpu.ldtr, sregs.ldt)
  setTable(cpu.gdtr, sregs.gdt)
  setTable(cpu.idtr, sregs.idt)
  cpu.cr0 = sregs.cr0
  cpu.cr2 = sregs.cr2
  cpu.cr3 = sregs.cr3
  cpu.cr4 = sregs.cr4
  cpu.cr8 = sregs.cr8
  cpu.efer = sregs.efer
  cpu.refresh()
}

/** EINVAL: registers that no processor holds together. The highest bit of interrupt_bitmap is an interrupt to be injected. */
export const setSregs = (vcpu: Vcpu, arg: bigint): number => {
  const { interrupt_bitmap, ...sregs } = vcpu.vm.host.space.get(kvm_sregs, hva(arg))
  setCommon(vcpu, 'KVM_SET_SREGS', sregs)
  for (const [n, word] of interrupt_bitmap.entries())
    for (let bit = 0; bit < 64; bit++) if (((word >> BigInt(bit)) & 1n) !== 0n) vcpu.external = n * 64 + bit
  return 0
}

/** EINVAL: as KVM_SET_SREGS; unknown flags, or PDPTRs outside PAE paging. */
export const setSregs2 = (vcpu: Vcpu, arg: bigint): number => {
  const { flags, pdptrs, ...sregs } = vcpu.vm.host.space.get(kvm_sregs2, hva(arg))
  const { cpu } = ordinaryOf(vcpu)
  if ((flags & ~KVM_SREGS2_FLAGS_PDPTRS_VALID) !== 0n) {
    throw new Errno('EINVAL', `KVM_SET_SREGS2: flags ${hex(flags)}; want 0 or ${KVM_SREGS2_FLAGS_PDPTRS_VALID}`)
  }
  const willBePae = (sregs.cr0 & CR0_PG) !== 0n && (sregs.cr4 & CR4_PAE) !== 0n && (sregs.efer & EFER_LMA) === 0n
  if (flags !== 0n && !willBePae) throw new Errno('EINVAL', 'KVM_SET_SREGS2: PDPTRs are valid in PAE paging only')
  setCommon(vcpu, 'KVM_SET_SREGS2', sregs)
  if (flags !== 0n) cpu.pdptes = pdptrs
  return 0
}
