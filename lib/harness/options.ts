/** What a test says about the VM that it wants. */
import type { Guest, Mapping, PagingLevels, Transport } from '#guest'
import type { Hack } from '#kvm'
import type { Irqchip, SlotOptions, TdParams } from './vm.ts'

/** Guest virtual memory that a test maps beside the guest's own. `gpa` is without the shared bit. */
export type Map = Omit<Mapping, 'gva' | 'gpa'> & { readonly gva: bigint; readonly gpa: bigint }

/** What a TD and an ordinary VM have in common. */
export type AnyOptions = {
  /** What the VM runs: one guest for all vCPUs, or one for each. */
  readonly guest: Guest | readonly Guest[]
  /** As many as there are guests, if absent. */
  readonly vcpus?: number
  /** Bytes of slot 0, the VM's ordinary memory. What the guest needs, if absent. */
  readonly memory?: number
  /** Levels of the guest's own page tables. */
  readonly levels?: PagingLevels
  /** More memory slots. */
  readonly slots?: readonly SlotOptions[]
  /** More of the guest's page tables. */
  readonly map?: readonly Map[]
}

/** An ordinary VM (KVM_X86_DEFAULT_VM): its vCPUs start in 64-bit mode, ucalls are IN with RDI. */
export type VmOptions = AnyOptions & {
  /** `kernel` unless given, as the KVM selftests have it. */
  readonly irqchip?: Irqchip
}

export type TdOptions = TdParams &
  AnyOptions & {
    /**
     * How a ucall reaches the host: `mmio` (TDCALL MMIO of 8 bytes) unless given; `fatal` (ReportFatalError);
     * `port-index` (TDCALL port I/O of an index); `port-rdi`, which KVM refuses for a TD: the host cannot see RDI.
     */
    readonly transport?: Exclude<Transport, 'pio'>
    /** Tests of what a KVM would be like that differs from all there are: see `Hack` of the kvm room. */
    readonly hacks?: readonly Hack[]
    /** Leaves the TD as it is before KVM_TDX_FINALIZE_VM; `finalize` is the test's. */
    readonly finalize?: boolean
  }
