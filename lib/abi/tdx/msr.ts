/**
 * MSR virtualization: what RDMSR and WRMSR of each MSR do in a TD. An MSR that no row names is a #VE.
 * intel/tdx-module 1.5.01, include/auto_gen/msr_config_lookup.c and src/td_dispatcher/vm_exits/td_msr_access.c.
 */

/** A feature of the TD that an MSR belongs to. */
export type MsrFeature =
  | 'PERFMON'
  | 'UMWAIT'
  | 'TSX'
  | 'XFD'
  | 'XFAM_PT'
  | 'XFAM_CET'
  | 'PKS'
  | 'XFAM_ULI'
  | 'XFAM_LBR'
  | 'OTHER'

/** `gp-or-ve`: #GP(0) where the TD's CPUID does not enumerate the MSR's feature, else #VE. */
export type MsrAction =
  | 'native'
  | 've'
  | 'gp'
  | 'gp-or-ve'
  | 'module'
  | { readonly with: MsrFeature; readonly else: 'gp' | 'module' }

export type MsrRow = {
  readonly first: number
  readonly last: number
  readonly name: string
  readonly read: MsrAction
  readonly write: MsrAction
}

const row = (first: number, last: number, name: string, read: MsrAction, write: MsrAction): MsrRow => ({
  first,
  last,
  name,
  read,
  write,
})

