/** For this room's tests: a bare TD, built as the selftest library does it, over structures in the host's memory. */
import {
  KVM_CAP_SPLIT_IRQCHIP,
  KVM_CREATE_GUEST_MEMFD,
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_ENABLE_CAP,
  KVM_GET_SUPPORTED_CPUID,
  KVM_GET_VCPU_MMAP_SIZE,
  KVM_MEM_GUEST_MEMFD,
  KVM_MEMORY_ATTRIBUTE_PRIVATE,
  KVM_MEMORY_ENCRYPT_OP,
  KVM_RUN,
  KVM_RUN_EXIT,
  KVM_SET_CPUID2,
  KVM_SET_MEMORY_ATTRIBUTES,
  KVM_SET_USER_MEMORY_REGION2,
  KVM_TDX_CAPABILITIES,
  KVM_TDX_FINALIZE_VM,
  KVM_TDX_GET_CPUID,
  KVM_TDX_INIT_MEM_REGION,
  KVM_TDX_INIT_VCPU,
  KVM_TDX_INIT_VM,
  KVM_TDX_MEASURE_MEMORY_REGION,
  KVM_X86_TDX_VM,
  kvm_cpuid2,
  kvm_create_guest_memfd,
  kvm_enable_cap,
  kvm_memory_attributes,
  kvm_run,
  kvm_tdx_capabilities,
  kvm_tdx_cmd,
  kvm_tdx_init_mem_region,
  kvm_tdx_init_vm,
  kvm_userspace_memory_region2,
} from '#abi'
import { type Hva, hva, type Layout, PAGE_SIZE, type struct, type Values } from '#bits'
import { type CpuidEntry, entriesOf, readCpuid, writeCpuid } from './cpuid.ts'
import { Errno } from './errno.ts'
import { Host, type HostOptions } from './host.ts'

type Shape = Parameters<typeof struct>[1]

const SCRATCH = 64 * 1024

/** What a call came to: its result, or the errno's name. */
export const outcome = (run: () => number): number | string => {
  try {
    return run()
  } catch (error) {
    if (error instanceof Errno) return error.code
    throw error
  }
}

/** A host with room for ioctl arguments. */
export class Sample {
  readonly host: Host
  readonly kvm: number
  /** Arguments of ioctls are put here. */
  readonly scratch: Hva

  constructor(options: HostOptions = {}) {
    this.host = new Host(options)
    this.kvm = this.host.open('/dev/kvm')
    this.scratch = this.host.mmap(SCRATCH)
  }

  /** An ioctl with a structure; its bytes stay in the scratch memory. */
  call<S extends Shape>(fd: number, request: number, layout: Layout<S>, values: Partial<Values<S>>): number {
    this.host.write(this.scratch, layout.encode(values))
    return this.host.ioctl(fd, request, this.scratch)
  }

  /** KVM_MEMORY_ENCRYPT_OP. */
  tdx(fd: number, id: number, data = 0n, flags = 0, hw_error = 0n): number {
    return this.call(fd, KVM_MEMORY_ENCRYPT_OP, kvm_tdx_cmd, { id, flags, data, hw_error })
  }

  /** hw_error of the last KVM_MEMORY_ENCRYPT_OP. */
  get hwError(): bigint {
    return this.host.get(kvm_tdx_cmd, this.scratch).hw_error
  }

  createVm(): number {
    return this.host.ioctl(this.kvm, KVM_CREATE_VM, KVM_X86_TDX_VM)
  }

  splitIrqchip(vm: number): number {
    return this.call(vm, KVM_ENABLE_CAP, kvm_enable_cap, { cap: KVM_CAP_SPLIT_IRQCHIP, args: [24n, 0n, 0n, 0n] })
  }

  /** Above the command in the scratch memory. */
  get data(): Hva {
    return hva(this.scratch + 256n)
  }

  /** The configurable CPUID of KVM_TDX_CAPABILITIES. */
  configurable(vm: number): readonly CpuidEntry[] {
    this.host.set(kvm_tdx_capabilities, this.data, { nent: 256 })
    this.tdx(vm, KVM_TDX_CAPABILITIES, this.data)
    const { nent } = this.host.get(kvm_tdx_capabilities, this.data)
    return readCpuid(this.host.space, hva(this.data + BigInt(kvm_tdx_capabilities.size)), nent)
  }

  supported(): readonly CpuidEntry[] {
    this.host.set(kvm_cpuid2, this.data, { nent: 256 })
    this.host.ioctl(this.kvm, KVM_GET_SUPPORTED_CPUID, this.data)
    return readCpuid(this.host.space, entriesOf(this.data), this.host.get(kvm_cpuid2, this.data).nent)
  }

