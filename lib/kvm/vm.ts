/** A virtual machine: memory slots, attributes, vCPUs, and the TD they make up where it is one. */
import { type KVM_X86_DEFAULT_VM, KVM_X86_TDX_VM } from '#abi'
import { type Hpa, type Hva, hva, PAGE_SIZE } from '#bits'
import type { Apic } from '#x86'
import { APIC_BUS_CYCLE_NS } from './apicclock.ts'
import { Bus } from './bus.ts'
import { SharedEpt } from './ept.ts'
import { Errno } from './errno.ts'
import type { EventFd } from './eventfd.ts'
import { drop, type OpenFile } from './file.ts'
import type { Host } from './host.ts'
import { type Memslot, Memslots, markDirty } from './memslot.ts'
import { MsrFilter } from './msrfilter.ts'
import type { Irqchip } from './ordinary/irqchip.ts'
import { MemslotStage } from './ordinary/stage.ts'
import { Ranges } from './ranges.ts'
import type { Routes } from './route.ts'
import type { BugOn } from './sept.ts'
import { Td } from './td.ts'
import type { Vcpu } from './vcpu.ts'

/** KVM_IRQFD: who listens to an eventfd, and what goes with it. */
export type Irqfd = { readonly gsi: number; readonly heard: () => void; readonly close: () => void }

/**
 * Lives as long as a file refers to it: its own descriptor, a vCPU's or a guest_memfd's.
 * Not modelled: KVM_X86_SW_PROTECTED_VM and SEV's VM types (KVM_CREATE_VM: EINVAL, as on a host that has none).
 */
export class Vm implements OpenFile {
  readonly kind = 'vm'
  references = 0
  readonly host: Host
  readonly type: typeof KVM_X86_DEFAULT_VM | typeof KVM_X86_TDX_VM
  #td: Td | undefined
  readonly #stage: MemslotStage | undefined
  readonly slots = new Memslots()
  /** Guest frame numbers with KVM_MEMORY_ATTRIBUTE_PRIVATE. */
  private = new Ranges()
  /** By vCPU id, in order of creation. */
  readonly vcpus = new Map<number, Vcpu>()
  maxVcpus: number
  /** `kernel`: KVM_CREATE_IRQCHIP; `split`: local APICs only. */
  irqchip: 'none' | 'split' | 'kernel' = 'none'
  /** The PICs and the I/O APIC, where they are in the kernel. */
  chips: Irqchip | undefined
  /** KVM_SET_GSI_ROUTING. */
  routes: Routes = new Map()
  /** KVM_IRQFD: eventfds that are interrupts. */
  readonly irqfds = new Map<EventFd, Irqfd>()
  /** KVM_X2APIC_API_USE_32BIT_IDS. */
  hasX2apicIds = false
  /** KVM_CAP_EXIT_HYPERCALL: bit n = hypercall n exits to userspace. */
  exitHypercalls = 0n
  /** KVM_CAP_X86_USER_SPACE_MSR: KVM_MSR_EXIT_REASON_* that exit to userspace. */
  userSpaceMsr = 0
  readonly msrFilter = new MsrFilter()
  tscKhz: number
  /** KVM_SET_BOOT_CPU_ID: the vCPU that starts by itself. */
  bootCpu = 0
  /** KVM_CAP_X86_APIC_BUS_CYCLES_NS. */
  apicBusCycleNs = APIC_BUS_CYCLE_NS
  /** KVM_SET_CLOCK: what the VM's clock is ahead of its vCPUs' time. */
  clockOffset = 0n
  /** KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: KVM_DIRTY_LOG_*. */
  manualDirtyLog = 0n
  /** KVM_CAP_DIRTY_LOG_RING: bytes of each vCPU's ring; 0 where slots have bitmaps. */
  dirtyRingBytes = 0
  /** The vCPU whose KVM_RUN this is. */
  running: Vcpu | undefined
  /** Writes that KVM takes itself. */
  readonly bus: Bus
  /** Statistics: how often the guest's translations were dropped. */
  readonly counts = { remote_tlb_flush: 0 }
  /** Why the VM is dead (a "bugged" VM: every ioctl gives EIO), or undefined. */
  dead: string | undefined
  #sharedEpt: SharedEpt | undefined

  constructor(host: Host, type: Vm['type'], maxVcpus: number) {
    this.host = host
    this.type = type
    this.maxVcpus = maxVcpus
    this.tscKhz = host.platform.tscFrequency * 25_000
    this.bus = new Bus(host.memory)
    if (type === KVM_X86_TDX_VM) this.#td = new Td(host.tdx(), this.#bugOn)
    else this.#stage = new MemslotStage(this, host.platform.ept5 ? host.platform.physicalAddressBits : 48)
    host.vms.add(this)
  }

  readonly #bugOn: BugOn = (status, what) => this.bug(`SEAMCALL ${what} failed`, status)

  /** The TD of `from` is this VM's from now on, with its memory attributes; `from` is dead. Its vCPUs are moved by the caller. */
  takeTd(from: Vm): void {
    const empty = this.#td
    this.#td = from.#td
    from.#td = empty
    this.td.bugOn = this.#bugOn
    from.td.bugOn = from.#bugOn
    const attributes = this.private
    this.private = from.private
    from.private = attributes
    this.tscKhz = from.tscKhz
    from.dead = 'its TD has moved to another VM'
  }

