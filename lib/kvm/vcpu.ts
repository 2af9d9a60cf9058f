/** A vCPU: its kvm_run, and its TDVPR with what KVM keeps for a guest whose registers it cannot see, or its processor. */

import {
  KVM_COALESCED_MMIO_PAGE_OFFSET,
  KVM_EXIT_IO,
  KVM_EXIT_MMIO,
  KVM_MP_STATE_RUNNABLE,
  KVM_MP_STATE_UNINITIALIZED,
  KVM_RUN_EXIT,
  KVM_VCPU_MMAP_SIZE,
  kvm_run,
  type MetadataField,
  TDH_VP_ADDCX,
  TDH_VP_CREATE,
  TDH_VP_FLUSH,
  TDH_VP_INIT,
  TDH_VP_RD,
  TDH_VP_WR,
  TDX_VCPU_NOT_ASSOCIATED,
  VMCS_FIELDS,
  VP_FIELDS,
} from '#abi'
import { type Hpa, hpa, PAGE_SIZE } from '#bits'
import type { SeamcallRegs } from '#tdx'
import type { Apic } from '#x86'
import { type CpuidEntry, findCpuid } from './cpuid.ts'
import { DirtyRing, reservedEntries } from './dirtyring.ts'
import { fieldNamed } from './field.ts'
import { drop, type OpenFile } from './file.ts'
import { Msrs } from './msr.ts'
import { OrdinaryCpu } from './ordinary/cpu.ts'
import { Posted } from './posted.ts'
import { Seam, statusOf } from './seam.ts'
import { Counts } from './stats.ts'
import type { Vm } from './vm.ts'

const APIC_DEFAULT_PHYS_BASE = 0xfee0_0000n
const APICBASE_BSP = 1n << 8n
const APICBASE_ENABLE = 1n << 11n

/** RAX bits 23:16 of a SEAMCALL: the leaf's version. */
const VERSION_1 = 1 << 16

const SHARED_EPT_POINTER = fieldNamed(VMCS_FIELDS, 'SHARED_EPT_POINTER')
const PEND_NMI = fieldNamed(VP_FIELDS, 'PEND_NMI')

/** Completes the exit that KVM_RUN returned with. True: enter the guest; false: back to userspace with another exit. */
export type Completion = (vcpu: Vcpu) => boolean

/** Keeps its VM alive. The kvm_run page and the port I/O page are the vCPU's own frames; the ring of coalesced writes is the VM's. */
export class Vcpu implements OpenFile {
  readonly kind = 'vcpu'
  references = 0
  readonly vm: Vm
  readonly id: number
  /** Frames of the mapping: kvm_run, port I/O data, coalesced ring. */
  readonly pages: readonly Hpa[]
  /** HPA of kvm_run. */
  readonly run: Hpa
  /** HPA of the exit-dependent part of kvm_run. */
  readonly exit: Hpa
  /** HPA of the port I/O data. */
  readonly pio: Hpa
  readonly view: DataView
  /** KVM_TDX_INIT_VCPU has been done. */
  isInitialized = false
  mpState: number
  readonly #apicBase: bigint
  cpuid: readonly CpuidEntry[] = []
  readonly msrs: Msrs
  isNmiPending = false
  /** KVM_CAP_DIRTY_LOG_RING. */
  readonly ring: DirtyRing | undefined
  /** KVM_SET_SIGNAL_MASK: signals, from bit 0 for the first, that do not end KVM_RUN; undefined: as it is for the process. */
  signalMask: bigint | undefined
  /** KVM_INTERRUPT's vector, until the guest takes it. A TD's never does: only its virtual APIC interrupts it. */
  external: number | undefined
  complete: Completion | undefined
  readonly counts = new Counts()
  /** RAX of the last VP.ENTER: status and exit reason. */
  enterStatus = 0n
  /** Has the shared EPT been given to the TDX module? */
  hasEptp = false
  /** MapGPA in progress: next and end GPA, with the shared bit as the guest gave it. */
  mapGpaNext = 0n
  mapGpaEnd = 0n
  /** In a HLT whose guest said that interrupts are blocked. */
  isInterruptBlocked = false
  /** The shared bit of a GPA, as a mask; settled by INIT_VM, which comes before any vCPU. */
  #sharedBit = 0n
  /** The same in the upper half of a GPA. */
  sharedHigh = 0
  tdvpr: Hpa = hpa(0)
  readonly #seam: Seam | undefined
  /** The processor of an ordinary VM's vCPU. */
  readonly ordinary: OrdinaryCpu | undefined
  /** Interrupts of a TD's vCPU. */
  readonly posted: Posted | undefined
  #tdcx: Hpa[] = []

