/**
 * What a tier is: the words an instruction's meaning is written in. To the interpreter a value is a bigint and
 * everything happens now; to a compiler it is a local and everything happens later; to a lister it is a name.
 */
import type { Size } from '#bits'
import type { CallName } from './calls.ts'
import type { FlagRule } from './flags.ts'
import type { Insn, Mem, Operand, Rel, Seg } from './insn.ts'
import type { PackedName } from './packed.ts'

/** The status flags of RFLAGS, and the direction flag. */
export type Flag = 'cf' | 'pf' | 'af' | 'zf' | 'sf' | 'of' | 'df'

/** The meaning of one instruction, for any tier. A JavaScript `if` in it asks only what the bytes say. */
export type Semantics = <V, C>(t: Tier<V, C>, i: Insn) => void

/**
 * `V` is a value of a known size in bytes, always wrapped (unsigned) to it; vector registers are values of 16 and 32
 * bytes. `C` is a condition. Sizes, register numbers and everything else known from the bytes are plain JavaScript.
 *
 * What faults does so where it stands: semantics do all that may fault before they change anything else.
 */
export interface Tier<V, C> {
  /** Width of the stack pointer in bytes: part of the state code is made for, like the mode. */
  readonly stackSize: 2 | 4 | 8

  constant(value: bigint): V

  // Operands and memory

  read(from: Operand): V
  write(to: Operand, value: V): void
  /** Reads, changes and writes one operand: carries LOCK, and settles write access before `change` runs. */
  update(operand: Operand, change: (old: V) => V): void
  /** The offset of a memory operand inside its segment, wrapped to the address size. */
  address(operand: Mem): V
  load(seg: Seg, offset: V, size: Size): V
  store(seg: Seg, offset: V, size: Size, value: V): void
  /** Like `update`, at a computed offset. */
  modify(seg: Seg, offset: V, size: Size, change: (old: V) => V): void
  /** Faults now where a write of `size` bytes would fault. */
  settle(seg: Seg, offset: V, size: number): void

  // Arithmetic. Operands and result have `size` bytes.

  add(size: Size, a: V, b: V): V
  sub(size: Size, a: V, b: V): V
  /** The low half of the product. */
  mul(size: Size, a: V, b: V): V
  /** The high half of the product. */
  mulHigh(size: Size, a: V, b: V, signed: boolean): V
  /** `high:low` by `by`; #DE where the quotient does not fit `size` bytes. */
  divide(size: Size, high: V, low: V, by: V, signed: boolean): { quotient: V; remainder: V }
  /** Remainder of an unsigned division by a constant. */
  modulo(value: V, by: number): V
  and(a: V, b: V): V
  or(a: V, b: V): V
  xor(a: V, b: V): V
  not(size: Size, a: V): V
  /** Shifts take a count from 0 to 63; what leaves the size is lost. */
  shl(size: Size, a: V, count: V): V
  shr(size: Size, a: V, count: V): V
  sar(size: Size, a: V, count: V): V
  /** `a` of `from` bytes as a value of `to` bytes, the sign kept. Zero extension is no operation. */
  signExtend(a: V, from: Size, to: Size): V
  /** The low `size` bytes. */
  truncate(a: V, size: Size): V
  /** Number of ones. */
  popcount(a: V): V
  /** Zeros above the highest one, and below the lowest; the bits of `size` where there is no one. */
  leadingZeros(size: Size, a: V): V
  trailingZeros(size: Size, a: V): V
  byteSwap(size: Size, a: V): V

  // Conditions

  equal(a: V, b: V): C
  isZero(a: V): C
  /** Unsigned and signed less-than. */
  below(a: V, b: V): C
  less(size: Size, a: V, b: V): C
  bit(a: V, n: number): C
  /** An even number of ones in the low byte: PF. */
  parity(a: V): C
  always(known: boolean): C
  no(a: C): C
  both(a: C, b: C): C
  either(a: C, b: C): C
  differ(a: C, b: C): C
  /** 1 where it holds, else 0. */
  asValue(a: C): V
  /** Both values are made; one is taken. */
  select(condition: C, then: V, otherwise: V): V
  /** `then` happens only where it holds. Values made inside stay inside. */
  when(condition: C, then: () => void, otherwise?: () => void): void
  /** Raises an exception where it holds. Vectors without an error code give none. */
  raiseIf(condition: C, vector: number, errorCode?: number): void

  // Flags

  /** The flags follow `rule` from its inputs; flags that the rule does not name stay. */
  flags(rule: FlagRule, size: Size, a: V, b: V, result: V): void
  flag(name: Flag): C
  setFlag(name: Flag, to: C): void
  /** Condition code 0 to 15 as Jcc encodes it. */
  holds(cc: number): C

  // Control flow. Execution goes on at the last target once the instruction is complete.

  /** Offset of the following instruction, in `size` bytes. */
  next(size: Size): V
  /** To a known displacement from the end of the instruction; #GP(0) where the target may not be executed from. */
  branch(to: Rel, size: Size): void
  /** To a computed offset of `size` bytes; the same check. */
  jump(to: V, size: Size): void
  /**
   * A string instruction: `body` once, or with REP for as long as rCX counts and `body` says go on. State is exact after
   * every iteration, where a fault or an interrupt may end it. The flags, too, are those of the last whole iteration, as
   * measured on a processor; SDM Vol. 2B, "REP/REPE/REPZ/REPNE/REPNZ", says that a page fault in CMPS and SCAS puts them back.
   */
  repeat(i: Insn, body: () => C): void

  // SIMD. Vector values have 8 (MMX), 16 or 32 bytes; bytes that a value does not have are zero.

  /** A lane operation by name; see `packed.ts`. */
  packed(name: PackedName, bytes: number, a: V, b: V, imm: number): V
  /** A floating-point operation by name, under MXCSR; its exceptions go there, and unmasked ones raise #XM. See `packedfloat.ts`. */
  float(name: string, bytes: number, a: V, b: V, imm: number, addend?: V): V
  /** The signs of the lanes of `size` bytes, lane 0 lowest. */
  signs(a: V, bytes: number, size: 1 | 4 | 8): V
  /** Lanes of `then` where those of `mask` are negative, else of `otherwise`. */
  blend(mask: V, bytes: number, size: 1 | 4 | 8, then: V, otherwise: V): V
  /** Lane `n` of `size` bytes (up to 16), and `a` with that lane replaced. */
  lane(a: V, n: number, size: number): V
  withLane(a: V, n: number, size: number, lane: V): V

  /** An operation that is the CPU's own business, or one that no tier spells out; see `calls.ts`. */
  call(name: CallName, a?: V, b?: V, c?: V): V
}
