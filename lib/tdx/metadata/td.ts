/** Metadata of a TD (TDR and TDCS). metadata_handlers/metadata_td.c. */
import {
  CPUID_LOOKUP,
  MAX_TDCS_PAGES,
  TD_CTLS_ENUM_TOPOLOGY,
  TD_CTLS_PENDING_VE_DISABLE,
  TD_FIELDS,
  TDX_CONFIG_FLAGS_FLEXIBLE_PENDING_VE,
  TDX_METADATA_FIELD_ID_INCORRECT,
  TDX_METADATA_FIELD_NOT_READABLE,
  TDX_METADATA_FIELD_VALUE_NOT_VALID,
  TDX_METADATA_WR_MASK_NOT_VALID,
} from '#abi'
import { NotModelled } from '#bits'
import { compactedLayout, cpuidRow } from '../guest/cpuid.ts'
import { msrBitmap } from '../guest/msr.ts'
import { isTopologyConfigured } from '../guest/topology.ts'
import type { TdxModule } from '../module.ts'
import { check, orStatus, TdxStatus } from '../status.ts'
import type { Td } from '../td.ts'
import { OF_L2_VMS, ZERO } from './decided.ts'
import {
  checkReadable,
  checkWritable,
  classCode,
  combine,
  type Element,
  FieldTable,
  fieldCode,
  type Reader,
  readMask,
  seenBy,
  sizeMask,
  writeMask,
} from './field.ts'

const table = new FieldTable(TD_FIELDS.filter(row => !OF_L2_VMS.has(row.name)))
const whole = new BigUint64Array(1)
const half = new Uint32Array(whole.buffer)

const CPUID_CLASS = 0x14n
const CPUID_VALUES = TD_FIELDS.find(row => row.name === 'CPUID_VALUES')!

/** TDR fields are readable whatever the TD's state. */
export const isTdrField = (id: bigint): boolean => {
  whole[0] = id
  return isTdrHalf(half[1]!)
}

/** The same of the upper half of an id. */
export const isTdrHalf = (high: number): boolean => ((high >>> 24) & 0x3f) <= 2

/** Row of CPUID_LOOKUP and element that a CPUID_VALUES id names: leaf and sub-leaf are in the field code. */
const cpuidElement = (id: bigint): Element => {
  const code = Number(fieldCode(id))
  const leaf = (((code >> 9) & 0x7f) | (((code >> 16) & 1) << 31)) >>> 0
  const subleaf = ((code >> 8) & 1) === 1 ? 0xffff_ffff : (code >> 1) & 0x7f
  const row = cpuidRow(leaf, subleaf)
  check(row >= 0 && code >> 17 === 0, TDX_METADATA_FIELD_ID_INCORRECT)
  check(CPUID_LOOKUP[row]!.subleaf === subleaf, TDX_METADATA_FIELD_ID_INCORRECT)
  check(!CPUID_LOOKUP[row]!.faulting, TDX_METADATA_FIELD_NOT_READABLE)
  return { row: CPUID_VALUES, index: 2 * row + (code & 1) }
}

/** What ids name that were asked for, by their halves: KVM reads all of CPUID for every vCPU, and asks for what is not there too. */
const asked = new Map<number, Map<number, Element | TdxStatus>>()
const MOST_ASKED = 4096
let count = 0
/** Those with the upper half that was asked for last. */
let lastHigh = -1
let likeLast = new Map<number, Element | TdxStatus>()

/** The element that an id names, or the status that says why there is none. */
export const seekTdField = (id: bigint): Element | TdxStatus => {
  whole[0] = id
  return seekTdHalves(half[0]!, half[1]!)
}

/** The same of an id in halves. */
export const seekTdHalves = (low: number, high: number): Element | TdxStatus => {
  if (high !== lastHigh) {
    likeLast = asked.get(high) ?? new Map()
    lastHigh = high
  }
  return likeLast.get(low) ?? ask(low, high)
}

const ask = (low: number, high: number): Element | TdxStatus => {
  const answer = orStatus(() => findIn(BigInt(low) | (BigInt(high) << 32n)))
  if (count++ < MOST_ASKED) {
    likeLast.set(low, answer)
    asked.set(high, likeLast)
  }
  return answer
}

export const findTdField = (id: bigint): Element => {
  const answer = seekTdField(id)
  if (answer instanceof TdxStatus) throw answer
  return answer
}

