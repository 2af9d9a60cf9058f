/** The timer of a local APIC. SDM Vol. 3A, "APIC Timer". It counts the clock that it is given. */
import { DIVIDE_BITS, TIMER } from './apicregisters.ts'

/** What a timer needs of the machine. */
export type TimerHost = {
  /** The timer's clock, in ticks that only grow. */
  now(): number
  tsc(): bigint
  /** The timer has been set: look again. */
  changed(): void
}

export class ApicTimer {
  readonly #host: TimerHost
  /** Bits 18:17 of its LVT entry. */
  #mode: number = TIMER.ONE_SHOT
  #divide = 0
  #initialCount = 0
  /** When the count ends next, by the host's clock; undefined: it does not run. */
  #due: number | undefined
  #deadline = 0n

  constructor(host: TimerHost) {
    this.#host = host
  }

  /** One-shot, divided by 2, at rest. */
  reset(): void {
    this.#mode = TIMER.ONE_SHOT
    this.#divide = 0
    this.#initialCount = 0
    this.#due = undefined
    this.#deadline = 0n
  }

  /** Takes a saved timer over; a count begins anew. */
  load(mode: number, divide: number, initialCount: number): void {
    this.#mode = mode
    this.#divide = divide & DIVIDE_BITS
    this.#initialCount = initialCount
    this.#start()
  }

  set mode(mode: number) {
    const old = this.#mode
    this.#mode = mode
    // Into or out of deadline mode, the timer is disarmed.
    if ((old === TIMER.DEADLINE) !== (mode === TIMER.DEADLINE)) {
      this.#due = undefined
      this.#deadline = 0n
    }
    // A count that goes on becomes one-shot or periodic.
    if (mode === TIMER.ONE_SHOT && this.#due !== undefined && this.#due <= this.#host.now()) this.#due = undefined
    this.#host.changed()
  }

  /** Clock ticks for one of the count. */
  get #divisor(): number {
    const code = (this.#divide & 3) | ((this.#divide & 8) >> 1)
    return code === 7 ? 1 : 2 << code
  }
  get divide(): number {
    return this.#divide
  }
  set divide(value: number) {
    const left = this.currentCount
    this.#divide = value & DIVIDE_BITS
    if (this.#due !== undefined) this.#due = this.#host.now() + left * this.#divisor
    this.#host.changed()
  }

  get initialCount(): number {
    return this.#initialCount
  }
  /** Starts the count; ignored in deadline mode. */
  set initialCount(value: number) {
    if (this.#mode === TIMER.DEADLINE) return
    this.#initialCount = value >>> 0
    this.#start()
  }
  #start(): void {
    this.#due = this.#initialCount === 0 ? undefined : this.#host.now() + this.#initialCount * this.#divisor
    this.#host.changed()
  }
  get currentCount(): number {
    if (this.#due === undefined || this.#mode === TIMER.DEADLINE) return 0
    return Math.max(0, Math.ceil((this.#due - this.#host.now()) / this.#divisor))
  }

  get deadline(): bigint {
    return this.#deadline
  }
  /** IA32_TSC_DEADLINE; ignored in the other modes. */
  set deadline(value: bigint) {
    if (this.#mode !== TIMER.DEADLINE) return
    this.#deadline = value
    this.#host.changed()
  }

  /** It is not set. */
  get isIdle(): boolean {
    return this.#due === undefined && this.#deadline === 0n
  }
  /** Ticks until the timer has something to say; undefined: it never will. */
  get ticksLeft(): number | undefined {
    if (this.#mode === TIMER.DEADLINE) {
      if (this.#deadline === 0n) return undefined
      const left = this.#deadline - this.#host.tsc()
      return left <= 0n ? 0 : Number(left)
    }
    return this.#due === undefined ? undefined : Math.max(0, this.#due - this.#host.now())
  }
  /** Has its time come? Then it is set for the next one. */
  hasFired(): boolean {
    if (this.ticksLeft !== 0) return false
    if (this.#mode === TIMER.DEADLINE) this.#deadline = 0n
    else if (this.#mode === TIMER.PERIODIC) {
      const period = this.#initialCount * this.#divisor
      // Periods that were slept through are one interrupt.
      const missed = Math.floor((this.#host.now() - this.#due!) / period)
      this.#due = this.#due! + (missed + 1) * period
    } else this.#due = undefined
    return true
  }
}
