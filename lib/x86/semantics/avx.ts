/** What AVX, AVX2 and F16C have that SSE has not. SDM Vol. 2C, under their names. */
import * as flags from '../flags.ts'
import type { Operand } from '../insn.ts'
import type { Semantics, Tier } from '../tier.ts'
import { bitsOf, dst, last, number, src, third, zero } from './operands.ts'

const immOf = (o: Operand): number => (o.kind === 'imm' ? Number(o.value) : 0)
const lanes = (o: Operand, size: number): number => o.size / size

/** A result of lanes, each made from its number. */
const build = <V, C>(t: Tier<V, C>, to: Operand, size: number, of: (n: number) => V): void => {
  let result = zero(t)
  for (let n = 0; n < lanes(to, size); n++) result = t.withLane(result, n, size, of(n))
  t.write(to, result)
}

/** VBROADCASTx and VPBROADCASTx: one element everywhere. */
const broadcast =
  (size: 1 | 2 | 4 | 8 | 16): Semantics =>
  (t, i) => {
    t.call('requireAvx')
    const element = t.lane(t.read(src(i)), 0, size)
    build(t, dst(i), size, () => element)
  }

/** VPERMILPS and VPERMILPD: inside each 128 bits, by an immediate or by the low bits of each control lane. */
const permil =
  (size: 4 | 8): Semantics =>
  (t, i) => {
    t.call('requireAvx')
    const control = last(i)
    const from = t.read(src(i))
    const group = 16 / size
    if (control.kind === 'imm') {
      const bits = immOf(control)
      const pick = (n: number) => (size === 4 ? (bits >> (2 * (n & 3))) & 3 : (bits >> n) & 1)
      return build(t, dst(i), size, n => t.lane(from, n - (n % group) + pick(n), size))
    }
    const by = t.read(control)
    build(t, dst(i), size, n => {
      const base = n - (n % group)
      const wanted = t.lane(by, n, size)
      if (size === 8) return t.select(t.bit(wanted, 1), t.lane(from, base + 1, 8), t.lane(from, base, 8))
      const low = t.select(t.bit(wanted, 0), t.lane(from, base + 1, 4), t.lane(from, base, 4))
      const high = t.select(t.bit(wanted, 0), t.lane(from, base + 3, 4), t.lane(from, base + 2, 4))
      return t.select(t.bit(wanted, 1), high, low)
    })
  }

/** VPERMQ and VPERMPD: four quadwords by an immediate. */
const permq: Semantics = (t, i) => {
  t.call('requireAvx')
  const from = t.read(src(i))
  build(t, dst(i), 8, n => t.lane(from, (immOf(last(i)) >> (2 * n)) & 3, 8))
}
/** VPERMD and VPERMPS: eight doublewords by the low three bits of each control lane. */
const permd: Semantics = (t, i) => {
  t.call('requireAvx')
  const [by, from] = [t.read(src(i)), t.read(third(i))]
  build(t, dst(i), 4, n => {
    let chosen = t.lane(from, 0, 4)
    const wanted = t.and(t.lane(by, n, 4), number(t, 7))
    for (let k = 1; k < 8; k++) chosen = t.select(t.equal(wanted, number(t, k)), t.lane(from, k, 4), chosen)
    return chosen
  })
}
/** VPERM2F128 and VPERM2I128. */
const perm2: Semantics = (t, i) => {
  t.call('requireAvx')
  const sources = [t.read(src(i)), t.read(third(i))] as const
  const bits = immOf(last(i))
  build(t, dst(i), 16, n => {
    const control = bits >> (4 * n)
    return control & 8 ? zero(t) : t.lane(control & 2 ? sources[1] : sources[0], control & 1, 16)
  })
}
const insert128: Semantics = (t, i) => {
  t.call('requireAvx')
  const half = t.lane(t.read(third(i)), 0, 16)
  t.write(dst(i), t.withLane(t.read(src(i)), immOf(last(i)) & 1, 16, half))
}
const extract128: Semantics = (t, i) => {
  t.call('requireAvx')
  t.write(dst(i), t.lane(t.read(src(i)), immOf(last(i)) & 1, 16))
}

/** VPBLENDD. */
const blendd: Semantics = (t, i) => {
  t.call('requireAvx')
  const [a, b] = [t.read(src(i)), t.read(third(i))]
  build(t, dst(i), 4, n => t.lane((immOf(last(i)) >> n) & 1 ? b : a, n, 4))
}

/** VPSLLVx, VPSRLVx, VPSRAVD: each lane by its own count. */
const variable =
  (size: 4 | 8, kind: 'shl' | 'shr' | 'sar'): Semantics =>
  (t, i) => {
    t.call('requireAvx')
    const [a, counts] = [t.read(src(i)), t.read(third(i))]
    build(t, dst(i), size, n => {
      const [value, count] = [t.lane(a, n, size), t.lane(counts, n, size)]
      const inside = t.below(count, number(t, bitsOf(size)))
      const most = number(t, bitsOf(size) - 1)
      if (kind === 'sar') return t.sar(size, value, t.select(inside, count, most))
      const shifted = t[kind](size, value, t.and(count, most))
      return t.select(inside, shifted, zero(t))
    })
  }

/** VTESTPS and VTESTPD: like PTEST, of the signs only. */
const testSigns =
  (size: 4 | 8): Semantics =>
  (t, i) => {
    t.call('requireAvx')
    const to = dst(i)
    const [a, b] = [t.read(to), t.read(src(i))]
    const and = t.packed('pand', to.size, a, b, 0)
    const andn = t.packed('pandn', to.size, a, b, 0)
    t.flags(flags.logic, 8, zero(t), zero(t), number(t, 3))
    t.setFlag('pf', t.always(false))
    t.setFlag('zf', t.isZero(t.signs(and, to.size, size)))
    t.setFlag('cf', t.isZero(t.signs(andn, to.size, size)))
  }

/** VZEROUPPER and VZEROALL. */
const vzero =
  (all: boolean): Semantics =>
  (t, i) => {
    t.call('requireAvx')
    for (let n = 0; n < (i.mode === 64 ? 16 : 8); n++) {
      const low = { kind: 'reg', file: 'vec', index: n, size: 16 } as const
      t.write(low, all ? zero(t) : t.read(low))
    }
  }

export const avx: Readonly<Record<string, Semantics>> = {
  vbroadcastss: broadcast(4),
  vbroadcastsd: broadcast(8),
  vbroadcastf128: broadcast(16),
  vbroadcasti128: broadcast(16),
  vpbroadcastb: broadcast(1),
  vpbroadcastw: broadcast(2),
  vpbroadcastd: broadcast(4),
  vpbroadcastq: broadcast(8),
  vpermilps: permil(4),
  vpermilpd: permil(8),
  vpermq: permq,
  vpermpd: permq,
  vpermd: permd,
  vpermps: permd,
  vperm2f128: perm2,
  vperm2i128: perm2,
  vinsertf128: insert128,
  vinserti128: insert128,
  vextractf128: extract128,
  vextracti128: extract128,
  vpblendd: blendd,
  vpsllvd: variable(4, 'shl'),
  vpsllvq: variable(8, 'shl'),
  vpsrlvd: variable(4, 'shr'),
  vpsrlvq: variable(8, 'shr'),
  vpsravd: variable(4, 'sar'),
  vtestps: testSigns(4),
  vtestpd: testSigns(8),
  vzeroupper: vzero(false),
  vzeroall: vzero(true),
}