const findIn = (id: bigint): Element => {
  if (classCode(id) !== CPUID_CLASS) return table.find(id)
  table.find((id & ~0xff_ffffn) | (id & 1n)) // the checks of every id
  return cpuidElement(id)
}

/** Eight bytes of a byte field, by element. */
const word = (bytes: Uint8Array, index: number): bigint =>
  new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(8 * index, true)

const cpuidValue = ({ cpuid }: Td, index: number): bigint => {
  if (cpuid === undefined) return 0n
  half[0] = cpuid.values[2 * index]!
  half[1] = cpuid.values[2 * index + 1]!
  return whole[0]!
}

const value = (module: TdxModule, td: Td, { row, index }: Element): bigint => {
  switch (row.name) {
    case 'FATAL':
      return td.fatal ? 1n : 0n
    case 'NUM_TDCX':
      return BigInt(td.tdcx.length)
    case 'CHLDCNT':
      return BigInt(td.childCount)
    case 'LIFECYCLE_STATE':
      return BigInt(td.lifecycle)
    case 'TDCX_PA':
      return index < MAX_TDCS_PAGES ? BigInt(td.tdcx[index] ?? 0) : 0n
    case 'TD_UUID':
      return td.uuid[index] ?? 0n
    case 'HKID':
      return BigInt(td.hkid)
    case 'PKG_CONFIG_BITMAP':
      return BigInt(td.packages)
    case 'NUM_VCPUS':
      return BigInt(td.numVcpus)
    case 'NUM_ASSOC_VCPUS':
      return BigInt(td.numAssocVcpus)
    case 'OP_STATE':
      return BigInt(td.opState)
    case 'NUM_L2_VMS':
      return BigInt(td.numL2Vms)
    case 'ATTRIBUTES':
      return td.attributes
    case 'XFAM':
      return td.xfam
    case 'MAX_VCPUS':
      return BigInt(td.maxVcpus)
    case 'GPAW':
      return td.gpaw === 52 ? 1n : 0n
    case 'EPTP':
      return td.eptp
    case 'TSC_OFFSET':
      return 0n
    case 'TSC_MULTIPLIER':
      return td.tscMultiplier
    case 'TSC_FREQUENCY':
      return BigInt(td.tscFrequency)
    case 'NUM_CPUID_VALUES':
      return BigInt(CPUID_LOOKUP.length)
    case 'NOTIFY_ENABLES':
      return td.notifyEnables
    case 'HP_LOCK_TIMEOUT':
      return td.hpLockTimeout
    case 'CONFIG_FLAGS':
      return td.configFlags
    case 'TD_CTLS':
      return td.tdCtls
    case 'TOPOLOGY_ENUM_CONFIGURED':
      return isTopologyConfigured(td) ? 1n : 0n
    case 'CPUID_VALID':
      return CPUID_LOOKUP[index]?.faulting === false ? 1n : 0n
    case 'TD_EPOCH':
      return td.epoch
    case 'REFCOUNT':
      return BigInt(td.refcount[index as 0 | 1])
    case 'MRTD':
      return word(td.mrtd, index)
    case 'MRCONFIGID':
      return word(td.mrConfigId, index)
    case 'MROWNER':
      return word(td.mrOwner, index)
    case 'MROWNERCONFIG':
      return word(td.mrOwnerConfig, index)
    case 'RTMR':
      return word(td.rtmr[Math.floor(index / 6) as 0], index % 6)
    case 'CPUID_VALUES':
      return cpuidValue(td, index)
    case 'VIRTUAL_IA32_ARCH_CAPABILITIES':
      return td.archCapabilities
    case 'VIRTUAL_IA32_VMX_CR0_FIXED0':
      return module.platform.msr.cr0Fixed0
    case 'VIRTUAL_IA32_VMX_CR0_FIXED1':
      return module.platform.msr.cr0Fixed1
    case 'VIRTUAL_IA32_VMX_CR4_FIXED0':
      return module.platform.msr.cr4Fixed0
    case 'VIRTUAL_IA32_VMX_CR4_FIXED1':
      return module.platform.msr.cr4Fixed1
    case 'VM_CTLS':
      return td.vmCtls[index] ?? 0n
    case 'XBUFF_SIZE':
      return BigInt(compactedLayout(module.platform, td.xfam).size)
    case 'XBUFF_OFFSETS':
      return BigInt(compactedLayout(module.platform, td.xfam).offsets[index] ?? 0)
    case 'MSR_BITMAPS':
      return msrBitmap(td, index)
    case 'SEPT_ROOT':
      return module.memory.read(td.septRoot + 8 * index, 8)
    default:
      if (ZERO.has(row.name)) return 0n
      throw new NotModelled(`metadata field ${row.name}`)
  }
}

