/** One emulated host: the machine's memory, one host process with its addresses and descriptors, the TDX module, and KVM. */
import { KVM_DIRTY_LOG_PAGE_OFFSET, KVM_IOCTL_NAMES, KVM_RUN, KVM_VCPU_MMAP_SIZE } from '#abi'
import {
  type Hpa,
  type Hva,
  hex,
  hva,
  type Layout,
  NotModelled,
  PAGE_SIZE,
  type Size,
  seen,
  type struct,
  type Values,
} from '#bits'
import { nativeCpuid, type Platform, SAPPHIRE_RAPIDS } from '#tdx'
import { PhysicalMemory } from '#x86'
import { AddressSpace } from './addressspace.ts'
import { ioctlName } from './coverage.ts'
import { type CpuidEntry, supportedCpuid } from './cpuid.ts'
import { Errno } from './errno.ts'
import { EventFd } from './eventfd.ts'
import { Descriptors, type OpenFile } from './file.ts'
import { GuestMemfd } from './guestmemfd.ts'
import { type Inspection, inspect, instructionsOf } from './inspect.ts'
import { Tdx } from './module.ts'
import { attempt, run } from './run.ts'
import { StatsFile } from './stats.ts'
import { type Handler, ORDINARY_VCPU, ORDINARY_VM, SYSTEM, VCPU, VM } from './table.ts'
import { Vcpu } from './vcpu.ts'
import { Vm } from './vm.ts'

type Shape = Parameters<typeof struct>[1]

export type HostOptions = {
  /** Default: a machine of its own. */
  readonly memory?: PhysicalMemory
  /** Of everything random. Default 0. */
  readonly seed?: bigint
  /** Logical processors; the most vCPUs of a TD. Default 64. */
  readonly processors?: number
  /** False: a host without TDX. Default true. */
  readonly tdx?: boolean
  /** The processor under it all. */
  readonly platform?: Platform
  /** The TDX module that `leave` of a host before has left, on the same memory, platform and number of processors. */
  readonly booted?: Tdx
  /** What no KVM does; see `Hack`. */
  readonly hacks?: readonly Hack[]
}

/**
 * Ways in which this KVM is told to differ from any that there is, for tests of what it would be like.
 * `KVM_GET_REGS of a TD`: instead of EINVAL, the registers that the guest has exposed by its last TDG.VP.VMCALL, the others 0: the
 * "test-only hack" with which port I/O with RDI could carry a TD's ucalls (replies to "[PATCH v13 00/22] TDX KVM selftests").
 * `moving a TD to another VM`: KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM and KVM_LINK_GUEST_MEMFD for TDs, and vCPUs of a VM that waits
 * for one, as the RFC "Add TDX intra-host migration" (2025-06) has them.
 */
export type Hack = 'KVM_GET_REGS of a TD' | 'moving a TD to another VM'

/** What KVM_GET_SUPPORTED_CPUID answers, by what it follows from. */
const supported = new WeakMap<Platform, readonly CpuidEntry[]>()

/** /dev/kvm, opened. */
const openKvm = (): OpenFile => ({ kind: 'kvm', references: 0, release: () => {} })

/**
 * Addresses are HVAs, structures are bytes at HVAs as in the UAPI. Every failure is an `Errno`;
 * what real KVM has and this one does not is `NotModelled`.
 */
export class Host {
  readonly memory: PhysicalMemory
  readonly platform: Platform
  readonly processors: number
  readonly hasTdx: boolean
  /** Empty on every honest host. */
  readonly hacks: Set<Hack>
  /**
   * Is a signal pending for the process? Asked when KVM_RUN begins and at each timer tick of the host. `blocked`: signals, from
   * bit 0 for the first, that are blocked meanwhile instead of the process's own (KVM_SET_SIGNAL_MASK).
   */
  signalPending: ((blocked?: bigint) => boolean) | undefined
  /** Instructions until the host's next timer tick, asked whenever a vCPU is entered. A million where nobody answers. */
  quantum: ((vcpuId: number) => number) | undefined
  /** A vCPU is halted and KVM knows nothing that would wake it. True: look again; false: KVM_RUN ends with EINTR. */
  onBlock: ((vcpuId: number) => boolean) | undefined
  /** Ticks of the TSC that may go by at most while a vCPU is halted, asked each time; without a number, all until its timer. */
  sleepLimit: ((vcpuId: number) => number | undefined) | undefined
  /** Told of every page that KVM_TDX_INIT_MEM_REGION adds to a TD, in order; `content` is the page as it was added. */
  onPageAdded: ((vm: Vm, gpa: bigint, content: Uint8Array, isMeasured: boolean) => void) | undefined
  readonly space: AddressSpace
  readonly descriptors = new Descriptors()
  readonly vms = new Set<Vm>()
  readonly seed: bigint
  readonly #usedAtStart: number
  /** Frames that the booted TDX module holds for good. */
  #resident = 0
  #tdx: Tdx | undefined