// biome-ignore format: one row per MSR
export const MSR_LOOKUP: readonly MsrRow[] = [
  row(0x10, 0x10, 'IA32_TIME_STAMP_COUNTER', 'native', 've'),
  row(0x48, 0x48, 'IA32_SPEC_CTRL', 'native', 'native'),
  row(0x49, 0x49, 'IA32_PRED_CMD', 'native', 'native'),
  row(0x87, 0x87, 'IA32_MKTME_PARTITIONING', 'gp-or-ve', 'gp-or-ve'),
  row(0x8c, 0x8f, 'IA32_SGXLEPUBKEYHASHx', 'gp', 'gp'),
  row(0x98, 0x98, 'MSR_WBINVDP', 'gp', 'gp'),
  row(0x99, 0x99, 'MSR_WBNOINVDP', 'gp', 'gp'),
  row(0x9a, 0x9a, 'MSR_INTR_PENDING', 'gp', 'gp'),
  row(0x9b, 0x9b, 'IA32_SMM_MONITOR_CTL', 'gp', 'gp'),
  row(0x9e, 0x9e, 'IA32_SMBASE', 'gp', 'gp'),
  row(0xbc, 0xbc, 'IA32_MISC_PACKAGE_CTLS', 'native', 've'),
  row(0xbd, 0xbd, 'IA32_XAPIC_DISABLE_STATUS', 'module', 'native'),
  row(0xc1, 0xc8, 'IA32_PMCx', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0xe1, 0xe1, 'IA32_UMWAIT_CONTROL', { with: 'UMWAIT', else: 'gp' }, { with: 'UMWAIT', else: 'gp' }),
  row(0x10a, 0x10a, 'IA32_ARCH_CAPABILITIES', 'module', 'native'),
  row(0x10b, 0x10b, 'IA32_FLUSH_CMD', 'native', 'native'),
  row(0x122, 0x122, 'IA32_TSX_CTRL', { with: 'TSX', else: 'gp' }, { with: 'TSX', else: 'gp' }),
  row(0x174, 0x174, 'IA32_SYSENTER_CS', 'native', 'native'),
  row(0x175, 0x175, 'IA32_SYSENTER_ESP', 'native', 'native'),
  row(0x176, 0x176, 'IA32_SYSENTER_EIP', 'native', 'native'),
  row(0x186, 0x18d, 'IA32_PERFEVTSELx', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x195, 0x195, 'IA32_OVERCLOCKING_STATUS', 'gp', 'gp'),
  row(0x1a0, 0x1a0, 'IA32_MISC_ENABLE', { with: 'PERFMON', else: 'module' }, 've'),
  row(0x1a6, 0x1a7, 'MSR_OFFCORE_RSPx', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x1c4, 0x1c4, 'IA32_XFD', { with: 'XFD', else: 'gp' }, { with: 'XFD', else: 'gp' }),
  row(0x1c5, 0x1c5, 'IA32_XFD_ERR', { with: 'XFD', else: 'gp' }, { with: 'XFD', else: 'gp' }),
  row(0x1d9, 0x1d9, 'IA32_DEBUGCTL', 'module', 'module'),
  row(0x1f8, 0x1f8, 'IA32_PLATFORM_DCA_CAP', 'gp-or-ve', 'gp-or-ve'),
  row(0x1f9, 0x1f9, 'IA32_CPU_DCA_CAP', 'gp-or-ve', 'gp-or-ve'),
  row(0x1fa, 0x1fa, 'IA32_DCA_0_CAP', 'gp-or-ve', 'gp-or-ve'),
  row(0x276, 0x276, 'MSR_SLAM_ENABLE', 'gp', 'gp'),
  row(0x277, 0x277, 'IA32_PAT', 'native', 'native'),
  row(0x309, 0x310, 'IA32_FIXED_CTRx', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x329, 0x329, 'IA32_PERF_METRICS', { with: 'OTHER', else: 'gp' }, { with: 'OTHER', else: 'gp' }),
  row(0x345, 0x345, 'IA32_PERF_CAPABILITIES', { with: 'OTHER', else: 'module' }, { with: 'PERFMON', else: 'gp' }),
  row(0x38d, 0x38d, 'IA32_FIXED_CTR_CTRL', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x38e, 0x38e, 'IA32_PERF_GLOBAL_STATUS', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x38f, 0x38f, 'IA32_PERF_GLOBAL_CTRL', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x390, 0x390, 'IA32_PERF_GLOBAL_STATUS_RESET', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x391, 0x391, 'IA32_PERF_GLOBAL_STATUS_SET', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x392, 0x392, 'IA32_PERF_GLOBAL_INUSE', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x3f1, 0x3f1, 'IA32_PEBS_ENABLE', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x3f2, 0x3f2, 'MSR_PEBS_MATRIX_VECT', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x3f6, 0x3f6, 'MSR_PEBS_LD_LATENCY', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x3f7, 0x3f7, 'MSR_PEBS_FRONTEND', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x480, 0x480, 'IA32_VMX_BASIC', 'module', 'gp'),
  row(0x481, 0x481, 'IA32_VMX_PINBASED_CTLS', 've', 'gp'),
  row(0x482, 0x482, 'IA32_VMX_PROCBASED_CTLS', 've', 'gp'),
  row(0x483, 0x483, 'IA32_VMX_EXIT_CTLS', 've', 'gp'),
  row(0x484, 0x484, 'IA32_VMX_ENTRY_CTLS', 've', 'gp'),
  row(0x485, 0x485, 'IA32_VMX_MISC', 'module', 'gp'),
  row(0x486, 0x486, 'IA32_VMX_CR0_FIXED0', 'module', 'gp'),
  row(0x487, 0x487, 'IA32_VMX_CR0_FIXED1', 'module', 'gp'),
  row(0x488, 0x488, 'IA32_VMX_CR4_FIXED0', 'module', 'gp'),
  row(0x489, 0x489, 'IA32_VMX_CR4_FIXED1', 'module', 'gp'),
  row(0x48a, 0x48a, 'IA32_VMX_VMCS_ENUM', 've', 'gp'),
  row(0x48b, 0x48b, 'IA32_VMX_PROCBASED_CTLS2', 'module', 'gp'),
  row(0x48c, 0x48c, 'IA32_VMX_EPT_VPID_CAP', 'module', 'gp'),
  row(0x48d, 0x48d, 'IA32_VMX_TRUE_PINBASED_CTLS', 'module', 'gp'),
  row(0x48e, 0x48e, 'IA32_VMX_TRUE_PROCBASED_CTLS', 'module', 'gp'),
  row(0x48f, 0x48f, 'IA32_VMX_TRUE_EXIT_CTLS', 'module', 'gp'),
  row(0x490, 0x490, 'IA32_VMX_TRUE_ENTRY_CTLS', 'module', 'gp'),
  row(0x491, 0x491, 'IA32_VMX_VMFUNC', 'module', 'gp'),
  row(0x492, 0x492, 'IA32_VMX_PROCBASED_CTLS3', 'module', 'gp'),
  row(0x4c1, 0x4c8, 'IA32_A_PMCx', { with: 'PERFMON', else: 'gp' }, { with: 'PERFMON', else: 'gp' }),
  row(0x500, 0x500, 'IA32_SGX_SVN_STATUS', 'gp', 'gp'),
  row(0x560, 0x560, 'IA32_RTIT_OUTPUT_BASE', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x561, 0x561, 'IA32_RTIT_OUTPUT_MASK_PTRS', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x570, 0x570, 'IA32_RTIT_CTL', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x571, 0x571, 'IA32_RTIT_STATUS', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x572, 0x572, 'IA32_RTIT_CR3_MATCH', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x580, 0x580, 'IA32_RTIT_ADDR0_A', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x581, 0x581, 'IA32_RTIT_ADDR0_B', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x582, 0x582, 'IA32_RTIT_ADDR1_A', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x583, 0x583, 'IA32_RTIT_ADDR1_B', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x584, 0x584, 'IA32_RTIT_ADDR2_A', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x585, 0x585, 'IA32_RTIT_ADDR2_B', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x586, 0x586, 'IA32_RTIT_ADDR3_A', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x587, 0x587, 'IA32_RTIT_ADDR3_B', { with: 'XFAM_PT', else: 'gp' }, { with: 'XFAM_PT', else: 'gp' }),
  row(0x600, 0x600, 'IA32_DS_AREA', 'native', 'native'),
  row(0x6a0, 0x6a0, 'IA32_U_CET', { with: 'XFAM_CET', else: 'gp' }, { with: 'XFAM_CET', else: 'gp' }),
  row(0x6a2, 0x6a2, 'IA32_S_CET', { with: 'XFAM_CET', else: 'gp' }, { with: 'XFAM_CET', else: 'gp' }),
  row(0x6a4, 0x6a4, 'IA32_PL0_SSP', { with: 'XFAM_CET', else: 'gp' }, { with: 'XFAM_CET', else: 'gp' }),
  row(0x6a5, 0x6a5, 'IA32_PL1_SSP', { with: 'XFAM_CET', else: 'gp' }, { with: 'XFAM_CET', else: 'gp' }),
  row(0x6a6, 0x6a6, 'IA32_PL2_SSP', { with: 'XFAM_CET', else: 'gp' }, { with: 'XFAM_CET', else: 'gp' }),
  row(0x6a7, 0x6a7, 'IA32_PL3_SSP', { with: 'XFAM_CET', else: 'gp' }, { with: 'XFAM_CET', else: 'gp' }),
  row(0x6a8, 0x6a8, 'IA32_INTERRUPT_SSP_TABLE_ADDR', { with: 'XFAM_CET', else: 'gp' }, { with: 'XFAM_CET', else: 'gp' }),
  row(0x6e0, 0x6e0, 'IA32_TSC_DEADLINE', 'gp-or-ve', 'gp-or-ve'),
  row(0x6e1, 0x6e1, 'IA32_PKRS', { with: 'PKS', else: 'gp' }, { with: 'PKS', else: 'gp' }),
  row(0x800, 0x801, 'Reserved for xAPIC MSRs', 'gp', 'gp'),
  row(0x804, 0x807, 'Reserved for xAPIC MSRs', 'gp', 'gp'),
  row(0x808, 0x808, 'IA32_X2APIC_TPR', 'native', 'native'),
  row(0x809, 0x809, 'Reserved for xAPIC MSRs', 'native', 'native'),
  row(0x80a, 0x80a, 'IA32_X2APIC_PPR', 'native', 'native'),
  row(0x80b, 0x80b, 'IA32_X2APIC_EOI', 'native', 'native'),
  row(0x80c, 0x80c, 'Reserved for xAPIC MSRs', 'native', 'native'),
  row(0x80e, 0x80e, 'Reserved for xAPIC MSRs', 'native', 'native'),
  row(0x810, 0x817, 'IA32_X2APIC_ISRx', 'native', 'native'),
  row(0x818, 0x81f, 'IA32_X2APIC_TMRx', 'native', 'native'),
  row(0x820, 0x827, 'IA32_X2APIC_IRRx', 'native', 'native'),
  row(0x829, 0x82e, 'Reserved for xAPIC MSRs', 'gp', 'gp'),
  row(0x831, 0x831, 'Reserved for xAPIC MSRs', 'gp', 'gp'),
  row(0x83f, 0x83f, 'IA32_X2APIC_SELF_IPI', 'native', 'native'),
  row(0x840, 0x87f, 'Reserved for xAPIC MSRs', 'gp', 'gp'),
  row(0x880, 0x8bf, 'Reserved for xAPIC MSRs', 'gp', 'gp'),
  row(0x8c0, 0x8ff, 'Reserved for xAPIC MSRs', 'gp', 'gp'),
  row(0x981, 0x981, 'IA32_TME_CAPABILITY', 'gp-or-ve', 'gp-or-ve'),
  row(0x982, 0x982, 'IA32_TME_ACTIVATE', 'gp-or-ve', 'gp-or-ve'),
  row(0x983, 0x983, 'IA32_TME_EXCLUDE_MASK', 'gp-or-ve', 'gp-or-ve'),
  row(0x984, 0x984, 'IA32_TME_EXCLUDE_BASE', 'gp-or-ve', 'gp-or-ve'),
  row(0x985, 0x985, 'IA32_UINTR_RR', { with: 'XFAM_ULI', else: 'gp' }, { with: 'XFAM_ULI', else: 'gp' }),
  row(0x986, 0x986, 'IA32_UINTR_HANDLER', { with: 'XFAM_ULI', else: 'gp' }, { with: 'XFAM_ULI', else: 'gp' }),
  row(0x987, 0x987, 'IA32_UINTR_STACKADJUST', { with: 'XFAM_ULI', else: 'gp' }, { with: 'XFAM_ULI', else: 'gp' }),
  row(0x988, 0x988, 'IA32_UINTR_MISC', { with: 'XFAM_ULI', else: 'gp' }, { with: 'XFAM_ULI', else: 'gp' }),
  row(0x989, 0x989, 'IA32_UINTR_PD', { with: 'XFAM_ULI', else: 'gp' }, { with: 'XFAM_ULI', else: 'gp' }),
  row(0x98a, 0x98a, 'IA32_UINTR_TT', { with: 'XFAM_ULI', else: 'gp' }, { with: 'XFAM_ULI', else: 'gp' }),
  row(0xc80, 0xc80, 'IA32_DEBUG_INTERFACE', 'native', 've'),
  row(0xd90, 0xd90, 'IA32_BNDCFGS', 'gp', 'gp'),
  row(0xd93, 0xd93, 'IA32_PASID', 'gp', 'gp'),
  row(0xda0, 0xda0, 'IA32_XSS', 'native', 'module'),
  row(0x1200, 0x12ff, 'IA32_LBR_INFO', { with: 'XFAM_LBR', else: 'gp' }, { with: 'XFAM_LBR', else: 'gp' }),
  row(0x14ce, 0x14ce, 'IA32_LBR_CTL', { with: 'XFAM_LBR', else: 'gp' }, { with: 'XFAM_LBR', else: 'gp' }),
  row(0x14cf, 0x14cf, 'IA32_LBR_DEPTH', { with: 'XFAM_LBR', else: 'gp' }, { with: 'XFAM_LBR', else: 'gp' }),
  row(0x1500, 0x15ff, 'IA32_LBR_x_FROM_IP', { with: 'XFAM_LBR', else: 'gp' }, { with: 'XFAM_LBR', else: 'gp' }),
  row(0x1600, 0x16ff, 'IA32_LBR_x_TO_IP', { with: 'XFAM_LBR', else: 'gp' }, { with: 'XFAM_LBR', else: 'gp' }),
  row(0x1b01, 0x1b01, 'IA32_UARCH_MISC_CTL', 'native', 'native'),
  row(0xc000_0080, 0xc000_0080, 'IA32_EFER', 'native', 'module'),
  row(0xc000_0081, 0xc000_0081, 'IA32_STAR', 'native', 'native'),
  row(0xc000_0082, 0xc000_0082, 'IA32_LSTAR', 'native', 'native'),
  row(0xc000_0084, 0xc000_0084, 'IA32_FMASK', 'native', 'native'),
  row(0xc000_0100, 0xc000_0100, 'IA32_FSBASE', 'native', 'native'),
  row(0xc000_0101, 0xc000_0101, 'IA32_GSBASE', 'native', 'native'),
  row(0xc000_0102, 0xc000_0102, 'IA32_KERNEL_GS_BASE', 'native', 'native'),
  row(0xc000_0103, 0xc000_0103, 'IA32_TSC_AUX', 'native', 'native'),
]
