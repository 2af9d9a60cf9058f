/**
 * The local APIC of one CPU, as xAPIC page and as x2APIC registers. SDM Vol. 3A, "Advanced Programmable Interrupt
 * Controller (APIC)". Its timer counts the clock it is given, so that a run is the same every time.
 *
 * Not modelled: thermal and performance-counter interrupts (their LVT entries only hold their values), SMIs,
 * arbitration (APR reads 0), suppressed EOI broadcasts.
 */
import { Bits256 } from './apicbits.ts'
import type { Command } from './apicdeliver.ts'
import {
  APIC,
  BASE_BSP,
  BASE_EN,
  BASE_EXTD,
  DELIVERY,
  DIVIDE_BITS,
  ESR,
  ICR_RESERVED,
  LVT,
  LVT_ENTRIES,
  MASKED,
  PAGE_BYTES,
  SVR_BITS,
  SVR_ENABLED,
  VERSION,
} from './apicregisters.ts'
import { ApicTimer, type TimerHost } from './apictimer.ts'

/** What an APIC needs of the CPU it belongs to and of the machine. */
export type ApicHost = TimerHost & {
  /** Hands a command to the APICs it names. */
  send(command: Command, from: Apic): void
  nmi(): void
  init(): void
  startup(vector: number): void
  /** The guest has ended the service of a vector; `isLevel` as it was accepted. */
  eoi?(vector: number, isLevel: boolean): void
}

/** Of an LVT entry. */
const timerMode = (entry: number): number => (entry >> 17) & 3

export class Apic {
  readonly id: number
  readonly #host: ApicHost
  readonly #isBootstrap: boolean
  /** IA32_APIC_BASE. */
  base: bigint
  readonly #isr = new Bits256()
  readonly #tmr = new Bits256()
  readonly #irr = new Bits256()
  #tpr = 0
  #ldr = 0
  #dfr = 0xffff_ffff
  #svr = 0xff
  #esr = 0
  #errors = 0
  #icr = 0
  #icrHigh = 0
  readonly #lvt = new Map<number, number>()
  readonly #timer: ApicTimer

  constructor(id: number, host: ApicHost, bootstrap = id === 0) {
    this.id = id
    this.#host = host
    this.#timer = new ApicTimer(host)
    this.#isBootstrap = bootstrap
    this.base = 0xfee0_0000n | BASE_EN | (bootstrap ? BASE_BSP : 0n)
    this.reset()
  }

