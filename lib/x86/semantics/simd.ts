/** SIMD integer instructions: MMX, SSE2 to SSE4.2 and their VEX forms, all by way of the operations in `packed.ts`. */
import type { Insn, Operand } from '../insn.ts'
import { type PackedName, packed } from '../packed.ts'
import type { Semantics, Tier } from '../tier.ts'
import { dst, number, src, third } from './operands.ts'

const isMm = (o: Operand): boolean => o.kind === 'reg' && o.file === 'mm'
const isVector = (o: Operand): boolean => o.kind === 'reg' && o.file === 'vec'

/** #UD, #NM or #MF unless the units may be used now: both of them, where MMX and XMM registers meet. */
export const begin = <V, C>(t: Tier<V, C>, i: Insn): void => {
  const mmx = i.operands.some(isMm)
  if (!mmx || i.operands.some(isVector)) t.call(i.vectorLength === 0 ? 'requireSse' : 'requireAvx')
  if (mmx) t.call('requireMmx')
}

/**
 * A source; 16 bytes of memory have to be aligned, or #GP(0), unless the encoding is VEX. The SHA instructions take any
 * address, as the test vectors have it.
 */
export const source = <V, C>(t: Tier<V, C>, i: Insn, o: Operand): V => {
  if (o.kind === 'mem' && o.size === 16 && i.vectorLength === 0 && i.row.feature !== 'SHA')
    t.call('requireAligned', number(t, o.seg), t.address(o), number(t, 16))
  return t.read(o)
}

/** Writes the result. With an MMX operand the x87 registers become MMX registers: all valid, TOP 0. */
export const finish = <V, C>(t: Tier<V, C>, i: Insn, to: Operand, value: V): void => {
  t.write(to, value)
  if (i.operands.some(isMm)) t.call('enterMmx')
}

/** Destination, first and second source and immediate, of the two- and the three-operand forms. */
export const parts = (i: Insn) => {
  const tail = i.operands.at(-1)
  const imm = tail?.kind === 'imm' ? Number(tail.value) : 0
  const count = i.operands.length - (tail?.kind === 'imm' ? 1 : 0)
  const to = i.operands[0]!
  const b = i.operands[count - 1]!
  // A destination in memory is no source.
  return { to, a: count > 2 ? i.operands[1]! : to.kind === 'mem' ? b : to, b, imm, count }
}

export const lanewise =
  (name: PackedName): Semantics =>
  (t, i) => {
    begin(t, i)
    const { to, a, b, imm } = parts(i)
    const second = source(t, i, b)
    // INSERTPS from memory has one lane to choose from.
    const chosen = name === 'insertps' && b.kind === 'mem' ? imm & 0x3f : imm
    finish(t, i, to, t.packed(name, to.size, t.read(a), second, chosen))
  }

/** Shifts: by an immediate they take the last operand but one, which is the destination in the legacy form. */
const shift =
  (name: PackedName): Semantics =>
  (t, i) => {
    const { to, a, b, imm, count } = parts(i)
    if (i.operands.at(-1)?.kind !== 'imm') return lanewise(name)(t, i)
    begin(t, i)
    const from = count === 2 ? b : a
    finish(t, i, to, t.packed(name, to.size, t.read(from), number(t, imm), imm))
  }

/** SHA256RNDS2 also reads XMM0. SDM Vol. 2B, "SHA256RNDS2". */
const sha256rnds2: Semantics = (t, i) => {
  begin(t, i)
  const b = source(t, i, src(i))
  const state = t.withLane(t.read(dst(i)), 1, 16, t.read(third(i)))
  t.write(dst(i), t.lane(t.packed('sha256rnds2', 32, state, b, 0), 0, 16))
}

const SHIFTS: readonly string[] = 'psllw pslld psllq psrlw psrld psrlq psraw psrad pslldq psrldq'.split(' ')
const names = Object.keys(packed) as PackedName[]

/** The same function does for a legacy mnemonic and for its VEX twin. */
export const simd: Readonly<Record<string, Semantics>> = Object.fromEntries(
  names.flatMap(name => {
    const meaning = name === 'sha256rnds2' ? sha256rnds2 : SHIFTS.includes(name) ? shift(name) : lanewise(name)
    return [
      [name, meaning],
      [`v${name}`, meaning],
    ]
  }),
)
