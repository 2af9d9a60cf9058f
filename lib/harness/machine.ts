/** The machine that a worker's tests run on: a host process with /dev/kvm, its memory reused from test to test. */
import { type Hva, hva, PAGE_SIZE } from '#bits'
import { Host, type HostOptions } from '#kvm'
import type { Recorder } from './recorder.ts'
import type { Trace } from './trace.ts'
import type { Vcpu } from './vcpu.ts'
import type { Learned } from './vm.ts'

/** Instructions between two looks at the clock. */
const TICK = 1_000_000

/** Scratch memory for the arguments of ioctls: a cpuid list of 256 entries and its head fit. */
const SCRATCH_BYTES = 16384

/**
 * What a test's TDs share. Everything about it follows from the seed: the host process and its KVM are new ones for every
 * test; the TDX module is one that was booted for a test before, put back to where its boot ends.
 */
export class Machine {
  readonly host: Host
  readonly kvm: number
  readonly scratch: Hva
  readonly learned: Learned = { capabilities: 32, vcpuBytes: 0 }
  /** What is to be closed when the test ends, in reverse order. */
  readonly closing: (() => void)[] = []
  /** Guest instructions of each TD of this test. */
  readonly counts: (() => number)[] = []

  /** What is shown while guests run, and the vCPU that runs. */
  trace: Trace | undefined
  running: Vcpu | undefined
  /** What keeps the last instructions before a failure, of a test that runs once more to tell them. */
  recorder: Recorder | undefined
  /** The guest may run so many instructions more before a signal comes; without a number no signal comes. */
  slice: number | undefined
  /** Guest instructions that all the test's vCPUs may run together. */
  limit = Number.POSITIVE_INFINITY

  constructor(options: HostOptions, deadline: () => boolean) {
    this.host = new Host(options)
    this.host.signalPending = () =>
      this.slice === 0 || deadline() || this.isSpent || this.#isStepped() || this.running?.sleepLimit === 0
    this.host.sleepLimit = () => this.running?.sleepLimit
    this.host.quantum = () => this.#quantum()
    this.kvm = this.host.open('/dev/kvm')
    this.scratch = this.host.mmap(SCRATCH_BYTES)
  }

  /** Has the test run as many instructions as it may? */
  get isSpent(): boolean {
    return this.limit !== Number.POSITIVE_INFINITY && this.instructions() >= this.limit
  }

  /** Instructions until the host's next tick. A slice is over with its first tick, or whatever else KVM does in between. */
  #quantum(): number {
    const { trace, recorder, running } = this
    if (running !== undefined && (trace?.isStepping === true || recorder !== undefined)) {
      // What KVM does between two entries ends a slice; that is no new instruction.
      trace?.step(this, running)
      recorder?.step(this, running)
      return this.#part(running, trace?.isStepping === true ? 1 : recorder?.until(running))
    }
    const slice = this.slice ?? TICK
    if (this.slice !== undefined) this.slice = 0
    return this.limit === Number.POSITIVE_INFINITY ? slice : Math.min(slice, this.limit - this.instructions())
  }

  /** Instructions of a slice that is run in parts, what the vCPU had run before the last of them, and that one's length. */
  #left = 0
  #before = -1
  #length = 1

  /** A part of a slice, at most `most` instructions. */
  #part(vcpu: Vcpu, most = TICK): number {
    if (this.slice !== undefined && this.#before < 0) this.#left = this.slice
    this.#before = vcpu.instructions
    const rest = Math.min(this.slice === undefined ? TICK : this.#left, this.limit - this.instructions())
    this.#length = Math.max(1, Math.min(most, rest))
    return this.#length
  }

  /** KVM_RUN is back: whatever is left of a slice is over with its first entry, in parts or not. */
  endRun(): void {
    if (this.#before >= 0 && this.slice !== undefined) this.slice = 0
    this.#before = -1
    this.trace?.settle(this)
  }

  /** The slice that is run in parts is over. */
  #isStepped(): boolean {
    const { running } = this
    if (this.#before < 0 || running === undefined || this.slice === undefined) return false
    const hasRun = running.instructions - this.#before >= this.#length
    this.#left = hasRun ? this.#left - this.#length : 0
    if (this.#left > 0) return false
    this.slice = 0
    this.#before = -1
    return true
  }

  /** Guest instructions run so far. */
  instructions(): number {
    return this.counts.reduce((sum, count) => sum + count(), 0)
  }

  /** `size` bytes of the host process, by their address: in place where they lie in one page, else a copy. EFAULT. */
  block(at: number, size: number): { readonly view: DataView; readonly at: number } {
    const { host } = this
    const place = host.place(at)
    if ((place % PAGE_SIZE) + size <= PAGE_SIZE) return { view: host.memory.view, at: place }
    return { view: new DataView(host.read(hva(BigInt(at)), size).buffer), at: 0 }
  }

  /** Closes what the test opened. Throws where a frame of memory is not given back. */
  close(): Idle {
    for (const close of this.closing.reverse()) close()
    const { host, trace } = this
    // What was traced is not the module that it was.
    if (trace !== undefined) {
      host.close()
      return { memory: host.memory }
    }
    const booted = host.leave()
    return booted === undefined ? { memory: host.memory } : { memory: host.memory, booted }
  }
}

/** What the next test's host begins with: memory (reserving it anew would cost more than a test), a booted TDX module. */
type Idle = Pick<HostOptions, 'booted' | 'memory'>

let idle: Idle = {}

export const takeMachine = (seed: bigint, deadline: () => boolean): Machine => {
  const from = idle
  idle = {}
  return new Machine({ ...from, seed }, deadline)
}

/** Ends the test's process on the machine. What the machine holds is kept for the next test only where every frame came back. */
export const giveMachine = (machine: Machine): void => {
  idle = machine.close()
}

/** The next test's machine begins with nothing. */
export const forgetMachine = (): void => {
  idle = {}
}
