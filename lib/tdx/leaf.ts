/** What a leaf is to the dispatchers. */
import type { Cpu } from '#x86'
import type { HostMsrs } from './hostmsr.ts'
import type { TdxModule } from './module.ts'
import type { SeamcallRegs } from './registers.ts'
import type { Vcpu } from './vcpu.ts'

export type { SeamcallRegs }

/**
 * The processor that executes the SEAMCALL. `quantum`: instructions until the host's next timer interrupt. `interrupted`: does
 * an event of the host's wait for it? Leaves that take long ask between their steps; without an answer nothing waits.
 * `msrs`: what its host has in MSRs that the module checks; without them they are as they should be.
 */
export type LogicalProcessor = { id: number; quantum: number; interrupted?: () => boolean; msrs?: HostMsrs }

/** Returns the completion status, or nothing where it has set RAX itself; throws `TdxStatus` for one. */
export type SeamcallHandler = (
  module: TdxModule,
  regs: SeamcallRegs,
  lp: LogicalProcessor,
  version: number,
) => bigint | undefined

export type Seamcall = {
  readonly number: number
  /** Highest version of the leaf. */
  readonly versions: number
  /** Legal before the module is ready. */
  readonly early: boolean
  readonly run: SeamcallHandler
}

export const seamcall = (
  number: number,
  run: SeamcallHandler,
  { versions = 0, early = false }: { versions?: number; early?: boolean } = {},
): Seamcall => ({ number, versions, early, run })

/**
 * What a TDCALL leaf came to: a status for RAX; `vmcall`, a TD exit after the instruction; `exit`, a TD exit after which it is
 * executed again; `resume`, an exception instead of it.
 */
export type TdcallResult = bigint | 'vmcall' | 'exit' | 'resume'

/** A TDCALL: guest registers are the Cpu's, `regs` are the host's, for leaves that leave. */
export type TdcallContext = {
  readonly module: TdxModule
  readonly vcpu: Vcpu
  readonly cpu: Cpu
  readonly regs: SeamcallRegs
}

export type Tdcall = {
  readonly number: number
  /** Highest version of the leaf. */
  readonly versions: number
  readonly run: (context: TdcallContext, version: number) => TdcallResult
}

export const tdcall = (number: number, run: Tdcall['run'], versions = 0): Tdcall => ({ number, versions, run })