  constructor(vm: Vm, id: number) {
    const { memory } = vm.host
    this.vm = vm
    this.id = id
    vm.references++
    this.pages = Array.from({ length: KVM_VCPU_MMAP_SIZE / PAGE_SIZE }, (_, page) =>
      page === KVM_COALESCED_MMIO_PAGE_OFFSET ? vm.bus.ring : memory.allocate(),
    )
    this.run = this.pages[0]!
    this.exit = hpa(this.run + KVM_RUN_EXIT)
    this.pio = this.pages[1]!
    this.view = memory.view
    if (vm.dirtyRingBytes !== 0) this.ring = new DirtyRing(memory, vm.dirtyRingBytes, reservedEntries(vm.isTd))
    // The BSP is runnable at once; of a TD the others wait for INIT_VCPU, else for INIT and SIPI where there are APICs.
    const isBoot = id === vm.bootCpu
    const waits = !isBoot && (vm.isTd || vm.irqchip !== 'none')
    this.mpState = waits ? KVM_MP_STATE_UNINITIALIZED : KVM_MP_STATE_RUNNABLE
    this.#apicBase = APIC_DEFAULT_PHYS_BASE | APICBASE_ENABLE | (isBoot ? APICBASE_BSP : 0n)
    this.msrs = new Msrs(this)
    if (!vm.isTd) {
      this.sharedBit = 0n
      this.ordinary = new OrdinaryCpu(this)
      return
    }
    this.sharedBit = 1n << BigInt(vm.td.sharedBit)
    const own = vm.td.tdx.seam(id)
    // A set of registers of its own: what the guest passed has to survive until the next VP.ENTER.
    this.#seam = new Seam(own.module, own.lp)
    this.posted = new Posted(this)
  }

  get sharedBit(): bigint {
    return this.#sharedBit
  }
  set sharedBit(value: bigint) {
    this.#sharedBit = value
    this.sharedHigh = Number(value >> 32n)
  }

