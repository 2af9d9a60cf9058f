/** Compiled code against the interpreter: the same instructions by both, registers and memory compared. */
import { GPR_NAMES, RFLAGS_TF } from '#abi'
import { hex } from '#bits'
import { MOST_REPEATS } from '../bulk.ts'
import type { Cpu } from '../cpu.ts'
import { Fault } from '../fault.ts'
import { instructionAtRip, interpretOne } from '../run.ts'
import { STATE } from '../state.ts'
import { settle } from './flagstate.ts'
import { SCRATCH } from './sites.ts'
import { clearLog, stored } from './storelog.ts'

/** The tiers disagree: an error of ours, with what one would want to know. */
export class Disagreement extends Error {
  override readonly name = 'Disagreement'
}

const TF = Number(RFLAGS_TF)
const NAMES = [...GPR_NAMES, 'rip']
const FLAGS = 'cf pf af zf sf of df'.split(' ')

/** Parts of the state frame. */
const X87 = [
  [STATE.FCW, STATE.FCW + 2, 'fcw'],
  [STATE.FSW, STATE.FSW + 2, 'fsw'],
  [STATE.FTW, STATE.FOP + 2, 'ftw and fop'],
  [STATE.FIP, STATE.FIP + 10, 'fip'],
  [STATE.FDP, STATE.FDP + 10, 'fdp'],
  [STATE.X87, STATE.X87 + 80, 'x87 registers'],
] as const

const rcx = (state: Uint8Array): bigint =>
  new DataView(state.buffer, state.byteOffset).getBigUint64(STATE.GPR + 8, true)

/** Compiled code leaves a REP instruction where it cannot reach a page: as many iterations, one by one, follow. */
const partly = (cpu: Cpu, after: Uint8Array): void => {
  const { u8 } = cpu.memory
  const { systemFlags, shadow } = cpu
  const state = u8.subarray(cpu.frame, cpu.frame + SCRATCH.LEFT)
  let left = BigInt.asUintN(32, rcx(state) - rcx(after))
  if (left === 0n || left > BigInt(MOST_REPEATS) || instructionAtRip(cpu).rep === '') return
  for (; left > 0n; left--) {
    try {
      cpu.systemFlags = systemFlags | TF
      interpretOne(cpu)
    } catch (error) {
      // The trap of a single step comes when the step is done.
      if (!(error instanceof Fault)) throw error
    }
    cpu.systemFlags = systemFlags
    cpu.shadow = shadow
  }
}

/**
 * Runs compiled code by `run`, takes it back, interprets as many instructions, and throws `Disagreement` at a difference.
 * What is left are the flags as compiled code leaves them: what runs next begins with some that are yet to be worked out.
 */
export const lockstep = (cpu: Cpu, run: () => number): number => {
  const { u8 } = cpu.memory
  const whole = u8.subarray(cpu.frame, cpu.frame + SCRATCH.LINEAR)
  const state = whole.subarray(0, SCRATCH.LEFT)
  const before = whole.slice()
  const { instructions, shadow } = cpu
  clearLog()
  const count = run()
  const left = whole.slice()
  settle(cpu)
  const after = state.slice()
  const writes = stored(cpu.memory)
  for (const { host, old } of writes) u8.set(old, host)
  whole.set(before)
  cpu.instructions = instructions
  cpu.shadow = shadow
  // What an instruction stored before it was left is stored again.
  if (count === 0 && rcx(before) === rcx(after)) return 0
  const lines: string[] = []
  for (let n = 0; n < count; n++) {
    const at = cpu.rip
    interpretOne(cpu)
    if (count - n < 12) lines.push(hex(at))
  }
  partly(cpu, after)
  settle(cpu)
  const differences: string[] = []
  const [seen, wanted] = [new DataView(after.buffer), new DataView(state.slice().buffer)]
  for (const [n, name] of NAMES.entries()) {
    const [a, b] = [seen.getBigUint64(n * 8, true), wanted.getBigUint64(n * 8, true)]
    if (a !== b) differences.push(`${name} ${hex(a)}, interpreted ${hex(b)}`)
  }
  for (const [n, name] of FLAGS.entries())
    if (after[STATE.CF + n] !== state[STATE.CF + n]) differences.push(`${name} ${after[STATE.CF + n]}`)
  for (let n = 0; n < 16; n++) {
    const at = STATE.VEC + n * 32
    if (Buffer.compare(after.subarray(at, at + 32), state.subarray(at, at + 32)) !== 0) differences.push(`vector ${n}`)
  }
  for (const [from, to, name] of X87)
    if (Buffer.compare(after.subarray(from, to), state.subarray(from, to)) !== 0)
      differences.push(
        `${name} ${Buffer.from(after.subarray(from, to)).toString('hex')}, interpreted ${Buffer.from(state.subarray(from, to)).toString('hex')}`,
      )
  if (after[STATE.MXCSR] !== state[STATE.MXCSR]) differences.push('mxcsr')
  for (const { host, seen: bytes } of writes)
    if (Buffer.compare(bytes, u8.subarray(host, host + bytes.length)) !== 0)
      differences.push(`memory ${hex(host)}: ${Buffer.from(bytes).toString('hex')}`)
  if (differences.length > 0) {
    throw new Disagreement(`after ${count} instructions (${lines.join(' ')}): ${differences.join('; ')}`)
  }
  whole.set(left.subarray(STATE.CF, STATE.DF), STATE.CF)
  whole.set(left.subarray(STATE.RULE), STATE.RULE)
  return count
}
