/** The machine that a worker's tests run on: a host process with /dev/kvm, its memory reused from test to test. */
import { type Hva, PAGE_SIZE } from '#bits'
import { Host, type HostOptions } from '#kvm'
import type { Learned } from './vm.ts'

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

  constructor(options: HostOptions, deadline: () => boolean) {
    this.host = new Host(options)
    this.host.signalPending = deadline
    this.kvm = this.host.open('/dev/kvm')
    this.scratch = this.host.mmap(SCRATCH_BYTES)
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
