/** A TD as a test sees it: its vCPUs, and the memory that it shares with the host. */
import {
  KVM_GET_DIRTY_LOG,
  KVM_IRQ_ROUTING_MSI,
  KVM_IRQFD,
  KVM_MEMORY_ATTRIBUTE_PRIVATE,
  KVM_SET_GSI_ROUTING,
  KVM_SET_MEMORY_ATTRIBUTES,
  KVM_SIGNAL_MSI,
  kvm_dirty_log,
  kvm_irq_routing,
  kvm_irq_routing_entry,
  kvm_irqfd,
  kvm_memory_attributes,
  kvm_msi,
} from '#abi'
import { gpa, gva, type Hva, hex, PAGE_SIZE, type Size, type Layout as Struct, type struct, type Values } from '#bits'
import {
  addressOf,
  bootMappings,
  bootParametersOf,
  buildGuest,
  type GuestImage,
  type Layout,
  layOut,
  wholePages,
  whyNoC,
} from '#guest'
import type { Outcomes, Reason } from './exits.ts'
import { Misuse, Skip } from './failure.ts'
import { call, enableCap } from './ioctl.ts'
import { loadBoot, loadImage } from './load.ts'
import type { Machine } from './machine.ts'
import { finalized, watchPages } from './measured.ts'
import type { TdOptions, VmOptions, Map as WantedMap } from './options.ts'
import { startOrdinary } from './ordinary.ts'
import { beginImage } from './shared.ts'
import { Steps } from './steps.ts'
import type { Trial } from './trial.ts'
import { initPool, type Pool } from './ucall.ts'
import { Vcpu } from './vcpu.ts'
import { type SlotOptions, Vm } from './vm.ts'

type Shape = Parameters<typeof struct>[1]

/** A place in a guest's memory: the name of a symbol, a guest virtual address, or a GPA (without the shared bit). */
export type Where = string | bigint | { readonly gpa: bigint }

export class Td {
  /** `TD 0`, the first of the test. */
  readonly name: string
  readonly image: GuestImage
  readonly vcpus: readonly Vcpu[]
  /** The descriptors and slots behind it, for a test that makes its own ioctls. */
  vm: Vm
  readonly layout: Layout
  readonly pool: Pool
  readonly steps = new Steps()
  readonly #machine: Machine
  readonly #maps: readonly WantedMap[]

  constructor(trial: Trial, name: string, options: TdOptions | (VmOptions & { readonly shape: 'vm' })) {
    const { machine } = trial
    const { guest, levels = 4, slots = [], map = [] } = options
    const ordinary = 'shape' in options ? { irqchip: options.irqchip ?? 'kernel' } : undefined
    const params: TdOptions | undefined = 'shape' in options ? undefined : options
    const transport = params === undefined ? 'pio' : (params.transport ?? 'mmio')
    const vcpus = options.vcpus ?? (Array.isArray(guest) ? guest.length : 1)
    this.name = name
    this.#machine = machine
    // Before any work: a guest that cannot be compiled here is no failure.
    const why = isC(guest) ? whyNoC() : undefined
    if (why !== undefined) throw new Skip(why)
    for (const hack of params?.hacks ?? []) machine.host.hacks.add(hack)
    const vm = new Vm(machine, ordinary ?? params ?? {})
    this.vm = vm
    beginImage()
    const lines = trial.isRecorded
    const image = buildGuest(guest, { vcpus, sharedBit: vm.sharedBit, transport, lines })
    this.image = image
    this.#maps = map
    const extra = map.map(m => ({ ...m, gva: gva(m.gva), gpa: gpa(m.gpa) }))
    const boot = vm.isTd ? bootMappings(image.entries.length) : []
    this.layout = layOut(image, { levels, sharedBit: vm.sharedBit, extra: [...boot, ...extra] })
    const size = wholePages(Math.max(options.memory ?? 0, Number(this.layout.end)))
    if (options.memory !== undefined && options.memory < Number(this.layout.end))
      throw new Misuse(
        `${vm.isTd ? 't.td' : 't.vm'}: memory is ${hex(options.memory)} bytes, the guest needs ${hex(this.layout.end)}`,
      )
    loadImage(machine.host, vm.addSlot(0, gpa(0n), size), this.layout)
    this.pool = initPool(machine, image, this.hva(image.ucall.pool))
    for (const slot of slots) this.#addSlot(slot)
    const parameters = bootParametersOf(image, { cr3: this.layout.tables.root, levels, xsave: true })
    if (vm.isTd) loadBoot(vm, parameters)
    // The vCPU's number is its index in the boot parameters.
    this.vcpus = image.entries.map((entry, index) => {
      const file = vm.addVcpu()
      if (!vm.isTd) startOrdinary(machine, file.fd, parameters, { index, entry, stack: image.stacks[index]! })
      return new Vcpu(this, trial, index, file)
    })
    machine.counts.push(() => this.vcpus.reduce((sum, vcpu) => sum + vcpu.instructions, 0))
    if (vm.isTd) watchPages(machine.host)
    vm.addPrivateMemory()
    if (params?.finalize !== false) this.finalize()
  }

