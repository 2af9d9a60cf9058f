/** Runs a program to its end: system calls answered, pages brought in as they are touched. */
import { hex } from '#bits'
import { EXIT_REASON_EXCEPTION_NMI, EXIT_REASON_HLT, EXIT_REASON_PREEMPTION_TIMER, type Fault, OutOfMemory } from '#x86'
import { Process, type ProcessOptions } from './process.ts'
import { nameOfCall, systemCall, type World } from './syscalls.ts'

/** What a run did, for `--stats`. */
export type ProgramStats = {
  readonly instructions: number
  readonly tlbMisses: number
  readonly pageFaults: number
  /** By name, how often. */
  readonly calls: Readonly<Record<string, number>>
}

/** How a program ended: its status, the signal that Linux would have sent, or the end of what it was given. */
export type ProgramEnd =
  | { readonly kind: 'exit'; readonly status: number }
  | { readonly kind: 'signal'; readonly signal: string; readonly number: number; readonly why: string }
  | { readonly kind: 'budget'; readonly rip: bigint }

const [PF, WRITE, FETCH, PRESENT] = [14, 2, 16, 1]
/** Exception → signal. Linux, arch/x86/kernel/traps.c. */
const SIGNALS: Readonly<Record<number, readonly [string, number]>> = {
  0: ['SIGFPE', 8],
  1: ['SIGTRAP', 5],
  3: ['SIGTRAP', 5],
  4: ['SIGSEGV', 11],
  5: ['SIGSEGV', 11],
  6: ['SIGILL', 4],
  16: ['SIGFPE', 8],
  17: ['SIGBUS', 7],
  19: ['SIGFPE', 8],
}

/** Instructions between two looks at the budget. */
const SLICE = 2 ** 30

const signalOf = (process: Process, fault: Fault): ProgramEnd => {
  const [signal, number] = SIGNALS[fault.vector] ?? ['SIGSEGV', 11]
  return { kind: 'signal', signal, number, why: `${fault.message}, RIP ${hex(process.cpu.rip)}` }
}

/**
 * Runs a static x86-64 Linux program, at most `budget` instructions.
 * Throws `ElfError` where the file is none.
 */
export const runProgram = (
  file: Uint8Array,
  options: ProcessOptions,
  world: World,
  budget = Number.POSITIVE_INFINITY,
): { readonly end: ProgramEnd; readonly stats: ProgramStats } => {
  const process = new Process(file, options)
  const { cpu } = process
  const calls: Record<string, number> = {}
  let pageFaults = 0

  /** Acts on why the CPU stopped; the end of the program if that was it. */
  const answer = (reason: number): ProgramEnd | undefined => {
    if (reason === EXIT_REASON_HLT) {
      const name = nameOfCall(process)
      calls[name] = (calls[name] ?? 0) + 1
      const result = systemCall(process, world)
      if (typeof result !== 'bigint') return { kind: 'exit', status: result.exit }
      cpu.gpr[0] = result
      cpu.advance(1)
      return undefined
    }
    const { fault } = process
    if (reason !== EXIT_REASON_EXCEPTION_NMI || fault === undefined)
      return { kind: 'signal', signal: 'SIGSEGV', number: 11, why: `the CPU left with reason ${reason}` }
    const code = fault.errorCode ?? 0
    if (fault.vector === PF && (code & PRESENT) === 0) {
      const access = (code & FETCH) !== 0 ? 'execute' : (code & WRITE) !== 0 ? 'write' : 'read'
      pageFaults++
      if (process.space.touch(fault.cr2 ?? 0n, access)) return undefined
    }
    return signalOf(process, fault)
  }

  try {
    let end: ProgramEnd | undefined
    let left = budget
    while (end === undefined) {
      if (left <= 0) {
        end = { kind: 'budget', rip: cpu.rip }
        break
      }
      const slice = Math.min(left, SLICE)
      const before = cpu.instructions
      const { reason } = cpu.run(slice)
      // Iterations of a string instruction do not count as retired, but use up what it was given.
      left -= reason === EXIT_REASON_PREEMPTION_TIMER ? slice : Math.max(1, cpu.instructions - before)
      if (reason !== EXIT_REASON_PREEMPTION_TIMER) end = answer(reason)
    }
    return { end, stats: { instructions: cpu.instructions, tlbMisses: cpu.tlb.misses, pageFaults, calls } }
  } catch (error) {
    if (!(error instanceof OutOfMemory)) throw error
    const end = { kind: 'signal', signal: 'SIGKILL', number: 9, why: error.message } as const
    return { end, stats: { instructions: cpu.instructions, tlbMisses: cpu.tlb.misses, pageFaults, calls } }
  } finally {
    process.close()
  }
}
