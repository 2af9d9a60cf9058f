import t from 'tap'
import { disassemble } from '#guest'
import { assemble } from '#x86'
import { accessesOf } from './operand.ts'

/** RAX is 0x1000, RCX 100, RSP 0x8000, RSI 0x2000, RDI 0x3000; each other one is its number. */
const gpr = Array.from({ length: 16 }, (_, n) => BigInt(n))
for (const [n, value] of [
  [0, 0x1000n],
  [1, 100n],
  [4, 0x8000n],
  [6, 0x2000n],
  [7, 0x3000n],
] as const)
  gpr[n] = value

const ROWS: readonly (readonly [string, ...(readonly [number, number])[]])[] = [
  ['mov rdx, [rax+rcx*4+8]', [0x1198, 8]],
  ['mov byte ptr [rax-1], 2', [0xfff, 1]],
  ['lea rdx, [rax]'],
  ['prefetcht0 [rax]'],
  ['invlpg [rax]'],
  ['vmovdqu ymm0, [rsi]', [0x2000, 32]],
  ['fxsave [rax]', [0x1000, 512]],
  ['xsave [rdi+0x40]', [0x3040, 832]],
  ['fnsave [rax]', [0x1000, 108]],
  ['fldenv [rax]', [0x1000, 28]],
  ['bts qword ptr [rax], rcx', [0x1008, 8]],
  ['lock btr dword ptr [rax], ecx', [0x100c, 4]],
  ['bt qword ptr [rax], 5', [0x1000, 8]],
  ['push rdx', [0x7ff8, 8]],
  ['push qword ptr [rax]', [0x1000, 8], [0x7ff8, 8]],
  ['pop rdx', [0x8000, 8]],
  ['ret', [0x8000, 8]],
  ['movsb', [0x2000, 1], [0x3000, 1]],
  ['cmpxchg16b [rdi]', [0x3000, 16]],
]

for (const [text, ...want] of ROWS)
  t.test(text, async t => {
    const line = disassemble(assemble(text, { mode: 64, at: 0n }).bytes, 0n, 0n, 1)[0]!
    t.same(
      accessesOf(line, { gpr }).map(({ at, size }) => [Number(at), size]),
      want,
    )
  })

t.test('a bit before the operand', async t => {
  const line = disassemble(assemble('btc qword ptr [rax], rdx', { mode: 64, at: 0n }).bytes, 0n, 0n, 1)[0]!
  const before = gpr.with(2, BigInt.asUintN(64, -1n))
  t.same(accessesOf(line, { gpr: before }), [{ at: 0xff8n, size: 8 }])
})
