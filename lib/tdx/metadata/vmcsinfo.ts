/**
 * The TD VMCS as a debug TD's host sees it, what is not guest state: information on the last VM exit, and controls that the
 * module gives every vCPU. SDM Vol. 3C, "VM-Exit Information Fields"; intel/tdx-module, td_vmcs_init.c.
 */
import type { MetadataField } from '#abi'
import { type Cpu, type Event, EXIT_REASON_EXTERNAL_INTERRUPT, EXIT_REASON_PREEMPTION_TIMER, type VmExit } from '#x86'
import type { Vcpu } from '../vcpu.ts'

const ALL = 0xffff_ffff_ffff_ffffn
/** TDCX page of zeroes, TDVPS page of VE_INFO. */
const [ZERO_PAGE, VE_INFO_PAGE] = [4, 0]

/** VPIDs have 14 bits for the key id, and 2 for the VM; those of MAX_HKID_FOR_VPID and up have none. */
const MOST_VPIDS = 4096

/** Machine checks leave a TD. */
const MACHINE_CHECK = 1n << 18n

/** What td_vmcs_init.c writes, and zero where it writes nothing. */
const CONSTANTS: ReadonlyMap<string, bigint> = new Map([
  ['EXCEPTION_BITMAP', MACHINE_CHECK],
  ...[
    'I_O_BITMAP_ADDRESS_N',
    'VM_EXIT_MSR_STORE_ADDRESS',
    'VM_EXIT_MSR_LOAD_ADDRESS',
    'VM_ENTRY_MSR_LOAD_ADDRESS',
    'APIC_ACCESS_ADDRESS',
    'VMREAD_BITMAP_ADDRESS',
    'VMWRITE_BITMAP_ADDRESS',
    'ENCLS_EXITING_BITMAP',
    'ENCLV_EXITING_BITMAP',
    'PCONFIG_EXITING_BITMAP',
  ].map(name => [name, ALL] as const),
  ...[
    'VMCS_EPTP_INDEX',
    'HLAT_PREFIX_SIZE',
    'HLAT_POINTER',
    'PML_INDEX',
    'GUEST_UINV',
    'EOI_EXIT_BITMAP_N',
    'XSS_EXITING_BITMAP',
    'PAGE_FAULT_ERROR_CODE_MASK',
    'PAGE_FAULT_ERROR_CODE_MATCH',
    'CR3_TARGET_COUNT',
    'CR3_TARGET_VALUES',
    'VM_EXIT_MSR_STORE_COUNT',
    'VM_EXIT_MSR_LOAD_COUNT',
    'VM_ENTRY_MSR_LOAD_COUNT',
    'TPR_THRESHOLD',
    'VM_INSTRUCTION_ERROR',
    'VMX_PREEMPTION_TIMER_VALUE',
    // Of VM exits that are SMIs.
    'I_O_RCX',
    'I_O_RSI',
    'I_O_RDI',
    'I_O_RIP',
  ].map(name => [name, 0n] as const),
])

/** SDM Vol. 3C, "Format of the IDT-Vectoring Information Field". */
const TYPES: Readonly<Record<Event['kind'], bigint>> = { external: 0n, nmi: 2n, exception: 3n, software: 4n, stop: 0n }
const VALID = 1n << 31n
const HAS_ERROR_CODE = 1n << 11n

/** The event whose delivery the exit came in the middle of. */
const vectored = ({ pending }: Cpu): Event | undefined =>
  pending.find(({ kind, source }) => kind !== 'stop' && source === undefined)

const vectoring = (cpu: Cpu): bigint => {
  const event = vectored(cpu)
  if (event === undefined) return 0n
  const code = event.errorCode === undefined ? 0n : HAS_ERROR_CODE
  return VALID | code | (TYPES[event.kind] << 8n) | BigInt(event.kind === 'nmi' ? 2 : event.vector)
}

const reasonOf = ({ reason }: VmExit): number =>
  reason === EXIT_REASON_PREEMPTION_TIMER ? EXIT_REASON_EXTERNAL_INTERRUPT : reason

const ofExit = (name: string, exit: VmExit | undefined, cpu: Cpu): bigint | undefined => {
  switch (name) {
    case 'VMCS_EXIT_REASON':
      return exit === undefined ? 0n : BigInt(reasonOf(exit))
    case 'VMCS_EXIT_QUALIFICATION':
      return exit?.qualification ?? 0n
    case 'GUEST_LINEAR_ADDRESS':
      return exit?.gla ?? 0n
    case 'GUEST_PHYSICAL_ADDRESS':
      return exit?.gpa ?? 0n
    case 'VM_EXIT_INSTRUCTION_LENGTH':
      return BigInt(exit?.instructionLength ?? 0)
    case 'VM_EXIT_INSTRUCTION_INFORMATION':
      return BigInt((exit?.instructionInfo ?? 0) >>> 0)
    case 'VM_EXIT_INTERRUPTION_INFORMATION':
    case 'VM_EXIT_INTERRUPTION_ERROR_CODE':
      // No exception leaves a TD here; a machine check comes as its TD exit.
      return 0n
    case 'IDT_VECTORING_INFORMATION':
      return vectoring(cpu)
    case 'IDT_VECTORING_ERROR_CODE':
      return BigInt(vectored(cpu)?.errorCode ?? 0)
    default:
      return undefined
  }
}

/** Undefined where the field is none of these, or the vCPU has no CPU yet. */
export const readVmcsInfo = ({ name }: MetadataField, vcpu: Vcpu): bigint | undefined => {
  switch (name) {
    case 'VPID':
      return vcpu.td.hkid < MOST_VPIDS ? BigInt(vcpu.td.hkid << 2) : 0n
    case 'LOW_PASID_DIRECTORY_ADDRESS':
    case 'HIGH_PASID_DIRECTORY_ADDRESS':
      return BigInt(vcpu.td.tdcx[ZERO_PAGE] ?? 0)
    case 'VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS':
      return BigInt(vcpu.pages[VE_INFO_PAGE] ?? 0)
    default:
      return CONSTANTS.get(name) ?? (vcpu.cpu === undefined ? undefined : ofExit(name, vcpu.vmExit, vcpu.cpu))
  }
}