  /** VP.ENTER's door. */
  get seam(): Seam {
    if (this.#seam === undefined) throw new Error('an ordinary vCPU is not entered by SEAMCALL')
    return this.#seam
  }

  /** Registers of VP.ENTER, in and out: vp_enter_args. */
  get args(): SeamcallRegs {
    return this.seam.regs
  }

  /** The local APIC, as far as it is KVM's. */
  get apic(): Apic | undefined {
    return this.posted?.apic ?? this.ordinary?.apic
  }

  /** IA32_APIC_BASE. */
  get apicBase(): bigint {
    return this.apic?.base ?? this.#apicBase
  }

  /** SEAMCALLs for this vCPU that are not VP.ENTER, on the logical processor it runs on. */
  get control(): Seam {
    return this.vm.td.tdx.seam(this.id)
  }

  /** Does the CPUID that userspace has set have the x2APIC bit? */
  get hasX2apic(): boolean {
    return ((findCpuid(this.cpuid, 1, 0)?.ecx ?? 0) & (1 << 21)) !== 0
  }

  /** VP.CREATE, ADDCX, INIT. EIO, and the VM is dead, where the module refuses. */
  init(rcx: bigint): void {
    const { td, host } = this.vm
    const tdvpr = host.memory.allocate()
    const created = this.control.call(TDH_VP_CREATE, BigInt(tdvpr), BigInt(td.tdr))
    if (created !== 0n) {
      host.memory.free(tdvpr)
      throw this.vm.bug('SEAMCALL TDH.VP.CREATE failed', created)
    }
    this.tdvpr = tdvpr
    for (let i = 1; i < td.tdx.info.tdvpsPages; i++) {
      const page = host.memory.allocate()
      const added = this.control.call(TDH_VP_ADDCX, BigInt(page), BigInt(tdvpr))
      if (added !== 0n) {
        host.memory.free(page)
        throw this.vm.bug('SEAMCALL TDH.VP.ADDCX failed', added)
      }
      this.#tdcx.push(page)
    }
    const status = this.control.call(TDH_VP_INIT | VERSION_1, BigInt(tdvpr), rcx, BigInt(this.id))
    if (status !== 0n) throw this.vm.bug('SEAMCALL TDH.VP.INIT failed', status)
    this.posted?.start()
    this.mpState = KVM_MP_STATE_RUNNABLE
    this.isInitialized = true
  }

  /** The TD's vCPU that was `from`'s is this one's, and goes on where it was. `from` has been flushed; both VMs' TDs have changed places. */
  take(from: Vcpu): void {
    this.tdvpr = from.tdvpr
    this.#tdcx = from.#tdcx
    from.tdvpr = hpa(0)
    from.#tdcx = []
    this.args.copy(from.args)
    this.enterStatus = from.enterStatus
    this.mapGpaNext = from.mapGpaNext
    this.mapGpaEnd = from.mapGpaEnd
    this.isNmiPending ||= from.isNmiPending
    this.sharedBit = from.sharedBit
    if (this.cpuid.length === 0) this.cpuid = from.cpuid
    this.isInitialized = true
    this.mpState = KVM_MP_STATE_RUNNABLE
    if (from.posted !== undefined) this.posted?.take(from.posted)
  }

  /** Instructions that it has run, and ticks that went by while it was halted: its time, in ticks of the TSC. */
  get ticks(): number {
    return this.ordinary?.ticks ?? this.posted?.ticks ?? 0
  }

  /** Has the guest ever been entered? */
  get hasRun(): boolean {
    return this.ordinary?.hasRun ?? this.hasEptp
  }

  /** Is there something that wakes a halted vCPU? */
  get hasEvents(): boolean {
    if (this.ordinary !== undefined) return this.ordinary.hasEvents
    return this.isNmiPending || this.posted?.hasInterrupt(this.isInterruptBlocked) === true
  }

  /** Before VP.ENTER: what KVM has to tell the TDX module. */
  prepareEntry(): void {
    this.posted?.apic.tick()
    if (!this.hasEptp) {
      this.writeField(SHARED_EPT_POINTER, BigInt(this.vm.sharedEpt.root))
      this.hasEptp = true
    }
    if (this.isNmiPending) {
      this.writeField(PEND_NMI, 1n)
      this.isNmiPending = false
    }
  }

  /** VP.RD of a field. */
  readField(field: MetadataField): bigint {
    const status = this.control.call(TDH_VP_RD, BigInt(this.tdvpr), field.id)
    if (status !== 0n) throw this.vm.bug(`SEAMCALL TDH.VP.RD of ${field.name} failed`, status)
    return this.control.regs.r8
  }

  /** VP.WR of all of a field that the host may write. */
  writeField(field: MetadataField, value: bigint): void {
    const status = this.control.call(TDH_VP_WR, BigInt(this.tdvpr), field.id, value, field.hostWr)
    if (status !== 0n) throw this.vm.bug(`SEAMCALL TDH.VP.WR of ${field.name} failed`, status)
  }

  /** Takes the vCPU off its logical processor, so that the TD's key can go. */
  flush(): void {
    if (this.tdvpr === 0) return
    const status = statusOf(this.control.call(TDH_VP_FLUSH, BigInt(this.tdvpr)))
    if (status !== 0n && status !== TDX_VCPU_NOT_ASSOCIATED) this.vm.bug('SEAMCALL TDH.VP.FLUSH failed', status)
  }

  /** The module's pages go back. The TD's key has gone before. */
  destroy(): void {
    for (const page of this.#tdcx) this.vm.td.reclaimPage(page)
    this.#tdcx.length = 0
    if (this.tdvpr !== 0) this.vm.td.reclaimPage(this.tdvpr)
    this.tdvpr = hpa(0)
    this.ordinary?.close()
    this.posted?.close()
    this.ring?.close()
    // The ring is the VM's.
    for (const page of this.pages) if (page !== this.vm.bus.ring) this.vm.host.memory.free(page)
  }

  /** The descriptor and the mappings have gone; the vCPU itself goes with its VM. */
  release(): void {
    drop(this.vm)
  }

  /** Bytes 0 to 31 of kvm_run as they are on every return from KVM_RUN. */
  saveRun(): void {
    const { view, run, ordinary } = this
    if (ordinary === undefined) {
      view.setUint8(run + kvm_run.offset.ready_for_interrupt_injection, 0)
      view.setUint8(run + kvm_run.offset.if_flag, 0)
      view.setUint32(run + kvm_run.offset.cr8, 0, true)
      view.setUint32(run + kvm_run.offset.cr8 + 4, 0, true)
    } else {
      view.setUint8(run + kvm_run.offset.ready_for_interrupt_injection, ordinary.isReady ? 1 : 0)
      view.setUint8(run + kvm_run.offset.if_flag, ordinary.takesInterrupts ? 1 : 0)
      view.setBigUint64(run + kvm_run.offset.cr8, ordinary.cpu.cr8, true)
    }
    view.setBigUint64(run + kvm_run.offset.apic_base, this.apicBase, true)
  }

  set exitReason(reason: number) {
    if (reason === KVM_EXIT_MMIO) this.counts.mmio_exits++
    else if (reason === KVM_EXIT_IO) this.counts.io_exits++
    this.view.setUint32(this.run + kvm_run.offset.exit_reason, reason, true)
  }
}
