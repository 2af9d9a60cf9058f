/** Addition, subtraction, multiplication and division. */
import * as flags from '../flags.ts'
import type { Insn } from '../insn.ts'
import type { Semantics, Tier } from '../tier.ts'
import { AH, bitsOf, dst, gpr, last, number, rax, rdx, sizeOf, src, third, zero } from './operands.ts'

/** ADD r/m, r/imm. SDM Vol. 2A, "ADD". */
export const add: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const b = t.read(src(i))
  t.update(dst(i), a => {
    const sum = t.add(size, a, b)
    t.flags(flags.add, size, a, b, sum)
    return sum
  })
}

/** ADC r/m, r/imm. SDM Vol. 2A, "ADC". */
export const adc: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const b = t.read(src(i))
  t.update(dst(i), a => {
    const sum = t.add(size, t.add(size, a, b), t.asValue(t.flag('cf')))
    t.flags(flags.adc, size, a, b, sum)
    return sum
  })
}

/** SUB r/m, r/imm. SDM Vol. 2B, "SUB". */
export const sub: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const b = t.read(src(i))
  t.update(dst(i), a => {
    const difference = t.sub(size, a, b)
    t.flags(flags.sub, size, a, b, difference)
    return difference
  })
}

/** SBB r/m, r/imm. SDM Vol. 2B, "SBB". */
export const sbb: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const b = t.read(src(i))
  t.update(dst(i), a => {
    const difference = t.sub(size, t.sub(size, a, b), t.asValue(t.flag('cf')))
    t.flags(flags.sbb, size, a, b, difference)
    return difference
  })
}

/** CMP r/m, r/imm. SDM Vol. 2A, "CMP". */
export const cmp: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const a = t.read(dst(i))
  const b = t.read(src(i))
  t.flags(flags.sub, size, a, b, t.sub(size, a, b))
}

/** INC r/m. SDM Vol. 2A, "INC". */
export const inc: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const one = number(t, 1)
  t.update(dst(i), a => {
    const sum = t.add(size, a, one)
    t.flags(flags.inc, size, a, one, sum)
    return sum
  })
}

/** DEC r/m. SDM Vol. 2A, "DEC". */
export const dec: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const one = number(t, 1)
  t.update(dst(i), a => {
    const difference = t.sub(size, a, one)
    t.flags(flags.dec, size, a, one, difference)
    return difference
  })
}

/** NEG r/m: the flags are those of 0 - operand. SDM Vol. 2B, "NEG". */
export const neg: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  t.update(dst(i), a => {
    const difference = t.sub(size, zero(t), a)
    t.flags(flags.sub, size, zero(t), a, difference)
    return difference
  })
}

/**
 * CMPXCHG r/m, r. Memory is written in either case; a register destination that does not compare equal keeps all 64 bits,
 * as measured on processors. SDM Vol. 2A, "CMPXCHG".
 */
export const cmpxchg: Semantics = (t, i) => {
  const to = dst(i)
  const size = sizeOf(to)
  const accumulator = rax(size)
  const replacement = t.read(src(i))
  const compare = (old: ReturnType<typeof t.read>) => {
    const expected = t.read(accumulator)
    t.flags(flags.sub, size, expected, old, t.sub(size, expected, old))
    return t.equal(expected, old)
  }
  if (to.kind === 'mem')
    t.update(to, old => {
      const same = compare(old)
      t.when(t.no(same), () => t.write(accumulator, old))
      return t.select(same, replacement, old)
    })
  else {
    const old = t.read(to)
    t.when(
      compare(old),
      () => t.write(to, replacement),
      () => t.write(accumulator, old),
    )
  }
}

/** XADD r/m, r. SDM Vol. 2D, "XADD". */
export const xadd: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const b = t.read(src(i))
  t.update(dst(i), a => {
    const sum = t.add(size, a, b)
    t.flags(flags.add, size, a, b, sum)
    t.write(src(i), a)
    return sum
  })
}

