/** ucalls as the host reads them: `struct ucall` in shared memory, found by the payload the guest sent. */
import {
  KVM_EXIT_IO,
  KVM_EXIT_IO_IN,
  KVM_EXIT_IO_OUT,
  KVM_EXIT_MMIO,
  KVM_EXIT_SYSTEM_EVENT,
  KVM_GET_REGS,
  KVM_RUN_EXIT,
  KVM_SYSTEM_EVENT_TDX_FATAL,
  kvm_regs,
  kvm_run,
  kvm_run_io,
  kvm_run_mmio,
  kvm_run_system_event,
  UCALL_BUFFER_LEN,
  UCALL_FATAL_MAGIC,
  UCALL_MAX_ARGS,
  UCALL_MMIO_GPA,
  UCALL_NAMES,
  UCALL_PAYLOAD_NO_MEMORY,
  UCALL_PAYLOAD_NONE,
  UCALL_PIO_PORT,
  ucall,
  ucallPool,
} from '#abi'
import { type Hva, hex, hva, type Size } from '#bits'
import type { GuestImage } from '#guest'
import { printfText } from './abort.ts'
import type { RunPage, Ucall } from './exits.ts'
import type { Machine } from './machine.ts'

/** The pool in host memory. */
export type Pool = {
  readonly transport: GuestImage['ucall']['transport']
  readonly convention: GuestImage['convention']
  /** The first structure. */
  readonly first: Hva
  readonly capacity: number
}

/** Writes each structure's own host address into it, as ucall_init does. `pool` is the header's host address. */
export const initPool = (machine: Machine, image: GuestImage, pool: Hva): Pool => {
  const { capacity, transport } = image.ucall
  const first = hva(pool + BigInt(ucallPool(capacity).ucalls))
  for (let i = 0; i < capacity; i++) {
    const at = first + BigInt(i * ucall.size)
    machine.host.store(hva(at + BigInt(ucall.offset.hva)), 8, at)
  }
  return { transport, convention: image.convention, first, capacity }
}

const { phys_addr, data, len, is_write } = kvm_run_mmio.offset
const { type, data: eventData } = kvm_run_system_event.offset

/** The payload of the ucall that the exit is, or undefined where it is none. Errno where KVM does not let the host see it. */
export const payloadOf = (
  machine: Machine,
  fd: number,
  { view, at, pio }: RunPage,
  { transport, first }: Pool,
): bigint | undefined => {
  const reason = kvm_run.get(view, at, 'exit_reason')
  const union = at + KVM_RUN_EXIT
  switch (transport) {
    case 'mmio': {
      const isUcall =
        reason === KVM_EXIT_MMIO &&
        view.getBigUint64(union + phys_addr, true) === UCALL_MMIO_GPA &&
        view.getUint32(union + len, true) === 8 &&
        view.getUint8(union + is_write) === 1
      return isUcall ? view.getBigUint64(union + data, true) : undefined
    }
    case 'fatal': {
      const isUcall =
        reason === KVM_EXIT_SYSTEM_EVENT &&
        view.getUint32(union + type, true) === KVM_SYSTEM_EVENT_TDX_FATAL &&
        view.getBigUint64(union + eventData + 12 * 8, true) === UCALL_FATAL_MAGIC
      return isUcall ? view.getBigUint64(union + eventData + 13 * 8, true) : undefined
    }
    case 'port-index': {
      if (!isPortWrite(view, union, reason, 4)) return undefined
      const index = view.getInt32(pio, true)
      if (index < 0) return index === -1 ? UCALL_PAYLOAD_NONE : UCALL_PAYLOAD_NO_MEMORY
      return first + BigInt(index * ucall.size)
    }
    case 'port-rdi':
      if (!isPortWrite(view, union, reason, 1)) return undefined
      return rdiOf(machine, fd)
    case 'pio':
      return isPort(view, union, reason, 1, KVM_EXIT_IO_IN) ? rdiOf(machine, fd) : undefined
  }
}

/** RDI, as KVM_GET_REGS shows it. Errno. */
const rdiOf = ({ host, scratch }: Machine, fd: number): bigint => {
  host.ioctl(fd, KVM_GET_REGS, scratch)
  return host.load(hva(scratch + BigInt(kvm_regs.offset.rdi)), 8)
}

