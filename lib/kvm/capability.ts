/**
 * What KVM_CHECK_EXTENSION answers. Linux virt/kvm/kvm_main.c, kvm_vm_ioctl_check_extension_generic, and arch/x86/kvm/x86.c.
 * What is not modelled is answered with 0, so that a test which needs it is skipped.
 */
import * as abi from '#abi'
import type { Host } from './host.ts'
import type { Vm } from './vm.ts'

/** KVM_CAP_EXIT_HYPERCALL: the hypercalls that userspace may ask to see. */
export const EXIT_HYPERCALL_MASK = 1n << BigInt(abi.KVM_HC_MAP_GPA_RANGE)
export const MANUAL_DIRTY_LOG_MASK = abi.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | abi.KVM_DIRTY_LOG_INITIALLY_SET
export const X2APIC_API_MASK = abi.KVM_X2APIC_API_USE_32BIT_IDS | abi.KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK
export const USER_SPACE_MSR_MASK = BigInt(
  abi.KVM_MSR_EXIT_REASON_INVAL | abi.KVM_MSR_EXIT_REASON_UNKNOWN | abi.KVM_MSR_EXIT_REASON_FILTER,
)
/** KVM_SET_GUEST_DEBUG: all that KVM has but KVM_GUESTDBG_BLOCKIRQ. */
const GUEST_DEBUG_MASK =
  abi.KVM_GUESTDBG_ENABLE |
  abi.KVM_GUESTDBG_SINGLESTEP |
  abi.KVM_GUESTDBG_USE_SW_BP |
  abi.KVM_GUESTDBG_USE_HW_BP |
  abi.KVM_GUESTDBG_INJECT_DB |
  abi.KVM_GUESTDBG_INJECT_BP
/** vCPU ids reach four times as far as vCPUs. Linux arch/x86/include/asm/kvm_host.h. */
export const KVM_MAX_VCPU_IDS = abi.KVM_MAX_VCPUS * 4

