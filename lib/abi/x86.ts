/** x86's architectural numbers: control registers, RFLAGS, exceptions, descriptors and MSRs. Intel SDM, by section title. */

// CR0. SDM Vol. 3A, "Control Registers".
export const CR0_PE = 1n << 0n
export const CR0_MP = 1n << 1n
export const CR0_EM = 1n << 2n
export const CR0_TS = 1n << 3n
export const CR0_ET = 1n << 4n
export const CR0_NE = 1n << 5n
export const CR0_WP = 1n << 16n
export const CR0_AM = 1n << 18n
export const CR0_NW = 1n << 29n
export const CR0_CD = 1n << 30n
export const CR0_PG = 1n << 31n

// CR3. SDM Vol. 3A, "Control Registers".
export const CR3_PWT = 1n << 3n
export const CR3_PCD = 1n << 4n

// CR4. SDM Vol. 3A, "Control Registers".
export const CR4_VME = 1n << 0n
export const CR4_PVI = 1n << 1n
export const CR4_TSD = 1n << 2n
export const CR4_DE = 1n << 3n
export const CR4_PSE = 1n << 4n
export const CR4_PAE = 1n << 5n
export const CR4_MCE = 1n << 6n
export const CR4_PGE = 1n << 7n
export const CR4_PCE = 1n << 8n
export const CR4_OSFXSR = 1n << 9n
export const CR4_OSXMMEXCPT = 1n << 10n
export const CR4_UMIP = 1n << 11n
export const CR4_LA57 = 1n << 12n
export const CR4_VMXE = 1n << 13n
export const CR4_SMXE = 1n << 14n
export const CR4_FSGSBASE = 1n << 16n
export const CR4_PCIDE = 1n << 17n
export const CR4_OSXSAVE = 1n << 18n
export const CR4_KL = 1n << 19n
export const CR4_SMEP = 1n << 20n
export const CR4_SMAP = 1n << 21n
export const CR4_PKE = 1n << 22n
export const CR4_CET = 1n << 23n
export const CR4_PKS = 1n << 24n
export const CR4_UINTR = 1n << 25n
export const CR4_LAM_SUP = 1n << 28n

// IA32_EFER. SDM Vol. 3A, "Extended Feature Enable Register".
export const EFER_SCE = 1n << 0n
export const EFER_LME = 1n << 8n
export const EFER_LMA = 1n << 10n
export const EFER_NXE = 1n << 11n

// RFLAGS. SDM Vol. 1, "EFLAGS Register".
export const RFLAGS_CF = 1n << 0n
/** Bit 1 is always set. */
export const RFLAGS_FIXED = 1n << 1n
export const RFLAGS_PF = 1n << 2n
export const RFLAGS_AF = 1n << 4n
export const RFLAGS_ZF = 1n << 6n
export const RFLAGS_SF = 1n << 7n
export const RFLAGS_TF = 1n << 8n
export const RFLAGS_IF = 1n << 9n
export const RFLAGS_DF = 1n << 10n
export const RFLAGS_OF = 1n << 11n
export const RFLAGS_IOPL = 3n << 12n
export const RFLAGS_NT = 1n << 14n
export const RFLAGS_RF = 1n << 16n
export const RFLAGS_VM = 1n << 17n
export const RFLAGS_AC = 1n << 18n
export const RFLAGS_VIF = 1n << 19n
export const RFLAGS_VIP = 1n << 20n
export const RFLAGS_ID = 1n << 21n

// XCR0. SDM Vol. 1, "Enabling the XSAVE Feature Set and XSAVE-Enabled Features".
export const XCR0_X87 = 1n << 0n
export const XCR0_SSE = 1n << 1n
export const XCR0_AVX = 1n << 2n
export const XCR0_PKRU = 1n << 9n

// DR6 and DR7. SDM Vol. 3B, "Debug Registers".
export const DR6_BD = 1n << 13n
export const DR6_BS = 1n << 14n
export const DR6_BT = 1n << 15n
/** What DR6 holds after reset: the bits that read as one. */
export const DR6_INIT = 0xffff_0ff0n
export const DR7_GD = 1n << 13n
export const DR7_INIT = 0x400n

// Exception vectors. SDM Vol. 3A, "Protected-Mode Exceptions and Interrupts".
export const VECTOR_DE = 0
export const VECTOR_DB = 1
export const VECTOR_NMI = 2
export const VECTOR_BP = 3
export const VECTOR_OF = 4
export const VECTOR_BR = 5
export const VECTOR_UD = 6
export const VECTOR_NM = 7
export const VECTOR_DF = 8
export const VECTOR_TS = 10
export const VECTOR_NP = 11
export const VECTOR_SS = 12
export const VECTOR_GP = 13
export const VECTOR_PF = 14
export const VECTOR_MF = 16
export const VECTOR_AC = 17
export const VECTOR_MC = 18
export const VECTOR_XM = 19
export const VECTOR_VE = 20
export const VECTOR_CP = 21