/** Is the exit an IN or OUT of `size` bytes at the ucall port? Its data begins the port I/O page. */
const isPort = (view: DataView, union: number, reason: number, size: Size, direction: number): boolean =>
  reason === KVM_EXIT_IO &&
  kvm_run_io.get(view, union, 'port') === UCALL_PIO_PORT &&
  kvm_run_io.get(view, union, 'direction') === direction &&
  kvm_run_io.get(view, union, 'size') === size
const isPortWrite = (view: DataView, union: number, reason: number, size: Size): boolean =>
  isPort(view, union, reason, size, KVM_EXIT_IO_OUT)

/** Values that a structure has room for behind its first argument. */
const UCALL_MOST_WORDS = UCALL_MAX_ARGS - 1 + UCALL_BUFFER_LEN / 8

const NO_ARGS: readonly bigint[] = Array.from({ length: UCALL_MAX_ARGS }, () => 0n)

/** The ucall behind a payload, or what is wrong with the payload. */
export const readUcall = (machine: Machine, image: GuestImage, pool: Pool, payload: bigint): Ucall | string => {
  if (payload === UCALL_PAYLOAD_NONE) return { name: 'UCALL_NONE', args: NO_ARGS, stage: 0n, values: [], text: '' }
  if (payload === UCALL_PAYLOAD_NO_MEMORY)
    return `the guest found no free ucall structure: all ${pool.capacity} of the pool are in use (payload -1)`
  // Far from the pool the difference is not exact, and too large all the same.
  const offset = Number(payload - pool.first)
  if (offset < 0 || offset >= pool.capacity * ucall.size || offset % ucall.size !== 0) {
    const last = pool.first + BigInt((pool.capacity - 1) * ucall.size)
    const which = pool.capacity === 1 ? `at ${hex(last)}` : `from ${hex(pool.first)} to ${hex(last)}`
    return `wild ucall: the payload ${hex(payload)} is no structure of the pool (${pool.capacity}, ${which})`
  }
  const { view, at } = machine.block(hva(payload), ucall.size)
  const name = view.getUint32(at + 4, true) === 0 ? UCALL_NAMES[view.getUint32(at, true)] : undefined
  if (name === undefined) return `the ucall at ${hex(payload)} has the unknown command ${view.getBigUint64(at, true)}`
  const args = wordsAt(view, at + ARGS, UCALL_MAX_ARGS)
  // A site's number, or GUEST_SYNC's "hello" pointer, stands before what the guest sent. The site knows how much that is;
  // what the seven arguments do not hold lies behind them, in the buffer.
  const site = image.convention === 'sites' ? image.sites[Number(args[0])] : undefined
  const count = Math.min(site?.types?.length ?? UCALL_MAX_ARGS - 1, UCALL_MOST_WORDS)
  const values = count < UCALL_MAX_ARGS ? args.slice(1, 1 + count) : wordsAt(view, at + ARGS + 8, count)
  const buffer = site === undefined ? textAt(view, at + ucall.offset.buffer, ucall.fields.buffer.size) : ''
  const text = name === 'UCALL_PRINTF' ? printfText(image, site, values, buffer) : buffer
  return { name, args, stage: args[1]!, values, text }
}

const ARGS = ucall.offset.args

/** Most of what travels is small: such values are not made anew for every ucall. */
const SMALL: readonly bigint[] = Array.from({ length: 256 }, (_, value) => BigInt(value))

const wordsAt = (view: DataView, at: number, count: number): bigint[] => {
  const words: bigint[] = []
  for (let here = at; here < at + 8 * count; here += 8) {
    const low = view.getUint32(here, true)
    const isSmall = low < SMALL.length && view.getUint32(here + 4, true) === 0
    words.push(isSmall ? SMALL[low]! : view.getBigUint64(here, true))
  }
  return words
}

const decoder = new TextDecoder()

const textAt = (view: DataView, at: number, size: number): string => {
  if (view.getUint8(at) === 0) return ''
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, size)
  const end = bytes.indexOf(0)
  return decoder.decode(bytes.slice(0, end < 0 ? size : end))
}
