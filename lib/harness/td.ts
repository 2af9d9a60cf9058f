/** A TD as a test sees it: its vCPUs, and the memory that it shares with the host. */
import {
  KVM_MEMORY_ATTRIBUTE_PRIVATE,
  KVM_SET_MEMORY_ATTRIBUTES,
  kvm_memory_attributes,
  TD_BOOT_CODE_SLOT,
  TD_BOOT_PARAMETERS_GPA,
  TD_BOOT_PARAMETERS_SLOT,
} from '#abi'
import { gpa, type Hva, hex, hva, PAGE_SIZE, type Size, type Layout as Struct, type struct, type Values } from '#bits'
import {
  addressOf,
  bootCode,
  bootMappings,
  bootParametersOf,
  buildGuest,
  encodeBootParameters,
  type Guest,
  type GuestImage,
  type Layout,
  layOut,
  type PagingLevels,
  type Transport,
  wholePages,
  whyNoC,
} from '#guest'
import type { Outcomes, Reason } from './exits.ts'
import { Misuse, Skip } from './failure.ts'
import { call, enableCap } from './ioctl.ts'
import type { Machine } from './machine.ts'
import { beginImage } from './shared.ts'
import { Steps } from './steps.ts'
import type { Trial } from './trial.ts'
import { initPool, type Pool } from './ucall.ts'
import { Vcpu } from './vcpu.ts'
import { type Slot, type TdParams, Vm } from './vm.ts'

export type TdOptions = TdParams & {
  /** What the TD runs: one guest for all vCPUs, or one for each. */
  readonly guest: Guest | readonly Guest[]
  /** As many as there are guests, if absent. */
  readonly vcpus?: number
  /**
   * How a ucall reaches the host: `mmio` (TDCALL MMIO of 8 bytes) unless given; `fatal` (ReportFatalError);
   * `port-index` (TDCALL port I/O of an index); `port-rdi`, which KVM refuses for a TD: the host cannot see RDI.
   */
  readonly transport?: Exclude<Transport, 'pio'>
  /** Bytes of slot 0, the TD's ordinary memory. What the guest needs, if absent. */
  readonly memory?: number
  /** Levels of the guest's own page tables. */
  readonly levels?: PagingLevels
  /** Leaves the TD as it is before KVM_TDX_FINALIZE_VM; `finalize` is the test's. */
  readonly finalize?: boolean
}

type Shape = Parameters<typeof struct>[1]

/** A place in a guest's memory: the name of a symbol, a guest virtual address, or a GPA (without the shared bit). */
export type Where = string | bigint | { readonly gpa: bigint }

export class Td {
  /** `TD 0`, the first of the test. */
  readonly name: string
  readonly image: GuestImage
  readonly vcpus: readonly Vcpu[]
  /** The descriptors and slots behind it, for a test that makes its own ioctls. */
  readonly vm: Vm
  readonly layout: Layout
  readonly pool: Pool
  readonly steps = new Steps()
  readonly #machine: Machine

  constructor(trial: Trial, name: string, options: TdOptions) {
    const { machine } = trial
    const { guest, transport = 'mmio', levels = 4 } = options
    const vcpus = options.vcpus ?? (Array.isArray(guest) ? guest.length : 1)
    this.name = name
    this.#machine = machine
    // Before any work: a guest that cannot be compiled here is no failure.
    const why = isC(guest) ? whyNoC() : undefined
    if (why !== undefined) throw new Skip(why)
    const vm = new Vm(machine, options)
    this.vm = vm
    beginImage()
    const image = buildGuest(guest, { vcpus, sharedBit: vm.sharedBit, transport })
    this.image = image
    this.layout = layOut(image, { levels, sharedBit: vm.sharedBit, extra: bootMappings(image.entries.length) })
    const size = wholePages(Math.max(options.memory ?? 0, Number(this.layout.end)))
    if (options.memory !== undefined && options.memory < Number(this.layout.end))
      throw new Misuse(`t.td: memory is ${hex(options.memory)} bytes, the guest needs ${hex(this.layout.end)}`)
    this.#load(vm.addSlot(0, gpa(0n), size))
    this.pool = initPool(machine, image, this.hva(image.ucall.pool))
    this.#loadBoot(levels)
    // The vCPU's number is its index in the boot parameters.
    this.vcpus = image.entries.map((_, index) => new Vcpu(this, trial, index, vm.addVcpu()))
    machine.counts.push(() => this.vcpus.reduce((sum, vcpu) => sum + vcpu.instructions, 0))
    vm.addPrivateMemory()
    if (options.finalize !== false) vm.finalize()
  }

