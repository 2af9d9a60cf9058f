import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { Cpu } from './cpu.ts'
import { PhysicalMemory } from './memory.ts'
import { EXTENDED, type Float, unpack } from './softfloat.ts'
import { bitsOf, setBits } from './x87.ts'
import { x87calls } from './x87calls.ts'
import { init } from './x87env.ts'

const NAMES = ['f2xm1', 'fyl2x', 'fyl2xp1', 'fptan', 'fpatan', 'fsin', 'fcos', 'fsincos'] as const
type Name = (typeof NAMES)[number]
const DYADIC: readonly Name[] = ['fyl2x', 'fyl2xp1', 'fpatan']

const cpu = new Cpu({ memory: new PhysicalMemory(2 ** 26), start: 'flat64' })

type Outcome = { readonly fsw: number; readonly ftw: number; readonly st: readonly [bigint, bigint] }
/** Runs one function with two registers in use. */
const run = (name: Name, st1: bigint, st0: bigint, fcw = 0x37f): Outcome => {
  init(cpu)
  cpu.x87.regs.fill(0)
  cpu.x87.fsw = 6 << 11
  setBits(cpu, 0, st0)
  setBits(cpu, 1, st1)
  cpu.x87.fcw = fcw
  x87calls[name](cpu)
  return { fsw: cpu.x87.fsw, ftw: cpu.x87.ftw, st: [bitsOf(cpu, 0), bitsOf(cpu, 1)] }
}

/** A double as extended precision. */
const x = (value: number): bigint => {
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, value)
  const bits = view.getBigUint64(0)
  const [sign, exponent, fraction] = [bits >> 63n, (bits >> 52n) & 0x7ffn, bits & 0xf_ffff_ffff_ffffn]
  if (exponent === 0n) return sign << 79n
  if (exponent === 0x7ffn) return (sign << 79n) | (0x7fffn << 64n) | (1n << 63n) | (fraction << 11n)
  return (sign << 79n) | ((exponent + 15360n) << 64n) | (1n << 63n) | (fraction << 11n)
}
const toNumber = (bits: bigint): number => {
  const v: Float = unpack(EXTENDED, bits)
  if (v.kind === 'zero') return v.sign ? -0 : 0
  if (v.kind === 'infinity') return v.sign ? -Infinity : Infinity
  if (v.kind !== 'finite') return Number.NaN
  return (v.sign ? -1 : 1) * Number(v.significand) * 2 ** v.exponent
}
const hex = (bits: bigint): string => bits.toString(16).padStart(20, '0')
/** Places between two numbers of one sign. */
const distance = (a: bigint, b: bigint): bigint => {
  const place = (bits: bigint) => ((bits & (0x7fffn << 64n)) >> 1n) | (bits & 0x7fff_ffff_ffff_ffffn)
  if (a >> 79n !== b >> 79n) return place(a) + place(b)
  const d = place(a) - place(b)
  return d < 0n ? -d : d
}

const [IE, ZE, PE] = [1, 4, 0x20] as const
const NAN = 0xffff_c000_0000_0000_0000n
const INF = 0x7fff_8000_0000_0000_0000n
const MINUS = 1n << 79n

