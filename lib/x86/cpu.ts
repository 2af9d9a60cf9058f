/** One CPU: its registers, what follows from them, its memory accesses, and how it runs. What instructions do to it: `calls`. */
import { CR0_AM, CR0_PE, CR4_SMAP, DR6_INIT, DR7_INIT, EFER_LMA, RFLAGS_AC, RFLAGS_FIXED, RIGHTS } from '#abi'
import { gpa, gva, type Hpa, type Size } from '#bits'
import type { Apic } from './apic.ts'
import { type Breakpoints, breakpointsOf } from './breakpoint.ts'
import { Cold, coldOptions } from './cold/cold.ts'
import type { Context } from './compile/context.ts'
import { settle } from './compile/flagstate.ts'
import { Compiler, type TierName, usualTier } from './compile/runtime.ts'
import * as control from './control.ts'
import { type Cpuid, type Features, featuresOf, nativeCpuid } from './cpuid.ts'
import { type CpuOptions, identity, type Ports } from './cpuoptions.ts'
import { Fault, Leave, vmExit } from './fault.ts'
import { FaultLog } from './faultlog.ts'
import type { Insn, Mode } from './insn.ts'
import { CS, SS } from './insn.ts'
import { forget } from './interpret.ts'
import * as interrupt from './interrupt.ts'
import type { PhysicalMemory } from './memory.ts'
import * as mmu from './mmu.ts'
import { Msrs } from './msr.ts'
import * as reset from './reset.ts'
import * as run from './run.ts'
import { SegmentRegister, STATE, setStatusFlags, statusFlags, X87 } from './state.ts'
import { KEY_SMAP, KEY_SUPERVISOR, KEY_USER, TLB_DELTA_WORD, TLB_ENTRY_WORDS, Tlb } from './tlb.ts'
import { mend, type Torn } from './torn.ts'
import { EXIT_REASON_EPT_VIOLATION, type Outside, type SecondStage, type VmExit, type VmxControls } from './vmx.ts'

const RULE = STATE.RULE / 4

const whole = new BigUint64Array(1)
const half = new Uint32Array(whole.buffer)

/** GDTR and IDTR. */
export type TableRegister = { base: bigint; limit: number }

export class Cpu {
  readonly memory: PhysicalMemory
  readonly stage: SecondStage
  readonly controls: VmxControls | undefined
  readonly ports: Ports | undefined
  readonly outside: Outside | undefined
  onFault: ((fault: Fault) => 'deliver' | 'stop') | undefined

  /** HPA of the state frame; see `STATE` for what is where. */
  readonly frame: Hpa
  readonly gpr: BigUint64Array
  /** YMM0 … YMM15, 32 bytes each. */
  readonly vec: Uint8Array
  readonly x87: X87
  readonly tlb: Tlb
  /** Host addresses of the guest's paging structures. */
  readonly tables = new mmu.TableFrames()
  readonly #u8: Uint8Array
  readonly words: Uint32Array
  readonly #u64: BigUint64Array

  /** ES CS SS DS FS GS. Whoever changes one from outside a run need do no more: `run` looks at them afresh. */
  readonly segments: readonly SegmentRegister[]
  readonly ldtr: SegmentRegister
  readonly tr: SegmentRegister
  readonly gdtr: TableRegister = { base: 0n, limit: 0xffff }
  readonly idtr: TableRegister = { base: 0n, limit: 0xffff }

  #cr0 = 0x6000_0010n
  cr2 = 0n
  #cr3 = 0n
  #cr4 = 0n
  #cr8 = 0n
  /** The local APIC, where there is one: it has the task priority and the MSRs that are the APIC's. */
  apic: Apic | undefined
  #efer = 0n
  #xcr0 = 1n
  /** DR0 … DR7; DR4 and DR5 are not used. */
  readonly dr: bigint[] = [0n, 0n, 0n, 0n, 0n, 0n, DR6_INIT, DR7_INIT]
  #pdptes: readonly bigint[] | undefined
  readonly msrs = new Msrs()
  /** State of the generator behind RDRAND and RDSEED. */
  random: bigint