/** MUL and one-operand IMUL: AX, DX:AX, EDX:EAX or RDX:RAX from the accumulator and r/m. */
const multiply = <V, C>(t: Tier<V, C>, i: Insn, signed: boolean) => {
  const from = last(i)
  const size = sizeOf(from)
  const a = t.read(rax(size))
  const b = t.read(from)
  const low = t.mul(size, a, b)
  const high = t.mulHigh(size, a, b, signed)
  t.flags(signed ? flags.imul : flags.mul, size, a, high, low)
  t.write(rax(size), low)
  t.write(size === 1 ? AH : rdx(size), high)
}
/** MUL r/m. SDM Vol. 2B, "MUL". */
export const mul: Semantics = (t, i) => multiply(t, i, false)

/** IMUL r/m; IMUL r, r/m; IMUL r, r/m, imm. SDM Vol. 2A, "IMUL". */
export const imul: Semantics = (t, i) => {
  if (i.operands.length === 1) return multiply(t, i, true)
  const size = sizeOf(dst(i))
  const a = t.read(i.operands.length === 3 ? src(i) : dst(i))
  const b = t.read(last(i))
  const low = t.mul(size, a, b)
  t.flags(flags.imul, size, a, t.mulHigh(size, a, b, true), low)
  t.write(dst(i), low)
}

const divide = <V, C>(t: Tier<V, C>, i: Insn, signed: boolean) => {
  const from = last(i)
  const size = sizeOf(from)
  const upper = size === 1 ? AH : rdx(size)
  const { quotient, remainder } = t.divide(size, t.read(upper), t.read(rax(size)), t.read(from), signed)
  t.write(rax(size), quotient)
  t.write(upper, remainder)
}
/** DIV r/m. SDM Vol. 2A, "DIV". */
export const div: Semantics = (t, i) => divide(t, i, false)
/** IDIV r/m. SDM Vol. 2A, "IDIV". */
export const idiv: Semantics = (t, i) => divide(t, i, true)

/** CBW, CWDE, CDQE: the accumulator from its lower half. SDM Vol. 2A, "CBW/CWDE/CDQE". */
const widen: Semantics = (t, i) => {
  const size = i.operandSize
  const half: 1 | 2 | 4 = size === 8 ? 4 : size === 4 ? 2 : 1
  t.write(rax(size), t.signExtend(t.read(rax(half)), half, size))
}
export const [cbw, cwde, cdqe] = [widen, widen, widen]

/** CWD, CDQ, CQO: rDX filled with the accumulator's sign. SDM Vol. 2A, "CWD/CDQ/CQO". */
const spread: Semantics = (t, i) => {
  const size = i.operandSize
  t.write(rdx(size), t.sar(size, t.read(rax(size)), number(t, bitsOf(size) - 1)))
}
export const [cwd, cdq, cqo] = [spread, spread, spread]

/** ADCX r, r/m. SDM Vol. 2A, "ADCX". */
export const adcx: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const [a, b] = [t.read(dst(i)), t.read(src(i))]
  const sum = t.add(size, t.add(size, a, b), t.asValue(t.flag('cf')))
  t.flags(flags.adcx, size, a, b, sum)
  t.write(dst(i), sum)
}

/** ADOX r, r/m. SDM Vol. 2A, "ADOX". */
export const adox: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const [a, b] = [t.read(dst(i)), t.read(src(i))]
  const sum = t.add(size, t.add(size, a, b), t.asValue(t.flag('of')))
  t.flags(flags.adox, size, a, b, sum)
  t.write(dst(i), sum)
}

/** MULX high, low, r/m: by rDX, no flags; the high half wins where both are one register. SDM Vol. 2B, "MULX". */
export const mulx: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const [a, b] = [t.read(gpr(2, size)), t.read(third(i))]
  const high = t.mulHigh(size, a, b, false)
  t.write(src(i), t.mul(size, a, b))
  t.write(dst(i), high)
}
