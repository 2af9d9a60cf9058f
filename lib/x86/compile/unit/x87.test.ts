import t from 'tap'
import type { CallName } from '../../calls.ts'
import { calls } from '../../calls.ts'
import { Fault } from '../../fault.ts'
import { STATE } from '../../state.ts'
import { CODE, longMode } from '../../testdata/machine.ts'
import { POPS } from '../../x87calls.ts'
import { SCRATCH } from '../sites.ts'
import { unitsOf } from '../units.ts'
import { EXCHANGED, TO_FLAGS, TURN_DESTINATION, TURN_SOURCE } from './x87operands.ts'
import { KINDS } from './x87unit.ts'

/** xorshift128+, so that a failure can be met again. */
const random = (() => {
  let [a, b] = [0x1234_5678_9abc_def0n, 0x0fed_cba9_8765_4321n]
  return (): bigint => {
    let x = a
    a = b
    x ^= BigInt.asUintN(64, x << 23n)
    b = x ^ b ^ (x >> 17n) ^ (b >> 26n)
    return BigInt.asUintN(64, a + b)
  }
})()
const below = (n: number): number => Number(random() % BigInt(n))
const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T

/** Patterns that round, carry and cancel: few ones, few zeros, or anything, at any place. */
const significand = (): bigint => {
  const bits = pick([0n, 1n, 3n, (1n << 11n) - 1n, 1n << 10n, 1n << 39n, (1n << 40n) - 1n, random(), random()])
  const high = pick([0n, 0x7fff_ffff_ffff_ffffn, random(), random() & 0xffff_ffff_0000_0000n])
  return (1n << 63n) | BigInt.asUintN(63, bits ^ high)
}
const exponents = [
  0, 1, 2, 62, 63, 64, 65, 127, 128, 129, -1, -2, -63, -64, -65, -128, -1022, -1023, 1023, 1024, -126, 127,
]
const extended = (): bigint => {
  const sign = BigInt(below(2)) << 79n
  if (below(12) === 0) return sign
  const exponent = pick([...exponents, ...exponents, 16383, -16382, below(200) - 100])
  if (below(40) === 0) return sign | (random() >> BigInt(below(64)))
  return sign | (BigInt(exponent + 16383) << 64n) | significand()
}
const real = (bits: 32 | 64): bigint => {
  const view = new DataView(new ArrayBuffer(8))
  if (below(6) === 0) return BigInt.asUintN(bits, random())
  const value = pick([0, -0, 1, -1.5, below(1000) / 8, 2 ** (below(200) - 100), -(2 ** -60) * below(1000), 1 / 3])
  if (bits === 32) view.setFloat32(4, value)
  else view.setFloat64(0, value)
  return view.getBigUint64(0)
}
const operand = (kind: string): bigint => {
  switch (kind) {
    case 'ST':
      return BigInt(below(8))
    case 'M32':
      return real(32)
    case 'M64':
      return real(64)
    case 'M80':
      return extended()
    default: {
      const bits = Number(kind.slice(1))
      return BigInt.asUintN(bits, pick([0n, 1n, -1n, random() >> BigInt(below(64)), 1n << BigInt(bits - 1)]))
    }
  }
}

const m = longMode({ tier: 'interpret' })
m.asm(CODE, 'fnop')
const { cpu } = m
const units = unitsOf(cpu.memory) as Record<string, (...args: (number | bigint)[]) => number>
const state = cpu.memory.u8.subarray(cpu.frame, cpu.frame + 0x200)
const value = (): bigint => cpu.memory.view.getBigUint64(cpu.frame + SCRATCH.VALUE, true)

/** A state of the unit: numbers everywhere, or nearly. */
const prepare = (): void => {
  const { x87 } = cpu
  const rounding = below(3) === 0 ? below(4) << 10 : 0
  x87.fcw = 0x7f | rounding | (below(3) === 0 ? below(4) << 8 : 0x300)
  if (below(30) === 0) x87.fcw &= ~(1 << below(6))
  x87.fsw = (below(8) << 11) | (below(2) << 9) | (below(4) << 4) | (below(2) << 14) | (below(2) << 8) | (below(2) << 10)
  // What is pending is looked for before any of these functions.
  x87.fsw &= ~0x8080
  x87.ftw = pick([0xff, 0xff, 0x7f, 0x3f, below(256)])
  for (let r = 0; r < 8; r++) x87.set(r, extended())
  if (below(3) === 0) {
    // Neighbours cancel.
    const [r, s] = [below(8), below(8)]
    x87.set(r, x87.get(s) ^ BigInt(below(3)) ^ (BigInt(below(2)) << 79n))
  }
}

