/** The x87 unit's operations as tiers call them. */

import type { Cpu } from './cpu.ts'
import type { Seg } from './insn.ts'
import { requireX87 } from './system.ts'
import * as x87 from './x87.ts'
import * as arith from './x87arith.ts'
import * as env from './x87env.ts'
import * as functions from './x87functions.ts'
import * as move from './x87move.ts'
import * as xsave from './xsave.ts'

type Call = (cpu: Cpu, a: bigint, b: bigint, c: bigint) => unknown

/** What `b` is in a call that takes an operand: a kind of `x87.FROM`, with `POPS` for each pop. */
export const POPS = 16
const from = (kind: bigint): number => Number(kind & 15n)
const pops = (kind: bigint): number => Number(kind) >> 4

/** `a` the destination's number, `b` the kind, `c` the operand: a register's number or the bits from memory. */
const arithmetic =
  (name: arith.Arithmetic): Call =>
  (cpu, to, kind, value) =>
    arith.arithmetic(cpu, name, Number(to), from(kind), value, pops(kind) > 0)
const comparison =
  (quiet: boolean, toFlags: boolean): Call =>
  (cpu, _a, kind, value) =>
    arith.comparison(cpu, from(kind), value, { quiet, toFlags, pops: pops(kind) })
const SIGN = 1n << 79n
/** A value that is to be stored, marked as such in byte 10; 0 where an unmasked exception keeps memory as it is. */
const marked = (value: bigint | undefined): bigint => (value === undefined ? 0n : value | (1n << 80n))

const constant =
  (name: move.Constant): Call =>
  cpu =>
    move.constant(cpu, name)

const area =
  (of: (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean) => void): Call =>
  (cpu, seg, offset, wide) =>
    of(cpu, Number(seg) as Seg, offset, wide === 1n)

export const x87calls = {
  /** Before control instructions that do not look for a pending exception, those that do, and all other instructions. */
  requireX87: cpu => requireX87(cpu),
  waitX87: x87.wait,
  beginX87: x87.begin,
  fadd: arithmetic('add'),
  fsub: arithmetic('sub'),
  fsubr: arithmetic('subr'),
  fmul: arithmetic('mul'),
  fdiv: arithmetic('div'),
  fdivr: arithmetic('divr'),
  fcom: comparison(false, false),
  fucom: comparison(true, false),
  fcomi: comparison(false, true),
  fucomi: comparison(true, true),
  ftst: cpu => arith.comparison(cpu, x87.FROM.I16, 0n, {}),
  fld: (cpu, _a, kind, value) => move.load(cpu, from(kind), value),
  /** `a` is 1 for FISTTP. */
  fst: (cpu, truncate, kind) => marked(move.stored(cpu, from(kind), truncate === 1n)),
  fstReg: (cpu, to, kind) => move.copy(cpu, Number(to), pops(kind) > 0),
  fpop: x87.pop,
  ffree: (cpu, i) => x87.free(cpu, Number(i)),
  fbld: (cpu, bits) => move.loadDecimal(cpu, bits),
  fbst: cpu => marked(move.storedDecimal(cpu)),
  fxch: (cpu, i) => move.exchange(cpu, Number(i)),
  fcmov: (cpu, i, moves) => move.conditional(cpu, Number(i), moves !== 0n),
  fabs: cpu => move.sign(cpu, bits => bits & ~SIGN),
  fchs: cpu => move.sign(cpu, bits => bits ^ SIGN),
  fsqrt: cpu => arith.unary(cpu, arith.squareRootOf),
  frndint: cpu => arith.unary(cpu, arith.rounded, true),
  fscale: cpu => arith.dyadic(cpu, arith.scale),
  fprem: cpu => arith.dyadic(cpu, arith.remainder(cpu, false)),
  fprem1: cpu => arith.dyadic(cpu, arith.remainder(cpu, true)),
  fxtract: arith.extract,
  fxam: arith.examine,
  fincstp: cpu => move.turn(cpu, 1),
  fdecstp: cpu => move.turn(cpu, -1),
  fld1: constant('fld1'),
  fldl2t: constant('fldl2t'),
  fldl2e: constant('fldl2e'),
  fldpi: constant('fldpi'),
  fldlg2: constant('fldlg2'),
  fldln2: constant('fldln2'),
  fldz: constant('fldz'),
  f2xm1: functions.f2xm1,
  fyl2x: functions.fyl2x,
  fyl2xp1: functions.fyl2xp1,
  fptan: functions.fptan,
  fpatan: functions.fpatan,
  fsin: functions.fsin,
  fcos: functions.fcos,
  fsincos: functions.fsincos,
  fninit: env.init,
  fnclex: env.clear,
  fldcw: (cpu, value) => env.loadControl(cpu, Number(value)),
  controlWord: cpu => BigInt(cpu.x87.fcw),
  statusWord: cpu => BigInt(cpu.x87.fsw),
  fnstenv: (cpu, seg, offset, size) => env.store(cpu, Number(seg) as Seg, offset, size === 2n ? 2 : 4, false),
  fldenv: (cpu, seg, offset, size) => env.load(cpu, Number(seg) as Seg, offset, size === 2n ? 2 : 4, false),
  fnsave: (cpu, seg, offset, size) => env.store(cpu, Number(seg) as Seg, offset, size === 2n ? 2 : 4, true),
  frstor: (cpu, seg, offset, size) => env.load(cpu, Number(seg) as Seg, offset, size === 2n ? 2 : 4, true),
  fxsave: area(env.fxsave),
  fxrstor: area(env.fxrstor),
  xsave: area(xsave.xsave),
  xsaveopt: area(xsave.xsaveopt),
  xsavec: area(xsave.xsavec),
  xsaves: area(xsave.xsaves),
  xrstor: area(xsave.xrstor),
  xrstors: area(xsave.xrstors),
} satisfies Record<string, Call>
