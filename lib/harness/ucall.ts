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
  /** Address of the first structure in the host process. */
  readonly first: number
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
  return { transport, convention: image.convention, first: Number(first), capacity }
}

/** What a ucall carries: a number where that is exact, as for every address of a process. */
export type Payload = number | bigint
const payloadFrom = (value: bigint): Payload => (value <= Number.MAX_SAFE_INTEGER ? Number(value) : value)
const payloadAt = (view: DataView, at: number): Payload => {
  const high = view.getUint32(at + 4, true)
  return high < 2 ** 21 ? high * 2 ** 32 + view.getUint32(at, true) : view.getBigUint64(at, true)
}

const [MMIO_LOW, MMIO_HIGH] = [Number(UCALL_MMIO_GPA & 0xffff_ffffn), Number(UCALL_MMIO_GPA >> 32n)]
const EXIT_REASON = kvm_run.offset.exit_reason
const { phys_addr, data, len, is_write } = kvm_run_mmio.offset
const { type, data: eventData } = kvm_run_system_event.offset

/** The payload of the ucall that the exit is, or undefined where it is none. Errno where KVM does not let the host see it. */
export const payloadOf = (
  machine: Machine,
  fd: number,
  { view, at, pio }: RunPage,
  { transport, first }: Pool,
): Payload | undefined => {
  const reason = view.getUint32(at + EXIT_REASON, true)
  const union = at + KVM_RUN_EXIT
  switch (transport) {
    case 'mmio': {
      const isUcall =
        reason === KVM_EXIT_MMIO &&
        view.getUint32(union + phys_addr, true) === MMIO_LOW &&
        view.getUint32(union + phys_addr + 4, true) === MMIO_HIGH &&
        view.getUint32(union + len, true) === 8 &&
        view.getUint8(union + is_write) === 1
      return isUcall ? payloadAt(view, union + data) : undefined
    }
    case 'fatal': {
      const isUcall =
        reason === KVM_EXIT_SYSTEM_EVENT &&
        view.getUint32(union + type, true) === KVM_SYSTEM_EVENT_TDX_FATAL &&
        view.getBigUint64(union + eventData + 12 * 8, true) === UCALL_FATAL_MAGIC
      return isUcall ? payloadAt(view, union + eventData + 13 * 8) : undefined
    }
    case 'port-index': {
      if (!isPortWrite(view, union, reason, 4)) return undefined
      const index = view.getInt32(pio, true)
      if (index < 0) return index === -1 ? NONE : UCALL_PAYLOAD_NO_MEMORY
      return first + index * ucall.size
    }
    case 'port-rdi':
      if (!isPortWrite(view, union, reason, 1)) return undefined
      return rdiOf(machine, fd)
    case 'pio':
      return isPort(view, union, reason, 1, KVM_EXIT_IO_IN) ? rdiOf(machine, fd) : undefined
  }
}

/** RDI, as KVM_GET_REGS shows it. Errno. */
const rdiOf = ({ host, scratch }: Machine, fd: number): Payload => {
  host.ioctl(fd, KVM_GET_REGS, scratch)
  return payloadFrom(host.load(hva(scratch + BigInt(kvm_regs.offset.rdi)), 8))
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
export const readUcall = (machine: Machine, image: GuestImage, pool: Pool, payload: Payload): Ucall | string => {
  if (payload === NONE) return { name: 'UCALL_NONE', args: NO_ARGS, stage: 0n, values: [], text: '' }
  if (payload === UCALL_PAYLOAD_NO_MEMORY)
    return `the guest found no free ucall structure: all ${pool.capacity} of the pool are in use (payload -1)`
  const offset = typeof payload === 'number' ? payload - pool.first : -1
  if (typeof payload === 'bigint' || offset < 0 || offset >= pool.capacity * ucall.size || offset % ucall.size !== 0) {
    const last = pool.first + (pool.capacity - 1) * ucall.size
    const which = pool.capacity === 1 ? `at ${hex(last)}` : `from ${hex(pool.first)} to ${hex(last)}`
    return `wild ucall: the payload ${hex(payload)} is no structure of the pool (${pool.capacity}, ${which})`
  }
  const { view, at } = machine.block(payload, ucall.size)
  const name = view.getUint32(at + 4, true) === 0 ? UCALL_NAMES[view.getUint32(at, true)] : undefined
  if (name === undefined) return `the ucall at ${hex(payload)} has the unknown command ${view.getBigUint64(at, true)}`
  const args = argsAt(view, at + ARGS)
  // A site's number, or GUEST_SYNC's "hello" pointer, stands before what the guest sent. The site knows how much that is;
  // what the seven arguments do not hold lies behind them, in the buffer.
  const site = image.convention === 'sites' ? siteAt(image, view, at + ARGS) : undefined
  const count = Math.min(site?.types?.length ?? UCALL_MAX_ARGS - 1, UCALL_MOST_WORDS)
  const values =
    count === 1 ? [args[1]!] : count < UCALL_MAX_ARGS ? args.slice(1, 1 + count) : wordsAt(view, at + ARGS + 8, count)
  const buffer = site === undefined ? textAt(view, at + ucall.offset.buffer, ucall.fields.buffer.size) : ''
  const text = name === 'UCALL_PRINTF' ? printfText(image, site, values, buffer) : buffer
  return { name, args, stage: args[1]!, values, text }
}

const NONE = Number(UCALL_PAYLOAD_NONE)
const ARGS = ucall.offset.args

/** Most of what travels is small: such values are not made anew for every ucall. */
const SMALL: readonly bigint[] = Array.from({ length: 256 }, (_, value) => BigInt(value))

const wordAt = (view: DataView, at: number): bigint => {
  const low = view.getUint32(at, true)
  return low < SMALL.length && view.getUint32(at + 4, true) === 0 ? SMALL[low]! : view.getBigUint64(at, true)
}

/** UCALL_MAX_ARGS of them. */
const argsAt = (view: DataView, at: number): bigint[] => [
  wordAt(view, at),
  wordAt(view, at + 8),
  wordAt(view, at + 16),
  wordAt(view, at + 24),
  wordAt(view, at + 32),
  wordAt(view, at + 40),
  wordAt(view, at + 48),
]

const wordsAt = (view: DataView, at: number, count: number): bigint[] => {
  const words: bigint[] = []
  for (let here = at; here < at + 8 * count; here += 8) words.push(wordAt(view, here))
  return words
}

const siteAt = ({ sites }: GuestImage, view: DataView, at: number): GuestImage['sites'][number] | undefined =>
  view.getUint32(at + 4, true) === 0 ? sites[view.getUint32(at, true)] : undefined

const decoder = new TextDecoder()

const textAt = (view: DataView, at: number, size: number): string => {
  if (view.getUint8(at) === 0) return ''
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, size)
  const end = bytes.indexOf(0)
  return decoder.decode(bytes.slice(0, end < 0 ? size : end))
}
