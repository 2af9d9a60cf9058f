/** SIMD floating-point instructions, by way of the operations in `packedfloat.ts`. SDM Vol. 2, under their names. */
import { fusedFloat, packedFloat } from '../packedfloat.ts'
import type { Semantics } from '../tier.ts'
import { dst, last, src, third } from './operands.ts'
import { begin, finish, parts, source } from './simd.ts'

const lanewise =
  (name: string): Semantics =>
  (t, i) => {
    begin(t, i)
    const { to, a, b, imm } = parts(i)
    const second = source(t, i, b)
    // Exceptions go to MXCSR only if the result can be written.
    if (to.kind === 'mem') t.settle(to.seg, t.address(to), to.size)
    // Predicates of comparisons have 3 bits, with VEX 5: the others are not looked at.
    const chosen = name.startsWith('cmp') ? imm & (i.row.vex ? 31 : 7) : imm
    // Conversions to narrower elements are as wide as their source.
    finish(t, i, to, t.float(name, Math.max(to.size, b.size), t.read(a), second, chosen))
  }

/** COMISS and its like: ZF, PF and CF; OF, SF and AF are cleared. SDM Vol. 2A, "COMISS". */
const ordered =
  (name: string): Semantics =>
  (t, i) => {
    begin(t, i)
    const b = t.read(src(i))
    const seen = t.float(name, 16, t.read(dst(i)), b, 0)
    t.setFlag('cf', t.bit(seen, 0))
    t.setFlag('pf', t.bit(seen, 2))
    t.setFlag('zf', t.bit(seen, 6))
    for (const flag of ['of', 'sf', 'af'] as const) t.setFlag(flag, t.always(false))
  }

/** To a general register. SDM Vol. 2A, "CVTSS2SI". */
const toGeneral =
  (name: string): Semantics =>
  (t, i) => {
    begin(t, i)
    const size = dst(i).size
    const from = t.read(src(i))
    t.write(dst(i), t.lane(t.float(name, size, from, from, 0), 0, size))
  }

/** From a general register; the immediate says how wide it is. SDM Vol. 2A, "CVTSI2SS". */
const fromGeneral =
  (name: string): Semantics =>
  (t, i) => {
    begin(t, i)
    const from = last(i)
    const value = t.read(from)
    const kept = t.read(i.operands.length === 3 ? src(i) : dst(i))
    t.write(dst(i), t.float(name, 16, kept, value, from.size))
  }

/**
 * FMA: the digits number the operands of the product and then of the sum. A scalar form keeps the rest of the
 * destination. SDM Vol. 2C, "VFMADD132PD/VFMADD213PD/VFMADD231PD".
 */
const fused =
  (name: string, order: string): Semantics =>
  (t, i) => {
    begin(t, i)
    const values = [t.read(dst(i)), t.read(src(i)), t.read(third(i))]
    const [a, b, addend] = [...order].map(digit => values[Number(digit) - 1]!)
    if (a === undefined || b === undefined || addend === undefined) return
    const result = t.float(name, dst(i).size, a, b, 0, addend)
    const size = name.endsWith('ss') ? 4 : 8
    const scalar = /s[sd]$/.test(name)
    t.write(dst(i), scalar ? t.withLane(values[0]!, 0, size, t.lane(result, 0, size)) : result)
  }
const fma = Object.keys(fusedFloat).flatMap(name =>
  ['132', '213', '231'].map((order): [string, Semantics] => {
    const at = name.length - 2
    return [`v${name.slice(0, at)}${order}${name.slice(at)}`, fused(name, order)]
  }),
)

const meaning = (name: string): Semantics => {
  if (/^u?comis/.test(name)) return ordered(name)
  if (/^cvtt?s[sd]2si$/.test(name)) return toGeneral(name)
  if (name.startsWith('cvtsi2')) return fromGeneral(name)
  return lanewise(name)
}

export const simdfloat: Readonly<Record<string, Semantics>> = Object.fromEntries([
  ...fma,
  ...Object.keys(packedFloat).flatMap((name): [string, Semantics][] => {
    const known = meaning(name)
    return [
      [name, known],
      [`v${name}`, known],
    ]
  }),
])