  // What follows from the registers above: see `refresh`.
  mode: Mode = 16
  stackSize: 2 | 4 | 8 = 2
  #cpl: 0 | 1 | 2 | 3 = 0
  /** Low bits of TLB tags for what the running code accesses. */
  key = KEY_SUPERVISOR
  /** Accesses are looked at one by one: for their alignment, or because a breakpoint is on data. */
  watched = false
  alignmentChecked = false
  #canonicalShift = 15

  /** Instructions retired; a REP string instruction counts once. */
  instructions = 0
  /** Added to the counted ticks to give the TSC. */
  tscOffset = 0n
  /** What DR7 enables, worked out by `refresh`; nothing is compiled while there is any. */
  breakpoints: Breakpoints | undefined
  /** Breakpoints that count instead of the guest's: whoever sets them stops at the #DB by `onFault`. From the next run on. */
  debugger: Breakpoints | undefined
  /** Bits of DR6 that the running instruction, or one before it that held traps off, has met. */
  met = 0
  /** The instruction that executes. */
  insn: Insn | undefined
  /** The value of `instructions` until which interrupts (STI) or also debug traps and NMIs (MOV SS) are held off. */
  shadow: interrupt.Shadow = 'none'
  nmiBlocked = false
  /** The running instruction ends in a single-step trap. */
  isStepping = false
  /** The exit that the running instruction ends with; see `end`. */
  exit: VmExit | undefined
  /** What compiled code may take for granted now: `undefined` if it has to be worked out, null if nothing is compiled. */
  context: Context | null | undefined
  readonly tier: TierName
  readonly compiler: Compiler | undefined
  /** For single steps, in the tiers that compile everything. */
  readonly stepper: Compiler | undefined
  /** Runs what is not compiled, and its like for single steps. */
  readonly cold: Cold | undefined
  readonly coldStepper: Cold | undefined
  /** Where instructions are fetched from. */
  readonly fetch: run.Fetch
  /** The last exceptions. */
  readonly faults = new FaultLog()
  /** What the next instruction has read already; see `tear`. */
  torn: Torn | undefined
  /** Events handed to `inject` and not yet delivered, in order. */
  readonly pending: interrupt.Event[] = []
  #cpuid: Cpuid
  #features: Features | undefined
  #stageGeneration: number

