/** The x87 unit's operations as tiers call them. */
import { NotModelled } from '#bits'
import type { Cpu } from './cpu.ts'
import type { Seg } from './insn.ts'
import * as x87 from './x87.ts'
import * as env from './x87env.ts'
import { xrstor, xsave } from './xsave.ts'

type Call = (cpu: Cpu, a: bigint, b: bigint, c: bigint) => unknown

/** What `b` is in a call that takes an operand: a kind of `x87.FROM`, with `POPS` for each pop. */
export const POPS = 16
const from = (kind: bigint): number => Number(kind & 15n)
const pops = (kind: bigint): number => Number(kind) >> 4

/** `a` the destination's number, `b` the kind, `c` the operand: a register's number or the bits from memory. */
const arithmetic =
  (name: x87.Arithmetic): Call =>
  (cpu, to, kind, value) =>
    x87.arithmetic(cpu, name, Number(to), from(kind), value, pops(kind) > 0)
const comparison =
  (quiet: boolean, toFlags: boolean): Call =>
  (cpu, _a, kind, value) =>
    x87.comparison(cpu, from(kind), value, { quiet, toFlags, pops: pops(kind) })
const transcendental =
  (name: string): Call =>
  () => {
    // Not modelled: the x87's transcendental functions (F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS).
    throw new NotModelled(name)
  }
const SIGN = 1n << 79n
/** A value that is to be stored, marked as such in byte 10; 0 where an unmasked exception keeps memory as it is. */
const marked = (value: bigint | undefined): bigint => (value === undefined ? 0n : value | (1n << 80n))

const constants = ['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz'] as const
type Constant = (typeof constants)[number]
const constant =
  (name: Constant): Call =>
  cpu =>
    x87.constant(cpu, name)

export const x87calls = {
  /** Before every x87 instruction, and before those that look for a pending exception. */
  requireX87: cpu => cpu.requireX87(),
  waitX87: x87.wait,
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
  ftst: cpu => x87.comparison(cpu, x87.FROM.I16, 0n, {}),
  fld: (cpu, _a, kind, value) => x87.load(cpu, from(kind), value),
  /** `a` is 1 for FISTTP. */
  fst: (cpu, truncate, kind) => marked(x87.stored(cpu, from(kind), truncate === 1n)),
  fstReg: (cpu, to, kind) => x87.copy(cpu, Number(to), pops(kind) > 0),
  fpop: x87.pop,
  ffree: (cpu, i) => x87.free(cpu, Number(i)),
  fbld: (cpu, bits) => x87.loadDecimal(cpu, bits),
  fbst: cpu => marked(x87.storedDecimal(cpu)),
  fxch: (cpu, i) => x87.exchange(cpu, Number(i)),
  fcmov: (cpu, i, moves) => x87.conditional(cpu, Number(i), moves !== 0n),
  fabs: cpu => x87.sign(cpu, bits => bits & ~SIGN),
  fchs: cpu => x87.sign(cpu, bits => bits ^ SIGN),
  fsqrt: cpu => x87.unary(cpu, x87.squareRootOf),
  frndint: cpu => x87.unary(cpu, x87.rounded, true),
  fscale: cpu => x87.dyadic(cpu, x87.scale),
  fprem: cpu => x87.dyadic(cpu, x87.remainder(cpu, false)),
  fprem1: cpu => x87.dyadic(cpu, x87.remainder(cpu, true)),
  fxtract: x87.extract,
  fxam: x87.examine,
  fincstp: cpu => x87.turn(cpu, 1),
  fdecstp: cpu => x87.turn(cpu, -1),
  fld1: constant('fld1'),
  fldl2t: constant('fldl2t'),
  fldl2e: constant('fldl2e'),
  fldpi: constant('fldpi'),
  fldlg2: constant('fldlg2'),
  fldln2: constant('fldln2'),
  fldz: constant('fldz'),
  f2xm1: transcendental('F2XM1'),
  fyl2x: transcendental('FYL2X'),
  fyl2xp1: transcendental('FYL2XP1'),
  fptan: transcendental('FPTAN'),
  fpatan: transcendental('FPATAN'),
  fsin: transcendental('FSIN'),
  fcos: transcendental('FCOS'),
  fsincos: transcendental('FSINCOS'),
  fninit: env.init,
  fnclex: env.clear,
  fldcw: (cpu, value) => env.loadControl(cpu, Number(value)),
  controlWord: cpu => BigInt(cpu.x87.fcw),
  statusWord: cpu => BigInt(cpu.x87.fsw),
  fnstenv: (cpu, seg, offset, size) => env.store(cpu, Number(seg) as Seg, offset, size === 2n ? 2 : 4, false),
  fldenv: (cpu, seg, offset, size) => env.load(cpu, Number(seg) as Seg, offset, size === 2n ? 2 : 4, false),
  fnsave: (cpu, seg, offset, size) => env.store(cpu, Number(seg) as Seg, offset, size === 2n ? 2 : 4, true),
  frstor: (cpu, seg, offset, size) => env.load(cpu, Number(seg) as Seg, offset, size === 2n ? 2 : 4, true),
  fxsave: (cpu, seg, offset, wide) => env.fxsave(cpu, Number(seg) as Seg, offset, wide === 1n),
  xsave: (cpu, seg, offset, wide) => xsave(cpu, Number(seg) as Seg, offset, wide === 1n),
  xrstor: (cpu, seg, offset, wide) => xrstor(cpu, Number(seg) as Seg, offset, wide === 1n),
  fxrstor: (cpu, seg, offset, wide) => env.fxrstor(cpu, Number(seg) as Seg, offset, wide === 1n),
} satisfies Record<string, Call>
