import fc from 'fast-check'
import t from 'tap'
import { CODE, longMode } from '../testdata/machine.ts'

/** Numbers of any length, those with long runs of ones and zeros among them. */
const wide = fc
  .tuple(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), fc.nat(63), fc.constantFrom('up', 'down', 'ones'))
  .map(([value, by, how]) => {
    if (how === 'up') return BigInt.asUintN(64, value << BigInt(by))
    return how === 'down' ? value >> BigInt(by) : BigInt.asUintN(64, -1n << BigInt(by)) ^ (value & 3n)
  })

t.test('DIV of 128 bits by 64, compiled, is the quotient and the remainder', async t => {
  // One program for all: it reads its numbers from memory.
  const text =
    'mov edi, 0x40000\nmov ecx, 100\nagain: mov rax, [rdi]\nmov rdx, [rdi+8]\ndiv qword ptr [rdi+16]\n' +
    'mov [rdi], rax\nmov [rdi+8], rdx\nadd rdi, 24\ndec ecx\njne again\nhlt'
  const rows = fc.sample(fc.tuple(wide, wide, wide), 3000)
  let wrong = 0
  for (let from = 0; from < rows.length; from += 100) {
    const m = longMode({ tier: 'auto', onFault: () => 'stop' })
    m.asm(CODE, text)
    const some = rows
      .slice(from, from + 100)
      .map(([low, high, by]) => ({ low, high: by === 0n ? 0n : high % by, by: by || 1n }))
    for (const [k, { low, high, by }] of some.entries()) m.put64(0x4_0000n + BigInt(k * 24), low, high, by)
    m.cpu.run(100_000)
    const page = m.stage.frame(0x4_0000n as never, 'read')
    for (const [k, { low, high, by }] of some.entries()) {
      const host = page + k * 24
      const dividend = (high << 64n) | low
      if (m.memory.read(host, 8) !== dividend / by || m.memory.read(host + 8, 8) !== dividend % by) wrong++
    }
    m.cpu.close()
  }
  t.equal(wrong, 0)
})