export type ExceptionName = { readonly mnemonic: string; readonly name: string; readonly errorCode: boolean }
/** What the manual calls each vector, and whether it pushes an error code. */
export const EXCEPTIONS: Readonly<Record<number, ExceptionName>> = {
  [VECTOR_DE]: { mnemonic: '#DE', name: 'Divide Error', errorCode: false },
  [VECTOR_DB]: { mnemonic: '#DB', name: 'Debug Exception', errorCode: false },
  [VECTOR_NMI]: { mnemonic: 'NMI', name: 'NMI Interrupt', errorCode: false },
  [VECTOR_BP]: { mnemonic: '#BP', name: 'Breakpoint', errorCode: false },
  [VECTOR_OF]: { mnemonic: '#OF', name: 'Overflow', errorCode: false },
  [VECTOR_BR]: { mnemonic: '#BR', name: 'BOUND Range Exceeded', errorCode: false },
  [VECTOR_UD]: { mnemonic: '#UD', name: 'Invalid Opcode', errorCode: false },
  [VECTOR_NM]: { mnemonic: '#NM', name: 'Device Not Available', errorCode: false },
  [VECTOR_DF]: { mnemonic: '#DF', name: 'Double Fault', errorCode: true },
  [VECTOR_TS]: { mnemonic: '#TS', name: 'Invalid TSS', errorCode: true },
  [VECTOR_NP]: { mnemonic: '#NP', name: 'Segment Not Present', errorCode: true },
  [VECTOR_SS]: { mnemonic: '#SS', name: 'Stack-Segment Fault', errorCode: true },
  [VECTOR_GP]: { mnemonic: '#GP', name: 'General Protection', errorCode: true },
  [VECTOR_PF]: { mnemonic: '#PF', name: 'Page Fault', errorCode: true },
  [VECTOR_MF]: { mnemonic: '#MF', name: 'x87 FPU Floating-Point Error', errorCode: false },
  [VECTOR_AC]: { mnemonic: '#AC', name: 'Alignment Check', errorCode: true },
  [VECTOR_MC]: { mnemonic: '#MC', name: 'Machine Check', errorCode: false },
  [VECTOR_XM]: { mnemonic: '#XM', name: 'SIMD Floating-Point Exception', errorCode: false },
  [VECTOR_VE]: { mnemonic: '#VE', name: 'Virtualization Exception', errorCode: false },
  [VECTOR_CP]: { mnemonic: '#CP', name: 'Control Protection Exception', errorCode: true },
}

/** Page-fault error code. SDM Vol. 3A, "Interrupt 14—Page-Fault Exception (#PF)". */
export const PF = { P: 1, WRITE: 2, USER: 4, RSVD: 8, FETCH: 16, PK: 32 } as const

/** Paging-structure entries. SDM Vol. 3A, "Paging". */
export const PTE = {
  P: 1n << 0n,
  RW: 1n << 1n,
  US: 1n << 2n,
  PWT: 1n << 3n,
  PCD: 1n << 4n,
  A: 1n << 5n,
  D: 1n << 6n,
  PS: 1n << 7n,
  G: 1n << 8n,
  XD: 1n << 63n,
} as const

/** System-segment and gate descriptor types. SDM Vol. 3A, "System Descriptor Types". */
export const DESCRIPTOR_TSS16 = 1
export const DESCRIPTOR_LDT = 2
export const DESCRIPTOR_TSS16_BUSY = 3
export const DESCRIPTOR_CALL_GATE16 = 4
export const DESCRIPTOR_TASK_GATE = 5
export const DESCRIPTOR_INTERRUPT_GATE16 = 6
export const DESCRIPTOR_TRAP_GATE16 = 7
/** 32-bit in legacy modes, 64-bit in IA-32e mode, like the types below. */
export const DESCRIPTOR_TSS = 9
export const DESCRIPTOR_TSS_BUSY = 11
export const DESCRIPTOR_CALL_GATE = 12
export const DESCRIPTOR_INTERRUPT_GATE = 14
export const DESCRIPTOR_TRAP_GATE = 15

/**
 * Segment rights as VMX and KVM hold them: the descriptor's bits 55:40, with bits 11:8 clear.
 * SDM Vol. 3C, "Guest Register State", format of access rights.
 */
export const RIGHTS = {
  ACCESSED: 1 << 0,
  /** Data: writable. Code: readable. */
  WRITABLE: 1 << 1,
  READABLE: 1 << 1,
  /** Data: expand-down. Code: conforming. */
  EXPAND_DOWN: 1 << 2,
  CONFORMING: 1 << 2,
  CODE: 1 << 3,
  /** Code or data; clear for system segments. */
  S: 1 << 4,
  DPL: 3 << 5,
  P: 1 << 7,
  L: 1 << 13,
  DB: 1 << 14,
  G: 1 << 15,
  UNUSABLE: 1 << 16,
} as const

