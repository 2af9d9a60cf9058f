/** x87 instructions: operands here, the unit's own work by way of calls. SDM Vol. 2A, under "F…". */
import type { CallName } from '../calls.ts'
import type { Insn, Operand } from '../insn.ts'
import type { Semantics, Tier } from '../tier.ts'
import { FROM } from '../x87.ts'
import { POPS } from '../x87calls.ts'
import { dst, last, memory, number, sizeOf } from './operands.ts'

/** The kind of a memory operand. */
const kindOf = (size: number, integer: boolean): number => {
  if (integer) return size === 2 ? FROM.I16 : size === 4 ? FROM.I32 : FROM.I64
  return size === 4 ? FROM.M32 : size === 8 ? FROM.M64 : FROM.M80
}
const stOf = (o: Operand | undefined): number => (o?.kind === 'reg' && o.file === 'st' ? o.index : 0)

/** ST(i) with ST(j), or ST(0) with memory. Without operands ST(1) is meant. */
const operation =
  (call: CallName, { integer = false, pops = 0 } = {}): Semantics =>
  (t, i) => {
    t.call('beginX87')
    const from = i.operands.at(-1)
    if (from?.kind === 'mem')
      t.call(call, number(t, 0), number(t, kindOf(from.size, integer) + pops * POPS), t.read(from))
    else {
      const [to, source] = i.operands.length === 0 ? [0, 1] : [stOf(i.operands[0]), stOf(from)]
      t.call(call, number(t, to), number(t, FROM.ST + pops * POPS), number(t, source))
    }
  }

/** Nothing but the unit's own registers. */
const plain =
  (call: CallName): Semantics =>
  t => {
    t.call('beginX87')
    t.call(call)
  }
/** Control instructions do not look for a pending exception. */
const control =
  (call: CallName): Semantics =>
  t => {
    t.call('requireX87')
    t.call(call)
  }

/** A store: memory is settled first, then the value is made, then both memory and stack change or neither does. */
const store = <V, C>(t: Tier<V, C>, i: Insn, make: (kind: number) => V, integer: boolean, pops: boolean) => {
  const to = memory(i, dst(i))
  t.settle(to.seg, t.address(to), to.size)
  const value = make(kindOf(to.size, integer))
  t.when(t.no(t.isZero(t.lane(value, 10, 1))), () => {
    t.write(to, t.lane(value, 0, to.size))
    if (pops) t.call('fpop')
  })
}
const fst =
  ({ integer = false, pops = false, truncate = false }): Semantics =>
  (t, i) => {
    t.call('beginX87')
    const to = dst(i)
    if (to.kind === 'mem')
      store(t, i, kind => t.call('fst', number(t, truncate ? 1 : 0), number(t, kind)), integer, pops)
    else t.call('fstReg', number(t, stOf(to)), number(t, pops ? POPS : 0))
  }

const fcmov =
  (holds: <V, C>(t: Tier<V, C>) => C): Semantics =>
  (t, i) => {
    t.call('beginX87')
    t.call('fcmov', number(t, stOf(last(i))), t.asValue(holds(t)))
  }

/** A whole image of the state, in the format of the operand size. */
const image =
  (call: CallName, waits: boolean): Semantics =>
  (t, i) => {
    t.call(waits ? 'waitX87' : 'requireX87')
    const at = memory(i, dst(i))
    const small = at.size === 14 || at.size === 94
    t.call(call, number(t, at.seg), t.address(at), number(t, small ? 2 : 4))
  }
const fx =
  (call: CallName): Semantics =>
  (t, i) => {
    const at = memory(i, dst(i))
    t.call(call, number(t, at.seg), t.address(at), number(t, i.operandSize === 8 ? 1 : 0))
  }

