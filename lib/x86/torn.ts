/**
 * CPUs take turns between instructions, so a read-modify-write without LOCK would be as good as one with it. On real
 * processors another CPU's write can come between its read and its write, and is lost: SDM Vol. 3A, "Locked Atomic
 * Operations". A CPU whose turn ends before such an instruction can be made to have read already.
 * Not modelled: tearing of shifts and rotates of memory, and of accesses that cross a page.
 */

import type { Hpa, Size } from '#bits'
import type { Cpu } from './cpu.ts'
import { Fault, Leave } from './fault.ts'
import { linearOf } from './linear.ts'
import { lookup } from './mmu.ts'
import { addressOf } from './registerfile.ts'
import { instructionAtRip } from './run.ts'

/** What an instruction that has not been executed yet has read already. */
export type Torn = { readonly rip: bigint; readonly at: Hpa; readonly size: Size; readonly old: bigint }

/** The unlocked read-modify-write at RIP with what it would read now, if there is one. */
const readAhead = (cpu: Cpu): Torn | undefined => {
  try {
    cpu.followStage()
    cpu.refresh()
    const insn = instructionAtRip(cpu)
    const [target, source] = insn.operands
    const { lock, semantics } = insn.row
    if (!lock || insn.lock || target?.kind !== 'mem' || target.size > 8) return undefined
    // XCHG locks by itself; a bit's number in a register says where in memory it is.
    if (semantics === 'xchg' || (/^bt[rsc]$/.test(semantics) && source?.kind === 'reg')) return undefined
    const size = target.size as Size
    const linear = linearOf(cpu, target.seg, addressOf(cpu, target, insn.length), size, 'write')
    if (Number(linear & 0xfffn) + size > 4096) return undefined
    const at = lookup(cpu, linear, 'write', cpu.key)
    return { rip: cpu.rip, at, size, old: cpu.memory.read(at, size) }
  } catch (thrown) {
    // The instruction itself will meet with it.
    if (thrown instanceof Fault || thrown instanceof Leave) return undefined
    throw thrown
  }
}

/** The CPU's turn is over: an unlocked read-modify-write that comes next has read, and not written. */
export const tear = (cpu: Cpu): void => {
  cpu.torn = cpu.pending.length > 0 ? undefined : readAhead(cpu)
}

/** The CPU's turn comes: where it stands as it stood, its next instruction works on what it read before. */
export const mend = (cpu: Cpu): void => {
  const { torn } = cpu
  cpu.torn = undefined
  if (torn === undefined || cpu.pending.length > 0 || cpu.rip !== torn.rip) return
  const now = readAhead(cpu)
  if (now?.at === torn.at && now.size === torn.size && now.old !== torn.old)
    cpu.memory.write(torn.at, torn.size, torn.old)
}