  /** As after INIT: everything but the identity and IA32_APIC_BASE. SDM Vol. 3A, "Local APIC State After It Receives an INIT-Deassert". */
  reset(): void {
    this.#isr.clear()
    this.#tmr.clear()
    this.#irr.clear()
    this.#tpr = 0
    this.#ldr = 0
    this.#dfr = 0xffff_ffff
    this.#svr = 0xff
    this.#esr = 0
    this.#errors = 0
    this.#icr = 0
    this.#icrHigh = 0
    for (const at of LVT_ENTRIES) this.#lvt.set(at, MASKED)
    // As firmware leaves it, and KVM too: the bootstrap processor has the PIC at LINT0.
    if (this.#isBootstrap) this.#lvt.set(APIC.LVT_LINT0, DELIVERY.EXTINT << 8)
    this.#timer.reset()
  }

  get isEnabled(): boolean {
    return (this.base & BASE_EN) !== 0n
  }
  get isX2(): boolean {
    return (this.base & BASE_EXTD) !== 0n
  }
  /** Where its page is, undefined where none is: disabled, or x2APIC. */
  get page(): bigint | undefined {
    return this.isEnabled && !this.isX2 ? this.base & ~0xfffn : undefined
  }
  get #softwareEnabled(): boolean {
    return (this.#svr & SVR_ENABLED) !== 0
  }

  // Priorities and delivery

  get tpr(): number {
    return this.#tpr
  }
  set tpr(value: number) {
    this.#tpr = value & 0xff
    this.#host.changed()
  }
  get ppr(): number {
    const serviced = this.#isr.highest
    return (this.#tpr & 0xf0) >= (serviced & 0xf0) ? this.#tpr : serviced & 0xf0
  }
  /** Is there a vector that the CPU would be given now? */
  ready(): boolean {
    const vector = this.#irr.highest
    return vector >= 16 && this.isEnabled && (vector & 0xf0) > (this.ppr & 0xf0)
  }
  /** The CPU takes the highest vector; what it gets where that is not `ready` any more is the spurious one. */
  take(): number {
    if (!this.ready()) return this.#svr & 0xff
    const vector = this.#irr.highest
    this.#irr.reset(vector)
    this.#isr.set(vector)
    return vector
  }
  /** Does the PIC's interrupt reach the CPU, through LINT0 or because the APIC is off? */
  get takesExtInt(): boolean {
    if (!this.isEnabled) return true
    const entry = this.#lvt.get(APIC.LVT_LINT0)!
    return (entry & MASKED) === 0 && ((entry >>> 8) & 7) === DELIVERY.EXTINT
  }
  /** A fixed interrupt arrives. False where the APIC takes none. */
  accept(vector: number, level = false): boolean {
    if (!this.isEnabled || !this.#softwareEnabled) return false
    if (vector < 16) {
      this.#error(ESR.RECEIVE_VECTOR)
      return true
    }
    this.#irr.set(vector)
    if (level) this.#tmr.set(vector)
    else this.#tmr.reset(vector)
    this.#host.changed()
    return true
  }
  #eoi(): void {
    const vector = this.#isr.highest
    this.#isr.reset(vector)
    this.#host.changed()
    if (vector !== 0) this.#host.eoi?.(vector, ((this.#tmr.word(vector >> 5) >>> (vector & 31)) & 1) === 1)
  }
  #error(bit: number): void {
    this.#errors |= bit
    const entry = this.#lvt.get(APIC.LVT_ERROR)!
    if ((entry & MASKED) !== 0) return
    // An entry whose own vector is illegal is an error, of which nobody is told.
    if ((entry & 0xff) < 16) this.#errors |= ESR.RECEIVE_VECTOR
    else this.accept(entry & 0xff)
  }

  /** A command from an APIC, or an interrupt from a device, reaches this one. False where it is lost. */
  receive({ delivery, vector, level, isLevel }: Command): boolean {
    switch (delivery) {
      case DELIVERY.FIXED:
      case DELIVERY.LOWEST:
        return this.accept(vector, isLevel)
      case DELIVERY.NMI:
        this.#host.nmi()
        return true
      case DELIVERY.INIT:
        // The deassertion, of which nothing but old parts knows, does nothing.
        if (level) this.#host.init()
        return true
      case DELIVERY.STARTUP:
        this.#host.startup(vector)
        return true
      default:
        return false
    }
  }

  /** Does a destination that is not a shorthand name this APIC? SDM Vol. 3A, "Determining IPI Destination". */
  isNamedBy({ logical, destination }: Command, fromX2: boolean): boolean {
    if (!this.isEnabled) return false
    const everyone = fromX2 ? 0xffff_ffff : 0xff
    if (destination >>> 0 === everyone) return true
    if (!logical) return this.id === destination >>> 0
    if (this.isX2) {
      const ldr = this.#logicalId
      return ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0
    }
    const own = this.#ldr >>> 24
    if (this.#dfr >>> 28 === 0xf) return (own & destination) !== 0
    return own >>> 4 === (destination >>> 4) % 16 && (own & destination & 15) !== 0
  }

  get #logicalId(): number {
    return this.isX2 ? ((this.id >>> 4) << 16) | (1 << (this.id & 15)) : this.#ldr
  }

  #command(low: number, destination: number): void {
    const command: Command = {
      vector: low & 0xff,
      delivery: (low >>> 8) & 7,
      logical: (low & (1 << 11)) !== 0,
      level: (low & (1 << 14)) !== 0,
      shorthand: (low >>> 18) & 3,
      destination,
    }
    const isFixed = command.delivery === DELIVERY.FIXED || command.delivery === DELIVERY.LOWEST
    if (isFixed && command.vector < 16) this.#error(ESR.SEND_VECTOR)
    else this.#host.send(command, this)
  }

  // Timer

