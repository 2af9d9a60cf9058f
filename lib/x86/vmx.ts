/**
 * VMX non-root operation as the CPU sees it: which events leave the guest, and what is said when they do.
 * SDM Vol. 3C, "VMX Non-Root Operation" and Appendix C, "VMX Basic Exit Reasons".
 */
import type { Gpa, Gva, Hpa } from '#bits'

export const EXIT_REASON_EXCEPTION_NMI = 0
export const EXIT_REASON_EXTERNAL_INTERRUPT = 1
export const EXIT_REASON_TRIPLE_FAULT = 2
export const EXIT_REASON_TASK_SWITCH = 9
export const EXIT_REASON_CPUID = 10
export const EXIT_REASON_GETSEC = 11
export const EXIT_REASON_HLT = 12
export const EXIT_REASON_INVD = 13
export const EXIT_REASON_INVLPG = 14
export const EXIT_REASON_RDPMC = 15
export const EXIT_REASON_RDTSC = 16
export const EXIT_REASON_RSM = 17
export const EXIT_REASON_VMCALL = 18
export const EXIT_REASON_VMXON = 27
export const EXIT_REASON_CR_ACCESS = 28
export const EXIT_REASON_DR_ACCESS = 29
export const EXIT_REASON_IO_INSTRUCTION = 30
export const EXIT_REASON_RDMSR = 31
export const EXIT_REASON_WRMSR = 32
export const EXIT_REASON_MWAIT = 36
export const EXIT_REASON_MONITOR = 39
export const EXIT_REASON_PAUSE = 40
export const EXIT_REASON_EPT_VIOLATION = 48
export const EXIT_REASON_EPT_MISCONFIG = 49
export const EXIT_REASON_PREEMPTION_TIMER = 52
export const EXIT_REASON_WBINVD = 54
export const EXIT_REASON_XSETBV = 55
export const EXIT_REASON_APIC_WRITE = 56
export const EXIT_REASON_SEAMCALL = 76
export const EXIT_REASON_TDCALL = 77

/** The VM-exit information fields. RIP is still at the instruction; whoever handles the exit moves it on. */
export type VmExit = {
  /** Basic exit reason. */
  readonly reason: number
  /** Exit qualification in the format of the reason. */
  readonly qualification: bigint
  /** Bytes of the instruction that left, 0 where none did. */
  readonly instructionLength: number
  /** VM-exit instruction information. */
  readonly instructionInfo: number
  readonly gla: Gva
  readonly gpa: Gpa
}

/** EPT-violation exit qualification. SDM Vol. 3C, "Exit Qualification for EPT Violations". */
export const EPT_QUALIFICATION = { READ: 1n, WRITE: 2n, FETCH: 4n, GLA_VALID: 1n << 7n, TRANSLATED: 1n << 8n } as const

/** What an access wants to do. */
export type Access = 'read' | 'write' | 'fetch'

/**
 * The second stage: guest physical to host physical.
 * A CPU without virtualization has the identity over its memory.
 */
export type SecondStage = {
  /** Guest physical address bits; a paging entry with a higher address bit set is reserved (#PF, RSVD). */
  readonly width: number
  /** The 4 KiB frame behind `gpa` for this access, or -1: the access leaves with EXIT_REASON_EPT_VIOLATION. */
  frame(gpa: Gpa, access: Access): Hpa | -1
  /** Changes whenever a translation given out earlier no longer holds; the TLB is dropped when it does. */
  readonly generation: number
}

/**
 * What answers data accesses to guest physical memory that the second stage has no frame for, up to 8 bytes each and
 * within one page. It may throw `Leave`: nothing of the instruction has happened then but what it was told before.
 */
export type Outside = {
  read(gpa: number, size: number): bigint
  write(gpa: number, size: number, value: bigint): void
}

/** Which instructions leave the guest. A CPU with no controls runs everything natively. */
export type VmxControls = {
  /** Unconditional I/O exiting. */
  readonly io: boolean
  readonly hlt: boolean
  readonly monitorMwait: boolean
  readonly wbinvd: boolean
  readonly rdpmc: boolean
  /** The MSR bitmaps: does this access leave? */
  msr(index: number, write: boolean): boolean
  /** CR guest/host masks (owned bits) and read shadows. */
  readonly cr0Mask: bigint
  readonly cr0Shadow: bigint
  readonly cr4Mask: bigint
  readonly cr4Shadow: bigint
}