  constructor({
    memory,
    seed = 0n,
    processors = 64,
    tdx = true,
    platform = SAPPHIRE_RAPIDS,
    hacks = [],
    booted,
  }: HostOptions = {}) {
    this.memory = memory ?? new PhysicalMemory()
    this.platform = platform
    this.processors = processors
    this.hasTdx = tdx
    this.hacks = new Set(hacks)
    this.seed = seed
    if (booted?.reset(seed) === true) this.#tdx = booted
    else booted?.close()
    this.#usedAtStart = this.memory.used
    this.space = new AddressSpace(this.memory)
    this.space.onUnmap = (start, end) => {
      for (const vm of this.vms) vm.unmapHost(start, end)
    }
  }

  /** The TDX module, booted when the first TD needs it. */
  tdx(): Tdx {
    if (this.#tdx === undefined) {
      const before = this.memory.used
      this.#tdx = new Tdx(this.memory, this.platform, this.processors, this.seed)
      this.#resident = this.memory.used - before
    }
    return this.#tdx
  }

  /** What KVM_GET_SUPPORTED_CPUID answers. */
  supportedCpuid(): readonly CpuidEntry[] {
    const { platform } = this
    const known = supported.get(platform)
    if (known !== undefined) return known
    const entries = supportedCpuid(
      (leaf, subleaf) => nativeCpuid(platform, leaf, subleaf),
      platform.ept5 ? platform.physicalAddressBits : 48,
    )
    supported.set(platform, entries)
    return entries
  }

  /** Frames of the machine that the process and its VMs hold: 0 once everything is closed and unmapped. */
  get framesInUse(): number {
    return this.memory.used - this.#usedAtStart - this.#resident
  }

  /** Anonymous memory, page by page on first touch. ENOMEM. */
  mmap(bytes: number): Hva {
    return this.space.mmap(bytes)
  }

  munmap(at: Hva, bytes: number): void {
    this.space.munmap(at, bytes)
  }

  /** A copy of bytes of the process. EFAULT. */
  read(at: Hva, length: number): Uint8Array {
    return this.space.read(at, length)
  }

  /** Bytes of the process for a look, good until it or the kernel writes there. EFAULT. */
  peek(at: Hva, length: number): Uint8Array {
    return this.space.peek(at, length)
  }

  write(at: Hva, bytes: Uint8Array): void {
    this.space.write(at, bytes)
  }

  /** The unsigned integer of `size` bytes at `at`; page-crossing is fine. */
  load(at: Hva, size: Size): bigint {
    return this.space.load(at, size)
  }

  store(at: Hva, size: Size, value: bigint): void {
    this.space.store(at, size, value)
  }

  /** Reads a structure. */
  get<S extends Shape>(layout: Layout<S>, at: Hva): Values<S> {
    return this.space.get(layout, at)
  }

  /** Writes a structure: the named fields, and zero in all others. */
  put<S extends Shape>(layout: Layout<S>, at: Hva, values: Partial<Values<S>>): void {
    this.space.put(layout, at, values)
  }

  /** Writes the named fields of a structure. */
  set<S extends Shape>(layout: Layout<S>, at: Hva, values: Partial<Values<S>>): void {
    this.space.set(layout, at, values)
  }

  /** Where a byte of the process is in `memory`, good up to the end of its page and until it is unmapped. EFAULT. */
  hpa(at: Hva): Hpa {
    return this.space.hpa(at)
  }