  constructor(options: CpuOptions) {
    const { memory } = options
    this.memory = memory
    this.stage = options.stage ?? identity(memory)
    this.controls = options.controls
    this.ports = options.ports
    this.outside = options.outside
    this.onFault = options.onFault
    this.#cpuid = options.cpuid ?? nativeCpuid
    this.random = options.seed ?? 1n
    this.#stageGeneration = this.stage.generation
    const frame = memory.allocate()
    this.frame = frame
    const { buffer } = memory.memory
    this.#u8 = new Uint8Array(buffer, frame, 4096)
    this.words = new Uint32Array(buffer, frame, 1024)
    this.#u64 = new BigUint64Array(buffer, frame, 512)
    this.gpr = this.#u64.subarray(0, 16)
    this.vec = this.#u8.subarray(STATE.VEC, STATE.VEC + 512)
    this.x87 = new X87(memory, frame)
    this.tlb = new Tlb(memory)
    this.fetch = new run.Fetch(this)
    this.fetch.cache.tlbs.add(this.tlb)
    this.tier = options.tier ?? usualTier()
    const { tier } = this
    if (tier === 'auto' || tier === 'compile' || tier === 'lockstep') this.compiler = new Compiler(this, tier)
    if (tier === 'compile' || tier === 'lockstep') this.stepper = new Compiler(this, tier, 1)
    const [running, stepping] = coldOptions(tier)
    if (running !== undefined) this.cold = new Cold(this, running)
    if (stepping !== undefined) this.coldStepper = new Cold(this, stepping)
    this.tlbMoved()
    const register = (n: number) => new SegmentRegister(this.#u64, STATE.BASES / 8 + n)
    this.segments = [0, 1, 2, 3, 4, 5].map(register)
    this.ldtr = register(6)
    this.tr = register(7)
    reset.start(this, options.start ?? 'reset')
    this.refresh()
  }

  /** Gives the state and TLB frames back. The CPU must not be used any more. */
  close(): void {
    this.memory.free(this.frame)
    this.compiler?.links.close()
    this.stepper?.links.close()
    this.cold?.close()
    this.coldStepper?.close()
    this.fetch.cache.tlbs.delete(this.tlb)
    this.tlb.close()
    forget(this)
  }

  // Registers

  get rip(): bigint {
    return this.#u64[STATE.RIP / 8]!
  }
  set rip(value: bigint) {
    this.#u64[STATE.RIP / 8] = value
  }
  /** RIP of the following instruction; writing it branches. */
  get next(): bigint {
    return this.#u64[STATE.NEXT / 8]!
  }
  set next(value: bigint) {
    this.#u64[STATE.NEXT / 8] = value
  }
  get cf(): boolean {
    if (this.words[RULE] !== 0) settle(this)
    return this.#u8[STATE.CF] !== 0
  }
  set cf(to: boolean) {
    if (this.words[RULE] !== 0) settle(this)
    this.#u8[STATE.CF] = to ? 1 : 0
  }
  get pf(): boolean {
    if (this.words[RULE] !== 0) settle(this)
    return this.#u8[STATE.PF] !== 0
  }
  set pf(to: boolean) {
    if (this.words[RULE] !== 0) settle(this)
    this.#u8[STATE.PF] = to ? 1 : 0
  }
  get af(): boolean {
    if (this.words[RULE] !== 0) settle(this)
    return this.#u8[STATE.AF] !== 0
  }
  set af(to: boolean) {
    if (this.words[RULE] !== 0) settle(this)
    this.#u8[STATE.AF] = to ? 1 : 0
  }
  get zf(): boolean {
    if (this.words[RULE] !== 0) settle(this)
    return this.#u8[STATE.ZF] !== 0
  }
  set zf(to: boolean) {
    if (this.words[RULE] !== 0) settle(this)
    this.#u8[STATE.ZF] = to ? 1 : 0
  }
  get sf(): boolean {
    if (this.words[RULE] !== 0) settle(this)
    return this.#u8[STATE.SF] !== 0
  }
  set sf(to: boolean) {
    if (this.words[RULE] !== 0) settle(this)
    this.#u8[STATE.SF] = to ? 1 : 0
  }
  get of(): boolean {
    if (this.words[RULE] !== 0) settle(this)
    return this.#u8[STATE.OF] !== 0
  }
  set of(to: boolean) {
    if (this.words[RULE] !== 0) settle(this)
    this.#u8[STATE.OF] = to ? 1 : 0
  }
  get df(): boolean {
    return this.#u8[STATE.DF] !== 0
  }
  set df(to: boolean) {
    this.#u8[STATE.DF] = to ? 1 : 0
  }

  /** RFLAGS without the seven flags above, as a number: TF, IF, IOPL, NT, RF, VM, AC, VIF, VIP, ID. */
  get systemFlags(): number {
    return this.words[STATE.SYSTEM_FLAGS / 4]!
  }
  set systemFlags(value: number) {
    this.words[STATE.SYSTEM_FLAGS / 4] = value
    this.#refreshAccess()
  }

  get rflags(): bigint {
    if (this.words[RULE] !== 0) settle(this)
    return BigInt(this.systemFlags | statusFlags(this.#u8))
  }
  set rflags(value: bigint) {
    const bits = Number(value & 0x3f_ffffn)
    this.words[RULE] = 0
    setStatusFlags(this.#u8, bits)
    this.systemFlags = bits & SYSTEM_FLAGS
  }

  get mxcsr(): number {
    return this.words[STATE.MXCSR / 4]!
  }
  set mxcsr(value: number) {
    if (this.words[STATE.MXCSR / 4] !== value) this.context = undefined
    this.words[STATE.MXCSR / 4] = value
  }
  get xcr0(): bigint {
    return this.#xcr0
  }
  set xcr0(value: bigint) {
    if (value !== this.#xcr0) this.context = undefined
    this.#xcr0 = value
  }
  get pkru(): number {
    return this.words[STATE.PKRU / 4]!
  }
  set pkru(value: number) {
    this.words[STATE.PKRU / 4] = value
    this.tlb.flush()
  }

  // These setters are raw, as a VMM writes a VMCS: no rule is checked. Instructions go through writeCr and wrmsr.

  get cr0(): bigint {
    return this.#cr0
  }
  set cr0(value: bigint) {
    this.#cr0 = value
    this.#pagingChanged()
  }
  get cr3(): bigint {
    return this.#cr3
  }
  set cr3(value: bigint) {
    this.#cr3 = value
    this.#pagingChanged()
  }
  get cr4(): bigint {
    return this.#cr4
  }
  set cr4(value: bigint) {
    this.#cr4 = value
    this.#pagingChanged()
  }
  get efer(): bigint {
    return this.#efer
  }
  set efer(value: bigint) {
    this.#efer = value
    this.#pagingChanged()
  }

  get cr8(): bigint {
    return this.apic === undefined ? this.#cr8 : BigInt(this.apic.tpr >> 4)
  }
  set cr8(value: bigint) {
    if (this.apic === undefined) this.#cr8 = value
    else this.apic.tpr = Number(value & 15n) << 4
  }

  /** The four PAE page-directory-pointer-table entries, loaded when CR3 was. */
  get pdptes(): readonly bigint[] {
    this.#pdptes ??= control.readPdptes(this, this.#cr3)
    return this.#pdptes
  }
  set pdptes(values: readonly bigint[] | undefined) {
    this.#pdptes = values
  }

  /** The answer to CPUID; a new one changes which features there are. */
  get cpuid(): Cpuid {
    return this.#cpuid
  }
  set cpuid(answer: Cpuid) {
    this.#cpuid = answer
    this.#features = undefined
    this.context = undefined
  }
  get features(): Features {
    this.#features ??= featuresOf(this.#cpuid)
    return this.#features
  }

  /** Kept in the DPL of SS, as VMX has it. */
  get cpl(): 0 | 1 | 2 | 3 {
    return this.#cpl
  }
  set cpl(level: 0 | 1 | 2 | 3) {
    const ss = this.segments[SS]!
    ss.rights = (ss.rights & ~RIGHTS.DPL) | (level << 5)
    this.refresh()
  }

  get width(): 48 | 57 {
    return this.#canonicalShift === 15 ? 48 : 57
  }

  /** Control registers as walks ask for them: low halves, and where the root table is. */
  readonly paging = { cr0: Number(this.#cr0), cr4: 0, efer: 0, root: 0 }

  #pagingChanged(): void {
    const { paging } = this
    paging.cr0 = Number(this.#cr0 & 0xffff_ffffn)
    paging.cr4 = Number(this.#cr4 & 0xffff_ffffn)
    paging.efer = Number(this.#efer & 0xffff_ffffn)
    paging.root = Number(this.#cr3 & 0xf_ffff_ffff_f000n)
    this.#pdptes = undefined
    this.tlb.flush()
    this.refresh()
  }

  /** What `refresh` went by last: rights of CS and SS. */
  #csRights = -1
  #ssRights = -1

  /**
   * `refresh`, where something may have changed that nobody tells of: segments, in other modes than 64-bit with all that they
   * are, and breakpoints.
   */
  follow(): void {
    const { segments } = this
    const isSame =
      this.mode === 64 &&
      segments[CS]!.rights === this.#csRights &&
      segments[SS]!.rights === this.#ssRights &&
      (this.breakpoints ?? this.debugger) === undefined &&
      this.dr[7] === DR7_INIT
    if (!isSame) this.refresh()
  }

  /** Works out anew what follows from segments and control registers. */
  refresh(): void {
    const cs = this.segments[CS]!.rights
    const ss = this.segments[SS]!.rights
    this.#csRights = cs
    this.#ssRights = ss
    this.mode = (this.#efer & EFER_LMA) !== 0n && (cs & RIGHTS.L) !== 0 ? 64 : (cs & RIGHTS.DB) !== 0 ? 32 : 16
    this.stackSize = this.mode === 64 ? 8 : (ss & RIGHTS.DB) !== 0 ? 4 : 2
    this.#cpl = (this.#cr0 & CR0_PE) === 0n ? 0 : (((ss & RIGHTS.DPL) >> 5) as 0 | 1 | 2 | 3)
    this.#canonicalShift = (this.#cr4 & 0x1000n) === 0n ? 15 : 24
    if (this.dr[7] !== DR7_INIT || (this.breakpoints ?? this.debugger) !== undefined) this.#refreshBreakpoints()
    this.#refreshAccess()
  }

  #refreshBreakpoints(): void {
    const had = this.breakpoints !== undefined
    this.breakpoints = breakpointsOf(this)
    if (had !== (this.breakpoints !== undefined)) this.context = undefined
  }

  #refreshAccess(): void {
    const ac = (this.words[STATE.SYSTEM_FLAGS / 4]! & Number(RFLAGS_AC)) !== 0
    const supervisor = (this.#cr4 & CR4_SMAP) !== 0n && !ac ? KEY_SMAP : KEY_SUPERVISOR
    const key = this.#cpl === 3 ? KEY_USER : supervisor
    if (key !== this.key) {
      this.key = key
      this.tlb.use(key)
      this.tlbMoved()
    }
    this.alignmentChecked = ac && this.#cpl === 3 && (this.#cr0 & CR0_AM) !== 0n
    this.watched = this.alignmentChecked || this.breakpoints?.hasData === true
    this.#refreshContext(ac)
  }

  /** What `context` was worked out for. Elsewhere than in 64-bit mode it depends on more, and is worked out again. */
  #contextFor = { cr0: -1n, cr4: -1n, access: -1 }

  #refreshContext(ac: boolean): void {
    const last = this.#contextFor
    const access = this.key * 2 + (ac ? 1 : 0)
    if (this.mode === 64 && access === last.access && this.#cr0 === last.cr0 && this.#cr4 === last.cr4) return
    this.context = undefined
    last.cr0 = this.#cr0
    last.cr4 = this.#cr4
    last.access = this.mode === 64 ? access : -1
  }

  /** Tells compiled code where the TLB is. */
  tlbMoved(): void {
    this.words[STATE.TLB / 4] = this.tlb.frame
    this.words[STATE.TLB_MASK / 4] = this.tlb.mask
  }

  /** Drops the TLB if the second stage has taken back what it gave out. */
  followStage(): void {
    const { generation } = this.stage
    if (generation === this.#stageGeneration) return
    this.#stageGeneration = generation
    this.tlb.flush()
    this.tables.clear()
  }

  // Ends of an instruction

  raise(vector: number, errorCode?: number): never {
    throw new Fault(vector, errorCode)
  }

  /** Leaves the guest; RIP stays at the instruction. */
  leave(reason: number, qualification: bigint, instructionInfo = 0): never {
    throw new Leave(vmExit(reason, { qualification, instructionLength: this.insn?.length ?? 0, instructionInfo }))
  }

  /**
   * Leaves at the end of an instruction that does nothing else, without the cost of unwinding: the run loop sees `exit`.
   * RIP stays at the instruction all the same.
   */
  end(reason: number, qualification = 0n): void {
    if (this.insn === undefined) this.leave(reason, qualification)
    this.exit = vmExit(reason, { qualification, instructionLength: this.insn.length })
  }

  leaveEpt(qualification: bigint, linear: bigint, at: bigint): never {
    throw new Leave(
      vmExit(EXIT_REASON_EPT_VIOLATION, {
        qualification,
        instructionLength: this.insn?.length ?? 0,
        gla: gva(linear),
        gpa: gpa(at),
      }),
    )
  }

  // Memory

  isCanonical(linear: bigint): boolean {
    whole[0] = linear
    const top = (half[1]! | 0) >> this.#canonicalShift
    return top === 0 || top === -1
  }

  /** Notes the breakpoints that an access meets. Those of tables and of the stacks of events count as well. */
  watch(at: bigint, size: number, access: 'read' | 'write'): void {
    if (this.breakpoints !== undefined) this.met |= this.breakpoints.data(at, size, access)
  }

  read(linear: bigint, size: Size): bigint {
    whole[0] = linear
    const low = half[0]!
    const { words, mask } = this.tlb
    const at = ((low >>> 12) & mask) * TLB_ENTRY_WORDS
    if (words[at] === (low & ~0xfff) >>> 0 && words[at + 1] === half[1] && (low & 0xfff) + size <= 4096) {
      const host = (low + words[at + TLB_DELTA_WORD]!) >>> 0
      const { view } = this.memory
      if (size === 8) return view.getBigUint64(host, true)
      if (size === 4) return BigInt(view.getUint32(host, true))
      return BigInt(size === 1 ? view.getUint8(host) : view.getUint16(host, true))
    }
    return mmu.readLinear(this, linear, size, this.key)
  }

  /** Both pages of a write that crosses into another are settled before either is written. */
  write(linear: bigint, size: Size, value: bigint): void {
    whole[0] = linear
    const low = half[0]!
    const { words, mask } = this.tlb
    const at = ((low >>> 12) & mask) * TLB_ENTRY_WORDS
    if (words[at + 2] === (low & ~0xfff) >>> 0 && words[at + 3] === half[1] && (low & 0xfff) + size <= 4096) {
      const host = (low + words[at + TLB_DELTA_WORD]!) >>> 0
      const { view } = this.memory
      if (size === 8) view.setBigUint64(host, value, true)
      else if (size === 4) view.setUint32(host, Number(value), true)
      else if (size === 2) view.setUint16(host, Number(value), true)
      else view.setUint8(host, Number(value))
      if (this.memory.holdsCode[host >>> 12] !== 0) this.memory.wrote(host)
    } else mmu.writeLinear(this, linear, size, value, this.key)
  }

  readBytes(linear: bigint, length: number): Uint8Array {
    return mmu.readBytes(this, linear, length, this.key)
  }

  writeBytes(linear: bigint, bytes: Uint8Array): void {
    mmu.writeBytes(this, linear, bytes, this.key)
  }

  /** Makes sure that a later write of these bytes cannot fault. */
  settleWrite(linear: bigint, size: number): void {
    mmu.settle(this, linear, size, 'write', this.key)
  }

  /** Descriptor tables and the TSS are accessed as a supervisor does, whatever the CPL. */
  get #implicitKey(): number {
    return (this.#cr4 & CR4_SMAP) === 0n ? KEY_SUPERVISOR : KEY_SMAP
  }
  readSystem(linear: bigint, size: Size): bigint {
    this.watch(linear, size, 'read')
    return mmu.readLinear(this, linear, size, this.#implicitKey)
  }
  writeSystem(linear: bigint, size: Size, value: bigint): void {
    this.watch(linear, size, 'write')
    mmu.writeLinear(this, linear, size, value, this.#implicitKey)
  }

  // Running

  /** Runs until an exit; after `budget` instructions that is EXIT_REASON_PREEMPTION_TIMER. */
  run(budget: number): VmExit {
    if (this.torn !== undefined) mend(this)
    return run.run(this, budget)
  }
  /** One instruction (and the events before it). */
  step(): VmExit | undefined {
    if (this.torn !== undefined) mend(this)
    return run.step(this)
  }
  /** Hands in an event, delivered before the next instruction that may be interrupted by it. */
  inject(event: interrupt.Event): void {
    this.pending.push(event)
  }
  /** Takes interrupts from a source while it has some; to be called whenever that may have changed. */
  offer(source: interrupt.InterruptSource): void {
    interrupt.offer(this, source)
  }
  /** As INIT leaves a processor, which then waits for a startup IPI. */
  init(): void {
    reset.init(this)
  }
  /** Moves RIP past an instruction whose exit was handled, as if it had completed. */
  advance(length: number): void {
    run.advance(this, length)
  }

  rdmsr(index: number): bigint {
    return this.msrs.rdmsr(this, index)
  }
  wrmsr(index: number, value: bigint): void {
    this.msrs.wrmsr(this, index, value)
  }
  /** The TSC as it stands now, with no checks: counted ticks plus the offset. */
  get tsc(): bigint {
    return BigInt.asUintN(64, BigInt(this.instructions * run.TICKS_PER_INSTRUCTION) + this.tscOffset)
  }
}

/** Bits of RFLAGS that are in `systemFlags`. */
const SYSTEM_FLAGS = 0x3f_7300 & ~Number(RFLAGS_FIXED)