/** The answer for /dev/kvm, or for a VM. */
export const checkExtension = (host: Host, vm: Vm | undefined, capability: number): number => {
  switch (capability) {
    case abi.KVM_CAP_USER_MEMORY:
    case abi.KVM_CAP_HLT:
    case abi.KVM_CAP_SET_TSS_ADDR:
    case abi.KVM_CAP_SET_IDENTITY_MAP_ADDR:
    case abi.KVM_CAP_NOP_IO_DELAY:
    case abi.KVM_CAP_SYNC_MMU:
    case abi.KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
    case abi.KVM_CAP_IOEVENTFD_NO_LENGTH:
    case abi.KVM_CAP_IOEVENTFD_ANY_LENGTH:
    case abi.KVM_CAP_VCPU_EVENTS:
    case abi.KVM_CAP_DEBUGREGS:
    case abi.KVM_CAP_X86_ROBUST_SINGLESTEP:
    case abi.KVM_CAP_XSAVE:
    case abi.KVM_CAP_XCRS:
    case abi.KVM_CAP_KVMCLOCK_CTRL:
    case abi.KVM_CAP_CLOCKSOURCE:
    case abi.KVM_CAP_BINARY_STATS_FD:
    case abi.KVM_CAP_SREGS2:
    case abi.KVM_CAP_TSC_DEADLINE_TIMER:
    case abi.KVM_CAP_IOAPIC_POLARITY_IGNORED:
    case abi.KVM_CAP_USER_MEMORY2:
    case abi.KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
    case abi.KVM_CAP_EXT_CPUID:
    case abi.KVM_CAP_MP_STATE:
    case abi.KVM_CAP_USER_NMI:
    case abi.KVM_CAP_INTERNAL_ERROR_DATA:
    case abi.KVM_CAP_ENABLE_CAP_VM:
    case abi.KVM_CAP_CHECK_EXTENSION_VM:
    case abi.KVM_CAP_IMMEDIATE_EXIT:
    case abi.KVM_CAP_SPLIT_IRQCHIP:
    case abi.KVM_CAP_SIGNAL_MSI:
    case abi.KVM_CAP_IRQFD:
    case abi.KVM_CAP_IRQ_INJECT_STATUS:
    case abi.KVM_CAP_IRQCHIP:
    case abi.KVM_CAP_PIT:
    case abi.KVM_CAP_PIT2:
    case abi.KVM_CAP_PIT_STATE2:
    case abi.KVM_CAP_REINJECT_CONTROL:
    case abi.KVM_CAP_GET_TSC_KHZ:
    case abi.KVM_CAP_TSC_CONTROL:
    case abi.KVM_CAP_VM_TSC_CONTROL:
    case abi.KVM_CAP_X86_USER_SPACE_MSR:
    case abi.KVM_CAP_X86_MSR_FILTER:
    case abi.KVM_CAP_SYSTEM_EVENT_DATA:
    case abi.KVM_CAP_MEMORY_FAULT_INFO:
    case abi.KVM_CAP_PRE_FAULT_MEMORY:
    case abi.KVM_CAP_SET_BOOT_CPU_ID:
    case abi.KVM_CAP_SET_GUEST_DEBUG:
    case abi.KVM_CAP_GET_MSR_FEATURES:
    case abi.KVM_CAP_COALESCED_PIO:
    case abi.KVM_CAP_IOEVENTFD:
    // The period of the APIC bus clock, in nanoseconds.
    case abi.KVM_CAP_X86_APIC_BUS_CYCLES_NS:
      return 1
    case abi.KVM_CAP_VM_TYPES:
      return (1 << abi.KVM_X86_DEFAULT_VM) | (host.hasTdx ? 1 << abi.KVM_X86_TDX_VM : 0)
    case abi.KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM:
      return host.hacks.has('moving a TD to another VM') ? 1 : 0
    case abi.KVM_CAP_GUEST_MEMFD:
      return host.hasTdx ? 1 : 0
    case abi.KVM_CAP_GUEST_MEMFD_FLAGS:
      return host.hasTdx ? Number(abi.GUEST_MEMFD_FLAG_MMAP | abi.GUEST_MEMFD_FLAG_INIT_SHARED) : 0
    case abi.KVM_CAP_MEMORY_ATTRIBUTES:
      return host.hasTdx ? Number(abi.KVM_MEMORY_ATTRIBUTE_PRIVATE) : 0
    case abi.KVM_CAP_IRQ_ROUTING:
      return abi.KVM_MAX_IRQ_ROUTES
    case abi.KVM_CAP_NR_VCPUS:
      return host.processors
    case abi.KVM_CAP_MAX_VCPUS:
      return vm?.maxVcpus ?? abi.KVM_MAX_VCPUS
    case abi.KVM_CAP_MAX_VCPU_ID:
      return KVM_MAX_VCPU_IDS
    case abi.KVM_CAP_NR_MEMSLOTS:
      return abi.KVM_USER_MEM_SLOTS
    // A TD's EOIs are not KVM's to see.
    case abi.KVM_CAP_IRQFD_RESAMPLE:
    case abi.KVM_CAP_READONLY_MEM:
      return vm?.isTd === true ? 0 : 1
    case abi.KVM_CAP_COALESCED_MMIO:
      return abi.KVM_COALESCED_MMIO_PAGE_OFFSET
    case abi.KVM_CAP_ADJUST_CLOCK:
      return abi.KVM_CLOCK_TSC_STABLE | abi.KVM_CLOCK_HOST_TSC
    case abi.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
      return Number(MANUAL_DIRTY_LOG_MASK)
    case abi.KVM_CAP_DIRTY_LOG_RING:
    case abi.KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
      return abi.KVM_DIRTY_RING_MAX_ENTRIES * abi.kvm_dirty_gfn.size
    case abi.KVM_CAP_XSAVE2:
      return abi.kvm_xsave.size
    case abi.KVM_CAP_SET_GUEST_DEBUG2:
      return GUEST_DEBUG_MASK
    case abi.KVM_CAP_EXIT_HYPERCALL:
      return Number(EXIT_HYPERCALL_MASK)
    case abi.KVM_CAP_X2APIC_API:
      return Number(X2APIC_API_MASK)
    default:
      return 0
  }
}