  /** The first vCPU, the only one of most tests. */
  get vcpu(): Vcpu {
    return this.vcpus[0]!
  }

  /** Runs all vCPUs at once, each to its own next `reason`: UCALL_DONE unless given. Their interleaving is the seed's. */
  run<R extends Reason = 'UCALL_DONE'>(reason?: R): Promise<Outcomes[R][]> {
    return Promise.all(this.vcpus.map(vcpu => vcpu.until(reason ?? ('UCALL_DONE' as R))))
  }

  /** Lets `ticks` of every vCPU's time go by, as `vcpu.advance`. */
  async advance(ticks: bigint | number): Promise<void> {
    await Promise.all(this.vcpus.map(vcpu => vcpu.advance(ticks)))
  }

  finalize(): void {
    this.vm.finalize()
    finalized(this)
  }

  /**
   * Moves the TD to a new VM of the host, where it goes on; the VM it was in is dead. Needs the hack 'moving a TD to another VM'.
   * Returns the old VM.
   */
  move(): Vm {
    const from = this.vm
    this.vm = new Vm(this.#machine, { from })
    for (const [index, vcpu] of this.vcpus.entries()) {
      const file = this.vm.vcpus[index]
      if (file !== undefined) vcpu.goOn(file)
    }
    return from
  }

  /** An ioctl of the VM. Errno. */
  ioctl(request: number, arg: bigint | number = 0): number {
    return this.#machine.host.ioctl(this.vm.fd, request, arg)
  }

  /** An ioctl of the VM with a structure: `values` are set, the rest is zero. Errno. */
  call<S extends Shape>(request: number, layout: Struct<S>, values: Partial<Values<S>>): number {
    return call(this.#machine, this.vm.fd, request, layout, values)
  }

  /** KVM_ENABLE_CAP on the VM. Errno. */
  enableCap(cap: number, ...args: bigint[]): void {
    enableCap(this.#machine, this.vm.fd, cap, ...args)
  }

  /** An ioctl of the VM with bytes: a structure that a list follows. Errno. */
  callBytes(request: number, bytes: Uint8Array): number {
    const { host, scratch } = this.#machine
    host.write(scratch, bytes)
    return host.ioctl(this.vm.fd, request, scratch)
  }

  /** KVM_SIGNAL_MSI: an interrupt for the vCPU with that APIC ID. Returns how many APICs got it. Errno. */
  msi(vector: number, to = 0): number {
    return this.call(KVM_SIGNAL_MSI, kvm_msi, { address_lo: msiAddress(to), data: vector })
  }

  /** KVM_SET_GSI_ROUTING: each GSI is an interrupt of a vCPU. Errno. */
  routeGsis(routes: readonly { readonly gsi: number; readonly vector: number; readonly to?: number }[]): void {
    const entries = routes.map(({ gsi, vector, to = 0 }) =>
      kvm_irq_routing_entry.encode({ gsi, type: KVM_IRQ_ROUTING_MSI, address_lo: msiAddress(to), data: vector }),
    )
    const head = kvm_irq_routing.encode({ nr: entries.length })
    this.callBytes(KVM_SET_GSI_ROUTING, Uint8Array.of(...head, ...entries.flatMap(entry => [...entry])))
  }

  /** KVM_IRQFD: an eventfd that is the GSI's interrupt. What is returned signals it. Errno. */
  irqfd(gsi: number): () => void {
    const { host } = this.#machine
    const fd = host.eventfd()
    this.call(KVM_IRQFD, kvm_irqfd, { fd, gsi })
    return () => host.signalEventfd(fd)
  }

  /** KVM_GET_DIRTY_LOG: pages of a slot, from its start, that were written since it was last asked. Errno. */
  dirtyPages(slot: number): number[] {
    const pages = (this.vm.slots.find(({ id }) => id === slot)?.size ?? 0) / PAGE_SIZE
    const bytes = Math.ceil(pages / 64) * 8
    const { host } = this.#machine
    const bitmap = host.mmap(Math.max(bytes, 1))
    try {
      this.call(KVM_GET_DIRTY_LOG, kvm_dirty_log, { slot, dirty_bitmap: bitmap })
      const found = host.read(bitmap, bytes)
      return Array.from({ length: pages }, (_, page) => page).filter(n => (found[n >> 3]! & (1 << (n & 7))) !== 0)
    } finally {
      host.munmap(bitmap, Math.max(bytes, 1))
    }
  }

  /** KVM_SET_MEMORY_ATTRIBUTES: makes a range of guest physical memory private or shared. Errno. */
  setPrivate(address: bigint, size: bigint, isPrivate: boolean): void {
    const attributes = isPrivate ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0n
    this.call(KVM_SET_MEMORY_ATTRIBUTES, kvm_memory_attributes, { address, size, attributes })
  }

  #addSlot({ slot: id, size, isPrivate = false, fill, ...options }: SlotOptions): void {
    const slot = this.vm.addSlot(id, gpa(options.gpa), size, options)
    if (fill !== undefined) this.#machine.host.write(slot.at, new Uint8Array(size).fill(fill))
    if (isPrivate) slot.runs.push({ offset: 0, size })
  }

  /**
   * Host address of `length` bytes of the guest's memory. Private memory has one too: what host memory holds there, which
   * is not what the guest sees. Misuse where the guest has nothing there.
   */
  hva(where: Where, length = 1): Hva {
    const at = this.vm.hostAddress(this.gpa(where, length), length)
    if (at === undefined) throw new Misuse(`${this.name}: no memory of the TD lies at ${text(where)}, ${length} bytes`)
    return at
  }

  /** Guest virtual address of a symbol. Misuse where there is none of that name. */
  address(symbol: string): bigint {
    if (!this.image.symbols.some(({ name }) => name === symbol))
      throw new Misuse(`${this.name}: the guest has no symbol ${symbol}`)
    return addressOf(this.image.symbols, symbol)
  }

  /** The GPA, without the shared bit, of `length` bytes. Misuse where the image does not have all of them in one segment. */
  gpa(where: Where, length = 1): bigint {
    if (typeof where === 'object') return where.gpa
    const at = typeof where === 'string' ? this.address(where) : where
    const end = at + BigInt(length)
    const segment =
      this.layout.segments.find(s => at >= s.gva && end <= s.gva + BigInt(s.size)) ??
      this.#maps.find(s => at >= s.gva && end <= s.gva + BigInt(s.size))
    if (segment === undefined)
      throw new Misuse(`${this.name}: ${text(where)} has not ${length} bytes of the guest's memory`)
    return segment.gpa + (at - segment.gva)
  }

  /** What host memory has at a place of the guest's, private or not: of private memory never what the guest sees. */
  hostRead(where: Where, length: number): Uint8Array {
    return this.#machine.host.read(this.hva(where, length), length)
  }

  hostWrite(where: Where, bytes: Uint8Array): void {
    this.#machine.host.write(this.hva(where, bytes.length), bytes)
  }

  /**
   * The host's kernel, or a device, writes to a page of private memory, which a process of the host cannot: the TD's next
   * access there is a machine check, after which it cannot be entered any more. Errno: ENOENT where no private page is.
   */
  poison(where: Where): void {
    this.#machine.host.poison(this.vm.fd, this.gpa(where))
  }

  /** Host address of shared memory. Misuse where a page of it was private when the TD was made. */
  #shared(where: Where, length: number): Hva {
    const at = this.gpa(where, length)
    for (const slot of this.vm.slots)
      for (const { offset, size } of slot.runs) {
        const from = slot.gpa + BigInt(offset)
        if (at + BigInt(length) > from && at < from + BigInt(size))
          throw new Misuse(`${this.name}: ${text(where)} is private memory, which the host cannot see: make it shared`)
      }
    return this.hva(where, length)
  }

  /** The unsigned integer that the guest and the host share at `where`. */
  load(where: Where, size: Size = 8): bigint {
    return this.#machine.host.load(this.#shared(where, size), size)
  }

  store(where: Where, value: bigint, size: Size = 8): void {
    this.#machine.host.store(this.#shared(where, size), size, value)
  }

  /** A copy of shared bytes. */
  read(where: Where, length: number): Uint8Array {
    return this.#machine.host.read(this.#shared(where, length), length)
  }

  write(where: Where, bytes: Uint8Array): void {
    this.#machine.host.write(this.#shared(where, bytes.length), bytes)
  }

  /** A shared structure. */
  get<S extends Shape>(layout: Struct<S>, where: Where): Values<S> {
    return this.#machine.host.get(layout, this.#shared(where, layout.size))
  }

  /** Sets the named fields of a shared structure. */
  set<S extends Shape>(layout: Struct<S>, where: Where, values: Partial<Values<S>>): void {
    this.#machine.host.set(layout, this.#shared(where, layout.size), values)
  }
}

/** Where an MSI for an APIC ID is written. SDM Vol. 3A, "Message Address Register Format". */
const msiAddress = (to: number): number => (0xfee0_0000 | (to << 12)) >>> 0

const isC = (guest: TdOptions['guest']): boolean => typeof guest === 'object' && 'kind' in guest && guest.kind === 'c'

const text = (where: Where): string => {
  if (typeof where === 'string') return where
  return typeof where === 'bigint' ? hex(where) : `GPA ${hex(where.gpa)}`
}
