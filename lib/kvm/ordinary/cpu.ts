/** The processor of an ordinary VM's vCPU: KVM runs it directly, with its memory slots as the second stage. */
import { KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE, VECTOR_NMI } from '#abi'
import { Apic, Cpu, CS, deliverCommand, type InterruptSource, type VmxControls } from '#x86'
import { ApicClock, ticksToTimer } from '../apicclock.ts'
import { emulateCpuid } from '../cpuid.ts'
import type { Vcpu } from '../vcpu.ts'
import type { GuestDebug } from './debug.ts'
import { PvClock } from './pvclock.ts'
import { Replay } from './replay.ts'

/** Guest instructions at which every CPU starts its own random numbers. */
const SEED_STEP = 0x9e37_79b9n

export class OrdinaryCpu {
  readonly vcpu: Vcpu
  readonly replay = new Replay()
  cpu: Cpu
  /** The in-kernel local APIC, where the VM has an irqchip. */
  readonly apic: Apic | undefined
  /** MMIO writes of an instruction that is over, still to be told to userspace. */
  readonly writes: { readonly gpa: number; readonly size: number; readonly value: bigint }[] = []
  /** Ticks that went by while the guest was halted. */
  idle = 0
  /** Has the guest ever run? */
  hasRun = false
  /** KVM_SET_GUEST_DEBUG. */
  debug: GuestDebug | undefined
  /** An instruction that userspace answered is over, and the step to be told. */
  owesStep = false
  readonly clock: PvClock
  readonly #clock: ApicClock
  /** What interrupts the CPU: the PIC, which comes first, and the local APIC. */
  readonly #interrupts: InterruptSource = {
    ready: () => this.#hasExtInt || this.apic?.ready() === true,
    take: () => this.#take(),
  }

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu
    this.clock = new PvClock(vcpu)
    this.#clock = new ApicClock(vcpu.vm)
    this.cpu = this.#make()
    if (vcpu.vm.irqchip !== 'none') this.apic = this.#makeApic()
    this.replay.apic = this.apic
    this.replay.chips = vcpu.vm.chips
  }

  #make(): Cpu {
    const { vcpu } = this
    const { vm } = vcpu
    return new Cpu({
      memory: vm.host.memory,
      stage: vm.stage,
      controls: this.#controls(),
      cpuid: (leaf, subleaf) => emulateCpuid(vcpu.cpuid, leaf, subleaf),
      ports: this.replay,
      outside: this.replay,
      seed: vm.host.seed + BigInt(vcpu.id) * SEED_STEP,
    })
  }

  #controls(): VmxControls {
    const { vcpu } = this
    return {
      // Ports are answered by `replay`, which sees the data too.
      io: false,
      hlt: true,
      monitorMwait: true,
      wbinvd: false,
      rdpmc: false,
      msr: (index, write) => !vcpu.vm.msrFilter.allows(index, write) || this.isEmulatedMsr(index),
      cr0Mask: 0n,
      cr0Shadow: 0n,
      cr4Mask: 0n,
      cr4Shadow: 0n,
    }
  }

  /** Is the MSR KVM's to answer, because the processor does not have it or the irqchip does? */
  isEmulatedMsr(index: number): boolean {
    if (this.apic !== undefined && (index === IA32_APIC_BASE || isX2apic(index) || index === IA32_TSC_DEADLINE))
      return true
    return this.cpu.msrs.read(this.cpu, index) === undefined
  }

  #makeApic(): Apic {
    const { vcpu } = this
    const apic: Apic = new Apic(
      vcpu.id,
      {
        now: () => this.#clock.cycles(this.ticks),
        tsc: () => this.cpu.tsc,
        send: (command, from) => deliverCommand(vcpu.vm.apics, command, from),
        changed: () => this.offerInterrupts(),
        nmi: () => this.nmi(),
        init: () => this.#init(),
        startup: vector => this.#startup(vector),
        eoi: (vector, isLevel) => vcpu.vm.chips?.eoi(vector, isLevel),
      },
      vcpu.id === vcpu.vm.bootCpu,
    )
    return apic
  }

  /** Does the PIC ask for an interrupt, and is it this CPU that it asks? */
  get #hasExtInt(): boolean {
    return this.vcpu.vm.chips?.pic.output === true && this.apic?.takesExtInt === true
  }

  #take(): number {
    const { apic, vcpu } = this
    if (!this.#hasExtInt) return apic?.take() ?? 0
    const vector = vcpu.vm.chips?.pic.acknowledge() ?? 0
    // The local APIC may have one as well.
    this.offerInterrupts()
    return vector
  }

  /** The CPU looks whether there is an interrupt; to be called whenever that may have changed. */
  offerInterrupts(): void {
    this.cpu.offer(this.#interrupts)
  }

  nmi(): void {
    this.cpu.inject({ vector: VECTOR_NMI, kind: 'nmi' })
  }

  /** INIT: the CPU as after reset, waiting for SIPI; the bootstrap processor starts at the reset vector. */
  #init(): void {
    const { cpu, vcpu } = this
    this.cpu = this.#make()
    this.cpu.instructions = cpu.instructions
    this.cpu.tscOffset = cpu.tscOffset
    cpu.close()
    this.replay.clear()
    vcpu.mpState = vcpu.id === vcpu.vm.bootCpu ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_INIT_RECEIVED
  }

  #startup(vector: number): void {
    if (this.vcpu.mpState !== KVM_MP_STATE_INIT_RECEIVED) return
    const { cpu } = this
    cpu.segments[CS]?.set(vector << 8, BigInt(vector << 12), 0xffff, 0x9b)
    cpu.rip = 0n
    cpu.refresh()
    this.vcpu.mpState = KVM_MP_STATE_RUNNABLE
  }

  /** Is there something that wakes a halted vCPU? */
  get hasEvents(): boolean {
    const { cpu } = this
    if (cpu.pending.some(({ kind }) => kind === 'nmi')) return true
    return this.takesInterrupts && (this.vcpu.external !== undefined || this.#interrupts.ready())
  }

  /** RFLAGS.IF. */
  get takesInterrupts(): boolean {
    return (this.cpu.systemFlags & IF) !== 0
  }

  /** Would an interrupt of userspace's be taken at once? */
  get isReady(): boolean {
    const { cpu, vcpu } = this
    return this.takesInterrupts && cpu.shadow === 'none' && cpu.pending.length === 0 && vcpu.external === undefined
  }

  /** Before the guest is entered: what has become due is handed to the CPU. */
  prepareEntry(): void {
    const { cpu, apic, vcpu } = this
    const { external } = vcpu
    apic?.tick()
    vcpu.vm.chips?.pit?.tick()
    if (this.clock.isStale) this.clock.update(cpu.tsc)
    if (external !== undefined && cpu.pending.length === 0) {
      cpu.inject({ vector: external, kind: 'external' })
      vcpu.external = undefined
    }
    this.hasRun = true
  }

  /** Instructions run, and ticks slept through. */
  get ticks(): number {
    return this.cpu.instructions + this.idle
  }

  /** Ticks until a timer has something to say; undefined: none ever will. */
  get ticksToTimer(): number | undefined {
    const pit = this.vcpu.vm.chips?.ticksToTimer
    const own = this.apic === undefined ? undefined : ticksToTimer(this.apic, this.#clock, this.ticks)
    return pit === undefined || own === undefined ? (pit ?? own) : Math.min(pit, own)
  }

  /**
   * The guest is halted and only a timer can wake it: the time until then goes by, `most` ticks of it. False where there is no
   * `most` and no timer runs, or the guest would not take its interrupt.
   */
  sleep(most?: number): boolean {
    const timer = this.takesInterrupts ? this.ticksToTimer : undefined
    const ticks = most === undefined ? timer : Math.min(timer ?? most, most)
    if (ticks === undefined) return false
    this.idle += ticks
    this.cpu.tscOffset += BigInt(ticks)
    this.apic?.tick()
    this.vcpu.vm.chips?.pit?.tick()
    return true
  }

  close(): void {
    this.cpu.close()
  }
}

const IF = 1 << 9
export const IA32_APIC_BASE = 0x1b
export const IA32_TSC_DEADLINE = 0x6e0
export const isX2apic = (index: number): boolean => index >= 0x800 && index <= 0x8ff
