/** For this room's tests: an ordinary VM of one slot of memory, whose vCPUs run assembled code in flat 64-bit mode. */
import {
  CR0_PE,
  CR0_PG,
  CR4_OSFXSR,
  CR4_PAE,
  EFER_LMA,
  EFER_LME,
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_GET_SUPPORTED_CPUID,
  KVM_SET_CPUID2,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_USER_MEMORY_REGION,
  KVM_X86_DEFAULT_VM,
  kvm_cpuid2,
  kvm_dtable,
  kvm_regs,
  kvm_segment,
  kvm_sregs,
  kvm_userspace_memory_region,
} from '#abi'
import { type Hva, hva, type Values } from '#bits'
import { assemble } from '#x86'
import type { HostOptions } from '../host.ts'
import { Sample } from '../sample.ts'

export const MEMORY = 0x20_0000
export const CODE = 0x1000n
/** Page tables: 1 GiB with one level of 2 MiB pages, the identity. */
const [PML4, PDPT, PD] = [0x10_0000n, 0x10_1000n, 0x10_2000n]
export const IDT = 0x10_3000n
const STACK = 0x10_8000n

const CODE64 = { base: 0n, limit: 0xffff_ffff, selector: 8, type: 11, present: 1, s: 1, l: 1, g: 1 }
const DATA = { base: 0n, limit: 0xffff_ffff, selector: 16, type: 3, present: 1, s: 1, g: 1, db: 1 }

export class OrdinarySample extends Sample {
  readonly vm: number
  /** Host address of GPA 0. */
  readonly memory: Hva
  constructor(options: HostOptions = {}, prepare: (sample: OrdinarySample) => void = () => {}) {
    super({ tdx: false, ...options })
    this.vm = this.host.ioctl(this.kvm, KVM_CREATE_VM, KVM_X86_DEFAULT_VM)
    prepare(this)
    this.memory = this.host.mmap(MEMORY)
    this.slot(0, 0n, MEMORY, this.memory)
    const put = (at: bigint, value: bigint) => this.host.store(hva(this.memory + at), 8, value)
    put(PML4, PDPT | 3n)
    for (let n = 0n; n < 4n; n++) put(PDPT + 8n * n, (PD + (n === 3n ? 0x8000n : 0n)) | 3n)
    for (let n = 0n; n < 512n; n++) put(PD + 8n * n, (n << 21n) | 0x83n)
    // The last GiB below 4 GiB: the local APIC's page.
    for (let n = 0n; n < 512n; n++) put(PD + 0x8000n + 8n * n, ((n + 1536n) << 21n) | 0x83n)
    // GDT: 64-bit code, data.
    put(0x8n, 0x00af_9b00_0000_ffffn)
    put(0x10n, 0x00cf_9300_0000_ffffn)
  }

  slot(slot: number, gpa: bigint, size: number, at: Hva, flags = 0): number {
    return this.call(this.vm, KVM_SET_USER_MEMORY_REGION, kvm_userspace_memory_region, {
      slot,
      flags,
      guest_phys_addr: gpa,
      memory_size: BigInt(size),
      userspace_addr: at,
    })
  }

  /** Assembled code at `at`; its labels. */
  code(text: string, at = CODE): Readonly<Record<string, bigint>> {
    const { bytes, labels } = assemble(text, { mode: 64, at })
    this.host.write(hva(this.memory + at), bytes)
    return labels
  }

  /** An interrupt gate. */
  gate(vector: number, to: bigint): void {
    const at = hva(this.memory + IDT + BigInt(16 * vector))
    this.host.store(at, 8, (to & 0xffffn) | 0x0000_8e00_0008_0000n | ((to >> 16n) << 48n))
    this.host.store(hva(at + 8n), 8, to >> 32n)
  }

  /** A vCPU in 64-bit mode at CODE, with everything that KVM supports in its CPUID. */
  vcpu(id = 0, rip = CODE): number {
    const vcpu = this.host.ioctl(this.vm, KVM_CREATE_VCPU, id)
    this.host.set(kvm_cpuid2, this.data, { nent: 256 })
    this.host.ioctl(this.kvm, KVM_GET_SUPPORTED_CPUID, this.data)
    this.host.ioctl(vcpu, KVM_SET_CPUID2, this.data)
    this.host.ioctl(vcpu, KVM_GET_SREGS, this.data)
    const data = kvm_segment.encode(DATA)
    this.host.set(kvm_sregs, this.data, {
      cs: kvm_segment.encode(CODE64),
      ds: data,
      es: data,
      fs: data,
      gs: data,
      ss: data,
      gdt: kvm_dtable.encode({ base: 0n, limit: 0x17 }),
      idt: kvm_dtable.encode({ base: IDT, limit: 0xfff }),
      cr0: CR0_PE | CR0_PG | 0x10n,
      cr3: PML4,
      cr4: CR4_PAE | CR4_OSFXSR,
      efer: EFER_LME | EFER_LMA,
    })
    this.host.ioctl(vcpu, KVM_SET_SREGS, this.data)
    this.setRegs(vcpu, { rip, rsp: STACK - BigInt(id * 0x400), rflags: 2n })
    return vcpu
  }

  regs(vcpu: number): Values<typeof kvm_regs.fields> {
    this.host.ioctl(vcpu, KVM_GET_REGS, this.data)
    return this.host.get(kvm_regs, this.data)
  }

  setRegs(vcpu: number, values: Partial<Values<typeof kvm_regs.fields>>): void {
    this.host.ioctl(vcpu, KVM_GET_REGS, this.data)
    this.host.set(kvm_regs, this.data, values)
    this.host.ioctl(vcpu, KVM_SET_REGS, this.data)
  }
}
