import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { decode } from './decode.ts'
import type { Insn, Mode } from './insn.ts'

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))

const insn = (hex: string, mode: Mode = 64): Insn => {
  const decoded = decode(bytesOf(hex), 0, mode)
  if (typeof decoded === 'string') throw new Error(`${hex} is ${decoded}`)
  return decoded
}

t.test('operands as the instruction uses them', async t => {
  const add = insn('48 83 c0 ff')
  t.match(add, { row: { mnemonic: 'ADD', semantics: 'add' }, operandSize: 8, length: 4 })
  t.same(add.operands, [
    { kind: 'reg', file: 'gpr', index: 0, size: 8 },
    { kind: 'imm', size: 8, value: 0xffff_ffff_ffff_ffffn },
  ])
  t.same(insn('64 89 44 8d f8').operands[0], {
    kind: 'mem',
    size: 4,
    seg: 4,
    base: 5,
    index: 1,
    scale: 4,
    disp: -8n,
    ripRelative: false,
    addressSize: 8,
  })
  t.match(insn('8b 05 10 00 00 00').operands[1], { ripRelative: true, disp: 0x10n, base: -1 })
  t.match(insn('b4 01').operands[0], { file: 'high', index: 0 })
  t.match(insn('40 b4 01').operands[0], { file: 'gpr', index: 4 })
  t.match(insn('75 fe'), { cc: 5, row: { semantics: 'jcc' }, operands: [{ kind: 'rel', disp: -2n }] })
  t.match(insn('e8 00 00 00 00'), { operandSize: 8 })
  t.match(insn('66 e8 00 00 00 00'), { operandSize: 8, length: 6 }, 'near branches have 64 bits, 66 or not')
  t.match(insn('ea 78 56 34 12 08 00', 32).operands[0], { kind: 'far', selector: 8, offset: 0x1234_5678n })
  t.match(insn('8b 46 fe', 16).operands[1], { seg: 2, base: 5, index: -1, disp: -2n, addressSize: 2 })
  t.match(insn('f3 48 a5'), {
    rep: 'rep',
    operands: [
      { seg: 0, base: 7, size: 8 },
      { seg: 3, base: 6, size: 8 },
    ],
  })
  t.match(insn('64 d7').operands[0], { seg: 4, base: 3, size: 1 })
  t.match(insn('c5 ed fe 0a'), {
    vectorLength: 32,
    row: { mnemonic: 'VPADDD' },
    operands: [{ index: 1 }, { index: 2 }, { size: 32 }],
  })
})

t.test('opcodes that prefixes tell apart', async t => {
  const names: readonly (readonly [string, string])[] = [
    ['90', 'NOP'],
    ['41 90', 'XCHG'],
    ['f3 90', 'PAUSE'],
    ['f3 41 90', 'XCHG'],
    ['0f bc c1', 'BSF'],
    ['f3 0f bc c1', 'TZCNT'],
    ['66 f3 0f b8 c1', 'POPCNT'],
    ['0f 38 f0 01', 'MOVBE'],
    ['66 f2 0f 38 f1 c1', 'CRC32'],
    ['66 0f 01 cc', 'TDCALL'],
    ['66 0f 01 cd', 'SEAMRET'],
    ['66 0f 01 ce', 'SEAMOPS'],
    ['66 0f 01 cf', 'SEAMCALL'],
    ['0f 01 c1', 'VMCALL'],
    ['f3 0f 1e fa', 'ENDBR64'],
    ['f3 0f 1e c8', 'RESERVEDNOP'],
    ['f2 0f 10 c1', 'MOVSD'],
    ['48 0f c7 08', 'CMPXCHG16B'],
  ]
  for (const [hex, name] of names) t.equal(insn(hex).row.mnemonic, name, hex)
})

t.test('W of VEX says nothing outside 64-bit mode where it is about general registers', async t => {
  t.equal(insn('c4 e3 f9 61 c1 00', 64).row.mnemonic, 'VPCMPESTRI64')
  t.equal(insn('c4 e3 f9 61 c1 00', 32).row.mnemonic, 'VPCMPESTRI')
  t.equal(insn('c4 e3 f9 60 c1 00', 16).row.mnemonic, 'VPCMPESTRM')
})

t.test('#UD, more bytes needed, and too long are three things', async t => {
  const at = (hex: string, mode: Mode = 64) => decode(bytesOf(hex), 0, mode)
  t.equal(at('06'), 'invalid', 'PUSH ES in 64-bit mode')
  t.equal(at('f0 01 c0'), 'invalid', 'LOCK with a register destination')
  t.equal(at('f0 8b 00'), 'invalid', 'LOCK with an instruction that has none')
  t.equal(at('8e c8'), 'invalid', 'MOV to CS')
  t.equal(at('0f 20 c8'), 'invalid', 'there is no CR1')
  t.equal(at('66 c5 f9 6f c1'), 'invalid', 'a prefix before VEX')
  t.equal(at('c5 e9 6f c1'), 'invalid', 'VEX.vvvv that is not used must be 1111')
  t.equal(at('c4 e2 71 92 04 09'), 'invalid', 'a gather whose mask is its index')
  t.equal(at('48 8b'), 'truncated')
  t.equal(at('48 b8 00 00 00 00'), 'truncated')
  t.equal(at(''), 'truncated')
  t.match(at('66 66 66 66 66 66 66 66 66 66 66 66 66 01 c0'), { length: 15 })
  t.equal(at('66 66 66 66 66 66 66 66 66 66 66 66 66 66 01 c0'), 'too long')
  t.equal(at('66 '.repeat(16)), 'too long')
  t.equal(typeof decode(bytesOf('00 00 90'), 2, 64), 'object', 'decoding starts where it is told to')
})

const vectors = process.env['SEAMLESS_VECTORS'] ?? fileURLToPath(new URL('../../../shared/vectors', import.meta.url))

for (const mode of [64, 32] as const) {
  const file = `${vectors}/decode${mode}.jsonl.gz`
  t.test(`lengths and names of decode${mode}`, { skip: existsSync(file) ? false : 'no test vectors here' }, async t => {
    const lines = gunzipSync(readFileSync(file)).toString().trim().split('\n').slice(1)
    const wrong: string[] = []
    for (const line of lines) {
      const { b, len, op } = JSON.parse(line) as { b: string; len: number; op: string }
      const decoded = decode(bytesOf(b), 0, mode)
      const isRefused = typeof decoded === 'string' || decoded.row.semantics === 'ud'
      if ((isRefused ? 0 : decoded.length) !== len) wrong.push(`${b}: length ${len}, ${op}`)
      else if (!isRefused && decoded.row.mnemonic.toLowerCase() !== op)
        wrong.push(`${b}: ${op}, not ${decoded.row.mnemonic}`)
    }
    t.same(wrong, [])
    t.ok(lines.length > 10_000)
  })
}