t.test('special values as the tables of the SDM have them', async t => {
  const row = (name: Name, y: bigint, v: bigint, want: bigint, exceptions: number) => {
    const { fsw, st } = run(name, y, v)
    t.equal(hex(st[0]), hex(want), `${name} of ${toNumber(v)} and ${toNumber(y)}`)
    t.equal(fsw & 0x3f, exceptions, `${name} of ${toNumber(v)} and ${toNumber(y)}: exceptions`)
  }
  const NOTHING = 0n
  row('f2xm1', NOTHING, x(1), x(1), PE)
  row('f2xm1', NOTHING, x(-1), x(-0.5), PE)
  row('f2xm1', NOTHING, x(-0), x(-0), 0)
  for (const name of ['fsin', 'fcos', 'fptan', 'fsincos'] as const) row(name, NOTHING, INF | MINUS, NAN, IE)
  row('fsin', NOTHING, x(-0), x(-0), 0)
  row('fcos', NOTHING, x(-0), x(1), 0)
  row('fyl2x', x(3), x(8), x(9), PE)
  row('fyl2x', x(-2), x(1), x(-0), 0)
  row('fyl2x', x(2), x(0), INF | MINUS, ZE)
  row('fyl2x', x(-2), x(-0), INF, ZE)
  row('fyl2x', INF, x(0), INF | MINUS, 0)
  row('fyl2x', x(0), x(0), NAN, IE)
  row('fyl2x', x(1), x(-2), NAN, IE)
  row('fyl2x', INF, x(1), NAN, IE)
  row('fyl2x', INF, x(0.5), INF | MINUS, 0)
  row('fyl2x', x(-0), x(0.5), x(0), 0)
  row('fyl2x', x(0), INF, NAN, IE)
  row('fyl2x', x(-1), INF, INF | MINUS, 0)
  row('fyl2xp1', x(-1), x(0), x(-0), 0)
  row('fyl2xp1', INF, x(0), NAN, IE)
  row('fyl2xp1', INF, x(-0.25), INF | MINUS, 0)
  row('fpatan', x(0), x(1), x(0), 0)
  row('fpatan', x(-0), INF, x(-0), 0)
  const PI = 0x4000_c90f_daa2_2168_c235n
  row('fpatan', x(0), x(-1), PI, PE)
  row('fpatan', x(-0), x(-0), PI | MINUS, PE)
  row('fpatan', x(-1), x(0), (PI - (1n << 64n)) | MINUS, PE)
  row('fpatan', INF, INF, PI - (2n << 64n), PE)
  row('fpatan', INF | MINUS, INF | MINUS, 0xc000_96cb_e3f9_990e_91a8n, PE)
  row('fsin', NOTHING, 1n, 1n, 0x32)
})

t.test('from 2^63 on C2 is set and nothing else happens', async t => {
  for (const name of ['fsin', 'fcos', 'fptan', 'fsincos'] as const) {
    const { fsw, st } = run(name, x(5), x(-(2 ** 63)))
    t.equal(fsw & 0x47ff, 0x400, name)
    t.same(st, [x(-(2 ** 63)), x(5)])
    t.equal(run(name, x(5), x(2 ** 63 - 1024)).fsw & 0x400, 0)
  }
})

t.test('the stack: FPTAN and FSINCOS push, the functions of two pop, a full or empty one is a stack fault', async t => {
  t.same(run('fptan', x(9), x(0.5)).st[0], x(1))
  t.equal(run('fptan', x(9), x(0.5)).ftw, 0xe0)
  t.equal(run('fpatan', x(9), x(0.5)).ftw, 0x80)
  for (const name of NAMES) {
    init(cpu)
    x87calls[name](cpu)
    t.equal(cpu.x87.fsw & 0x241, 0x41, `${name} of nothing`)
  }
  for (const name of ['fptan', 'fsincos'] as const) {
    init(cpu)
    for (let n = 0; n < 8; n++) setBits(cpu, n, x(n))
    x87calls[name](cpu)
    t.equal(cpu.x87.fsw & 0x241, 0x241, `${name} on a full stack`)
    t.same([bitsOf(cpu, 0), bitsOf(cpu, 1)], [NAN, NAN])
  }
})

const anyNumber = fc.tuple(
  fc.boolean(),
  fc.integer({ min: -70, max: 62 }),
  fc.bigInt({ min: 0n, max: (1n << 63n) - 1n }),
)
const bits = ([sign, exponent, fraction]: readonly [boolean, number, bigint]): bigint =>
  (sign ? MINUS : 0n) | (BigInt(exponent + 16383) << 64n) | (1n << 63n) | fraction
const once = { seed: 1, numRuns: 300 }
const close = (seen: number, want: number): boolean => Math.abs(seen - want) <= Math.abs(want) * 1e-13 + 1e-30

