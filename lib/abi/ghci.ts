/**
 * The guest-host protocol over TDG.VP.VMCALL: what R10, R11 and the arguments of a TDVMCALL mean.
 * Intel "Guest-Hypervisor Communication Interface" (348552), as Linux arch/x86/include/asm/shared/tdx.h has it.
 */

/** Sub-functions (R11). The instruction ones are the VMX exit reasons of the instructions. */
export const TDVMCALL_CPUID = 10
export const TDVMCALL_HLT = 12
export const TDVMCALL_IO = 30
export const TDVMCALL_RDMSR = 31
export const TDVMCALL_WRMSR = 32
export const TDVMCALL_MMIO = 48
export const TDVMCALL_PCONFIG = 65
export const TDVMCALL_GET_TD_VM_CALL_INFO = 0x10000
export const TDVMCALL_MAP_GPA = 0x10001
export const TDVMCALL_GET_QUOTE = 0x10002
export const TDVMCALL_REPORT_FATAL_ERROR = 0x10003
export const TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT = 0x10004
export const TDVMCALL_SERVICE = 0x10005
export const TDVMCALL_MIGTD = 0x10006

/** Statuses (R10). */
export const TDVMCALL_STATUS_SUCCESS = 0n
export const TDVMCALL_STATUS_RETRY = 1n
export const TDVMCALL_STATUS_INVALID_OPERAND = 0x8000_0000_0000_0000n
export const TDVMCALL_STATUS_GPA_INUSE = 0x8000_0000_0000_0001n
export const TDVMCALL_STATUS_ALIGN_ERROR = 0x8000_0000_0000_0002n
export const TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED = 0x8000_0000_0000_0003n

/** GetTdVmCallInfo leaf 1, R11: the optional sub-functions. */
export const TDVMCALLINFO_SETUP_EVENT_NOTIFY_INTERRUPT = 2n

/** Directions of Instruction.IO and #VE.RequestMMIO (R13). */
export const TDVMCALL_READ = 0n
export const TDVMCALL_WRITE = 1n

/** Registers a TDVMCALL exposes by default in Linux's selftests: R10 to R15. */
export const TDVMCALL_EXPOSE_R10_R15 = 0xfc00n
