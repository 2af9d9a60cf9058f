/** The interpreter, as compiled code calls it for one instruction: see helped.ts. */
import type { Cpu } from '../cpu.ts'
import { Fault, Leave } from '../fault.ts'
import type { Insn } from '../insn.ts'
import { execute } from '../interpret.ts'
import { STATE } from '../state.ts'
import { settle } from './flagstate.ts'

/** How compiled code goes on: behind the instruction; or it is left before it, nothing of it having happened, or behind it. */
export const ON = 0
export const LEFT_BEFORE = 1
export const LEFT_BEHIND = 2

/** What an instruction may change that the code behind it takes for granted. */
type Ground = { frame: number; mask: number; generation: number; code: number; system: number }
const ground: Ground = { frame: 0, mask: 0, generation: 0, code: 0, system: 0 }
const note = (cpu: Cpu): void => {
  const { tlb } = cpu
  ground.frame = tlb.frame
  ground.mask = tlb.mask
  ground.generation = tlb.generation
  ground.code = cpu.fetch.cache.version
  ground.system = cpu.words[STATE.SYSTEM_FLAGS / 4]!
}
const isChanged = (cpu: Cpu): boolean => {
  const { tlb } = cpu
  return (
    cpu.context === undefined ||
    cpu.pending.length !== 0 ||
    ground.frame !== tlb.frame ||
    ground.mask !== tlb.mask ||
    ground.generation !== tlb.generation ||
    ground.code !== cpu.fetch.cache.version ||
    ground.system !== cpu.words[STATE.SYSTEM_FLAGS / 4]!
  )
}

/** For `--stats`: instructions done in place; by name, where that is to be counted. */
export const helps = { count: 0, byName: undefined as Map<string, number> | undefined }

/**
 * Does the instruction at RIP, `retired` instructions after what `cpu.instructions` says. `flags`: it may look at some that are
 * yet to be worked out.
 */
export const help = (cpu: Cpu, insn: Insn, retired: number, flags: boolean): number => {
  const { words } = cpu
  const [low, high] = [words[STATE.RIP / 4]!, words[STATE.RIP / 4 + 1]!]
  const next = low + insn.length
  words[STATE.NEXT / 4] = next
  words[STATE.NEXT / 4 + 1] = next > 0xffff_ffff && cpu.mode === 64 ? high + 1 : high
  note(cpu)
  cpu.insn = insn
  cpu.instructions += retired
  try {
    if (flags) settle(cpu)
    execute(cpu, insn)
  } catch (error) {
    // The interpreter meets it again, and answers it.
    if (error instanceof Fault || error instanceof Leave) return LEFT_BEFORE
    throw error
  } finally {
    cpu.instructions -= retired
    cpu.insn = undefined
  }
  if (cpu.exit !== undefined) {
    cpu.exit = undefined
    return LEFT_BEFORE
  }
  helps.count++
  const { byName } = helps
  if (byName !== undefined) byName.set(insn.row.semantics, (byName.get(insn.row.semantics) ?? 0) + 1)
  return isChanged(cpu) ? LEFT_BEHIND : ON
}
