/** SIMD moves, and what goes between vector and general registers. */
import * as flags from '../flags.ts'
import type { Operand } from '../insn.ts'
import type { PackedName } from '../packed.ts'
import type { Semantics } from '../tier.ts'
import { dst, last, memory, number, rdi, sizeOf, src, third, zero } from './operands.ts'
import { begin, finish, lanewise, source } from './simd.ts'

const isReg = (o: Operand): boolean => o.kind === 'reg'

/** Whole registers, memory aligned: MOVAPS, MOVDQA and their like. SDM Vol. 2B, "MOVAPS". */
const aligned: Semantics = (t, i) => {
  begin(t, i)
  const to = dst(i)
  if (to.kind === 'mem' && to.size >= 16) t.call('requireAligned', number(t, to.seg), t.address(to), number(t, to.size))
  const from = src(i)
  if (from.kind === 'mem' && from.size >= 16)
    t.call('requireAligned', number(t, from.seg), t.address(from), number(t, from.size))
  finish(t, i, to, t.read(from))
}
/** Whole registers, memory anywhere: MOVUPS, MOVDQU, LDDQU. SDM Vol. 2B, "MOVUPS". */
const unaligned: Semantics = (t, i) => {
  begin(t, i)
  finish(t, i, dst(i), t.read(src(i)))
}

/** MOVD and MOVQ between vector, general registers and memory: zero-extended. SDM Vol. 2B, "MOVD/MOVQ". */
const movd: Semantics = (t, i) => {
  begin(t, i)
  const [to, from] = [dst(i), src(i)]
  finish(t, i, to, t.lane(t.read(from), 0, Math.min(to.size, from.size, 8)))
}

/** MOVSS and MOVSD: from memory they clear the rest, from a register they keep it. SDM Vol. 2B, "MOVSS". */
const scalar =
  (size: 4 | 8): Semantics =>
  (t, i) => {
    begin(t, i)
    const to = dst(i)
    const low = t.lane(t.read(last(i)), 0, size)
    if (i.operands.length === 3) t.write(to, t.withLane(t.read(src(i)), 0, size, low))
    else if (isReg(to) && isReg(src(i))) t.write(to, t.withLane(t.read(to), 0, size, low))
    else t.write(to, low)
  }

/** Half registers: MOVLPS, MOVHPS and the register forms MOVHLPS, MOVLHPS. SDM Vol. 2B, under their names. */
const half =
  (into: 0 | 1, from: 0 | 1): Semantics =>
  (t, i) => {
    begin(t, i)
    const to = dst(i)
    if (to.kind === 'mem') return t.write(to, t.lane(t.read(src(i)), into, 8))
    const with_ = last(i)
    const value = t.lane(t.read(with_), with_.kind === 'mem' ? 0 : from, 8)
    t.write(to, t.withLane(t.read(i.operands.length === 3 ? src(i) : to), into, 8, value))
  }

/** PEXTRB and its like: a lane, zero-extended. SDM Vol. 2B, "PEXTRB/PEXTRD/PEXTRQ". */
const extract =
  (size: 1 | 2 | 4 | 8): Semantics =>
  (t, i) => {
    begin(t, i)
    const from = src(i)
    const n = t.lane(t.read(from), laneNumber(last(i), from.size / size), size)
    finish(t, i, dst(i), n)
  }
/** PINSRB and its like. SDM Vol. 2B, "PINSRB/PINSRD/PINSRQ". */
const insert =
  (size: 1 | 2 | 4 | 8): Semantics =>
  (t, i) => {
    begin(t, i)
    const vex = i.operands.length === 4
    const from = vex ? third(i) : src(i)
    const value = t.lane(t.read(from), 0, size)
    const to = dst(i)
    finish(t, i, to, t.withLane(t.read(vex ? src(i) : to), laneNumber(last(i), to.size / size), size, value))
  }
const laneNumber = (o: Operand, count: number): number => (o.kind === 'imm' ? Number(o.value) & (count - 1) : 0)

/** PMOVMSKB, MOVMSKPS, MOVMSKPD: the lanes' signs. SDM Vol. 2B, "PMOVMSKB". */
const signs =
  (size: 1 | 4 | 8): Semantics =>
  (t, i) => {
    begin(t, i)
    const from = src(i)
    finish(t, i, dst(i), t.signs(t.read(from), from.size, size))
  }

/** PTEST: ZF from AND, CF from AND NOT. SDM Vol. 2B, "PTEST". */
const ptest: Semantics = (t, i) => {
  begin(t, i)
  const b = source(t, i, src(i))
  const a = t.read(dst(i))
  const size = dst(i).size
  const none = zero(t)
  t.flags(flags.logic, 8, none, none, number(t, 3))
  t.setFlag('pf', t.always(false))
  t.setFlag('zf', t.isZero(t.packed('pand', size, a, b, 0)))
  t.setFlag('cf', t.isZero(t.packed('pandn', size, a, b, 0)))
}

