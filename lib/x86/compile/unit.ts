/** One instruction as the compiler has it: what it does to memory, in order, and then its new registers and flags. */
import type { Size } from '#bits'
import type { FlagRule } from '../flags.ts'
import type { Insn } from '../insn.ts'
import type { Flag } from '../tier.ts'
import type { Crc } from './crc.ts'
import type { Check, Format } from './float.ts'
import type { Node } from './node.ts'
import type { Repeat } from './repeat.ts'
import type { Scan } from './scan.ts'

/** The instruction is left to the interpreter. */
export class Unsupported extends Error {
  override readonly name = 'Unsupported'
}
const limit = Error.stackTraceLimit
Error.stackTraceLimit = 0
export const unsupported = new Unsupported('left to the interpreter')
Error.stackTraceLimit = limit

export const refuse = (): never => {
  throw unsupported
}

/** What happens before the registers change, in order. Each may leave the region before the instruction. */
export type Effect =
  | { readonly kind: 'load'; readonly at: Node; readonly size: number; readonly to: Node }
  /** The same where it holds; else 0. */
  | {
      readonly kind: 'loadIf'
      readonly condition: Node
      readonly at: Node
      readonly size: number
      readonly to: Node
    }
  | { readonly kind: 'store'; readonly at: Node; readonly size: number; readonly value: Node }
  /** Finds where a write of `size` bytes goes; `to` is the host address. */
  | { readonly kind: 'probe'; readonly at: Node; readonly size: number; readonly to: Node }
  | { readonly kind: 'loadHost'; readonly host: Node; readonly size: number; readonly to: Node }
  | { readonly kind: 'storeHost'; readonly host: Node; readonly size: number; readonly value: Node }
  | ({ readonly kind: 'crc' } & Crc)
  /** `high:low` by `by`, which is above `high`. */
  | { readonly kind: 'divide'; readonly high: Node; readonly low: Node; readonly by: Node; readonly to: Node }
  /** REP MOVS or REP STOS: RCX, RSI and RDI change in place, page by page. */
  | ({ readonly kind: 'repeat' } & Repeat)
  /** REP CMPS or REP SCAS, as far as a page goes. */
  | ({ readonly kind: 'scan' } & Scan)
  /** The interpreter takes the instruction unless numbers are as float.ts wants them. */
  | ({ readonly kind: 'check'; readonly format: Format } & Check)
  /** A word of the state frame. Nothing that leaves the region comes behind it unless the instruction may be done again. */
  | { readonly kind: 'frame'; readonly at: number; readonly size: 1 | 2 | 8; readonly value: Node }
  /**
   * A function of units.ts. One that `fails` has the address of the state frame before its arguments, and says so by 1, having
   * changed nothing: the interpreter takes the instruction. Another has a result.
   */
  | {
      readonly kind: 'unit'
      readonly name: string
      readonly args: readonly Node[]
      readonly fails: boolean
      readonly to: Node | undefined
    }
  /** The interpreter does the instruction, and the code behind it goes on: see helped.ts. The only effect there is then. */
  | { readonly kind: 'help'; readonly insn: Insn; readonly flags: boolean }
  /** The interpreter takes the instruction where it holds. */
  | { readonly kind: 'leaveIf'; readonly condition: Node }

export type FlagChange = {
  readonly rule: FlagRule
  readonly size: Size
  readonly a: Node
  readonly b: Node
  readonly r: Node
  /** Only where it holds. */
  readonly condition: Node | undefined
}

/** To an offset from the page of the instruction (which may lie outside of it), or to a computed offset in the segment. */
export type Control = { readonly condition: Node | undefined } & (
  | { readonly kind: 'goto'; readonly offset: number }
  | { readonly kind: 'jump'; readonly target: Node }
)

export const FLAGS = ['cf', 'pf', 'af', 'zf', 'sf', 'of'] as const
export const flagBit = (flag: Flag): number => 1 << FLAGS.indexOf(flag as (typeof FLAGS)[number])
export const ALL_FLAGS = 0x3f

/** One instruction, compiled but for where its flags come from. */
export type Unit = {
  readonly insn: Insn
  /** Offset in the page. */
  readonly offset: number
  readonly effects: readonly Effect[]
  /** New values of general registers (0 to 15), whole. */
  readonly registers: ReadonlyMap<number, Node>
  /** New values of vector registers: the lower halves, and from number 16 on the upper ones. */
  readonly vectors: ReadonlyMap<number, Node>
  readonly flags: FlagChange | undefined
  /** Single flags, after `flags`. */
  readonly single: ReadonlyMap<Flag, Node>
  readonly control: Control | undefined
  /** `flag` and `cc` nodes in use, and the flags they stand for. */
  readonly pending: readonly Node[]
  readonly reads: number
  /** General registers that are read. */
  readonly uses: number
  /** Vector registers that are read, numbered in the same way. */
  readonly vectorUses: number
  /** It pushes a return address: what follows is where its callee comes back to. */
  readonly isCall: boolean
}

/** Locals of every region function: its parameters, then these. */
export const LOCAL = {
  FRAME: 0,
  TLB: 1,
  MASK: 2,
  BLOCK: 3,
  LEFT: 4,
  MAP: 5,
  SITE: 6,
  RULE: 7,
  BASE: 8,
  FLAG_A: 9,
  FLAG_B: 10,
  FLAG_R: 11,
  FLAG: 12,
  GPR: 18,
} as const
export const FIRST_VEC = LOCAL.GPR + 16
export const FIRST_TEMP = FIRST_VEC + 16

/** Effects that never leave the region, beside the calls that cannot fail. */
const STAYS: readonly Effect['kind'][] = ['loadHost', 'storeHost', 'frame', 'crc']

/**
 * It stores before it has settled all that it may fault at, as ENTER does: it would be left with a store done, and what it
 * loads when it is done again may be what it stored.
 */
export const isTorn = (effects: readonly Effect[]): boolean => {
  const store = effects.findIndex(({ kind }) => kind === 'store')
  const settled = effects.slice(0, Math.max(store, 0)).some(({ kind }) => kind === 'probe')
  const stays = (effect: Effect) => STAYS.includes(effect.kind) || (effect.kind === 'unit' && !effect.fails)
  return store >= 0 && !settled && !effects.slice(store + 1).every(stays)
}