  /** The same for an address as a number. */
  place(address: number): Hpa {
    return this.space.place(address)
  }

  /** ENOENT for any other path. */
  open(path: string): number {
    if (path !== '/dev/kvm') throw new Errno('ENOENT', `open: ${path}; this host has /dev/kvm`)
    return this.descriptors.open(openKvm())
  }

  /** eventfd(2): a descriptor of a counter. */
  eventfd(count = 0n): number {
    return this.descriptors.open(new EventFd(count))
  }

  /** write(2) to an eventfd. EBADF, EINVAL, EAGAIN. */
  signalEventfd(fd: number, value = 1n): void {
    this.#eventfd(fd).write(value)
  }

  /** read(2) of an eventfd. EBADF, EINVAL, EAGAIN. */
  readEventfd(fd: number): bigint {
    return this.#eventfd(fd).read()
  }

  /** pread(2) of statistics (KVM_GET_STATS_FD): as many bytes as there are. EBADF, EINVAL. */
  pread(fd: number, length: number, offset: number): Uint8Array {
    const file = this.descriptors.get(fd)
    if (!(file instanceof StatsFile)) throw new Errno('EINVAL', `pread: descriptor ${fd} is a ${file.kind}`)
    return file.read(offset, length)
  }

  #eventfd(fd: number): EventFd {
    const file = this.descriptors.get(fd)
    if (!(file instanceof EventFd)) throw new Errno('EINVAL', `descriptor ${fd} is a ${file.kind}, not an eventfd`)
    return file
  }

  /** Drops the descriptor; what nothing refers to any more is destroyed. EBADF. */
  close(fd: number): void
  /** The machine is switched off: the process ends, the TDX module's memory goes back. Throws where a frame is missing. */
  close(): void
  close(fd?: number): void {
    if (fd === undefined) this.#powerOff()
    else this.descriptors.close(fd)
  }

  /** The process ends: descriptors closed in order, all memory unmapped. Throws where a frame did not come back. */
  exit(): void {
    this.descriptors.closeAll()
    this.space.unmapAll()
    const leaked = this.framesInUse
    if (leaked !== 0) throw new Error(`${leaked} frames did not come back from the host process and its VMs`)
  }

  /** The process ends, the machine stays on: gives the TDX module, if it was booted, for the next host. */
  leave(): Tdx | undefined {
    this.exit()
    const booted = this.#tdx
    this.#tdx = undefined
    return booted
  }

  #powerOff(): void {
    this.exit()
    this.#tdx?.close()
    this.#tdx = undefined
    this.#resident = 0
  }

  /**
   * Maps a vCPU's kvm_run and what follows it, its dirty ring at KVM_DIRTY_LOG_PAGE_OFFSET pages, or a guest_memfd that says it
   * may be. EINVAL, ENODEV.
   */
  mmapFd(fd: number, length: number, offset = 0): Hva {
    const file = this.descriptors.get(fd)
    if (file instanceof GuestMemfd && file.isMappable) {
      const wanted = Math.ceil(length / PAGE_SIZE)
      if (!(length > 0) || wanted > file.pages || offset !== 0)
        throw new Errno('EINVAL', `mmap: ${length} bytes of ${file.pages} pages`)
      return this.space.mapFile(file, file.allFrames().slice(0, wanted))
    }
    if (!(file instanceof Vcpu)) throw new Errno('ENODEV', `mmap: a ${file.kind} descriptor cannot be mapped`)
    const isRing = offset === KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE
    const pages = Math.ceil(length / PAGE_SIZE)
    const mapped = isRing ? (file.ring?.pages ?? []) : offset === 0 ? file.pages : []
    if (!(length > 0) || pages > mapped.length) {
      const there = `KVM_GET_VCPU_MMAP_SIZE is ${KVM_VCPU_MMAP_SIZE}, the dirty ring has ${file.vm.dirtyRingBytes}`
      throw new Errno('EINVAL', `mmap: ${length} bytes of a vCPU from ${offset}; ${there}`)
    }
    return this.space.mapFile(file, mapped.slice(0, pages))
  }

  /** The ioctl's result, 0 or more. `arg` is a value or an HVA. Errno; NotModelled. */
  ioctl(fd: number, request: number, arg: bigint | number = 0): number {
    return seen === undefined ? this.#ioctl(fd, request, arg) : this.#noted(seen, fd, request, arg)
  }

  /**
   * KVM_RUN as a caller makes it that expects EINTR: an EINTR of immediate_exit is returned, since to throw it costs more than
   * all the rest. Otherwise as `ioctl`.
   */
  attemptRun(fd: number): number | Errno {
    const file = this.descriptors.get(fd)
    // Who watches ioctls sees this one too.
    const isWatched = seen !== undefined || this.ioctl !== Host.prototype.ioctl
    if (!(file instanceof Vcpu) || isWatched) return this.ioctl(fd, KVM_RUN)
    file.vm.requireAlive()
    return attempt(file)
  }

  /** The same, noted for coverage. */
  #noted(note: (what: string, answer: string) => void, fd: number, request: number, arg: bigint | number): number {
    const name = ioctlName(request, () => Number(this.space.load(hva(BigInt(arg)), 4)))
    try {
      const result = this.#ioctl(fd, request, arg)
      note(name, 'done')
      return result
    } catch (error) {
      if (error instanceof Errno) note(name, error.code)
      throw error
    }
  }

  #ioctl(fd: number, request: number, arg: bigint | number): number {
    const file = this.descriptors.get(fd)
    if (file instanceof Vcpu) {
      file.vm.requireAlive()
      if (request === KVM_RUN) return run(file)
      return this.#call(file.vm.isTd ? VCPU : ORDINARY_VCPU, file, request, arg, 'vCPU')
    }
    if (file instanceof Vm) {
      file.requireAlive()
      return this.#call(file.isTd ? VM : ORDINARY_VM, file, request, arg, 'VM')
    }
    if (file.kind === 'kvm') return this.#call(SYSTEM, this, request, arg, '/dev/kvm')
    throw new Errno('ENOTTY', `ioctl ${hex(request)} on a ${file.kind} descriptor`)
  }

  #call<T>(
    table: ReadonlyMap<number, Handler<T>>,
    file: T,
    request: number,
    arg: bigint | number,
    what: string,
  ): number {
    const handler = table.get(request)
    if (handler !== undefined) return handler(file, BigInt.asUintN(64, BigInt(arg)))
    const name = KVM_IOCTL_NAMES.get(request)
    if (name === undefined) throw new Errno('ENOTTY', `ioctl ${hex(request)} is none that a ${what} has`)
    if (SYSTEM.has(request) || VM.has(request) || VCPU.has(request) || request === KVM_RUN) {
      throw new Errno('ENOTTY', `${name} is not an ioctl of a ${what}`)
    }
    throw new NotModelled(`${name} of a ${what}`)
  }

  /**
   * The host's kernel, or a device, writes to a private page of a TD, which no process of the host can: memory integrity
   * makes the TD's next access to it a machine check. EBADF; EINVAL: no TD; ENOENT: no private page is mapped there.
   */
  poison(vmFd: number, gpa: bigint): void {
    const file = this.descriptors.get(vmFd)
    if (!(file instanceof Vm) || !file.isTd) throw new Errno('EINVAL', `poison: descriptor ${vmFd} is no TD`)
    const frame = file.td.sept.frame(Number(gpa >> 12n))
    if (frame === undefined) throw new Errno('ENOENT', `poison: the TD has no private page at ${hex(gpa)}`)
    file.td.tdx.module.hostWrote(frame)
  }

  /** Instructions that a vCPU has run, as `inspect` tells them. EBADF, EINVAL. */
  instructions(vcpuFd: number): number {
    return instructionsOf(this.#vcpu(vcpuFd))
  }

  #vcpu(vcpuFd: number): Vcpu {
    const file = this.descriptors.get(vcpuFd)
    if (!(file instanceof Vcpu))
      throw new Errno('EINVAL', `inspect: descriptor ${vcpuFd} is a ${file.kind}, not a vCPU`)
    return file
  }

  /** The emulator's own debugger: what no host of a real TD could see. EBADF, EINVAL: no vCPU. */
  inspect(vcpuFd: number): Inspection {
    return inspect(this.#vcpu(vcpuFd))
  }
}
