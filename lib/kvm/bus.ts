/**
 * The in-kernel buses of a VM: writes to memory and to ports that KVM takes itself, so that no exit tells userspace of them.
 * Linux virt/kvm/eventfd.c (ioeventfds) and coalesced_mmio.c.
 */
import { KVM_COALESCED_MMIO_MAX, kvm_coalesced_mmio, kvm_coalesced_mmio_ring } from '#abi'
import type { Hpa } from '#bits'
import type { PhysicalMemory } from '#x86'
import type { EventFd } from './eventfd.ts'
import { drop } from './file.ts'

/** KVM_IOEVENTFD: a write there is a write of 1 to the eventfd. */
export type Ioeventfd = {
  readonly isPort: boolean
  readonly addr: bigint
  /** 0: of whatever size. */
  readonly length: number
  /** Undefined: whatever is written. */
  readonly match: bigint | undefined
  readonly file: EventFd
}

/** KVM_REGISTER_COALESCED_MMIO: writes there wait in the VM's ring until userspace looks. */
export type Zone = { readonly isPort: boolean; readonly addr: bigint; readonly size: bigint }

/** Could one write be for both? ioeventfd_check_collision. */
const collide = (a: Ioeventfd, b: Ioeventfd): boolean =>
  a.isPort === b.isPort &&
  a.addr === b.addr &&
  (a.length === 0 ||
    b.length === 0 ||
    (a.length === b.length && (a.match === undefined || b.match === undefined || a.match === b.match)))

const lies = (zone: Zone, isPort: boolean, addr: bigint, length: bigint): boolean =>
  zone.isPort === isPort && addr >= zone.addr && addr + length <= zone.addr + zone.size

export class Bus {
  readonly #memory: PhysicalMemory
  readonly #events: Ioeventfd[] = []
  #zones: Zone[] = []
  /** Nothing is on it: the usual case, asked before every MMIO exit. */
  isEmpty = true
  #ring: Hpa | undefined

  constructor(memory: PhysicalMemory) {
    this.#memory = memory
  }

  /** The VM's ring of coalesced writes, a page that every vCPU's mapping has. */
  get ring(): Hpa {
    this.#ring ??= this.#memory.allocate()
    return this.#ring
  }

  /** False where one is there that it would collide with. */
  assign(event: Ioeventfd): boolean {
    if (this.#events.some(other => collide(other, event))) return false
    event.file.references++
    this.#events.push(event)
    this.isEmpty = false
    return true
  }

  /** False where there is none such. */
  deassign({ isPort, addr, length, match, file }: Ioeventfd): boolean {
    const at = this.#events.findIndex(
      e => e.isPort === isPort && e.addr === addr && e.length === length && e.match === match && e.file === file,
    )
    if (at < 0) return false
    this.#events.splice(at, 1)
    drop(file)
    this.#settle()
    return true
  }

  register(zone: Zone): void {
    this.#zones.push(zone)
    this.isEmpty = false
  }

  /** Every zone that holds all of this one goes. */
  unregister({ isPort, addr, size }: Zone): void {
    this.#zones = this.#zones.filter(zone => !lies(zone, isPort, addr, size))
    this.#settle()
  }

  #settle(): void {
    this.isEmpty = this.#events.length === 0 && this.#zones.length === 0
  }

  /** Is the write somebody's here? `size` bytes of `value`. */
  write(isPort: boolean, addr: bigint, size: number, value: bigint): boolean {
    const data = BigInt.asUintN(8 * size, value)
    for (const event of this.#events) {
      if (event.isPort !== isPort || event.addr !== addr) continue
      if (event.length !== 0 && (event.length !== size || (event.match !== undefined && event.match !== data))) continue
      event.file.write(1n)
      return true
    }
    for (const zone of this.#zones)
      if (lies(zone, isPort, addr, BigInt(size))) return this.#coalesce(zone, size, addr, data)
    return false
  }

  /** False where the ring is full: then userspace hears of it by an exit. */
  #coalesce(zone: Zone, size: number, addr: bigint, data: bigint): boolean {
    const { ring } = this
    const { view } = this.#memory
    const { first, last } = kvm_coalesced_mmio_ring.read(view, ring)
    // Userspace writes both numbers too.
    if (last >= KVM_COALESCED_MMIO_MAX || (last + 1) % KVM_COALESCED_MMIO_MAX === first) return false
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, data, true)
    kvm_coalesced_mmio.write(view, ring + kvm_coalesced_mmio_ring.size + last * kvm_coalesced_mmio.size, {
      phys_addr: addr,
      len: size,
      pio: zone.isPort ? 1 : 0,
      data: bytes,
    })
    kvm_coalesced_mmio_ring.set(view, ring, 'last', (last + 1) % KVM_COALESCED_MMIO_MAX)
    return true
  }

  /** The VM goes. */
  close(): void {
    for (const { file } of this.#events.splice(0)) drop(file)
    this.#zones = []
    this.isEmpty = true
    if (this.#ring !== undefined) this.#memory.free(this.#ring)
    this.#ring = undefined
  }
}
