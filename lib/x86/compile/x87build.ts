/** Calls of x87 and MMX semantics as the compiler has them: functions of the unit (unit/x87.ts), and words of the state frame. */
import { STATE } from '../state.ts'
import type { Flag } from '../tier.ts'
import type { Context } from './context.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import { SCRATCH } from './sites.ts'
import { EXCHANGED, TO_FLAGS, TURN_DESTINATION, TURN_SOURCE } from './unit/x87operands.ts'
import { KINDS, type Kind } from './unit/x87unit.ts'
import type { Effect } from './unit.ts'

/** What a call may do to the instruction that is being built. */
export type Doors = {
  readonly context: Context
  readonly effect: (effect: Effect) => void
  /** The same, when nothing can leave any more. */
  readonly last: (effect: Effect) => void
  readonly setFlag: (flag: Flag, to: Node) => void
  /** Linear address of the instruction. */
  readonly here: () => Node
}

const frameWord = (at: number, bits: number): Node => n.make('cell', 32, bits, undefined, undefined, undefined, at)
/** What FST leaves to be written; see `isStored`. */
const stored = (): Node => n.frameQuad(SCRATCH.VALUE)
export const isStored = (node: Node): boolean => node.op === 'frame' && node.n === SCRATCH.VALUE

/** Flags of the arithmetic functions, and which of them it is. */
const ARITHMETIC: Record<string, readonly [core: 'add' | 'mul' | 'div', flags: number]> = {
  fadd: ['add', 0],
  fsub: ['add', TURN_SOURCE],
  fsubr: ['add', TURN_DESTINATION],
  fmul: ['mul', 0],
  fdiv: ['div', 0],
  fdivr: ['div', EXCHANGED],
}
const COMPARISONS: Record<string, number> = { fcom: 0, fucom: 0, fcomi: TO_FLAGS, fucomi: TO_FLAGS }
const ES = 0x80
const ONE = { m: 1n << 63n, se: 16383 }

/** A kind of operand with its pops, as x87calls.ts has them. */
const kindOf = (b: Node): { kind: Kind; pops: number } => ({
  kind: KINDS[Number(b.value) & 15]!,
  pops: Number(b.value) >> 4,
})
/** An operand as its function takes it: the number of a register, or 64 bits. */
const operandOf = (kind: Kind, value: Node): Node => {
  if (kind === 'ST') return n.to32(value)
  if (kind === 'I16' || kind === 'I32') return n.to64(n.signExtend(value, kind === 'I16' ? 2 : 4, 8))
  return n.to64(value)
}

/** May the unit be used where this holds, without more ado? FIP and FCS are all that is noted then: see x87pointers.ts. */
const isReady = ({ x87, features }: Context): boolean =>
  x87 && features.has('ZERO_FCS_FDS') && features.has('FDP_EXCPTN_ONLY')

const waits = ({ effect }: Doors): void =>
  effect({ kind: 'leaveIf', condition: n.no(n.isZero(n.and(frameWord(STATE.FSW, 8), n.number(ES)))) })

/** The value of a call; `undefined` where the compiler has none for it. */
export const x87Call = (name: string, a: Node | undefined, b: Node | undefined, c: Node | undefined, d: Doors) => {
  if (!isReady(d.context)) return undefined
  const done = n.number(0)
  const unit = (of: string, ...args: Node[]): Node => {
    d.effect({ kind: 'unit', name: of, args, fails: true, to: undefined })
    return done
  }
  const arithmetic = ARITHMETIC[name]
  if (arithmetic !== undefined) {
    const { kind, pops } = kindOf(b!)
    return unit(`${arithmetic[0]}.${kind}`, n.to32(a!), n.number(arithmetic[1] | pops), operandOf(kind, c!))
  }
  const comparison = COMPARISONS[name]
  if (comparison !== undefined) {
    const { kind, pops } = kindOf(b!)
    unit(`com.${kind}`, n.number(comparison | pops), operandOf(kind, c!))
    if (comparison === TO_FLAGS) {
      const seen = frameWord(SCRATCH.VALUE, 8)
      d.setFlag('cf', n.bit(seen, 0))
      d.setFlag('zf', n.bit(seen, 6))
      for (const flag of ['pf', 'af', 'sf', 'of'] as const) d.setFlag(flag, n.number(0))
    }
    return done
  }
  switch (name) {
    case 'requireX87':
      return done
    case 'waitX87':
    case 'beginX87':
      waits(d)
      if (name === 'waitX87') return done
      d.last({ kind: 'frame', at: STATE.FIP, size: 8, value: d.here() })
      d.last({ kind: 'frame', at: STATE.FIP + 8, size: 2, value: n.number(0) })
      return done
    case 'fld': {
      const { kind } = kindOf(b!)
      if (kind === 'M80') return unit('ld.M80', n.to64(c!.a!), n.to32(c!.b!))
      return unit(`ld.${kind}`, operandOf(kind, c!))
    }
    case 'fst': {
      const { kind } = kindOf(b!)
      unit(`st.${kind}`, n.to32(a!))
      return stored()
    }
    case 'ftst':
      return unit('com.I16', n.number(0), n.constant(0n, 64))
    case 'fstReg':
      return unit('fstReg', n.to32(a!), n.number(Number(b!.value) >> 4))
    case 'fxch':
    case 'ffree':
      return unit(name, n.to32(a!))
    case 'fcmov':
      return unit('fcmov', n.to32(a!), n.to32(b!))
    case 'fabs':
      return unit('sign', n.number(0x7fff), n.number(0))
    case 'fchs':
      return unit('sign', n.number(0xffff), n.number(0x8000))
    case 'fincstp':
      return unit('turn', n.number(1))
    case 'fdecstp':
      return unit('turn', n.number(7))
    case 'fld1':
      return unit('constant', n.constant(ONE.m, 64), n.number(ONE.se))
    case 'fldz':
      return unit('constant', n.constant(0n, 64), n.number(0))
    case 'fpop':
    case 'fsqrt':
    case 'frndint':
    case 'fxam':
    case 'fnclex':
      return unit(name)
    case 'fldcw':
      return unit('fldcw', n.to32(a!))
    case 'controlWord':
      return frameWord(STATE.FCW, 16)
    case 'statusWord':
      return frameWord(STATE.FSW, 16)
    case 'requireMmx':
      waits(d)
      return done
    case 'enterMmx':
    case 'emms': {
      const kept = n.and(frameWord(STATE.FSW, 16), n.number(0xffff & ~0x3800))
      d.effect({ kind: 'frame', at: STATE.FSW, size: 2, value: kept })
      d.effect({ kind: 'frame', at: STATE.FTW, size: 1, value: n.number(name === 'emms' ? 0 : 0xff) })
      return done
    }
    default:
      return undefined
  }
}
