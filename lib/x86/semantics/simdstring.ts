/** PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM. SDM Vol. 2B, under their names. */
import type { Insn } from '../insn.ts'
import { IMPLICIT } from '../packedstring.ts'
import type { Semantics, Tier } from '../tier.ts'
import { dst, last, number, rax, rcx, rdx, src, zero } from './operands.ts'
import { begin } from './simd.ts'

/** A length register's magnitude, at most 16. */
const magnitude = <V, C>(t: Tier<V, C>, length: V, size: 4 | 8): V => {
  const positive = t.select(t.less(size, length, zero(t)), t.sub(size, zero(t), length), length)
  return t.select(t.below(positive, number(t, 16)), positive, number(t, 16))
}

const compare = <V, C>(t: Tier<V, C>, i: Insn, explicit: boolean): { imm: number; seen: V } => {
  begin(t, i)
  const b = t.read(src(i))
  const control = last(i)
  const imm = control.kind === 'imm' ? Number(control.value) : 0
  const size = i.operandSize === 8 ? 8 : 4
  const [n, m] = explicit
    ? [magnitude(t, t.read(rax(size)), size), magnitude(t, t.read(rdx(size)), size)]
    : [number(t, IMPLICIT), number(t, IMPLICIT)]
  const lengths = t.or(t.shl(4, n, number(t, 8)), t.shl(4, m, number(t, 16)))
  const seen = t.call('compareStrings', t.read(dst(i)), b, t.or(lengths, number(t, imm)))
  for (const [flag, at] of [
    ['cf', 16],
    ['zf', 17],
    ['sf', 18],
    ['of', 19],
  ] as const)
    t.setFlag(flag, t.bit(seen, at))
  t.setFlag('af', t.always(false))
  t.setFlag('pf', t.always(false))
  return { imm, seen: t.truncate(seen, 2) }
}

/** The lowest or highest position that is set, or the number of elements, to ECX. */
const index =
  (explicit: boolean): Semantics =>
  (t, i) => {
    const { imm, seen } = compare(t, i, explicit)
    const found = (imm & 0x40) === 0 ? t.trailingZeros(4, seen) : t.sub(4, number(t, 31), t.leadingZeros(4, seen))
    t.write(rcx(4), t.select(t.isZero(seen), number(t, imm & 1 ? 8 : 16), found))
  }
/** A bit or a whole element of ones for each position, to XMM0. */
const mask =
  (explicit: boolean): Semantics =>
  (t, i) => {
    const { imm, seen } = compare(t, i, explicit)
    const to = { kind: 'reg', file: 'vec', index: 0, size: 16 } as const
    if ((imm & 0x40) === 0) return t.write(to, seen)
    const size = imm & 1 ? 2 : 1
    let spread = zero(t)
    for (let n = 0; n < 16 / size; n++)
      spread = t.withLane(spread, n, size, t.select(t.bit(seen, n), number(t, size === 2 ? 0xffff : 0xff), zero(t)))
    t.write(to, spread)
  }

const pairs: [string, Semantics][] = [
  ['pcmpestri', index(true)],
  ['pcmpistri', index(false)],
  ['pcmpestrm', mask(true)],
  ['pcmpistrm', mask(false)],
]
export const simdstring: Readonly<Record<string, Semantics>> = Object.fromEntries(
  pairs.flatMap(([name, meaning]) => [
    [name, meaning],
    [`v${name}`, meaning],
  ]),
)