/** PBLENDVB, BLENDVPS, BLENDVPD: by the signs of a mask, XMM0 in the legacy form. SDM Vol. 2B, "PBLENDVB". */
const blendBySign =
  (size: 1 | 4 | 8): Semantics =>
  (t, i) => {
    begin(t, i)
    const to = dst(i)
    const vex = i.operands.length === 4
    const b = source(t, i, vex ? third(i) : src(i))
    const mask = t.read(last(i))
    t.write(to, t.blend(mask, to.size, size, b, t.read(vex ? src(i) : to)))
  }

/** MASKMOVQ and MASKMOVDQU: the bytes whose mask is negative, to DS:rDI. SDM Vol. 2B, "MASKMOVDQU". */
const maskmov: Semantics = (t, i) => {
  begin(t, i)
  const at = i.operands.find(o => o.kind === 'mem')
  const [from, mask] = i.operands.filter(isReg)
  if (from === undefined || mask === undefined) return
  const seg = at?.kind === 'mem' ? at.seg : 3
  const offset = t.read(rdi(i.addressSize))
  const [value, chosen] = [t.read(from), t.read(mask)]
  const byte = (n: number) => t.add(i.addressSize, offset, number(t, n))
  for (let n = 0; n < from.size; n++) t.when(t.bit(t.lane(chosen, n, 1), 7), () => t.settle(seg, byte(n), 1))
  if (from.size === 8) t.call('enterMmx')
  for (let n = 0; n < from.size; n++)
    t.when(t.bit(t.lane(chosen, n, 1), 7), () => t.store(seg, byte(n), 1, t.lane(value, n, 1)))
}

/** EMMS: all x87 registers empty. SDM Vol. 2A, "EMMS". */
const emms: Semantics = t => {
  t.call('requireMmx')
  t.call('emms')
}
/** LDMXCSR (#GP(0) for reserved bits) and STMXCSR. SDM Vol. 2A, "LDMXCSR". */
const ldmxcsr: Semantics = (t, i) => {
  begin(t, i)
  t.call('ldmxcsr', t.read(memory(i, dst(i))))
}
const stmxcsr: Semantics = (t, i) => {
  begin(t, i)
  t.write(dst(i), t.truncate(t.call('stmxcsr'), sizeOf(dst(i))))
}

/** What differs from a lane operation in its name only. SDM Vol. 2A, "ANDPS", Vol. 2D, "UNPCKLPS". */
const SAME: Record<string, PackedName> = {
  andps: 'pand',
  andpd: 'pand',
  andnps: 'pandn',
  andnpd: 'pandn',
  orps: 'por',
  orpd: 'por',
  xorps: 'pxor',
  xorpd: 'pxor',
  unpcklps: 'punpckldq',
  unpckhps: 'punpckhdq',
  unpcklpd: 'punpcklqdq',
  unpckhpd: 'punpckhqdq',
}

const both = (name: string, meaning: Semantics): [string, Semantics][] => [
  [name, meaning],
  [`v${name}`, meaning],
]
const all = (list: string, meaning: Semantics) => list.split(' ').flatMap(name => both(name, meaning))

export const simdmove: Readonly<Record<string, Semantics>> = Object.fromEntries([
  ...all('movaps movapd movdqa movntps movntpd movntdq movntdqa', aligned),
  ...all('movups movupd movdqu lddqu', unaligned),
  ...all('movd movq movntq movq2dq movdq2q', movd),
  ...both('movss', scalar(4)),
  ...both('movsd', scalar(8)),
  ...all('movlps movlpd', half(0, 0)),
  ...all('movhps movhpd', half(1, 0)),
  ...both('movhlps', half(0, 1)),
  ...both('movlhps', half(1, 0)),
  ...both('pextrb', extract(1)),
  ...both('pextrw', extract(2)),
  ...both('pextrd', extract(4)),
  ...both('pextrq', extract(8)),
  ...both('extractps', extract(4)),
  ...both('pinsrb', insert(1)),
  ...both('pinsrw', insert(2)),
  ...both('pinsrd', insert(4)),
  ...both('pinsrq', insert(8)),
  ...both('pmovmskb', signs(1)),
  ...both('movmskps', signs(4)),
  ...both('movmskpd', signs(8)),
  ...both('ptest', ptest),
  ...both('pblendvb', blendBySign(1)),
  ...both('blendvps', blendBySign(4)),
  ...both('blendvpd', blendBySign(8)),
  ['maskmovq', maskmov],
  ...both('maskmovdqu', maskmov),
  ['emms', emms],
  ...both('ldmxcsr', ldmxcsr),
  ...both('stmxcsr', stmxcsr),
  ...Object.entries(SAME).flatMap(([name, as]) => both(name, lanewise(as))),
])