  /** Ticks until the timer has something to say; undefined: it never will. */
  get ticksToTimer(): number | undefined {
    return this.#timer.ticksLeft
  }
  /** The timer is not set, and has nothing to say. */
  get isTimerIdle(): boolean {
    return this.#timer.isIdle
  }
  /** Lets the timer fire if its time has come. */
  tick(): void {
    if (!this.#timer.hasFired()) return
    const entry = this.#lvt.get(APIC.LVT_TIMER)!
    if ((entry & MASKED) === 0) this.accept(entry & 0xff)
  }
  get deadline(): bigint {
    return this.#timer.deadline
  }
  /** IA32_TSC_DEADLINE; ignored in the other modes. */
  set deadline(value: bigint) {
    this.#timer.deadline = value
  }

  #setLvt(at: number, value: number): void {
    this.#lvt.set(at, this.#softwareEnabled ? value : value | MASKED)
    if (at === APIC.LVT_TIMER) this.#timer.mode = timerMode(value)
  }

  // Registers

  /** A register by its offset in the page; undefined where there is none. */
  #read(at: number): number | undefined {
    if (at >= APIC.ISR && at < APIC.ESR && (at & 15) === 0) {
      const bits = at < APIC.TMR ? this.#isr : at < APIC.IRR ? this.#tmr : this.#irr
      return bits.word((at & 0x7f) >> 4)
    }
    const entry = this.#lvt.get(at)
    if (entry !== undefined) return entry
    switch (at) {
      case APIC.ID:
        return this.isX2 ? this.id : (this.id << 24) >>> 0
      case APIC.VERSION:
        return VERSION
      case APIC.TPR:
        return this.#tpr
      case APIC.APR:
      case APIC.RRD:
      case APIC.EOI:
        return 0
      case APIC.PPR:
        return this.ppr
      case APIC.LDR:
        return this.#logicalId
      case APIC.DFR:
        return this.#dfr
      case APIC.SVR:
        return this.#svr
      case APIC.ESR:
        return this.#esr
      case APIC.ICR:
        return this.#icr
      case APIC.ICR_HIGH:
        return this.#icrHigh
      case APIC.INITIAL_COUNT:
        return this.#timer.initialCount
      case APIC.CURRENT_COUNT:
        return this.#timer.currentCount
      case APIC.DIVIDE:
        return this.#timer.divide
      default:
        return undefined
    }
  }

  /** Writes what both forms of the APIC have. False where there is nothing to be written. */
  #write(at: number, value: number): boolean {
    const allowed = LVT[at]
    if (allowed !== undefined) {
      this.#setLvt(at, value & allowed)
      return true
    }
    switch (at) {
      case APIC.TPR:
        this.tpr = value
        return true
      case APIC.EOI:
        this.#eoi()
        return true
      case APIC.SVR:
        this.#svr = value & SVR_BITS
        if (!this.#softwareEnabled) for (const [entry, old] of this.#lvt) this.#lvt.set(entry, old | MASKED)
        this.#host.changed()
        return true
      case APIC.ESR:
        this.#esr = this.#errors
        this.#errors = 0
        return true
      case APIC.INITIAL_COUNT:
        this.#timer.initialCount = value
        return true
      case APIC.DIVIDE:
        this.#timer.divide = value
        return true
      default:
        return false
    }
  }

  /** A 32-bit read of the xAPIC page. A register that there is not reads 0 and counts as an error. */
  readPage(offset: number): number {
    const value = this.#read(offset)
    if (value === undefined) this.#error(ESR.REGISTER)
    return value ?? 0
  }

  /** A 32-bit write to the xAPIC page. */
  writePage(offset: number, value: number): void {
    switch (offset) {
      case APIC.LDR:
        this.#ldr = (value & 0xff00_0000) >>> 0
        return
      case APIC.DFR:
        this.#dfr = (value | 0x0fff_ffff) >>> 0
        return
      case APIC.ICR_HIGH:
        this.#icrHigh = (value & 0xff00_0000) >>> 0
        return
      case APIC.ICR:
        this.#icr = (value & ~(1 << 12) & 0xc_dfff) >>> 0
        this.#command(this.#icr, this.#icrHigh >>> 24)
        return
      default:
        if (!this.#write(offset, value) && this.#read(offset) === undefined) this.#error(ESR.REGISTER)
    }
  }

  /** The page as KVM_GET_LAPIC gives it: registers of 4 bytes at their offsets, 1024 bytes. In x2APIC mode the ID has all 32 bits. */
  save(): Uint8Array {
    const bytes = new Uint8Array(PAGE_BYTES)
    const view = new DataView(bytes.buffer)
    for (let at = 0; at < PAGE_BYTES; at += 16) view.setUint32(at, this.#read(at) ?? 0, true)
    return bytes
  }

  /** Takes such a page over; a timer that was counting starts its count anew. */
  load(bytes: Uint8Array): void {
    const word = (at: number) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true)
    this.#tpr = word(APIC.TPR) & 0xff
    this.#ldr = word(APIC.LDR)
    this.#dfr = word(APIC.DFR)
    this.#svr = word(APIC.SVR) & SVR_BITS
    this.#esr = word(APIC.ESR)
    this.#icr = word(APIC.ICR)
    this.#icrHigh = word(APIC.ICR_HIGH)
    for (const [at, allowed] of Object.entries(LVT)) this.#lvt.set(Number(at), word(Number(at)) & allowed)
    for (let n = 0; n < 8; n++) {
      this.#isr.load(n, word(APIC.ISR + 16 * n))
      this.#tmr.load(n, word(APIC.TMR + 16 * n))
      this.#irr.load(n, word(APIC.IRR + 16 * n))
    }
    this.#timer.load(timerMode(word(APIC.LVT_TIMER)), word(APIC.DIVIDE), word(APIC.INITIAL_COUNT))
  }

  /**
   * RDMSR of an APIC register, IA32_APIC_BASE and IA32_TSC_DEADLINE being for whoever has them; undefined: #GP(0).
   * SDM Vol. 3A, "x2APIC Register Address Space".
   */
  readMsr(index: number): bigint | undefined {
    const at = (index - 0x800) << 4
    if (!this.isX2 || at === APIC.DFR || at === APIC.ICR_HIGH || at === APIC.EOI) return undefined
    if (at === APIC.APR || at === APIC.RRD) return undefined
    if (at === APIC.ICR) return BigInt(this.#icr) | (BigInt(this.#icrHigh) << 32n)
    const value = this.#read(at)
    return value === undefined ? undefined : BigInt(value >>> 0)
  }

  /** WRMSR of an APIC register; false: #GP(0). */
  writeMsr(index: number, value: bigint): boolean {
    const at = (index - 0x800) << 4
    if (!this.isX2) return false
    const low = Number(value & 0xffff_ffffn)
    if (at === APIC.ICR) {
      if ((low & ICR_RESERVED) !== 0) return false
      this.#icr = low
      this.#icrHigh = Number(value >> 32n)
      this.#command(low, this.#icrHigh)
      return true
    }
    if (value >> 32n !== 0n) return false
    if (at === APIC.SELF_IPI) {
      if (low > 0xff) return false
      if (low < 16) this.#error(ESR.SEND_VECTOR)
      else this.accept(low)
      return true
    }
    const allowed =
      LVT[at] ??
      { [APIC.TPR]: 0xff, [APIC.EOI]: 0, [APIC.SVR]: SVR_BITS, [APIC.ESR]: 0, [APIC.DIVIDE]: DIVIDE_BITS }[at] ??
      0xffff_ffff
    if ((low & ~allowed) !== 0) return false
    return this.#write(at, low)
  }

  /** WRMSR of IA32_APIC_BASE; false: #GP(0). SDM Vol. 3A, "x2APIC States". `width`: physical address bits. */
  writeBase(value: bigint, width: number, hasX2: boolean): boolean {
    const known = BASE_BSP | BASE_EN | (hasX2 ? BASE_EXTD : 0n) | (((1n << BigInt(width)) - 1n) & ~0xfffn)
    if ((value & ~known) !== 0n) return false
    const [enabled, extended] = [(value & BASE_EN) !== 0n, (value & BASE_EXTD) !== 0n]
    if (extended && (!enabled || !this.isEnabled)) return false
    if (this.isX2 && enabled && !extended) return false
    const wasOn = this.isEnabled
    this.base = value
    if (wasOn && !enabled) this.reset()
    this.#host.changed()
    return true
  }
}
