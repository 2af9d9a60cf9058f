/** A TD, or an ordinary VM, put together with KVM's ioctls, in the order of the KVM selftests' library ("TDX KVM selftests" v13, lib/x86/tdx/tdx_util.c). */
import {
  GUEST_MEMFD_FLAG_INIT_SHARED,
  GUEST_MEMFD_FLAG_MMAP,
  KVM_CAP_SPLIT_IRQCHIP,
  KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM,
  KVM_CAP_VM_TYPES,
  KVM_CHECK_EXTENSION,
  KVM_CREATE_GUEST_MEMFD,
  KVM_CREATE_IRQCHIP,
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_GET_SUPPORTED_CPUID,
  KVM_GET_VCPU_MMAP_SIZE,
  KVM_LINK_GUEST_MEMFD,
  KVM_MAX_CPUID_ENTRIES,
  KVM_MEM_GUEST_MEMFD,
  KVM_MEMORY_ATTRIBUTE_PRIVATE,
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
  KVM_X86_DEFAULT_VM,
  KVM_X86_TDX_VM,
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_create_guest_memfd,
  kvm_link_guest_memfd,
  kvm_memory_attributes,
  kvm_tdx_capabilities,
  kvm_tdx_init_mem_region,
  kvm_tdx_init_vm,
  kvm_userspace_memory_region2,
} from '#abi'
import { type Gpa, type Hva, hex, hva, PAGE_SIZE } from '#bits'
import { Errno } from '#kvm'
import { filterCpuid, keptList } from './cpuid.ts'
import { Skip } from './failure.ts'
import { call, enableCap, tdxCall, tdxCommand } from './ioctl.ts'
import type { Machine } from './machine.ts'

/** Pins of the split irqchip, as the selftests' library asks for. */
const IRQCHIP_PINS = 24n

export type TdParams = {
  /** TD_PARAMS.ATTRIBUTES. */
  readonly attributes?: bigint
  readonly xfam?: bigint
  readonly gpaWidth?: 48 | 52
  /** 48 bytes each. */
  readonly mrconfigid?: Uint8Array
  readonly mrowner?: Uint8Array
  readonly mrownerconfig?: Uint8Array
}

/** Guest memory with its two backings: host memory, and a guest_memfd for what is private. */
export type Slot = {
  readonly id: number
  readonly gpa: Gpa
  /** Bytes, whole pages. */
  readonly size: number
  readonly at: Hva
  /** Runs of pages that the TD starts with: offset and bytes. */
  readonly runs: { readonly offset: number; size: number }[]
  /** The guest_memfd's descriptor. */
  readonly memfd?: number
  /** Private and shared accesses go to the same page. */
  readonly inPlace?: boolean
}

/** Guest memory beside what the guest itself needs, as a test asks for it. */
export type SlotOptions = {
  /** KVM's number: not 0, and not those of the boot regions (20 and 21). */
  readonly slot: number
  readonly gpa: bigint
  /** Bytes, whole pages. */
  readonly size: number
  /** Backed by a guest_memfd too, as all of a TD's memory unless this says no. */
  readonly memfd?: boolean
  /** One page for both: the guest_memfd is mapped by the host, and converted in place (GUEST_MEMFD_FLAG_MMAP and INIT_SHARED). */
  readonly inPlace?: boolean
  /** Measured into the TD before it is finalized: its private memory then, with what `fill` says. */
  readonly isPrivate?: boolean
  /** A byte that host memory is filled with beforehand. */
  readonly fill?: number
  /** KVM_MEM_*; KVM_MEM_GUEST_MEMFD is added by itself. */
  readonly flags?: number
}

/** Interrupt controllers of an ordinary VM. `kernel`: KVM_CREATE_IRQCHIP, as the selftests' library makes it. */
export type Irqchip = 'none' | 'split' | 'kernel'

/** A vCPU's descriptor and its kvm_run. */
export type VcpuFile = { readonly fd: number; readonly run: Hva }

/** What the first TD of a machine learned about its KVM. */
export type Learned = {
  /** Entries of KVM_TDX_CAPABILITIES. */
  capabilities: number
  vcpuBytes: number
}

export class Vm {
  readonly machine: Machine
  readonly fd: number
  readonly gpaWidth: 48 | 52
  readonly slots: Slot[] = []
  readonly vcpus: VcpuFile[] = []
  readonly #memfds: number[] = []

  /** Is it a TD? */
  readonly isTd: boolean