let [done, all] = [0, 0]
/** The unit's function, if it does anything, leaves what the interpreter leaves. */
const check = (name: string, args: (number | bigint)[], reference: () => unknown, result = () => 0n): string => {
  const before = state.slice()
  all++
  const refused = units[name]!(cpu.frame, ...args)
  const seen = state.slice()
  const stored = result()
  if (refused === 1) return Buffer.compare(before, seen) === 0 ? '' : `${name}: changed what it refused`
  done++
  state.set(before)
  cpu.insn = undefined
  let wanted: unknown
  try {
    wanted = reference()
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    return `${name}: interpreted, it faults`
  }
  const text = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(STATE.FCW, STATE.X87 + 80)).toString('hex')
  if (text(seen) !== text(state)) return `${name}(${args}): ${text(before)} becomes ${text(seen)}, not ${text(state)}`
  return typeof wanted === 'bigint' && stored !== wanted ? `${name}(${args}): ${stored}, not ${wanted}` : ''
}
const call = (name: CallName, a = 0n, b = 0n, c = 0n) => calls[name](cpu, a, b, c)
const given = (kind: string, bits: bigint): number | bigint =>
  kind === 'ST' ? Number(bits) : kind[0] === 'I' ? BigInt.asIntN(Number(kind.slice(1)), bits) : bits

const ARITHMETIC = [
  ['fadd', 'add', 0],
  ['fsub', 'add', TURN_SOURCE],
  ['fsubr', 'add', TURN_DESTINATION],
  ['fmul', 'mul', 0],
  ['fdiv', 'div', 0],
  ['fdivr', 'div', EXCHANGED],
] as const

const TIMES = 1500
const repeat = (t: { equal(a: string, b: string): unknown }, of: () => string): void => {
  let failed = ''
  for (let n = 0; n < TIMES && failed === ''; n++) {
    prepare()
    failed = of()
  }
  t.equal(failed, '')
}

t.test('arithmetic of numbers is as interpreted, in every rounding and precision', async t => {
  for (const [name, core, flags] of ARITHMETIC)
    for (const [number, kind] of KINDS.entries()) {
      if (kind === 'M80') continue
      repeat(t, () => {
        const [to, bits, pops] = [below(8), operand(kind), below(2)]
        const args = [to, flags | pops, given(kind, bits)]
        return check(`${core}.${kind}`, args, () => call(name, BigInt(to), BigInt(number + pops * POPS), bits))
      })
    }
  repeat(t, () => check('fsqrt', [], () => call('fsqrt')))
  repeat(t, () => check('frndint', [], () => call('frndint')))
  t.ok(done > all * 0.4, `${done} of ${all}`)
})

t.test('comparisons, loads and stores of numbers are as interpreted', async t => {
  ;[done, all] = [0, 0]
  for (const [number, kind] of KINDS.entries()) {
    repeat(t, () => {
      const bits = operand(kind)
      const args = kind === 'M80' ? [BigInt.asUintN(64, bits), Number(bits >> 64n)] : [given(kind, bits)]
      return check(`ld.${kind}`, args, () => call('fld', 0n, BigInt(number), bits))
    })
    if (kind !== 'ST')
      repeat(t, () => {
        const cut = kind[0] === 'I' ? below(2) : 0
        const size = kind === 'M80' ? 80 : Number(kind.slice(1))
        const result = (): bigint =>
          BigInt.asUintN(
            size,
            value() | (BigInt(cpu.memory.view.getUint16(cpu.frame + SCRATCH.VALUE + 8, true)) << 64n),
          )
        const reference = () => BigInt.asUintN(80, call('fst', BigInt(cut), BigInt(number)) as bigint)
        return check(`st.${kind}`, [cut], reference, result)
      })
    if (kind === 'M80') continue
    repeat(t, () => {
      const [bits, pops] = [operand(kind), below(3)]
      const args = [pops, given(kind, bits)]
      return check(`com.${kind}`, args, () => call('fcom', 0n, BigInt(number + pops * POPS), bits))
    })
  }
  repeat(t, () => {
    const i = below(8)
    const reference = (): bigint => {
      call('fucomi', 0n, 0n, BigInt(i))
      return (cpu.cf ? 1n : 0n) | (cpu.zf ? 64n : 0n)
    }
    return check('com.ST', [TO_FLAGS, i], reference, () => value() & 0xffff_ffffn)
  })
  t.ok(done > all * 0.3, `${done} of ${all}`)
})

t.test('what only moves is as interpreted', async t => {
  for (const [name, kept, turned] of [
    ['fabs', 0x7fff, 0],
    ['fchs', 0xffff, 0x8000],
  ] as const)
    repeat(t, () => check('sign', [kept, turned], () => call(name)))
  repeat(t, () => {
    const [i, pops] = [below(8), below(2)]
    return check('fstReg', [i, pops], () => call('fstReg', BigInt(i), BigInt(pops * POPS)))
  })
  repeat(t, () => {
    const [i, moves] = [below(8), below(2)]
    return check('fcmov', [i, moves], () => call('fcmov', BigInt(i), BigInt(moves)))
  })
  for (const name of ['fxch', 'ffree', 'fldcw'] as const)
    repeat(t, () => {
      const i = name === 'fldcw' ? below(65536) : below(8)
      return check(name, [i], () => call(name, BigInt(i)))
    })
  for (const name of ['fpop', 'fxam', 'fnclex'] as const) repeat(t, () => check(name, [], () => call(name)))
  for (const [name, by] of [
    ['fincstp', 1],
    ['fdecstp', 7],
  ] as const)
    repeat(t, () => check('turn', [by], () => call(name)))
})
