/** The other numbers of KVM's user API that a TD's host needs. Linux include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h. */

export const KVM_API_VERSION = 12

/** KVM_CREATE_VM types. */
export const KVM_X86_DEFAULT_VM = 0
export const KVM_X86_SW_PROTECTED_VM = 1
export const KVM_X86_SEV_VM = 2
export const KVM_X86_SEV_ES_VM = 3
export const KVM_X86_SNP_VM = 4
export const KVM_X86_TDX_VM = 5

/** KVM_MEMORY_ENCRYPT_OP sub-commands. */
export const KVM_TDX_CAPABILITIES = 0
export const KVM_TDX_INIT_VM = 1
export const KVM_TDX_INIT_VCPU = 2
export const KVM_TDX_INIT_MEM_REGION = 3
export const KVM_TDX_FINALIZE_VM = 4
export const KVM_TDX_GET_CPUID = 5
/** Flag of KVM_TDX_INIT_MEM_REGION. */
export const KVM_TDX_MEASURE_MEMORY_REGION = 1

export const KVM_MEM_LOG_DIRTY_PAGES = 1
export const KVM_MEM_READONLY = 2
export const KVM_MEM_GUEST_MEMFD = 4

export const KVM_MEMORY_ATTRIBUTE_PRIVATE = 8n

export const GUEST_MEMFD_FLAG_MMAP = 1n
export const GUEST_MEMFD_FLAG_INIT_SHARED = 2n

export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1

export const KVM_MSR_FILTER_READ = 1
export const KVM_MSR_FILTER_WRITE = 2
export const KVM_MSR_FILTER_DEFAULT_ALLOW = 0
export const KVM_MSR_FILTER_DEFAULT_DENY = 1
export const KVM_MSR_FILTER_MAX_RANGES = 16

export const KVM_X2APIC_API_USE_32BIT_IDS = 1n
export const KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK = 2n

/** Bytes of a vCPU's mapping: the kvm_run page, the port I/O data page, the coalesced ring page. */
export const KVM_VCPU_MMAP_SIZE = 12288
/** Offset of the port I/O data in a vCPU's mapping (kvm_run.io.data_offset). */
export const KVM_PIO_PAGE_OFFSET = 4096
/** Most entries a cpuid list may have. Linux arch/x86/include/asm/kvm_host.h. */
export const KVM_MAX_CPUID_ENTRIES = 256
/** Most memslots of one address space. Linux include/linux/kvm_host.h, KVM_USER_MEM_SLOTS on x86. */
export const KVM_USER_MEM_SLOTS = 32764
/** Most vCPUs of one VM. Linux arch/x86/include/asm/kvm_host.h with CONFIG_KVM_MAX_NR_VCPUS at its default. */
export const KVM_MAX_VCPUS = 1024
/** Most pins of a split irqchip's routes. Linux arch/x86/include/asm/kvm_host.h, MAX_NR_RESERVED_IOAPIC_PINS. */
export const KVM_MAX_IRQ_ROUTES = 4096
