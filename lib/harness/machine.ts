/** The machine that a worker's tests run on: a host process with /dev/kvm, its memory reused from test to test. */
import { type Hva, PAGE_SIZE } from '#bits'
import { Host, type HostOptions } from '#kvm'
import type { Learned } from './vm.ts'

/** Instructions between two looks at the clock. */
const TICK = 1_000_000

/** Scratch memory for the arguments of ioctls: a cpuid list of 256 entries and its head fit. */
const SCRATCH_BYTES = 16384

/**
 * What a test's TDs share. Everything about it follows from the seed, so the host, its TDX module and its KVM are new
 * ones for every test; booting them costs about half of a short TD's life.
 */
export class Machine {
  readonly host: Host
  readonly kvm: number
  readonly scratch: Hva
  readonly learned: Learned = { capabilities: 8, vcpuBytes: 0 }
  /** What is to be closed when the test ends, in reverse order. */
  readonly closing: (() => void)[] = []
  /** Guest instructions of each TD of this test. */
  readonly counts: (() => number)[] = []

  /** The guest may run so many instructions more before a signal comes; without a number no signal comes. */
  slice: number | undefined
  /** Guest instructions that all the test's vCPUs may run together. */
  limit = Number.POSITIVE_INFINITY

  constructor(options: HostOptions, deadline: () => boolean) {
    this.host = new Host(options)
    this.host.signalPending = () => this.slice === 0 || deadline() || this.isSpent
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
    const slice = this.slice ?? TICK
    if (this.slice !== undefined) this.slice = 0
    return this.limit === Number.POSITIVE_INFINITY ? slice : Math.min(slice, this.limit - this.instructions())
  }

  /** Guest instructions run so far. */
  instructions(): number {
    return this.counts.reduce((sum, count) => sum + count(), 0)
  }

  /** `size` bytes of the host process: in place where they lie in one page, else a copy. EFAULT. */
  block(at: Hva, size: number): { readonly view: DataView; readonly at: number } {
    const { host } = this
    const hpa = host.hpa(at)
    if ((hpa % PAGE_SIZE) + size <= PAGE_SIZE) return { view: host.memory.view, at: hpa }
    return { view: new DataView(host.read(at, size).buffer), at: 0 }
  }

  /** Closes what the test opened and switches the machine off. Throws where a frame of memory is not given back. */
  close(): void {
    for (const close of this.closing.reverse()) close()
    this.host.close()
  }
}

/** Memory of a machine that was switched off: reserving it anew for every test would cost more than the test. */
let idle: Host['memory'] | undefined

export const takeMachine = (seed: bigint, deadline: () => boolean): Machine => {
  const memory = idle
  idle = undefined
  return new Machine(memory === undefined ? { seed } : { memory, seed }, deadline)
}

/** Switches the machine off. Its memory is kept for the next test only where every frame came back. */
export const giveMachine = (machine: Machine): void => {
  machine.close()
  idle = machine.host.memory
}
