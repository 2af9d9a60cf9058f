/** What a leaf is to the dispatchers. */
import type { Cpu } from '#x86'
import type { HostMsrs } from './hostmsr.ts'
import type { TdxModule } from './module.ts'
import type { Vcpu } from './vcpu.ts'

/** The registers of a SEAMCALL, in and out. XMM0 … XMM15 as 256 bytes where the host passes them. */
export type SeamcallRegs = {
  rax: bigint
  rcx: bigint
  rdx: bigint
  rbx: bigint
  rsi: bigint
  rdi: bigint
  rbp: bigint
  r8: bigint
  r9: bigint
  r10: bigint
  r11: bigint
  r12: bigint
  r13: bigint
  r14: bigint
  r15: bigint
  xmm?: Uint8Array
}

/** A set of registers, all zero. */
export const freshRegs = (): SeamcallRegs => ({
  rax: 0n,
  rcx: 0n,
  rdx: 0n,
  rbx: 0n,
  rsi: 0n,
  rdi: 0n,
  rbp: 0n,
  r8: 0n,
  r9: 0n,
  r10: 0n,
  r11: 0n,
  r12: 0n,
  r13: 0n,
  r14: 0n,
  r15: 0n,
})

/**
 * The processor that executes the SEAMCALL. `quantum`: instructions until the host's next timer interrupt. `interrupted`: does
 * an event of the host's wait for it? Leaves that take long ask between their steps; without an answer nothing waits.
 * `msrs`: what its host has in MSRs that the module checks; without them they are as they should be.
 */
export type LogicalProcessor = { id: number; quantum: number; interrupted?: () => boolean; msrs?: HostMsrs }

/** Returns the completion status; throws `TdxStatus` for one. */
export type SeamcallHandler = (module: TdxModule, regs: SeamcallRegs, lp: LogicalProcessor, version: number) => bigint

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
