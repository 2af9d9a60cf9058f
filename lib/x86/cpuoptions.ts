/** What a CPU is made of: its memory, what answers for it outside, where it starts. */
import type { Gpa, Hpa, Size } from '#bits'
import type { TierName } from './compile/runtime.ts'
import type { Cpuid } from './cpuid.ts'
import type { Fault } from './fault.ts'
import type { PhysicalMemory } from './memory.ts'
import type { Outside, SecondStage, VmxControls } from './vmx.ts'

/** What answers port accesses of a CPU without I/O exiting. */
export type Ports = {
  in(port: number, size: Size): bigint
  out(port: number, size: Size, value: bigint): void
}

/**
 * Where a new CPU stands. `reset`: as after power-up, in real mode. `flat32` and `flat64`: ring 0 with flat segments and
 * paging off, the latter a state no real CPU is ever in, which spares tests of single instructions their page tables.
 */
export type Start = 'reset' | 'flat32' | 'flat64'

export type CpuOptions = {
  readonly memory: PhysicalMemory
  /** Default: guest physical is host physical. */
  readonly stage?: SecondStage
  /** Default: no virtualization, everything runs natively. */
  readonly controls?: VmxControls
  /** Default: `nativeCpuid`. */
  readonly cpuid?: Cpuid
  /** Of RDRAND and RDSEED. */
  readonly seed?: bigint
  readonly start?: Start
  readonly ports?: Ports
  /** Default: an access outside the second stage is an EPT violation. */
  readonly outside?: Outside
  /** Asked about every exception before it is delivered; `stop` ends the run instead. Default: deliver. */
  readonly onFault?: (fault: Fault) => 'deliver' | 'stop'
  /** How instructions are executed. The outcome is the same. Default: `usualTier()`. */
  readonly tier?: TierName
}

/** Guest physical is host physical, and what the machine does not have is an EPT violation. */
export const identity = (memory: PhysicalMemory): SecondStage => ({
  width: 46,
  generation: 0,
  frame: (at: Gpa) => (at < BigInt(memory.u8.length) ? (Number(at) as Hpa) : -1),
})
