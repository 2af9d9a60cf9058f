import fc from 'fast-check'
import t from 'tap'
import { encodeInto, type Operand } from '#x86'
import { Encoder } from './encoded.ts'
import { imm, mem, reg } from './places.ts'

const size = fc.constantFrom(1, 2, 4, 8)
const number = fc.integer({ min: 0, max: 15 })
const edges = [0n, 1n, 2n, 127n, 128n, 255n, 256n, 0x7fffn, 0x8000n, 0xffffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ff7fn]
const constant = fc.oneof(
  fc.constantFrom(...edges.flatMap(e => [e, -e])),
  fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }),
)
const disp = fc.oneof(
  fc.constantFrom(0n, 1n, -1n, 127n, 128n, -128n, -129n, 0x7fff_ffffn, -0x8000_0000n),
  fc.bigInt({ min: -0x8000_0000n, max: 0x7fff_ffffn }),
)
const memory = fc
  .tuple(fc.integer({ min: -1, max: 15 }), fc.integer({ min: -1, max: 15 }), fc.constantFrom(1, 2, 4, 8), disp)
  .map(
    ([base, index, scale, at]) =>
      (width: number) =>
        mem(width, base, at, index === 4 ? -1 : index, scale),
  )

/** As the emitter says them: mnemonic, operands of one width. */
const instruction: fc.Arbitrary<readonly [string, Operand[]]> = fc
  .tuple(size, number, number, memory, constant, fc.integer({ min: 0, max: 63 }))
  .chain(([s, a, b, m, c, count]) =>
    fc.oneof(
      fc
        .constantFrom('ADD', 'SUB', 'AND', 'OR', 'XOR', 'CMP', 'MOV')
        .chain(name =>
          fc.constantFrom<readonly [string, Operand[]]>(
            [name, [reg(a, s), reg(b, s)]],
            [name, [reg(a, s), m(s)]],
            [name, [m(s), reg(b, s)]],
            [name, [reg(a, s), imm(c, s)]],
            [name, [m(s), imm(c, s)]],
          ),
        ),
      fc.constantFrom<readonly [string, Operand[]]>(
        ['IMUL', [reg(a, 4), m(4), imm(c, 4)]],
        ['IMUL', [reg(a, 8), reg(b, 8), imm(c, 8)]],
        ['SHL', [reg(a, s), imm(BigInt(count), 1)]],
        ['SAR', [reg(a, s), reg(1, 1)]],
        ['LEA', [reg(a, 8), m(0)]],
        ['MOVZX', [reg(a, 4), m(1)]],
        ['MOVSX', [reg(a, 4), reg(b, 2)]],
        ['PUSH', [imm(c, 8)]],
        ['PUSH', [m(8)]],
        ['POP', [reg(a, 8)]],
        ['SETB', [reg(a, 1)]],
        ['TEST', [reg(a, s), reg(b, s)]],
        ['XCHG', [m(s), reg(b, s)]],
        ['RET', []],
      ),
    ),
  )

const attempt = (encode: (to: Uint8Array) => number): string => {
  const to = new Uint8Array(20)
  try {
    return [...to.subarray(3, 3 + encode(to))].map(byte => byte.toString(16).padStart(2, '0')).join(' ')
  } catch (error) {
    return `${error}`
  }
}

t.test('what it has learned is what the encoder says', t => {
  const known = new Encoder({ mode: 64 })
  let encoded = 0
  fc.assert(
    fc.property(instruction, ([mnemonic, operands]) => {
      const want = attempt(to => encodeInto(to, 3, mnemonic, operands, { mode: 64 }))
      const seen = attempt(to => known.into(to, 3, mnemonic, operands))
      if (!want.startsWith('EncodeError')) encoded++
      return seen === want || (want.startsWith('EncodeError') && seen.startsWith('EncodeError'))
    }),
    { numRuns: 20_000, seed: 1 },
  )
  t.ok(encoded > 10_000, `${encoded} encoded`)
  t.end()
})
