import fc from 'fast-check'
import t from 'tap'
import { CODE, longMode } from '../testdata/machine.ts'
import { stats, type TierName } from './runtime.ts'

const DATA = 0x4_0000n

/** A loop over `body` with XMM0 to XMM3 and 64 bytes at RDI as given: what it leaves. */
const outcome = (tier: TierName, mxcsr: number, body: readonly string[], values: readonly bigint[]): string => {
  const m = longMode({ tier, onFault: () => 'stop' })
  m.cpu.cr4 |= 0x4_0600n
  m.cpu.xcr0 = 7n
  m.cpu.mxcsr = mxcsr
  for (const [k, value] of values.entries()) m.put64(DATA + BigInt(k * 8), value)
  const loads = [0, 1, 2, 3].map(k => `movups xmm${k}, [rdi+${k * 16}]`)
  const text = [
    'mov rdi, 0x40000',
    'mov ecx, 70',
    'xor eax, eax',
    ...loads,
    'again:',
    ...body.map((line, k) => line.replaceAll('LABEL', `l${k}`)),
    'dec ecx',
    'jne again',
    'hlt',
  ]
  m.asm(CODE, text.join('\n'))
  const { cpu } = m
  const exit = cpu.run(100_000)
  const host = m.stage.frame(DATA as never, 'read')
  const data = Buffer.from(m.memory.u8.subarray(host, host + 256)).toString('hex')
  const vectors = Buffer.from(cpu.vec).toString('hex')
  const seen = [exit.reason, cpu.rflags, cpu.instructions, cpu.mxcsr.toString(16), ...cpu.gpr, vectors, data].join(' ')
  cpu.close()
  return seen
}

const bits = (value: number): bigint => new BigUint64Array(new Float64Array([value]).buffer)[0]!
const pair = (a: number, b: number): bigint => new BigUint64Array(new Float32Array([a, b]).buffer)[0]!
const plain = [1, -1.5, 3, 2, 0.5, 1024, 123456, 1e10, -7e-5, 0.1, 255, -0, 0, 1e-30]
const odd = [1e308, 2e-308, 1e38, 1e-38, 5e-324, 1e-40, Number.POSITIVE_INFINITY, Number.NaN, 2147483647.5, -9.3e18]
const number = fc.oneof({ weight: 12, arbitrary: fc.constantFrom(...plain) }, fc.constantFrom(...odd))
const value = fc.oneof(
  number.map(bits),
  fc.tuple(number, number).map(([a, b]) => pair(a, b)),
)