const ARITHMETIC = ['fadd', 'fmul', 'fsub', 'fsubr', 'fdiv', 'fdivr'] as const
const PLAIN = 'ftst fabs fchs fsqrt frndint fscale fprem fprem1 fxtract fxam fincstp fdecstp'.split(' ')
const CONSTANTS = 'fld1 fldl2t fldl2e fldpi fldlg2 fldln2 fldz'.split(' ')
const FUNCTIONS = 'f2xm1 fyl2x fyl2xp1 fptan fpatan fsin fcos fsincos'.split(' ')

const AREAS = ['fxsave', 'fxrstor', 'xsave', 'xsaveopt', 'xsavec', 'xsaves', 'xrstor', 'xrstors'] as const

export const x87: Readonly<Record<string, Semantics>> = {
  ...Object.fromEntries(
    ARITHMETIC.flatMap(name => [
      [name, operation(name)],
      [`${name}p`, operation(name, { pops: 1 })],
      [name.replace('f', 'fi'), operation(name, { integer: true })],
    ]),
  ),
  ...Object.fromEntries([...PLAIN, ...CONSTANTS, ...FUNCTIONS].map(name => [name, plain(name as CallName)])),
  fcom: operation('fcom'),
  fcomp: operation('fcom', { pops: 1 }),
  fcompp: operation('fcom', { pops: 2 }),
  ficom: operation('fcom', { integer: true }),
  ficomp: operation('fcom', { integer: true, pops: 1 }),
  fucom: operation('fucom'),
  fucomp: operation('fucom', { pops: 1 }),
  fucompp: operation('fucom', { pops: 2 }),
  fcomi: operation('fcomi'),
  fcomip: operation('fcomi', { pops: 1 }),
  fucomi: operation('fucomi'),
  fucomip: operation('fucomi', { pops: 1 }),
  fld: operation('fld'),
  fild: operation('fld', { integer: true }),
  fst: fst({}),
  fstp: fst({ pops: true }),
  fist: fst({ integer: true }),
  fistp: fst({ integer: true, pops: true }),
  fisttp: fst({ integer: true, pops: true, truncate: true }),
  fbld: (t, i) => {
    t.call('beginX87')
    t.call('fbld', t.read(dst(i)))
  },
  fbstp: (t, i) => {
    t.call('beginX87')
    store(t, i, () => t.call('fbst'), false, true)
  },
  fxch: (t, i) => {
    t.call('beginX87')
    t.call('fxch', number(t, stOf(last(i))))
  },
  ffree: (t, i) => {
    t.call('beginX87')
    t.call('ffree', number(t, stOf(dst(i))))
  },
  ffreep: (t, i) => {
    t.call('beginX87')
    t.call('ffree', number(t, stOf(dst(i))))
    t.call('fpop')
  },
  fcmovb: fcmov(t => t.flag('cf')),
  fcmove: fcmov(t => t.flag('zf')),
  fcmovbe: fcmov(t => t.either(t.flag('cf'), t.flag('zf'))),
  fcmovu: fcmov(t => t.flag('pf')),
  fcmovnb: fcmov(t => t.no(t.flag('cf'))),
  fcmovne: fcmov(t => t.no(t.flag('zf'))),
  fcmovnbe: fcmov(t => t.no(t.either(t.flag('cf'), t.flag('zf')))),
  fcmovnu: fcmov(t => t.no(t.flag('pf'))),
  fnop: t => {
    t.call('beginX87')
  },
  fninit: control('fninit'),
  fnclex: control('fnclex'),
  fldcw: (t, i) => {
    t.call('waitX87')
    t.call('fldcw', t.read(dst(i)))
  },
  fnstcw: (t, i) => {
    t.call('requireX87')
    t.write(dst(i), t.truncate(t.call('controlWord'), sizeOf(dst(i))))
  },
  fnstsw: (t, i) => {
    t.call('requireX87')
    t.write(dst(i), t.truncate(t.call('statusWord'), sizeOf(dst(i))))
  },
  fnstenv: image('fnstenv', false),
  fldenv: image('fldenv', true),
  fnsave: image('fnsave', false),
  frstor: image('frstor', true),
  ...Object.fromEntries(AREAS.map(name => [name, fx(name)])),
}