  /** The first vCPU, the only one of most tests. */
  get vcpu(): Vcpu {
    return this.vcpus[0]!
  }

  /** Runs all vCPUs at once, each to its own next `reason`: UCALL_DONE unless given. Their interleaving is the seed's. */
  run<R extends Reason = 'UCALL_DONE'>(reason?: R): Promise<Outcomes[R][]> {
    return Promise.all(this.vcpus.map(vcpu => vcpu.until(reason ?? ('UCALL_DONE' as R))))
  }

  finalize(): void {
    this.vm.finalize()
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

  /** KVM_SET_MEMORY_ATTRIBUTES: makes a range of guest physical memory private or shared. Errno. */
  setPrivate(address: bigint, size: bigint, isPrivate: boolean): void {
    const attributes = isPrivate ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0n
    this.call(KVM_SET_MEMORY_ATTRIBUTES, kvm_memory_attributes, { address, size, attributes })
  }

  /** The image and its page tables, into slot 0. What is shared is not among the TD's private pages. */
  #load(slot: Slot): void {
    const { host } = this.#machine
    const put = (at: bigint, bytes: Uint8Array) => {
      if (bytes.length > 0) host.write(hva(slot.at + at), bytes)
    }
    const isPrivate: [bigint, number][] = []
    for (const segment of this.layout.segments) {
      put(segment.gpa, segment.bytes)
      if (!segment.shared) isPrivate.push([segment.gpa, segment.size])
    }
    for (const page of this.layout.tables.pages) {
      put(page.gpa, page.bytes)
      isPrivate.push([page.gpa, PAGE_SIZE])
    }
    isPrivate.sort(([a], [b]) => Number(a - b))
    for (const [at, size] of isPrivate) {
      const last = slot.runs.at(-1)
      if (last !== undefined && last.offset + last.size === Number(at)) last.size += size
      else slot.runs.push({ offset: Number(at), size })
    }
  }

  #loadBoot(levels: PagingLevels): void {
    const { host } = this.#machine
    const { image, vm } = this
    const code = bootCode()
    const cr3 = this.layout.tables.root
    const parameters = encodeBootParameters(bootParametersOf(image, { cr3, levels, xsave: true }))
    const fill = (id: number, at: bigint, bytes: Uint8Array) => {
      const slot = vm.addSlot(id, gpa(at), bytes.length)
      host.write(slot.at, bytes)
      slot.runs.push({ offset: 0, size: bytes.length })
    }
    fill(TD_BOOT_CODE_SLOT, code.gpa, code.bytes)
    fill(TD_BOOT_PARAMETERS_SLOT, TD_BOOT_PARAMETERS_GPA, parameters)
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
    const segment = this.layout.segments.find(s => at >= s.gva && at + BigInt(length) <= s.gva + BigInt(s.size))
    if (segment === undefined)
      throw new Misuse(`${this.name}: ${text(where)} has not ${length} bytes of the guest's memory`)
    return segment.gpa + (at - segment.gva)
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

const isC = (guest: TdOptions['guest']): boolean => typeof guest === 'object' && 'kind' in guest && guest.kind === 'c'

const text = (where: Where): string => {
  if (typeof where === 'string') return where
  return typeof where === 'bigint' ? hex(where) : `GPA ${hex(where.gpa)}`
}