/** What reading a field of CPUID_VALUES is masked with: nothing. */
const CPUID_IS_WHOLE = (['hostRd', 'debugRd'] as const).every(who => CPUID_VALUES[who] === 0xffff_ffff_ffff_ffffn)

export const readTdField = (module: TdxModule, td: Td, element: Element, reader: Reader): bigint => {
  if (element.row === CPUID_VALUES && reader === 'host' && CPUID_IS_WHOLE) return cpuidValue(td, element.index)
  const mask = checkReadable(element, seenBy(td, reader))
  return value(module, td, element) & mask & sizeMask(element.row.id)
}

const MIN_HP_LOCK_TIMEOUT = 10_000n
const MAX_HP_LOCK_TIMEOUT = 100_000_000n
const ALL = 0xffff_ffff_ffff_ffffn

/** Writes the masked bits and returns the old value, as far as it may be read. md_td_write_element. */
export const writeTdField = (
  module: TdxModule,
  td: Td,
  element: Element,
  to: bigint,
  mask: bigint,
  reader: Reader,
): bigint => {
  const { row, index } = element
  const who = seenBy(td, reader)
  checkWritable(row, who, mask)
  const old = value(module, td, element)
  const next = combine(row, who, old, to, mask)
  switch (row.name) {
    case 'NOTIFY_ENABLES':
      td.notifyEnables = next
      break
    case 'HP_LOCK_TIMEOUT':
      check((writeMask(row, who) & mask) === ALL, TDX_METADATA_WR_MASK_NOT_VALID)
      check(next >= MIN_HP_LOCK_TIMEOUT && next <= MAX_HP_LOCK_TIMEOUT, TDX_METADATA_FIELD_VALUE_NOT_VALID)
      td.hpLockTimeout = next
      break
    case 'VM_CTLS':
      td.vmCtls[index] = next
      break
    case 'TD_CTLS':
      check(
        (td.configFlags & TDX_CONFIG_FLAGS_FLEXIBLE_PENDING_VE) !== 0n ||
          ((next ^ old) & TD_CTLS_PENDING_VE_DISABLE) === 0n,
        TDX_METADATA_FIELD_VALUE_NOT_VALID,
      )
      check((next & TD_CTLS_ENUM_TOPOLOGY) === 0n || isTopologyConfigured(td), TDX_METADATA_FIELD_VALUE_NOT_VALID)
      td.tdCtls = next
      break
    default:
      throw new NotModelled(`writing metadata field ${row.name}`)
  }
  return old & readMask(row, who)
}

/** CPUID_VALUES begins with leaf 0, which has no sub-leaf. */
const FIRST_CPUID_VALUE = CPUID_VALUES.id | (1n << 8n)

const nextId = (td: Td, from: Element | undefined, reader: Reader): bigint => {
  const id = table.next(from, row => readMask(row, seenBy(td, reader)) !== 0n)
  return id === CPUID_VALUES.id ? FIRST_CPUID_VALUE : id
}

export const firstTdField = (_module: TdxModule, td: Td, reader: Reader): bigint => nextId(td, undefined, reader)

/** A CPUID_VALUES element is followed by the next one of the table, under its own leaf and sub-leaf. */
export const nextTdField = (_module: TdxModule, td: Td, from: Element, reader: Reader): bigint => {
  if (from.row !== CPUID_VALUES) return nextId(td, from, reader)
  const next = CPUID_LOOKUP[(from.index + 1) >> 1]
  if (next === undefined) return nextId(td, { row: CPUID_VALUES, index: CPUID_VALUES.fields * 2 - 1 }, reader)
  const code =
    ((from.index + 1) & 1) |
    (next.subleaf === 0xffff_ffff ? 1 << 8 : next.subleaf << 1) |
    ((next.leaf & 0x7f) << 9) |
    ((next.leaf >>> 31) << 16)
  return CPUID_VALUES.id | BigInt(code)
}
