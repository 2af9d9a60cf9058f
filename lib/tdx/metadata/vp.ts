/** Metadata of a vCPU (TDVPS and its VMCS). metadata_handlers/metadata_vp.c. */
import {
  type MetadataField,
  MSR_BITMAPS_PAGE_INDEX,
  TDX_METADATA_FIELD_VALUE_NOT_VALID,
  TDX_TD_VMCS_FIELD_NOT_INITIALIZED,
  VMCS_FIELDS,
  VP_FIELDS,
} from '#abi'
import { NotModelled } from '#bits'
import { heldMsr, setHeldMsr } from '../guest/msr.ts'
import type { TdxModule } from '../module.ts'
import { sharedMemory } from '../operand.ts'
import { check, fail, TdxStatus } from '../status.ts'
import { NOT_ASSOCIATED, type Vcpu } from '../vcpu.ts'
import { NOT_MODELLED, OF_L2_VMS, ZERO } from './decided.ts'
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
import { readGuestState, writeGuestState } from './vmcs.ts'
import { readVmcsInfo } from './vmcsinfo.ts'

/** The VMCS comes first, as in the module's order. */
const table = new FieldTable([...VMCS_FIELDS, ...VP_FIELDS.filter(row => !OF_L2_VMS.has(row.name))])
const GPRS = ['RAX', 'RCX', 'RDX', 'RBX', '', 'RBP', 'RSI', 'RDI', 'R8', 'R9', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15']
const POSTED_INTERRUPT_NOTIFICATION_VECTOR = 0x2
const POSTED_INTERRUPT_DESCRIPTOR_ADDRESS = 0x2016
const NO_VECTOR = 0xffff
/** What an address reads as that nobody has given. */
const NO_ADDRESS = 0xffff_ffff_ffff_ffffn
const PROCESS_POSTED = 0x80n

/** What ids name that were asked for: KVM writes the same few of every vCPU. */
const asked = new Map<bigint, Element>()
const MOST_ASKED = 4096

export const findVpField = (id: bigint): Element => {
  const before = asked.get(id)
  if (before !== undefined) return before
  const found = table.find(id)
  if (asked.size < MOST_ASKED) asked.set(id, found)
  return found
}

const MSR_CLASS = 0x13n
const APIC_CLASS = 0x01n
const isMsr = (row: MetadataField): boolean => classCode(row.id) === MSR_CLASS
const isOfApic = (row: MetadataField): boolean => classCode(row.id) === APIC_CLASS

/** Index of the MSR that an element stands for: 0x2000 and up are those from 0xc000_0000 on. */
const msrOf = ({ row, index }: Element): number => {
  const code = Number(fieldCode(row.id)) + index
  return code < 0x2000 ? code : 0xc000_0000 + code - 0x2000
}

const L2_CONTROLS: ReadonlySet<string> = new Set(['L2_CTLS', 'L2_DEBUG_CTLS', 'TSC_DEADLINE'])

/** The fields of the VMCS by which the host controls the vCPU, and what it may know of it. */
const control = (vcpu: Vcpu, name: string): bigint | undefined => {
  switch (name) {
    case 'POSTED_INTERRUPT_NOTIFICATION_VECTOR':
      return BigInt(vcpu.notificationVector)
    case 'POSTED_INTERRUPT_DESCRIPTOR_ADDRESS':
      return vcpu.pidAddress
    case 'SHARED_EPT_POINTER':
      return vcpu.sharedEptp
    case 'PINBASED_EXEC_CONTROLS':
      return vcpu.pinbasedControls
    case 'SECONDARY_EXEC_CONTROLS':
      return vcpu.secondaryControls
    case 'INSTRUCTION_TIMEOUT_CONTROL':
      return vcpu.instructionTimeout
    case 'MSR_BITMAP_ADDRESS':
      return BigInt(vcpu.td.tdcx[MSR_BITMAPS_PAGE_INDEX] ?? 0)
    case 'PML_ADDRESS':
      return NO_ADDRESS
    case 'TIME_STAMP_COUNTER_OFFSET':
    case 'VM_FUNCTION_CONTROLS':
    case 'EPTP_LIST_ADDRESS':
    // Nothing leaves a loop of PAUSE: td_vmcs_init.c gives no numbers for it.
    case 'PLE_GAP':
    case 'PLE_WINDOW':
      return 0n
    case 'TIME_STAMP_COUNTER_MULTIPLIER':
      return vcpu.td.tscMultiplier
    case 'EPTP':
      return vcpu.td.eptp
    case 'TD_HKID':
      return BigInt(vcpu.td.hkid)
    default:
      return undefined
  }
}

/** tdx_tdvps.h, LAST_EXIT_*. */
const LAST_TD_EXITS = { none: 0n, fault: 0n, trap: 1n, tdvmcall: 2n } as const

/** VE_INFO, then guest state, then what the module keeps of the vCPU. */
const kept = (vcpu: Vcpu, { row, index }: Element): bigint | undefined => {
  const { ve } = vcpu
  switch (row.name) {
    case 'EXIT_REASON':
      return BigInt(ve.exitReason)
    case 'VALID':
      return BigInt(ve.valid)
    case 'EXIT_QUALIFICATION':
      return ve.exitQualification
    case 'GLA':
      return ve.gla
    case 'GPA':
      return ve.gpa
    case 'EPTP_INDEX':
      return BigInt(ve.eptpIndex)
    case 'INSTRUCTION_LENGTH':
      return BigInt(ve.instructionLength)
    case 'INSTRUCTION_INFORMATION':
      return BigInt(ve.instructionInfo >>> 0)
    case 'VCPU_STATE_DETAILS':
      // Bit 0, VMXIP: a virtual interrupt could be delivered.
      return vcpu.vapic.deliverable(vcpu.cpu?.cr8 ?? 0n) >= 0 ? 1n : 0n
    case 'CR2':
      return vcpu.cpu?.cr2 ?? 0n
    case 'XCR0':
      return vcpu.cpu?.xcr0 ?? 1n
    case 'DR0':
    case 'DR1':
    case 'DR2':
    case 'DR3':
    case 'DR6':
      return vcpu.cpu?.dr[Number(row.name.slice(2))] ?? 0n
    case 'VCPU_STATE':
      return BigInt(vcpu.state)
    case 'LAST_EPF_GPA_LIST_IDX':
      return BigInt(vcpu.zeroStep.gpas.length)
    case 'LAST_TD_EXIT':
      return LAST_TD_EXITS[vcpu.lastExit]
    case 'POSSIBLY_EPF_STEPPING':
      return BigInt(vcpu.zeroStep.count)
    case 'LAST_EPF_GPA_LIST':
      return vcpu.zeroStep.gpas[index] ?? 0n
    case 'VCPU_INDEX':
      return BigInt(vcpu.index)
    case 'NUM_TDVPS_PAGES':
      return BigInt(vcpu.pages.length)
    case 'ASSOC_LPID':
      return vcpu.assocLp === NOT_ASSOCIATED ? 0xffff_ffffn : BigInt(vcpu.assocLp)
    case 'VCPU_EPOCH':
      return vcpu.epoch
    case 'CPUID_SUPERVISOR_VE':
      return vcpu.cpuidSupervisorVe ? 1n : 0n
    case 'CPUID_USER_VE':
      return vcpu.cpuidUserVe ? 1n : 0n
    case 'PEND_NMI':
      return vcpu.pendNmi ? 1n : 0n
    case 'XFAM':
      return vcpu.td.xfam
    case 'TDVPS_PAGE_PA':
      return BigInt(vcpu.pages[index] ?? 0)
    case 'VM_LAUNCHED':
      return index === 0 && vcpu.hasRun ? 1n : 0n
    case 'CPUID_CONTROL':
      return BigInt(vcpu.cpuidControl?.[index] ?? 0)
    default:
      return undefined
  }
}

const isVmcs = (row: MetadataField): boolean => classCode(row.id) === 0n

const value = (vcpu: Vcpu, element: Element): bigint => {
  const { row, index } = element
  const { cpu } = vcpu
  const known = isVmcs(row)
    ? (control(vcpu, row.name) ?? readGuestState(row, vcpu, index) ?? readVmcsInfo(row, vcpu))
    : isMsr(row)
      ? cpu === undefined
        ? (vcpu.msrs.get(msrOf(element)) ?? 0n)
        : heldMsr(vcpu, cpu, msrOf(element))
      : isOfApic(row)
        ? vcpu.vapic.page(index, cpu?.cr8 ?? 0n)
        : GPRS.includes(row.name)
          ? (cpu?.gpr[GPRS.indexOf(row.name)] ?? 0n)
          : L2_CONTROLS.has(row.name)
            ? (vcpu.l2Controls.get(`${row.name} ${index}`) ?? 0n)
            : ZERO.has(row.name)
              ? 0n
              : kept(vcpu, element)
  if (known === undefined) throw new NotModelled(`metadata field ${row.name}`)
  return known
}

/** An address that the host gives must be the host's memory. md_vp_handle_field_attribute_on_wr. */
const checkShared = (module: TdxModule, address: bigint, size: number): void => {
  try {
    sharedMemory(module, address, size, 1, 'R8')
  } catch (error) {
    if (!(error instanceof TdxStatus)) throw error
    fail(TDX_METADATA_FIELD_VALUE_NOT_VALID)
  }
}

const CPUID_VE_BITS = 1n

const store = (module: TdxModule, vcpu: Vcpu, element: Element, to: bigint): void => {
  const { row, index } = element
  const { cpu } = vcpu
  if (cpu !== undefined) {
    const gpr = GPRS.indexOf(row.name)
    if (gpr >= 0) {
      cpu.gpr[gpr] = to
      return
    }
    if (isMsr(row)) {
      setHeldMsr(vcpu, cpu, msrOf(element), to)
      return
    }
    if (isVmcs(row) && !NOT_MODELLED.has(row.name) && writeGuestState(row, vcpu, to)) return
  }
  if (L2_CONTROLS.has(row.name)) {
    vcpu.l2Controls.set(`${row.name} ${index}`, to)
    return
  }
  switch (row.name) {
    case 'CR2':
      if (cpu !== undefined) cpu.cr2 = to
      break
    case 'DR0':
    case 'DR1':
    case 'DR2':
    case 'DR3':
    case 'DR6':
      if (cpu !== undefined) cpu.dr[Number(row.name.slice(2))] = to
      break
    case 'CPUID_SUPERVISOR_VE':
      check(to <= CPUID_VE_BITS, TDX_METADATA_FIELD_VALUE_NOT_VALID)
      vcpu.cpuidSupervisorVe = to === 1n
      break
    case 'CPUID_USER_VE':
      check(to <= CPUID_VE_BITS, TDX_METADATA_FIELD_VALUE_NOT_VALID)
      vcpu.cpuidUserVe = to === 1n
      break
    case 'CPUID_CONTROL':
      // Rows past the table of leaves are there, and mean nothing.
      vcpu.cpuidControl ??= new Uint8Array(row.fields)
      vcpu.cpuidControl[index] = Number(to)
      break
    case 'POSTED_INTERRUPT_NOTIFICATION_VECTOR':
      check(to <= 0xffn, TDX_METADATA_FIELD_VALUE_NOT_VALID)
      vcpu.notificationVector = Number(to)
      break
    case 'POSTED_INTERRUPT_DESCRIPTOR_ADDRESS':
      checkShared(module, to, 64)
      vcpu.pidAddress = to
      break
    case 'SHARED_EPT_POINTER':
      checkShared(module, to, 4096)
      vcpu.sharedEptp = to
      vcpu.stage?.invalidate()
      break
    case 'PINBASED_EXEC_CONTROLS':
      if ((to & PROCESS_POSTED) !== 0n) {
        check(
          vcpu.notificationVector !== NO_VECTOR,
          TDX_TD_VMCS_FIELD_NOT_INITIALIZED,
          POSTED_INTERRUPT_NOTIFICATION_VECTOR,
        )
        check(vcpu.pidAddress >> 63n === 0n, TDX_TD_VMCS_FIELD_NOT_INITIALIZED, POSTED_INTERRUPT_DESCRIPTOR_ADDRESS)
      }
      vcpu.pinbasedControls = to
      break
    case 'SECONDARY_EXEC_CONTROLS':
      vcpu.secondaryControls = to
      break
    case 'INSTRUCTION_TIMEOUT_CONTROL':
      vcpu.instructionTimeout = to
      break
    case 'PEND_NMI':
      check(to <= 1n, TDX_METADATA_FIELD_VALUE_NOT_VALID)
      vcpu.pendNmi = to === 1n
      break
    default:
      throw new NotModelled(`writing metadata field ${row.name}`)
  }
}

export const readVpField = (vcpu: Vcpu, element: Element, reader: Reader): bigint => {
  const mask = checkReadable(element, seenBy(vcpu.td, reader))
  return value(vcpu, element) & mask & sizeMask(element.row.id)
}

/** Writes the masked bits and returns the old value, as far as it may be read. */
export const writeVpField = (
  module: TdxModule,
  vcpu: Vcpu,
  element: Element,
  to: bigint,
  mask: bigint,
  reader: Reader,
): bigint => {
  const { row } = element
  const who = seenBy(vcpu.td, reader)
  checkWritable(row, who, mask)
  const old = value(vcpu, element) & sizeMask(row.id)
  // An address that the host has not given yet is all ones: the bits it may not write become zero with the first write.
  const base = row.name === 'POSTED_INTERRUPT_DESCRIPTOR_ADDRESS' && old >> 63n === 1n ? old & writeMask(row, who) : old
  store(module, vcpu, element, combine(row, who, base, to & sizeMask(row.id), mask))
  return old & readMask(row, who)
}

const nextId = (vcpu: Vcpu, from: Element | undefined, reader: Reader): bigint =>
  table.next(from, row => readMask(row, seenBy(vcpu.td, reader)) !== 0n)

export const firstVpField = (vcpu: Vcpu, reader: Reader): bigint => nextId(vcpu, undefined, reader)
export const nextVpField = (vcpu: Vcpu, from: Element, reader: Reader): bigint => nextId(vcpu, from, reader)
