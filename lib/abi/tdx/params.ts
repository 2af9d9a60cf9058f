/** Structures and bits that host and module exchange. intel/tdx-module 1.5.01, include/tdx_api_defs.h unless a line says otherwise. */
import { bytes, struct, u8, u16, u32, u64, u64s } from '#bits'

/** TD_PARAMS, input of TDH.MNG.INIT, 1024 bytes. */
export const TD_PARAMS = struct('TD_PARAMS', {
  attributes: u64,
  xfam: u64,
  max_vcpus: u16,
  num_l2_vms: u8,
  msr_config_ctls: u8,
  reserved_0: bytes(4),
  eptp_controls: u64,
  config_flags: u64,
  tsc_frequency: u16,
  reserved_1: bytes(38),
  mr_config_id: bytes(48),
  mr_owner: bytes(48),
  mr_owner_config: bytes(48),
  ia32_arch_capabilities_config: u64,
  reserved_2: bytes(24),
  /** EAX, EBX, ECX, EDX of each row of CPUID_CONFIGURABLE. */
  cpuid_config: bytes(768),
})

/** TD ATTRIBUTES. Bits with `newer` beside them: Linux arch/x86/include/asm/shared/tdx.h. */
export const TDX_ATTR_DEBUG = 1n << 0n
export const TDX_ATTR_HGS_PLUS_PROF = 1n << 4n // newer
export const TDX_ATTR_PERF_PROF = 1n << 5n // newer
export const TDX_ATTR_PMT_PROF = 1n << 6n // newer
export const TDX_ATTR_ICSSD = 1n << 16n // newer
export const TDX_ATTR_LASS = 1n << 27n // newer
export const TDX_ATTR_SEPT_VE_DISABLE = 1n << 28n
export const TDX_ATTR_MIGRATABLE = 1n << 29n
export const TDX_ATTR_PKS = 1n << 30n
export const TDX_ATTR_KL = 1n << 31n
export const TDX_ATTR_TPA = 1n << 62n // newer
export const TDX_ATTR_PERFMON = 1n << 63n
/** Bits a TD may set, bits it must set. (td_control_structures.h) */
export const TDX_ATTRIBUTES_FIXED0 =
  TDX_ATTR_DEBUG | TDX_ATTR_SEPT_VE_DISABLE | TDX_ATTR_MIGRATABLE | TDX_ATTR_PKS | TDX_ATTR_PERFMON
export const TDX_ATTRIBUTES_FIXED1 = 0n

/** XFAM: XCR0 | IA32_XSS. */
export const XFAM_X87 = 1n << 0n
export const XFAM_SSE = 1n << 1n
export const XFAM_AVX = 1n << 2n
export const XFAM_AVX512 = 7n << 5n
export const XFAM_PT = 1n << 8n
export const XFAM_PKRU = 1n << 9n
export const XFAM_CET = 3n << 11n
export const XFAM_UINTR = 1n << 14n
export const XFAM_LBR = 1n << 15n
export const XFAM_AMX = 3n << 17n
/** Bits of XFAM that belong to XCR0; the others belong to IA32_XSS. */
export const XFAM_XCR0_MASK = XFAM_X87 | XFAM_SSE | XFAM_AVX | XFAM_AVX512 | XFAM_PKRU | XFAM_AMX
export const TDX_XFAM_FIXED0 = 0x6_dbe7n
export const TDX_XFAM_FIXED1 = 3n

/** CONFIG_FLAGS. */
export const TDX_CONFIG_FLAGS_GPAW = 1n << 0n
export const TDX_CONFIG_FLAGS_FLEXIBLE_PENDING_VE = 1n << 1n
export const TDX_CONFIG_FLAGS_NO_RBP_MOD = 1n << 2n
export const TDX_CONFIG_FLAGS_FIXED0 = 7n
export const TDX_CONFIG_FLAGS_FIXED1 = 0n

/** TD_CTLS. */
export const TD_CTLS_PENDING_VE_DISABLE = 1n << 0n
export const TD_CTLS_ENUM_TOPOLOGY = 1n << 1n // newer

/** TDX_FEATURES0. Bits with `newer`: Linux arch/x86/include/asm/tdx_global_metadata.h and KVM's use of them. */
export const TDX_FEATURES0_NO_RBP_MOD = 1n << 18n
export const TDX_FEATURES0_TOPOLOGY_ENUM = 1n << 20n // newer
/** What 1.5.01 reports, everything supported. */
export const TDX_FEATURES0_1_5_01 = 0xf_0fbfn

/** PAMT entry: 16 bytes; type in bits 23:16, owner's page number in 63:24, BEPOCH in the second quadword. (pamt_manager.h) */
export const PAMT_ENTRY_SIZE = 16
export const PT_NDA = 0
export const PT_RSVD = 1
export const PT_REG = 3
export const PT_TDR = 4
export const PT_TDCX = 5
export const PT_TDVPR = 6
export const PT_EPT = 8

