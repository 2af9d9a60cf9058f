/** The x87 unit: its register stack, its exceptions and its operands. SDM Vol. 1, "Programming with the x87 FPU". */

import { VECTOR_MF } from '#abi'
import type { Cpu } from './cpu.ts'
import {
  type Control,
  DENORMAL,
  DIVIDE,
  DOUBLE,
  EXTENDED,
  type Float,
  type Format,
  finite,
  INEXACT,
  INVALID,
  indefinite,
  isNaN_,
  OVERFLOW,
  packNaN,
  type Rounding,
  SINGLE,
  UNDERFLOW,
  unpack,
} from './softfloat.ts'
import { requireX87 } from './system.ts'
import { noteException, noteInstruction } from './x87pointers.ts'

// FSW. SDM Vol. 1, "x87 FPU Status Register".
const SF = 0x40
const ES = 0x80
const B = 0x8000
export const C0 = 0x100
export const C1 = 0x200
export const C2 = 0x400
export const C3 = 0x4000
const BEFORE = INVALID | DENORMAL | DIVIDE

/** Where an operand comes from: ST(i), or memory of a format. */
export const FROM = { ST: 0, M32: 1, M64: 2, M80: 3, I16: 4, I32: 5, I64: 6 } as const

const control: Control = {
  rounding: 0,
  masks: 0,
  flushToZero: false,
  denormalsAreZero: false,
  precision: 0,
  raised: 0,
  roundedUp: false,
}
/** The rules of FCW for one instruction. `wide` ignores precision control, as loads and stores do. */
export const start = (cpu: Cpu, wide = false): Control => {
  const { fcw } = cpu.x87
  control.rounding = ((fcw >> 10) & 3) as Rounding
  control.masks = fcw & 0x3f
  control.precision = wide ? 0 : [24, 0, 53, 0][(fcw >> 8) & 3]!
  control.raised = 0
  control.roundedUp = false
  cpu.x87.fsw &= ~C1
  return control
}

/** #NM, and a pending exception of an instruction before. */
export const wait = (cpu: Cpu): void => {
  requireX87(cpu)
  if ((cpu.x87.fsw & ES) !== 0) cpu.raise(VECTOR_MF)
}
/** The same for all but control instructions, which leave no trace in FIP. */
export const begin = (cpu: Cpu): void => {
  wait(cpu)
  noteInstruction(cpu)
}

// Registers

export const physical = (cpu: Cpu, i: number): number => (((cpu.x87.fsw >> 11) & 7) + i) & 7
export const isEmpty = (cpu: Cpu, i: number): boolean => (cpu.x87.ftw & (1 << physical(cpu, i))) === 0
export const bitsOf = (cpu: Cpu, i: number): bigint => cpu.x87.get(physical(cpu, i))
export const setBits = (cpu: Cpu, i: number, value: bigint): void => {
  const p = physical(cpu, i)
  cpu.x87.set(p, value)
  cpu.x87.ftw |= 1 << p
}
export const moveTop = (cpu: Cpu, by: number): void => {
  const { x87 } = cpu
  x87.fsw = (x87.fsw & ~0x3800) | ((((x87.fsw >> 11) + by) & 7) << 11)
}
export const free = (cpu: Cpu, i: number): void => {
  cpu.x87.ftw &= ~(1 << physical(cpu, i))
}
export const pop = (cpu: Cpu): void => {
  free(cpu, 0)
  moveTop(cpu, 1)
}

// Exceptions

/** Takes what the operation found to FSW. False: an unmasked exception keeps the operands as they are. */
export const settle = (cpu: Cpu, c: Control, toMemory = false): boolean => {
  const { x87 } = cpu
  const unmasked = c.raised & ~c.masks & 0x3f
  const stopped = (unmasked & (toMemory ? BEFORE | OVERFLOW | UNDERFLOW : BEFORE)) !== 0
  // What is found before anything is computed hides what would be found after.
  // A store that overflow or underflow stops does not say that it is inexact. SDM Vol. 1, "Inexact-Result (Precision) Exception (#P)".
  const seen = (unmasked & BEFORE) !== 0 ? c.raised & BEFORE : stopped ? c.raised & ~INEXACT : c.raised
  x87.fsw |= seen
  if (!stopped && c.roundedUp && (seen & INEXACT) !== 0) x87.fsw |= C1
  pending(cpu)
  if (unmasked !== 0) noteException(cpu)
  return !stopped
}
/** ES and B follow from the flags and the masks. */
export const pending = (cpu: Cpu): void => {
  const { x87 } = cpu
  if ((x87.fsw & ~x87.fcw & 0x3f) !== 0) x87.fsw |= ES | B
  else x87.fsw &= ~(ES | B)
}
/** A stack fault: false where it is not masked. */
export const stackFault = (cpu: Cpu, overflow: boolean): boolean => {
  const { x87 } = cpu
  x87.fsw = (x87.fsw & ~C1) | INVALID | SF | (overflow ? C1 : 0)
  pending(cpu)
  if ((x87.fcw & INVALID) !== 0) return true
  noteException(cpu)
  return false
}

/** Puts a value on the stack; the register has to be empty. */
export const push = (cpu: Cpu, value: bigint): void => {
  moveTop(cpu, -1)
  setBits(cpu, 0, value)
}
/** Is there room? If not, a masked fault leaves the indefinite NaN there. */
export const room = (cpu: Cpu): boolean => {
  if (isEmpty(cpu, 7)) return true
  if (stackFault(cpu, true)) push(cpu, indefinite(EXTENDED))
  return false
}

export const FORMATS: readonly Format[] = [EXTENDED, SINGLE, DOUBLE, EXTENDED]
export const INTEGER_BITS = [0, 0, 0, 0, 16, 32, 64]
export const isInteger = (from: number): boolean => from >= FROM.I16
const whole = (value: bigint): Float => finite(value < 0n, 0, value < 0n ? -value : value)

/** An operand, its bits as extended precision and its value. NaNs of narrower formats are widened as they are. */
export const fetch = (cpu: Cpu, from: number, value: bigint): Float => {
  if (from === FROM.ST) return unpack(EXTENDED, bitsOf(cpu, Number(value)))
  if (isInteger(from)) return whole(BigInt.asIntN(INTEGER_BITS[from]!, value))
  const format = FORMATS[from]!
  const v = unpack(format, value)
  return isNaN_(v) ? { ...v, significand: v.significand << BigInt(63 - format.fractionBits) } : v
}

/** Which NaN an operation of two operands gives. SDM Vol. 1, "Rules for Handling NaNs". */
export const nan = (a: Float, b: Float, c: Control): bigint => {
  if (a.kind === 'unsupported' || b.kind === 'unsupported') {
    c.raised |= INVALID
    return indefinite(EXTENDED)
  }
  if (a.kind === 'signaling' || b.kind === 'signaling') c.raised |= INVALID
  const pick = (): Float => {
    if (!isNaN_(a)) return b
    if (!isNaN_(b)) return a
    if (a.kind !== b.kind) return a.kind === 'quiet' ? a : b
    if (a.significand !== b.significand) return a.significand > b.significand ? a : b
    return a.sign ? b : a
  }
  return packNaN(EXTENDED, pick(), EXTENDED)
}
export const special = (v: Float): boolean => isNaN_(v) || v.kind === 'unsupported'