  /** KVM_CREATE_VM to KVM_TDX_INIT_VM; of an ordinary VM, to its irqchip. Throws Skip where KVM has no TDs. */
  constructor(machine: Machine, params: TdParams | { readonly irqchip: Irqchip } | { readonly from: Vm }) {
    const { host, kvm } = machine
    this.machine = machine
    this.isTd = !('irqchip' in params)
    if ('irqchip' in params) {
      this.gpaWidth = 48
      this.fd = host.ioctl(kvm, KVM_CREATE_VM, KVM_X86_DEFAULT_VM)
      machine.closing.push(() => this.close())
      if (params.irqchip === 'kernel') host.ioctl(this.fd, KVM_CREATE_IRQCHIP)
      if (params.irqchip === 'split') enableCap(machine, this.fd, KVM_CAP_SPLIT_IRQCHIP, IRQCHIP_PINS)
      return
    }
    this.gpaWidth = 'from' in params ? params.from.gpaWidth : (params.gpaWidth ?? 48)
    const types = host.ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES)
    if ((types & (1 << KVM_X86_TDX_VM)) === 0)
      throw new Skip(`KVM has no TDs: KVM_CAP_VM_TYPES is ${hex(types)}, without bit ${KVM_X86_TDX_VM}`)
    this.fd = host.ioctl(kvm, KVM_CREATE_VM, KVM_X86_TDX_VM)
    machine.closing.push(() => this.close())
    enableCap(machine, this.fd, KVM_CAP_SPLIT_IRQCHIP, IRQCHIP_PINS)
    if ('from' in params) this.#take(params.from)
    else this.#init(params)
  }

  /** The TD of another VM moves here, with its memory: KVM selftests' vm_migrate_mem_regions and tdx_migrate_from of the RFC of 2025-06. */
  #take(from: Vm): void {
    const { machine } = this
    const { host, learned } = machine
    for (const _ of from.vcpus) {
      const fd = host.ioctl(this.fd, KVM_CREATE_VCPU, this.vcpus.length)
      this.vcpus.push({ fd, run: host.mmapFd(fd, learned.vcpuBytes) })
    }
    for (const slot of from.slots.splice(0)) {
      const link = { fd: BigInt(slot.memfd ?? -1) }
      const memfd =
        slot.memfd === undefined ? undefined : call(machine, this.fd, KVM_LINK_GUEST_MEMFD, kvm_link_guest_memfd, link)
      call(machine, this.fd, KVM_SET_USER_MEMORY_REGION2, kvm_userspace_memory_region2, {
        slot: slot.id,
        flags: memfd === undefined ? 0 : KVM_MEM_GUEST_MEMFD,
        guest_phys_addr: slot.gpa,
        memory_size: BigInt(slot.size),
        userspace_addr: slot.at,
        ...(memfd === undefined ? {} : { guest_memfd: memfd }),
      })
      if (memfd !== undefined) this.#memfds.push(memfd)
      this.slots.push({ ...slot, ...(memfd === undefined ? {} : { memfd }) })
    }
    enableCap(machine, this.fd, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, BigInt(from.fd))
  }

  /** GPA bit that makes an address shared; of an ordinary VM none does. */
  get sharedBit(): bigint {
    return !this.isTd ? 0n : 1n << BigInt(this.gpaWidth - 1)
  }

  #init(params: TdParams): void {
    const cpuid = filterCpuid(this.#supportedCpuid(), this.#configurableCpuid(), this.gpaWidth)
    const { attributes = 0n, xfam = 0n, mrconfigid, mrowner, mrownerconfig } = params
    const head = kvm_tdx_init_vm.encode({
      attributes,
      xfam,
      ...(mrconfigid === undefined ? {} : { mrconfigid }),
      ...(mrowner === undefined ? {} : { mrowner }),
      ...(mrownerconfig === undefined ? {} : { mrownerconfig }),
      nent: cpuid.length / kvm_cpuid_entry2.size,
    })
    const data = new Uint8Array(head.length + cpuid.length)
    data.set(head)
    data.set(cpuid, head.length)
    tdxCommand(this.machine, this.fd, KVM_TDX_INIT_VM, data)
  }

  #supportedCpuid(): Uint8Array {
    const { machine } = this
    const { host, kvm, scratch } = machine
    call(machine, kvm, KVM_GET_SUPPORTED_CPUID, kvm_cpuid2, { nent: KVM_MAX_CPUID_ENTRIES })
    const nent = Number(host.load(scratch, 4))
    return keptList(host.peek(hva(scratch + BigInt(kvm_cpuid2.size)), nent * kvm_cpuid_entry2.size))
  }

  /** KVM_TDX_CAPABILITIES with as many entries as it takes: 32 at first, twice as many after each E2BIG. */
  #configurableCpuid(): Uint8Array {
    const { machine } = this
    for (;;) {
      const nent = machine.learned.capabilities
      try {
        const data = new Uint8Array(kvm_tdx_capabilities.size)
        kvm_tdx_capabilities.set(new DataView(data.buffer), 0, 'nent', nent)
        const at = tdxCommand(machine, this.fd, KVM_TDX_CAPABILITIES, data)
        const found = Number(machine.host.load(hva(at + BigInt(kvm_tdx_capabilities.offset.nent)), 4))
        return keptList(machine.host.peek(hva(at + BigInt(kvm_tdx_capabilities.size)), found * kvm_cpuid_entry2.size))
      } catch (error) {
        if (!(error instanceof Errno) || error.code !== 'E2BIG') throw error
        machine.learned.capabilities = nent * 2
      }
    }
  }

  /** A memory slot of `size` bytes at `at`, backed by host memory and, unless `memfd` says no, by a guest_memfd of its own. */
  addSlot(
    id: number,
    at: Gpa,
    size: number,
    { memfd = this.isTd, flags = 0, inPlace = false }: Partial<SlotOptions> = {},
  ): Slot {
    const { machine, fd } = this
    const { host } = machine
    const memfdFlags = inPlace ? GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED : 0n
    const file = memfd
      ? call(machine, fd, KVM_CREATE_GUEST_MEMFD, kvm_create_guest_memfd, { size: BigInt(size), flags: memfdFlags })
      : undefined
    const memory = inPlace && file !== undefined ? host.mmapFd(file, size) : host.mmap(size)
    call(machine, fd, KVM_SET_USER_MEMORY_REGION2, kvm_userspace_memory_region2, {
      slot: id,
      flags: flags | (memfd ? KVM_MEM_GUEST_MEMFD : 0),
      guest_phys_addr: at,
      memory_size: BigInt(size),
      userspace_addr: memory,
      ...(file === undefined ? {} : { guest_memfd: file }),
    })
    if (file !== undefined) this.#memfds.push(file)
    const slot: Slot = {
      id,
      gpa: at,
      size,
      at: memory,
      runs: [],
      inPlace,
      ...(file === undefined ? {} : { memfd: file }),
    }
    this.slots.push(slot)
    return slot
  }

  /** KVM_CREATE_VCPU to KVM_TDX_INIT_VCPU, or KVM_SET_CPUID2. A TD's vCPU keeps the CPUID that the TDX module gave the TD. */
  addVcpu(): VcpuFile {
    const { machine } = this
    const { host, learned } = machine
    const fd = host.ioctl(this.fd, KVM_CREATE_VCPU, this.vcpus.length)
    if (learned.vcpuBytes === 0) learned.vcpuBytes = host.ioctl(machine.kvm, KVM_GET_VCPU_MMAP_SIZE, 0)
    const run = host.mmapFd(fd, learned.vcpuBytes)
    const vcpu = { fd, run }
    this.vcpus.push(vcpu)
    if (!this.isTd) {
      call(machine, machine.kvm, KVM_GET_SUPPORTED_CPUID, kvm_cpuid2, { nent: KVM_MAX_CPUID_ENTRIES })
      host.ioctl(fd, KVM_SET_CPUID2, machine.scratch)
      return vcpu
    }
    // The list that comes back is the list that goes in: a kvm_cpuid2 each time.
    const cpuid = tdxCommand(machine, fd, KVM_TDX_GET_CPUID, kvm_cpuid2.encode({ nent: KVM_MAX_CPUID_ENTRIES }))
    host.ioctl(fd, KVM_SET_CPUID2, cpuid)
    tdxCall(machine, fd, KVM_TDX_INIT_VCPU, 0n)
    return vcpu
  }

  /** Measured private memory: every run of every slot, with the content that host memory has there. */
  addPrivateMemory(): void {
    const first = this.vcpus[0]
    if (!this.isTd) return
    if (first === undefined) throw new Error('a TD gets its memory through its first vCPU, and has none')
    const { machine, fd } = this
    for (const slot of this.slots)
      for (const { offset, size } of slot.runs) {
        const address = slot.gpa + BigInt(offset)
        call(machine, fd, KVM_SET_MEMORY_ATTRIBUTES, kvm_memory_attributes, {
          address,
          size: BigInt(size),
          attributes: KVM_MEMORY_ATTRIBUTE_PRIVATE,
        })
        const region = kvm_tdx_init_mem_region.encode({
          source_addr: slot.inPlace === true ? 0n : slot.at + BigInt(offset),
          gpa: address,
          nr_pages: BigInt(size / PAGE_SIZE),
        })
        tdxCommand(machine, first.fd, KVM_TDX_INIT_MEM_REGION, region, KVM_TDX_MEASURE_MEMORY_REGION)
      }
  }

  finalize(): void {
    if (this.isTd) tdxCall(this.machine, this.fd, KVM_TDX_FINALIZE_VM, 0n)
  }

  /** Host address of a GPA (without the shared bit) in one of the slots, or undefined. */
  hostAddress(at: bigint, length: number): Hva | undefined {
    for (const slot of this.slots) {
      const offset = at - slot.gpa
      if (offset >= 0n && offset + BigInt(length) <= BigInt(slot.size)) return hva(slot.at + offset)
    }
    return undefined
  }

  /** Closes every descriptor and gives the memory back. */
  close(): void {
    const { host, learned } = this.machine
    for (const { fd, run } of this.vcpus) {
      host.munmap(run, learned.vcpuBytes)
      host.close(fd)
    }
    host.close(this.fd)
    for (const memfd of this.#memfds) host.close(memfd)
    for (const slot of this.slots) host.munmap(slot.at, slot.size)
  }
}