  /** What the selftest library asks for: the supported leaves that are configurable, with their configurable bits. */
  wanted(vm: number): readonly CpuidEntry[] {
    const supported = this.supported()
    return this.configurable(vm).flatMap(row => {
      const entry = supported.find(({ function: leaf, index }) => leaf === row.function && index === row.index)
      if (entry === undefined) return []
      const and = (name: 'eax' | 'ebx' | 'ecx' | 'edx'): number => (entry[name] & row[name]) >>> 0
      return [{ ...entry, eax: and('eax'), ebx: and('ebx'), ecx: and('ecx'), edx: and('edx') }]
    })
  }

  initVm(vm: number, values: Partial<Values<typeof kvm_tdx_init_vm.fields>> = {}, cpuid = this.wanted(vm)): number {
    this.host.write(this.data, kvm_tdx_init_vm.encode({ nent: cpuid.length, ...values }))
    writeCpuid(this.host.space, hva(this.data + BigInt(kvm_tdx_init_vm.size)), cpuid)
    return this.tdx(vm, KVM_TDX_INIT_VM, this.data)
  }

  /** KVM_CREATE_VCPU, GET_CPUID, SET_CPUID2, INIT_VCPU. */
  addVcpu(vm: number, id: number, rcx = 0n): number {
    const vcpu = this.host.ioctl(vm, KVM_CREATE_VCPU, id)
    this.giveCpuid(vcpu)
    this.tdx(vcpu, KVM_TDX_INIT_VCPU, rcx)
    return vcpu
  }

  giveCpuid(vcpu: number): void {
    this.host.set(kvm_cpuid2, this.data, { nent: 256, padding: 0 })
    this.tdx(vcpu, KVM_TDX_GET_CPUID, this.data)
    this.host.ioctl(vcpu, KVM_SET_CPUID2, this.data)
  }

  /** A slot with guest_memfd and host memory of its own. */
  addSlot(vm: number, slot: number, gpa: bigint, pages: number): { hva: Hva; memfd: number } {
    const size = BigInt(pages * PAGE_SIZE)
    const memfd = this.call(vm, KVM_CREATE_GUEST_MEMFD, kvm_create_guest_memfd, { size })
    const at = this.host.mmap(pages * PAGE_SIZE)
    this.call(vm, KVM_SET_USER_MEMORY_REGION2, kvm_userspace_memory_region2, {
      slot,
      flags: KVM_MEM_GUEST_MEMFD,
      guest_phys_addr: gpa,
      memory_size: size,
      userspace_addr: at,
      guest_memfd: memfd,
    })
    return { hva: at, memfd }
  }

  setPrivate(vm: number, gpa: bigint, pages: number, isPrivate = true): number {
    const attributes = isPrivate ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0n
    const size = BigInt(pages * PAGE_SIZE)
    return this.call(vm, KVM_SET_MEMORY_ATTRIBUTES, kvm_memory_attributes, { address: gpa, size, attributes })
  }

  initMemory(vcpu: number, source: Hva, gpa: bigint, pages: number, flags = KVM_TDX_MEASURE_MEMORY_REGION): number {
    this.host.write(this.data, kvm_tdx_init_mem_region.encode({ source_addr: source, gpa, nr_pages: BigInt(pages) }))
    return this.tdx(vcpu, KVM_TDX_INIT_MEM_REGION, this.data, flags)
  }

  /** A TD of one vCPU whose last page below 4 GiB holds `code` at its end, where the reset vector is. `prepare`: before anything else. */
  build(
    code: Uint8Array,
    prepare: (vm: number) => void = () => {},
  ): { vm: number; vcpu: number; memfd: number; page: Hva } {
    const vm = this.createVm()
    prepare(vm)
    this.splitIrqchip(vm)
    this.initVm(vm)
    const gpa = 0xffff_f000n
    const { hva: page, memfd } = this.addSlot(vm, 0, gpa, 1)
    const vcpu = this.addVcpu(vm, 0)
    this.host.write(hva(page + BigInt(PAGE_SIZE - code.length)), code)
    this.setPrivate(vm, gpa, 1)
    this.initMemory(vcpu, page, gpa, 1)
    this.tdx(vm, KVM_TDX_FINALIZE_VM)
    return { vm, vcpu, memfd, page }
  }

  mapRun(vcpu: number): Hva {
    return this.host.mmapFd(vcpu, this.host.ioctl(this.kvm, KVM_GET_VCPU_MMAP_SIZE))
  }

  /** KVM_RUN: what it came to and the exit reason. */
  run(vcpu: number, at: Hva): { result: number | string; reason: number } {
    const result = outcome(() => this.host.ioctl(vcpu, KVM_RUN))
    return { result, reason: this.host.get(kvm_run, at).exit_reason }
  }

  /** The exit-dependent part of kvm_run. */
  exit<S extends Shape>(layout: Layout<S>, at: Hva): Values<S> {
    return this.host.get(layout, hva(at + BigInt(KVM_RUN_EXIT)))
  }

  answer<S extends Shape>(layout: Layout<S>, at: Hva, values: Partial<Values<S>>): void {
    this.host.set(layout, hva(at + BigInt(KVM_RUN_EXIT)), values)
  }
}