  get isTd(): boolean {
    return this.#td !== undefined
  }

  /** The TD of a KVM_X86_TDX_VM. */
  get td(): Td {
    if (this.#td === undefined) throw new Error('an ordinary VM is no TD')
    return this.#td
  }

  /** The memory of an ordinary VM. */
  get stage(): MemslotStage {
    if (this.#stage === undefined) throw new Error('the memory of a TD is not mapped by KVM alone')
    return this.#stage
  }

  /** The local APICs that KVM keeps, one for each vCPU. */
  get apics(): readonly Apic[] {
    return [...this.vcpus.values()].flatMap(({ apic }) => apic ?? [])
  }

  /** Does KVM take a guest's write itself, with no exit? */
  takesWrite(isPort: boolean, at: bigint, size: number, value: bigint): boolean {
    return !this.bus.isEmpty && this.bus.write(isPort, at, size, value)
  }

  /** The eventfd is no GSI's interrupt any more. */
  dropIrqfd(file: EventFd): void {
    const known = this.irqfds.get(file)
    if (known === undefined) return
    file.listeners.delete(known.heard)
    known.close()
    this.irqfds.delete(file)
    drop(file)
  }

  /** Marks the VM dead, as KVM_BUG_ON does. */
  bug(why: string, hwError?: bigint): Errno {
    this.dead ??= why
    return new Errno('EIO', `${why}: the VM is dead`, hwError)
  }

  /** Throws EIO where the VM is dead. */
  requireAlive(): void {
    if (this.dead !== undefined) throw new Errno('EIO', `the VM is dead: ${this.dead}`)
  }

  /** Bit of a guest frame number that the shared bit of its GPA is. */
  get sharedPage(): number {
    return 2 ** (this.td.sharedBit - 12)
  }

  /** The EPT of shared memory, made when first needed. */
  get sharedEpt(): SharedEpt {
    this.#sharedEpt ??= new SharedEpt(this.host.memory, this.td.gpaWidth === 52 ? 5 : 4, this.td.sharedBit)
    return this.#sharedEpt
  }

  /** The frame that backs a page of a slot for accesses that are not private. EFAULT where the host has unmapped it. */
  backing(slot: Memslot, gfn: number): Hpa {
    const { memfd } = slot
    if (memfd?.isMappable) return memfd.frame(slot.memfdPage + gfn - slot.gfn)
    return this.host.space.hpa(this.hostAddress(slot.hostPage + gfn - slot.gfn))
  }

  /** Notes a guest's write to a page of a slot that logs them. */
  markDirty(slot: Memslot, gfn: number): void {
    if (markDirty(slot, gfn)) this.running?.ring?.push(slot.id, gfn - slot.gfn)
  }

  /** The next write to page `offset` of a slot is noticed again. Slots and pages that there are not are passed over. */
  watchAgain(id: number, offset: bigint): void {
    const slot = this.slots.get(id)
    if (slot?.dirty === undefined || offset >= BigInt(slot.pages)) return
    const page = Number(offset)
    slot.dirty[page >>> 3]! &= ~(1 << (page & 7))
    this.zapShared(slot.gfn + page, 1)
  }

  /** Shared mappings of the guest pages go; the next access faults them in again. */
  zapShared(gfn: number, pages: number): void {
    this.counts.remote_tlb_flush++
    this.#stage?.invalidate()
    if (this.#sharedEpt?.zap(gfn, pages)) this.td.tdx.invept()
  }

  /** Private pages go from the TD; their content is lost. */
  zapPrivate(gfn: number, pages: number): void {
    const td = this.#td
    if (td !== undefined && td.hkid >= 0 && td.state !== 'uninitialized')
      td.sept.zap(gfn, pages, td.state === 'runnable')
  }

  /** Host pages [start, end) are about to go from the host's address space. */
  unmapHost(start: number, end: number): void {
    if (this.#sharedEpt === undefined && this.#stage === undefined) return
    for (const slot of this.slots) {
      const from = Math.max(start, slot.hostPage)
      const to = Math.min(end, slot.hostPage + slot.pages)
      if (from < to) this.zapShared(slot.gfn + from - slot.hostPage, to - from)
    }
  }

  /** Host address of a guest page of a slot. */
  hostAddress(hostPage: number): Hva {
    return hva(BigInt(hostPage) * BigInt(PAGE_SIZE))
  }

  /** The last reference has gone: kvm_destroy_vm. */
  release(): void {
    const td = this.#td
    for (const file of [...this.irqfds.keys()]) this.dropIrqfd(file)
    for (const vcpu of this.vcpus.values()) vcpu.flush()
    td?.releaseKey()
    for (const vcpu of this.vcpus.values()) vcpu.destroy()
    td?.reclaim()
    for (const slot of this.slots) slot.memfd?.slots.delete(slot)
    this.#sharedEpt?.free()
    this.bus.close()
    this.host.vms.delete(this)
  }
}
