/** The three pages of a vCPU's mapping lie in a row in the machine's memory; runs that were given back are kept for the next vCPU. */

import { KVM_VCPU_MMAP_SIZE } from '#abi'
import { type Hpa, hpa, PAGE_SIZE } from '#bits'
import type { PhysicalMemory } from '#x86'

const FRAMES = KVM_VCPU_MMAP_SIZE / PAGE_SIZE

export class VcpuPages {
  readonly #memory: PhysicalMemory
  readonly #free: Hpa[] = []

  constructor(memory: PhysicalMemory) {
    this.#memory = memory
  }

  /** Frames that are kept but not in use. */
  get spare(): number {
    return this.#free.length * FRAMES
  }

  /** First of the zeroed frames. */
  take(): Hpa {
    return this.#free.pop() ?? this.#memory.allocateRun(FRAMES)
  }

  give(first: Hpa): void {
    this.#memory.fill(first, KVM_VCPU_MMAP_SIZE, 0)
    this.#free.push(first)
  }

  /** The machine gets the spare frames back. */
  close(): void {
    for (const first of this.#free) {
      for (let i = 0; i < FRAMES; i++) this.#memory.free(hpa(first + i * PAGE_SIZE))
    }
    this.#free.length = 0
  }
}
