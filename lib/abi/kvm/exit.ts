/** KVM_RUN's exit reasons and the numbers that go with them. Linux include/uapi/linux/kvm.h. */

export const KVM_EXIT_UNKNOWN = 0
export const KVM_EXIT_EXCEPTION = 1
export const KVM_EXIT_IO = 2
export const KVM_EXIT_HYPERCALL = 3
export const KVM_EXIT_DEBUG = 4
export const KVM_EXIT_HLT = 5
export const KVM_EXIT_MMIO = 6
export const KVM_EXIT_IRQ_WINDOW_OPEN = 7
export const KVM_EXIT_SHUTDOWN = 8
export const KVM_EXIT_FAIL_ENTRY = 9
export const KVM_EXIT_INTR = 10
export const KVM_EXIT_INTERNAL_ERROR = 17
export const KVM_EXIT_SYSTEM_EVENT = 24
export const KVM_EXIT_X86_RDMSR = 29
export const KVM_EXIT_X86_WRMSR = 30
export const KVM_EXIT_DIRTY_RING_FULL = 31
export const KVM_EXIT_X86_BUS_LOCK = 33
export const KVM_EXIT_NOTIFY = 37
export const KVM_EXIT_MEMORY_FAULT = 39
export const KVM_EXIT_TDX = 40
export const KVM_EXIT_ARM_SEA = 41

const EXIT_NAMES: Readonly<Record<number, string>> = {
  [KVM_EXIT_UNKNOWN]: 'KVM_EXIT_UNKNOWN',
  [KVM_EXIT_EXCEPTION]: 'KVM_EXIT_EXCEPTION',
  [KVM_EXIT_IO]: 'KVM_EXIT_IO',
  [KVM_EXIT_HYPERCALL]: 'KVM_EXIT_HYPERCALL',
  [KVM_EXIT_DEBUG]: 'KVM_EXIT_DEBUG',
  [KVM_EXIT_HLT]: 'KVM_EXIT_HLT',
  [KVM_EXIT_MMIO]: 'KVM_EXIT_MMIO',
  [KVM_EXIT_IRQ_WINDOW_OPEN]: 'KVM_EXIT_IRQ_WINDOW_OPEN',
  [KVM_EXIT_SHUTDOWN]: 'KVM_EXIT_SHUTDOWN',
  [KVM_EXIT_FAIL_ENTRY]: 'KVM_EXIT_FAIL_ENTRY',
  [KVM_EXIT_INTR]: 'KVM_EXIT_INTR',
  [KVM_EXIT_INTERNAL_ERROR]: 'KVM_EXIT_INTERNAL_ERROR',
  [KVM_EXIT_SYSTEM_EVENT]: 'KVM_EXIT_SYSTEM_EVENT',
  [KVM_EXIT_X86_RDMSR]: 'KVM_EXIT_X86_RDMSR',
  [KVM_EXIT_X86_WRMSR]: 'KVM_EXIT_X86_WRMSR',
  [KVM_EXIT_DIRTY_RING_FULL]: 'KVM_EXIT_DIRTY_RING_FULL',
  [KVM_EXIT_X86_BUS_LOCK]: 'KVM_EXIT_X86_BUS_LOCK',
  [KVM_EXIT_NOTIFY]: 'KVM_EXIT_NOTIFY',
  [KVM_EXIT_MEMORY_FAULT]: 'KVM_EXIT_MEMORY_FAULT',
  [KVM_EXIT_TDX]: 'KVM_EXIT_TDX',
  [KVM_EXIT_ARM_SEA]: 'KVM_EXIT_ARM_SEA',
}

/** The name of an exit reason, or the number where KVM has no name for it. */
export const exitName = (reason: number): string => EXIT_NAMES[reason] ?? `exit reason ${reason}`

export const KVM_EXIT_IO_IN = 0
export const KVM_EXIT_IO_OUT = 1

export const KVM_EXIT_HYPERCALL_LONG_MODE = 1n
export const KVM_HC_MAP_GPA_RANGE = 12
export const KVM_MAP_GPA_RANGE_ENCRYPTED = 16n
export const KVM_MAP_GPA_RANGE_DECRYPTED = 0n

export const KVM_INTERNAL_ERROR_EMULATION = 1
export const KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON = 4

export const KVM_SYSTEM_EVENT_SHUTDOWN = 1
export const KVM_SYSTEM_EVENT_RESET = 2
export const KVM_SYSTEM_EVENT_CRASH = 3
export const KVM_SYSTEM_EVENT_WAKEUP = 4
export const KVM_SYSTEM_EVENT_SUSPEND = 5
export const KVM_SYSTEM_EVENT_SEV_TERM = 6
export const KVM_SYSTEM_EVENT_TDX_FATAL = 7

export const KVM_MEMORY_EXIT_FLAG_PRIVATE = 8n

export const KVM_MSR_EXIT_REASON_INVAL = 1
export const KVM_MSR_EXIT_REASON_UNKNOWN = 2
export const KVM_MSR_EXIT_REASON_FILTER = 4

export const KVM_MP_STATE_RUNNABLE = 0
export const KVM_MP_STATE_UNINITIALIZED = 1
export const KVM_MP_STATE_INIT_RECEIVED = 2
export const KVM_MP_STATE_HALTED = 3
export const KVM_MP_STATE_SIPI_RECEIVED = 4
