/** What KVM_RUN returns with, typed by its name: kvm_run's exit reasons, and the ucalls that some of them carry. */
import {
  exitName,
  KVM_EXIT_FAIL_ENTRY,
  KVM_EXIT_HYPERCALL,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_IO,
  KVM_EXIT_IO_OUT,
  KVM_EXIT_MEMORY_FAULT,
  KVM_EXIT_MMIO,
  KVM_EXIT_SYSTEM_EVENT,
  KVM_EXIT_TDX,
  KVM_EXIT_X86_RDMSR,
  KVM_EXIT_X86_WRMSR,
  KVM_MEMORY_EXIT_FLAG_PRIVATE,
  KVM_PIO_PAGE_OFFSET,
  KVM_RUN_EXIT,
  KVM_SYSTEM_EVENT_TDX_FATAL,
  kvm_run,
  kvm_run_fail_entry,
  kvm_run_hypercall,
  kvm_run_internal,
  kvm_run_io,
  kvm_run_memory_fault,
  kvm_run_mmio,
  kvm_run_msr,
  kvm_run_system_event,
  kvm_run_tdx,
  type UcallName,
} from '#abi'
import { type Gpa, gpa, hex, mask, readUint, type Size, writeUint } from '#bits'
import { Misuse } from './failure.ts'

/** Where a vCPU's kvm_run and its port I/O data can be read and written: offsets in `view`. */
export type RunPage = { readonly view: DataView; readonly at: number; readonly pio: number }

/** Fields of an exit as a failure lists them, in order. */
export type Fields = Readonly<Record<string, string | number>>

type Direction = 'in' | 'out'

/** Sets the value that the guest gets when it goes on. Throws Misuse where the guest asked nothing or it does not fit. */
type Answer = (value: bigint) => void

/** Instruction.IO of a TD, IN and OUT of an ordinary VM. */
export type IoExit = {
  readonly name: 'KVM_EXIT_IO'
  readonly port: number
  readonly direction: Direction
  readonly size: Size
  readonly count: number
  /** What the guest sent, or what it was answered. */
  data: bigint
  readonly answer: Answer
}

/** An access that no memslot covers. `gpa` is without the shared bit. */
export type MmioExit = {
  readonly name: 'KVM_EXIT_MMIO'
  readonly gpa: Gpa
  readonly direction: 'read' | 'write'
  readonly size: Size
  /** What the guest wrote, or what it was answered. */
  data: bigint
  readonly answer: Answer
}

/** A hypercall handed to the host, as KVM_HC_MAP_GPA_RANGE. `answer` sets what it returns. */
export type HypercallExit = {
  readonly name: 'KVM_EXIT_HYPERCALL'
  readonly nr: bigint
  readonly args: readonly bigint[]
  readonly answer: Answer
}

export type SystemEventExit = {
  readonly name: 'KVM_EXIT_SYSTEM_EVENT'
  readonly type: number
  readonly data: readonly bigint[]
}

export type RdmsrExit = {
  readonly name: 'KVM_EXIT_X86_RDMSR'
  readonly index: number
  readonly why: number
  data: bigint
  readonly answer: Answer
}

export type WrmsrExit = {
  readonly name: 'KVM_EXIT_X86_WRMSR'
  readonly index: number
  readonly why: number
  readonly data: bigint
}

export type MemoryFaultExit = {
  readonly name: 'KVM_EXIT_MEMORY_FAULT'
  readonly gpa: Gpa
  readonly size: bigint
  /** Did the guest use the private alias? */
  readonly isPrivate: boolean
}

/** GetQuote, GetTdVmCallInfo and SetupEventNotifyInterrupt: `data` is what follows `ret` in kvm_run. */
export type TdxExit = {
  readonly name: 'KVM_EXIT_TDX'
  readonly nr: bigint
  readonly data: readonly bigint[]
  readonly answer: Answer
}

export type InternalErrorExit = {
  readonly name: 'KVM_EXIT_INTERNAL_ERROR'
  readonly suberror: number
  readonly data: readonly bigint[]
}

export type FailEntryExit = { readonly name: 'KVM_EXIT_FAIL_ENTRY'; readonly hardwareReason: bigint }

/** Exits that say nothing more than their name. */
type BareName =
  | 'KVM_EXIT_UNKNOWN'
  | 'KVM_EXIT_EXCEPTION'
  | 'KVM_EXIT_DEBUG'
  | 'KVM_EXIT_HLT'
  | 'KVM_EXIT_IRQ_WINDOW_OPEN'
  | 'KVM_EXIT_SHUTDOWN'
  | 'KVM_EXIT_INTR'
  | 'KVM_EXIT_X86_BUS_LOCK'
  | 'KVM_EXIT_NOTIFY'
  | 'KVM_EXIT_ARM_SEA'