const register = fc.nat(3).map(k => `xmm${k}`)
const memory = fc.nat(12).map(k => `[rdi+${k * 8}]`)
const aligned = fc.nat(3).map(k => `[rdi+${k * 16}]`)
const operation = fc.constantFrom('add', 'sub', 'mul', 'div', 'sqrt', 'min', 'max')
const wideRegister = fc.nat(3).map(k => `ymm${k}`)
const instruction = fc.oneof(
  fc
    .tuple(operation, fc.constantFrom('sd', 'ss', 'pd', 'ps'), register, register, register)
    .filter(([op, f]) => op !== 'sqrt' || f.startsWith('s'))
    .map(([op, f, a, b, c]) => `v${op}${f} ${a}, ${b}, ${c}`),
  fc
    .tuple(fc.constantFrom('vaddpd', 'vmulps', 'vdivpd', 'vmaxps', 'vhaddpd'), wideRegister, wideRegister, wideRegister)
    .map(([op, a, b, c]) => `${op} ${a}, ${b}, ${c}`),
  fc
    .tuple(fc.constantFrom('vinsertf128', 'vperm2f128'), wideRegister, wideRegister, register, fc.nat(3))
    .map(([op, a, b, c, imm]) => `${op} ${a}, ${b}, ${op === 'vinsertf128' ? c : c.replace('x', 'y')}, ${imm}`),
  fc.tuple(wideRegister, memory).map(([a, b]) => `vmovups ${a}, ${b}`),
  fc.tuple(wideRegister, memory).map(([a, b]) => `vmovups ${b}, ${a}`),
  fc
    .tuple(operation, fc.constantFrom('sd', 'ss'), register, fc.oneof(register, memory))
    .map(([op, f, a, b]) => `${op}${f} ${a}, ${b}`),
  fc
    .tuple(operation, fc.constantFrom('pd', 'ps'), register, fc.oneof(register, aligned))
    .map(([op, f, a, b]) => `${op}${f} ${a}, ${b}`),
  fc
    .tuple(fc.constantFrom('cmpsd', 'cmpss', 'cmppd', 'cmpps'), register, register, fc.nat(7))
    .map(([op, a, b, imm]) => `${op} ${a}, ${b}, ${imm}`),
  fc
    .tuple(fc.constantFrom('roundsd', 'roundss', 'roundpd', 'roundps'), register, register, fc.nat(11))
    .map(([op, a, b, imm]) => `${op} ${a}, ${b}, ${imm}`),
  fc
    .tuple(
      fc.constantFrom(
        'cvtss2sd',
        'cvtsd2ss',
        'cvtdq2ps',
        'cvtdq2pd',
        'cvtps2pd',
        'cvtpd2ps',
        'cvttps2dq',
        'cvtps2dq',
        'cvttpd2dq',
        'cvtpd2dq',
        'haddpd',
        'haddps',
        'hsubpd',
        'hsubps',
        'movapd',
        'movsd',
        'movss',
      ),
      register,
      register,
    )
    .map(([op, a, b]) => `${op} ${a}, ${b}`),
  fc
    .tuple(fc.constantFrom('pshufd', 'shufps', 'shufpd'), register, register, fc.nat(255))
    .map(([op, a, b, imm]) => `${op} ${a}, ${b}, ${op === 'shufpd' ? imm & 3 : imm}`),
  fc
    .tuple(fc.constantFrom('unpcklps', 'unpcklpd', 'xorps', 'andpd'), register, register)
    .map(([op, a, b]) => `${op} ${a}, ${b}`),
  fc
    .tuple(fc.constantFrom('cvttsd2si', 'cvtsd2si', 'cvttss2si', 'cvtss2si'), fc.constantFrom('eax', 'rax'), register)
    .map(([op, a, b]) => `${op} ${a}, ${b}`),
  fc
    .tuple(fc.constantFrom('cvtsi2sd', 'cvtsi2ss'), register, fc.constantFrom('eax', 'rax'))
    .map(([op, a, b]) => `${op} ${a}, ${b}`),
  fc
    .tuple(fc.constantFrom('comisd', 'ucomisd', 'comiss', 'ucomiss'), register, register)
    .map(([op, a, b]) => `${op} ${a}, ${b}\nadc rax, 0`),
  fc
    .tuple(fc.constantFrom('movsd', 'movss', 'movq', 'movups'), register, memory)
    .map(([op, a, b]) => `${op} ${a}, ${b}`),
  fc
    .tuple(fc.constantFrom('movsd', 'movss', 'movq', 'movups'), memory, register)
    .map(([op, a, b]) => `${op} ${a}, ${b}`),
  fc.constant('test ecx, 3\nje LABEL\nmovaps xmm0, xmm1\nLABEL:'),
)

t.test('floating point, compiled, is as interpreted, with every flag of MXCSR', async t => {
  fc.assert(
    fc.property(
      fc.array(instruction, { minLength: 1, maxLength: 8 }),
      fc.array(value, { minLength: 14, maxLength: 14 }),
      fc.boolean(),
      (body, values, isExact) => {
        // Something was inexact before, or not.
        const mxcsr = isExact ? 0x1f80 : 0x1fa0
        const wanted = outcome('interpret', mxcsr, body, values)
        for (const tier of ['auto', 'lockstep'] as const)
          t.equal(outcome(tier, mxcsr, body, values), wanted, body.join('; '))
      },
    ),
    { numRuns: 15 },
  )
})

t.test('while every result is exact, compiled code goes on and MXCSR stays clear', async t => {
  const body = [
    'addsd xmm0, xmm1',
    'mulsd xmm2, xmm3',
    'subpd xmm0, xmm1',
    'divsd xmm2, xmm3',
    'cvtsi2sd xmm4, ecx',
    'sqrtsd xmm5, xmm3',
  ]
  const values = [3, 7, 5, 0.25, 12, 6, 4, 1, 0, 0, 0, 0, 0, 0].map(bits)
  const before = stats.retired
  const seen = outcome('auto', 0x1f80, body, values)
  t.equal(seen, outcome('interpret', 0x1f80, body, values))
  t.equal(seen.split(' ')[3], '1f80')
  t.ok(stats.retired - before > 60, `in compiled code: ${stats.retired - before}`)
})
