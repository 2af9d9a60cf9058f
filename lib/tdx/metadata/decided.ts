/**
 * What becomes of metadata fields that stand for what no TD here has: migration, service TDs, TD preserving.
 * Fields of L2 VMs beyond NUM_L2_VMS do not exist in the module either (metadata_generic.c,
 * md_get_num_of_td_vp_ctx_unused_entries), and TDs with L2 VMs are refused by name at MNG.INIT.
 * `metadata.test.ts` holds every row of the tables in lib/abi/tdx against this and what is implemented.
 */

/** Fields that read as zero because what they count or hold has never been: the TD is not migrated, not bound. */
export const ZERO: ReadonlySet<string> = new Set([
  // TDR: no update of the module has been
  'HANDOFF_VERSION',
  'SEAMDB_INDEX',
  // TDCS: migration
  'MIG_DEC_KEY_SET',
  'EXPORT_COUNT',
  'IMPORT_COUNT',
  'MIG_EPOCH',
  'BW_EPOCH',
  'TOTAL_MB_COUNT',
  'MIG_DEC_KEY',
  'MIG_DEC_WORKING_KEY',
  'MIG_ENC_KEY',
  'MIG_ENC_WORKING_KEY',
  'MIG_VERSION',
  'MIG_WORKING_VERSION',
  'DIRTY_COUNT',
  'MIG_COUNT',
  'NUM_MIGS',
  'NUM_MIGRATED_VCPUS',
  'PRE_IMPORT_UUID',
  'MIGSC_LINKS',
  // TDCS: service TDs
  'SERVTD_HASH',
  'SERVTD_NUM',
  'SERVTD_BINDINGS_TABLE',
  // TDVPS: no lock is held for the host; NMIs of L2 VMs only
  'NMI_UNBLOCKING_DUE_TO_IRET',
  'HP_LOCK_BUSY_START',
  'HP_LOCK_BUSY',
  'LAST_SEAMDB_INDEX',
  'CURR_VM',
  'L2_EXIT_HOST_ROUTING',
  // TDVPS: of L2 VMs, four elements each, of which none is in use
  'LP_DEPENDENT_HPA_UPDATED',
  'MODULE_DEPENDENT_FIELDS_UPDATED',
  'SHADOW_TSC_DEADLINE',
  'SHADOW_CR0_GUEST_HOST_MASK',
  'SHADOW_CR0_READ_SHADOW',
  'SHADOW_CR4_GUEST_HOST_MASK',
  'SHADOW_CR4_READ_SHADOW',
  'SHADOW_INSTRUCTION_TIMEOUT_CONTROL',
  'SHADOW_PID_HPA',
  'SHADOW_PINBASED_EXEC_CTLS',
  'SHADOW_PLE_GAP',
  'SHADOW_PLE_WINDOW',
  'SHADOW_POSTED_INT_NOTIFICATION_VECTOR',
  'SHADOW_PROCBASED_EXEC_CTLS2',
  'SHADOW_SHARED_EPTP',
  'L2_ENTER_GUEST_STATE_GPA',
  'L2_ENTER_GUEST_STATE_HPA',
  'VE_INFO_GPA',
  'VE_INFO_HPA',
  'L2_VAPIC_GPA',
  'L2_VAPIC_HPA',
])

/** Fields of L2 VMs, which a TD without any does not have: TDX_METADATA_FIELD_ID_INCORRECT. */
export const OF_L2_VMS: ReadonlySet<string> = new Set([
  'L2_SEPT_ROOT_1',
  'L2_SEPT_ROOT_2',
  'L2_SEPT_ROOT_3',
  'L2_VMCS_1',
  'L2_MSR_BITMAPS_1',
  'L2_SHADOW_MSR_BITMAPS_1',
  'L2_VMCS_2',
  'L2_MSR_BITMAPS_2',
  'L2_SHADOW_MSR_BITMAPS_2',
  'L2_VMCS_3',
  'L2_MSR_BITMAPS_3',
  'L2_SHADOW_MSR_BITMAPS_3',
])

/**
 * Fields that a debug TD's host may read or write and that stop a test by name.
 * Not modelled: the VMX capabilities of L2 VMs (VIRTUAL_IA32_VMX_*), the XSAVE buffer of a vCPU (XBUFF), the base values of
 * L2 VMs' CR0 and CR4, the time of the last exit, VMCS controls that follow from the host processor's VMX capabilities, and
 * what a debugger writes into those that would have other events leave the TD.
 */
export const NOT_MODELLED: ReadonlySet<string> = new Set([
  'VIRTUAL_IA32_VMX_BASIC',
  'VIRTUAL_IA32_VMX_MISC',
  'VIRTUAL_IA32_VMX_PROCBASED_CTLS2',
  'VIRTUAL_IA32_VMX_EPT_VPID_CAP',
  'VIRTUAL_IA32_VMX_TRUE_PINBASED_CTLS',
  'VIRTUAL_IA32_VMX_TRUE_PROCBASED_CTLS',
  'VIRTUAL_IA32_VMX_TRUE_EXIT_CTLS',
  'VIRTUAL_IA32_VMX_TRUE_ENTRY_CTLS',
  'VIRTUAL_IA32_VMX_VMFUNC',
  'VIRTUAL_IA32_VMX_PROCBASED_CTLS3',
  'VIRTUAL_IA32_VMX_EXIT_CTLS2',
  'XBUFF',
  'LAST_EXIT_TSC',
  'BASE_L2_CR0_GUEST_HOST_MASK',
  'BASE_L2_CR0_READ_SHADOW',
  'BASE_L2_CR4_GUEST_HOST_MASK',
  'BASE_L2_CR4_READ_SHADOW',
  // TD VMCS
  'TERTIARY_EXEC_CONTROLS',
  'IA32_SPEC_CTRL_MASK',
  'IA32_SPEC_CTRL_SHADOW',
  'PROCBASED_EXEC_CONTROLS',
  'VM_EXIT_CONTROLS',
  'VM_ENTRY_CONTROLS',
  'VM_ENTRY_INTERRUPTION_INFORMATION',
  'VM_ENTRY_EXCEPTION_ERROR_CODE',
  'VM_ENTRY_INSTRUCTION_LENGTH',
  'PENDING_DEBUG_EXCEPTIONS',
  'GUEST_SSP',
])