export type BareExit<N extends BareName = BareName> = { readonly name: N }

/** A ucall. `args` are the seven of `struct ucall`, as they stand there. */
export type Ucall<N extends UcallName = UcallName> = {
  readonly name: N
  readonly args: readonly bigint[]
  /** GUEST_SYNC's stage: the first of `values`. */
  readonly stage: bigint
  /** What a guest's `sync` sent. */
  readonly values: readonly bigint[]
  /** What a guest printed, or `struct ucall`'s buffer up to its NUL. */
  readonly text: string
}

export type Exit =
  | IoExit
  | MmioExit
  | HypercallExit
  | SystemEventExit
  | RdmsrExit
  | WrmsrExit
  | MemoryFaultExit
  | TdxExit
  | InternalErrorExit
  | FailEntryExit
  | BareExit

/** By name, what `until` may wait for and what it returns then. */
export type Outcomes = { [E in Exit as E['name']]: Extract<Exit, { name: E['name'] }> } & {
  [N in BareName]: BareExit<N>
} & { [N in UcallName]: Ucall<N> }
export type Reason = keyof Outcomes

const MASK64 = mask(8)

const notAsked = (what: string): Answer => {
  return () => {
    throw new Misuse(`answer: ${what} waits for no value`)
  }
}

const fits = (value: bigint, size: Size): void => {
  if (value < 0n || value > mask(size)) throw new Misuse(`answer: ${hex(value)} does not fit in ${size} bytes`)
}

/** A size that kvm_run holds. KVM makes no others. */
const sizeOf = (size: number): Size => {
  if (size === 1 || size === 2 || size === 4 || size === 8) return size
  throw new RangeError(`kvm_run holds an access of ${size} bytes`)
}

/** The exit that kvm_run describes. */
export const readExit = ({ view, at, pio }: RunPage): Exit => {
  const reason = kvm_run.get(view, at, 'exit_reason')
  const union = at + KVM_RUN_EXIT
  switch (reason) {
    case KVM_EXIT_IO:
      return readIo(view, pio, union)
    case KVM_EXIT_MMIO:
      return readMmio(view, union)
    case KVM_EXIT_HYPERCALL: {
      const { nr, args } = kvm_run_hypercall.read(view, union)
      const answer: Answer = value => kvm_run_hypercall.set(view, union, 'ret', value & MASK64)
      return { name: 'KVM_EXIT_HYPERCALL', nr, args, answer }
    }
    case KVM_EXIT_SYSTEM_EVENT: {
      const { type, ndata, data } = kvm_run_system_event.read(view, union)
      return { name: 'KVM_EXIT_SYSTEM_EVENT', type, data: data.slice(0, ndata) }
    }
    case KVM_EXIT_X86_RDMSR: {
      const { index, reason: why } = kvm_run_msr.read(view, union)
      const exit: RdmsrExit = {
        name: 'KVM_EXIT_X86_RDMSR',
        index,
        why,
        data: 0n,
        answer(value) {
          exit.data = value & MASK64
          kvm_run_msr.set(view, union, 'data', exit.data)
        },
      }
      return exit
    }
    case KVM_EXIT_X86_WRMSR: {
      const { index, reason: why, data } = kvm_run_msr.read(view, union)
      return { name: 'KVM_EXIT_X86_WRMSR', index, why, data }
    }
    case KVM_EXIT_MEMORY_FAULT: {
      const { flags, gpa: at, size } = kvm_run_memory_fault.read(view, union)
      const isPrivate = (flags & KVM_MEMORY_EXIT_FLAG_PRIVATE) !== 0n
      return { name: 'KVM_EXIT_MEMORY_FAULT', gpa: gpa(at), size, isPrivate }
    }
    case KVM_EXIT_TDX: {
      const { nr, data } = kvm_run_tdx.read(view, union)
      const answer: Answer = value => kvm_run_tdx.set(view, union, 'ret', value & MASK64)
      return { name: 'KVM_EXIT_TDX', nr, data, answer }
    }
    case KVM_EXIT_INTERNAL_ERROR: {
      const { suberror, ndata, data } = kvm_run_internal.read(view, union)
      return { name: 'KVM_EXIT_INTERNAL_ERROR', suberror, data: data.slice(0, ndata) }
    }
    case KVM_EXIT_FAIL_ENTRY: {
      const hardwareReason = kvm_run_fail_entry.get(view, union, 'hardware_entry_failure_reason')
      return { name: 'KVM_EXIT_FAIL_ENTRY', hardwareReason }
    }
    default:
      // exitName has a name for each of KVM's numbers; the ones above are handled.
      return { name: exitName(reason) as BareName }
  }
}