// MSRs. SDM Vol. 4, "Architectural MSRs".
export const IA32_TIME_STAMP_COUNTER = 0x10
export const IA32_APIC_BASE = 0x1b
export const IA32_FEATURE_CONTROL = 0x3a
export const IA32_TSC_ADJUST = 0x3b
export const IA32_SPEC_CTRL = 0x48
export const IA32_PRED_CMD = 0x49
export const IA32_BIOS_SIGN_ID = 0x8b
export const IA32_MTRRCAP = 0xfe
export const IA32_ARCH_CAPABILITIES = 0x10a
export const IA32_SYSENTER_CS = 0x174
export const IA32_SYSENTER_ESP = 0x175
export const IA32_SYSENTER_EIP = 0x176
export const IA32_MCG_CAP = 0x179
export const IA32_MCG_STATUS = 0x17a
export const IA32_MISC_ENABLE = 0x1a0
export const IA32_DEBUGCTL = 0x1d9
export const IA32_PAT = 0x277
export const IA32_MTRR_DEF_TYPE = 0x2ff
export const IA32_PERF_GLOBAL_CTRL = 0x38f
export const IA32_VMX_BASIC = 0x480
export const IA32_TSC_DEADLINE = 0x6e0
export const IA32_PKRS = 0x6e1
export const IA32_XSS = 0xda0
export const IA32_EFER = 0xc000_0080
export const IA32_STAR = 0xc000_0081
export const IA32_LSTAR = 0xc000_0082
export const IA32_CSTAR = 0xc000_0083
export const IA32_FMASK = 0xc000_0084
export const IA32_FS_BASE = 0xc000_0100
export const IA32_GS_BASE = 0xc000_0101
export const IA32_KERNEL_GS_BASE = 0xc000_0102
export const IA32_TSC_AUX = 0xc000_0103

/** The manual's name of each MSR above. */
export const MSR_NAMES: Readonly<Record<number, string>> = {
  [IA32_TIME_STAMP_COUNTER]: 'IA32_TIME_STAMP_COUNTER',
  [IA32_APIC_BASE]: 'IA32_APIC_BASE',
  [IA32_FEATURE_CONTROL]: 'IA32_FEATURE_CONTROL',
  [IA32_TSC_ADJUST]: 'IA32_TSC_ADJUST',
  [IA32_SPEC_CTRL]: 'IA32_SPEC_CTRL',
  [IA32_PRED_CMD]: 'IA32_PRED_CMD',
  [IA32_BIOS_SIGN_ID]: 'IA32_BIOS_SIGN_ID',
  [IA32_MTRRCAP]: 'IA32_MTRRCAP',
  [IA32_ARCH_CAPABILITIES]: 'IA32_ARCH_CAPABILITIES',
  [IA32_SYSENTER_CS]: 'IA32_SYSENTER_CS',
  [IA32_SYSENTER_ESP]: 'IA32_SYSENTER_ESP',
  [IA32_SYSENTER_EIP]: 'IA32_SYSENTER_EIP',
  [IA32_MCG_CAP]: 'IA32_MCG_CAP',
  [IA32_MCG_STATUS]: 'IA32_MCG_STATUS',
  [IA32_MISC_ENABLE]: 'IA32_MISC_ENABLE',
  [IA32_DEBUGCTL]: 'IA32_DEBUGCTL',
  [IA32_PAT]: 'IA32_PAT',
  [IA32_MTRR_DEF_TYPE]: 'IA32_MTRR_DEF_TYPE',
  [IA32_PERF_GLOBAL_CTRL]: 'IA32_PERF_GLOBAL_CTRL',
  [IA32_VMX_BASIC]: 'IA32_VMX_BASIC',
  [IA32_TSC_DEADLINE]: 'IA32_TSC_DEADLINE',
  [IA32_PKRS]: 'IA32_PKRS',
  [IA32_XSS]: 'IA32_XSS',
  [IA32_EFER]: 'IA32_EFER',
  [IA32_STAR]: 'IA32_STAR',
  [IA32_LSTAR]: 'IA32_LSTAR',
  [IA32_CSTAR]: 'IA32_CSTAR',
  [IA32_FMASK]: 'IA32_FMASK',
  [IA32_FS_BASE]: 'IA32_FS_BASE',
  [IA32_GS_BASE]: 'IA32_GS_BASE',
  [IA32_KERNEL_GS_BASE]: 'IA32_KERNEL_GS_BASE',
  [IA32_TSC_AUX]: 'IA32_TSC_AUX',
}

/** The general registers, by number. SDM Vol. 2A, "Instruction Format". */
export const GPR_NAMES = [
  ...(['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const),
  ...(['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const),
] as const

/** Bytes of a memory operand by the word that stands before it, as Intel's assembler and ours have it. */
export const MEMORY_WORDS: Readonly<Record<string, number>> = {
  byte: 1,
  word: 2,
  dword: 4,
  fword: 6,
  qword: 8,
  tbyte: 10,
  xmmword: 16,
  oword: 16,
  ymmword: 32,
}