t.test('identities, and the language’s own functions to the precision of a double', async t => {
  fc.assert(
    fc.property(anyNumber, anyNumber, (a, b) => {
      const [v, w] = [bits(a), bits(b)]
      const [n, m] = [toNumber(v), toNumber(w)]
      const { st } = run('fsincos', 0n, v)
      if (st[1] !== run('fsin', 0n, v).st[0] || st[0] !== run('fcos', 0n, v).st[0]) return false
      if (run('fsin', 0n, v ^ MINUS).st[0] !== (st[1] ^ MINUS)) return false
      const [s, c] = [toNumber(st[1]), toNumber(st[0])]
      if (!close(s * s + c * c, 1) || !close(toNumber(run('fptan', 0n, v).st[1]), s / c)) return false
      if (Math.abs(n) < 0.7 && !close(s, Math.sin(n))) return false
      if (!close(toNumber(run('fpatan', v, w).st[0]), Math.atan2(n, m))) return false
      if (Math.abs(n) < 1 && !close(toNumber(run('f2xm1', 0n, v).st[0]), Math.expm1(n * Math.LN2))) return false
      if (n > 0 && !(Math.abs(Math.log2(n)) < 1e-3) && !close(toNumber(run('fyl2x', w, v).st[0]), m * Math.log2(n)))
        return false
      return n <= -0.9 || close(toNumber(run('fyl2xp1', w, v).st[0]), m * (Math.log1p(n) / Math.LN2))
    }),
    once,
  )
  t.pass('300 pairs of numbers')
})

t.test('the logarithm undoes the exponential to the last bits', async t => {
  fc.assert(
    fc.property(anyNumber, a => {
      const v = bits([a[0], (a[1] % 60) - 62, a[2]])
      const back = run('fyl2xp1', x(1), run('f2xm1', 0n, v).st[0]).st[0]
      return distance(back, v) <= 2n
    }),
    once,
  )
  t.pass()
})

/** The program that asks the processor at hand, or why there is none. */
const folder = mkdtempSync(join(tmpdir(), 'x87-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const program = join(folder, 'x87functions')
const made =
  process.arch === 'x64' &&
  spawnSync('gcc', ['-O1', '-o', program, join(import.meta.dirname, 'testdata/x87functions.c')]).status === 0

t.test(
  'the processor at hand agrees within a unit in the last place',
  { skip: made ? false : 'no x86-64 processor, or no gcc' },
  async t => {
    const cases: [Name, bigint, bigint][] = []
    const special = [0, -0, 1, -1, 0.5, -0.25, Infinity, -Infinity].map(x)
    for (const name of NAMES) {
      for (const v of special) for (const w of DYADIC.includes(name) ? special : [x(1)]) cases.push([name, w, v])
      for (const [a, b] of fc.sample(fc.tuple(anyNumber, anyNumber), { seed: 7, numRuns: 400 })) {
        let v = bits(a)
        if (name === 'f2xm1') v = bits([a[0], -1 - (Math.abs(a[1]) % 60), a[2]])
        if (name === 'fyl2xp1') v = bits([a[0], -3 - (Math.abs(a[1]) % 60), a[2]])
        if (name === 'fyl2x') v &= ~MINUS
        cases.push([name, bits(b), v])
      }
    }
    const input = cases.map(([name, y, v]) => `${name} 37f ${hex(y)} ${hex(v)}`).join('\n')
    const output = execFileSync(program, { input, encoding: 'utf8' }).trim().split('\n')
    const wrong: string[] = []
    let equal = 0
    for (const [n, [name, y, v]] of cases.entries()) {
      const [fsw = '', ftw = '', st0 = '', st1 = ''] = output[n]!.split(' ')
      const seen = run(name, y, v)
      const near = [st0, st1].every((text, i) => distance(BigInt(`0x${text}`), seen.st[i]!) <= 1n)
      const flags = ((Number.parseInt(fsw, 16) ^ seen.fsw) & 0x3c3f) === 0
      if (seen.st.every((st, i) => st === BigInt(`0x${[st0, st1][i]}`))) equal++
      if (!near || !flags || Number.parseInt(ftw, 16) !== seen.ftw)
        wrong.push(
          `${name} ${hex(y)} ${hex(v)}: ${fsw} ${ftw} ${st0} ${st1}, here ${seen.fsw.toString(16)} ${seen.ftw.toString(16)} ${seen.st.map(hex).join(' ')}`,
        )
    }
    t.same(wrong.slice(0, 10), [])
    t.ok(equal > cases.length * 0.8, `${equal} of ${cases.length} agree to the last bit`)
  },
)