const readIo = (view: DataView, pio: number, union: number): IoExit => {
  const size = sizeOf(kvm_run_io.get(view, union, 'size'))
  const isOut = kvm_run_io.get(view, union, 'direction') === KVM_EXIT_IO_OUT
  const data = pio + Number(kvm_run_io.get(view, union, 'data_offset')) - KVM_PIO_PAGE_OFFSET
  const port = kvm_run_io.get(view, union, 'port')
  const exit: IoExit = {
    name: 'KVM_EXIT_IO',
    port,
    direction: isOut ? 'out' : 'in',
    size,
    count: kvm_run_io.get(view, union, 'count'),
    data: isOut ? readUint(view, data, size) : 0n,
    answer: isOut
      ? notAsked(`OUT to port ${hex(port)}`)
      : value => {
          fits(value, size)
          exit.data = value
          writeUint(view, data, size, value)
        },
  }
  return exit
}

const MMIO_DATA = kvm_run_mmio.offset.data

const readMmio = (view: DataView, union: number): MmioExit => {
  const size = sizeOf(kvm_run_mmio.get(view, union, 'len'))
  const isWrite = kvm_run_mmio.get(view, union, 'is_write') !== 0
  const at = gpa(kvm_run_mmio.get(view, union, 'phys_addr'))
  const exit: MmioExit = {
    name: 'KVM_EXIT_MMIO',
    gpa: at,
    direction: isWrite ? 'write' : 'read',
    size,
    data: isWrite ? readUint(view, union + MMIO_DATA, size) : 0n,
    answer: isWrite
      ? notAsked(`MMIO write to ${hex(at)}`)
      : value => {
          fits(value, size)
          exit.data = value
          writeUint(view, union + MMIO_DATA, size, value)
        },
  }
  return exit
}

/** An exit or a ucall as a failure's step: its name and its fields, decoded. */
export const fieldsOf = (exit: Exit | Ucall): Fields => {
  switch (exit.name) {
    case 'KVM_EXIT_IO':
      return { direction: exit.direction, port: hex(exit.port), size: exit.size, data: hex(exit.data) }
    case 'KVM_EXIT_MMIO':
      return { direction: exit.direction, gpa: hex(exit.gpa), size: exit.size, data: hex(exit.data) }
    case 'KVM_EXIT_HYPERCALL':
      return { nr: Number(exit.nr), args: exit.args.slice(0, 3).map(hex).join(' ') }
    case 'KVM_EXIT_SYSTEM_EVENT':
      if (exit.type === KVM_SYSTEM_EVENT_TDX_FATAL && exit.data.length > 12)
        return { type: 'KVM_SYSTEM_EVENT_TDX_FATAL', R12: hex(exit.data[12]!) }
      return { type: exit.type }
    case 'KVM_EXIT_X86_RDMSR':
    case 'KVM_EXIT_X86_WRMSR':
      return { index: hex(exit.index), data: hex(exit.data) }
    case 'KVM_EXIT_MEMORY_FAULT':
      return { direction: exit.isPrivate ? 'private' : 'shared', gpa: hex(exit.gpa), size: Number(exit.size) }
    case 'KVM_EXIT_TDX':
      return { nr: hex(exit.nr) }
    case 'KVM_EXIT_INTERNAL_ERROR':
      return { suberror: exit.suberror, data: exit.data.map(hex).join(' ') }
    case 'KVM_EXIT_FAIL_ENTRY':
      return { hardware_entry_failure_reason: hex(exit.hardwareReason) }
    case 'UCALL_SYNC':
      return { values: exit.values.map(hex).join(' ') }
    case 'UCALL_PRINTF':
      return { text: exit.text.trimEnd() }
    default:
      return {}
  }
}

/** The same on one line, for a message: `KVM_EXIT_IO out port 0x32 size 4 data 0xab`. */
export const exitText = (exit: Exit | Ucall): string =>
  [
    exit.name,
    ...Object.entries(fieldsOf(exit)).map(([key, value]) => (key === 'direction' ? value : `${key} ${value}`)),
  ].join(' ')