/** TD life cycle (TDR) and operation state (TDCS). (td_control_structures.h, include/auto_gen/op_state_lookup.h) */
export const TD_HKID_ASSIGNED = 0
export const TD_KEYS_CONFIGURED = 1
export const TD_BLOCKED = 2
export const TD_TEARDOWN = 3
export const OP_STATE_UNINITIALIZED = 0
export const OP_STATE_INITIALIZED = 1
export const OP_STATE_RUNNABLE = 2
export const OP_STATE_LIVE_EXPORT = 3
export const OP_STATE_PAUSED_EXPORT = 4
export const OP_STATE_POST_EXPORT = 5
export const OP_STATE_MEMORY_IMPORT = 6
export const OP_STATE_STATE_IMPORT = 7
export const OP_STATE_POST_IMPORT = 8
export const OP_STATE_LIVE_IMPORT = 9
export const OP_STATE_FAILED_IMPORT = 10

/** vCPU state (TDVPS). (tdx_tdvps.h) */
export const VCPU_UNINITIALIZED = 0
export const VCPU_READY = 1
export const VCPU_ACTIVE = 2
export const VCPU_DISABLED = 3

/** SEPT entry states as SEPT.RD and errors report them (RDX[15:8]). (sept_manager.h) */
export const SEPT_FREE = 0
export const SEPT_BLOCKED = 1
export const SEPT_PENDING = 2
export const SEPT_PENDING_BLOCKED = 3
export const SEPT_MAPPED = 4
export const SEPT_REMOVED = 5
export const SEPT_BLOCKEDW = 8
export const SEPT_EXPORTED_BLOCKEDW = 9
export const SEPT_EXPORTED_DIRTY = 11
export const SEPT_EXPORTED_DIRTY_BLOCKEDW = 12
export const SEPT_PENDING_BLOCKEDW = 16
export const SEPT_PENDING_EXPORTED_BLOCKEDW = 17
export const SEPT_PENDING_EXPORTED_DIRTY = 19
export const SEPT_PENDING_EXPORTED_DIRTY_BLOCKEDW = 20
export const SEPT_NL_BLOCKED = 129
export const SEPT_NL_MAPPED = 132

/** Extended exit qualification types (RDX of an asynchronous TD exit). (vmcs_defs.h, vmx_eeq_type_t) */
export const VMX_EEQ_NONE = 0n
export const VMX_EEQ_ACCEPT = 1n
export const VMX_EEQ_GPA_DETAILS = 2n
export const VMX_EEQ_TD_ENTRY_MSR_LOAD_FAILURE = 3n
export const VMX_EEQ_TD_ENTRY_XSTATE_LOAD_FAILURE = 4n
export const VMX_EEQ_ATTR_WR = 5n
export const VMX_EEQ_PENDING_EPT_VIOLATION = 6n

/** TDMR_INFO, an entry of SYS.CONFIG's list; 512-byte aligned. */
export const TDMR_MAX_RESERVED = 16
export const TDMR_INFO = struct('TDMR_INFO', {
  tdmr_base: u64,
  tdmr_size: u64,
  pamt_1g_base: u64,
  pamt_1g_size: u64,
  pamt_2m_base: u64,
  pamt_2m_size: u64,
  pamt_4k_base: u64,
  pamt_4k_size: u64,
  /** Offset from the TDMR's base and size, 16 times; size 0 ends the list. */
  reserved: u64s(2 * TDMR_MAX_RESERVED),
})
export const TDMR_INFO_ALIGNMENT = 512
export const MAX_TDMRS = 64
export const MAX_CMR = 32

/** TDSYSINFO_STRUCT, output of SYS.INFO; the rest of its 1024 bytes is zero. */
export const TDSYSINFO = struct('TDSYSINFO_STRUCT', {
  attributes: u32,
  vendor_id: u32,
  build_date: u32,
  build_num: u16,
  minor_version: u16,
  major_version: u16,
  sys_rd: u8,
  reserved_0: bytes(13),
  max_tdmrs: u16,
  max_reserved_per_tdmr: u16,
  pamt_entry_size: u16,
  reserved_1: bytes(10),
  tdcs_base_size: u16,
  reserved_2: bytes(2),
  tdvps_base_size: u16,
  tdvps_xfam_dependent_size: u8,
  reserved_3: bytes(9),
  attributes_fixed0: u64,
  attributes_fixed1: u64,
  xfam_fixed0: u64,
  xfam_fixed1: u64,
  reserved_4: bytes(32),
  num_cpuid_config: u32,
  /** leaf, sub-leaf, EAX, EBX, ECX, EDX of each row of CPUID_CONFIGURABLE. */
  cpuid_config: bytes(24 * 12),
})

/** TDCS and TDVPS pages. (td_control_structures.h, tdx_tdvps.h) */
export const MIN_TDCS_PAGES = 6
export const MAX_TDCS_PAGES = 9
export const MIN_TDVPS_PAGES = 6
export const MAX_TDVPS_PAGES = 15
/** Index of the TDCX page that is the Secure EPT's root; of the zero page. */
export const SEPT_ROOT_PAGE_INDEX = 3
export const MSR_BITMAPS_PAGE_INDEX = 2
