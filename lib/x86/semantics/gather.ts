/** Lanes of memory under a mask: VMASKMOV, VPMASKMOV and the gathers. SDM Vol. 2C, under their names. */
import type { Size } from '#bits'
import type { Insn } from '../insn.ts'
import type { Semantics, Tier } from '../tier.ts'
import { dst, memory, number, src, third, zero } from './operands.ts'

const isChosen = <V, C>(t: Tier<V, C>, mask: V, n: number, size: number): C =>
  t.bit(t.lane(mask, n, size), size * 8 - 1)

/**
 * VMASKMOVx and VPMASKMOVx: only the lanes whose mask is negative are accessed. None is checked for alignment: SDM Vol. 2C,
 * "VMASKMOV" and "VPMASKMOV", report no #AC for any mask. AMD's processors may, where 32 bytes are not aligned.
 */
const maskmov =
  (size: 4 | 8): Semantics =>
  (t, i) => {
    t.call('requireAvx')
    const to = dst(i)
    const mask = t.read(src(i))
    const at = memory(i, to.kind === 'mem' ? to : third(i))
    const offset = t.address(at)
    const place = (n: number) => t.add(at.addressSize, offset, number(t, n * size))
    const lanes = Array.from({ length: src(i).size / size }, (_, n) => n)
    const each = (act: (n: number) => void) => {
      for (const n of lanes) t.when(isChosen(t, mask, n, size), () => act(n))
    }
    if (to.kind === 'mem') {
      const value = t.read(third(i))
      each(n => t.settle(at.seg, place(n), size))
      each(n => t.store(at.seg, place(n), size, t.lane(value, n, size)))
    } else {
      // Once to fault, once to change.
      each(n => {
        t.load(at.seg, place(n), size)
      })
      t.write(to, zero(t))
      each(n => t.write(to, t.withLane(t.read(to), n, size, t.load(at.seg, place(n), size))))
    }
  }

/**
 * The gathers: each lane whose mask is negative comes from its own address, and its mask is cleared once it is there, so
 * that a fault keeps the lanes before it. #UD where destination, index and mask are not three registers.
 */
const gather = <V, C>(t: Tier<V, C>, i: Insn, indexSize: 4 | 8, size: 4 | 8): void => {
  t.call('requireAvx')
  const [to, mask] = [dst(i), third(i)]
  const at = memory(i, src(i))
  if (to.kind !== 'reg' || mask.kind !== 'reg') return
  const same = to.index === mask.index || to.index === at.index || mask.index === at.index
  t.raiseIf(t.always(same), 6)
  const count = (i.vectorLength === 32 ? 32 : 16) / Math.max(indexSize, size)
  const vector = t.read({ kind: 'reg', file: 'vec', index: at.index, size: 32 })
  const base = t.address({ ...at, index: -1 })
  const wide: Size = at.addressSize
  const place = (n: number) => {
    const element = t.lane(vector, n, indexSize)
    const index = indexSize < wide ? t.signExtend(element, indexSize, wide) : t.truncate(element, wide)
    return t.add(wide, base, t.mul(wide, index, number(t, at.scale)))
  }
  // Lanes that the instruction does not have are cleared with the first write.
  for (let n = 0; n < count; n++)
    t.when(isChosen(t, t.read(mask), n, size), () => {
      t.write(to, t.withLane(t.read(to), n, size, t.load(at.seg, place(n), size)))
      t.write(mask, t.withLane(t.read(mask), n, size, zero(t)))
    })
  const kept = count * size === 8 ? t.lane(t.read(to), 0, 8) : t.read(to)
  t.write(to, kept)
  t.write(mask, zero(t))
}
const gathers: [string, 4 | 8, 4 | 8][] = [
  ['vpgatherdd', 4, 4],
  ['vpgatherdq', 4, 8],
  ['vpgatherqd', 8, 4],
  ['vpgatherqq', 8, 8],
  ['vgatherdps', 4, 4],
  ['vgatherdpd', 4, 8],
  ['vgatherqps', 8, 4],
  ['vgatherqpd', 8, 8],
]

export const masked: Readonly<Record<string, Semantics>> = {
  vmaskmovps: maskmov(4),
  vmaskmovpd: maskmov(8),
  vpmaskmovd: maskmov(4),
  vpmaskmovq: maskmov(8),
  ...Object.fromEntries(
    gathers.map(([name, index, size]): [string, Semantics] => [name, (t, i) => gather(t, i, index, size)]),
  ),
}
