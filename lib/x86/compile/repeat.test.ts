import fc from 'fast-check'
import t from 'tap'
import { CODE, longMode } from '../testdata/machine.ts'
import type { TierName } from './runtime.ts'

const TIERS: readonly TierName[] = ['interpret', 'compile', 'auto', 'lockstep']
const DATA = 0x4_0000
const SIZE = 0x3000

const scattered = (at: bigint): bigint => (at * 0x9e37_79b9_7f4a_7c15n) & 0xffff_ffff_ffff_ffffn

/** What a program leaves in the registers and in three pages of data, behind which nothing is mapped. */
const outcome = (tier: TierName, text: string, data = scattered): string => {
  const m = longMode({ tier, onFault: () => 'stop' })
  m.put64(0x4000n + 8n * 0x43n, 0n)
  m.asm(CODE, text)
  for (let at = 0n; at < SIZE; at += 8n) m.put64(BigInt(DATA) + at, data(at))
  const exit = m.cpu.run(10_000)
  const pages = [0n, 0x1000n, 0x2000n].map(at => {
    const host = m.stage.frame((BigInt(DATA) + at) as never, 'read')
    return Buffer.from(m.memory.u8.subarray(host, host + 4096)).toString('hex')
  })
  const { cpu } = m
  const seen = [exit.reason, exit.qualification, cpu.rip, cpu.rflags, cpu.instructions, ...cpu.gpr].join(' ')
  cpu.close()
  return `${seen}\n${pages.join('\n')}`
}

const operation = fc.constantFrom('movsb', 'movsw', 'movsd', 'movsq', 'stosb', 'stosw', 'stosd', 'stosq')
const count = fc.oneof(fc.nat(70), fc.nat(300), fc.nat(5000))
const place = fc.integer({ min: DATA, max: DATA + SIZE - 1 })

t.test('REP MOVS and STOS, compiled, are as interpreted, overlaps and faults included', async t => {
  fc.assert(
    fc.property(
      operation,
      count,
      place,
      fc.oneof(fc.integer({ min: -70, max: 70 }), fc.integer({ min: -5000, max: 5000 })),
      fc.constantFrom(0x1122_3344_5566_7788n, 0x0101_0101_0101_0101n, 0n),
      fc.boolean(),
      (op, n, to, by, rax, narrow) => {
        const from = Math.min(Math.max(to - by, DATA), DATA + SIZE - 1)
        // Hot, so that every tier compiles it; the copies that count come last.
        const text = [
          `mov rax, ${rax}`,
          'mov edx, 70',
          'warm: xor ecx, ecx',
          'jmp go',
          'back: dec edx',
          'jne warm',
          `mov rcx, ${narrow ? n + 2 ** 32 : n}`,
          `mov rsi, ${from}`,
          `mov rdi, ${to}`,
          `go: ${narrow ? '.byte 0x67\n' : ''}rep ${op}`,
          'cmp edx, 1',
          'jge back',
          'hlt',
        ]
        const wanted = outcome('interpret', text.join('\n'))
        for (const tier of TIERS.slice(1)) t.equal(outcome(tier, text.join('\n')), wanted, tier)
      },
    ),
    { numRuns: 20 },
  )
})

t.test('REP CMPS and SCAS, compiled, are as interpreted, faults and flags included', async t => {
  fc.assert(
    fc.property(
      fc.constantFrom('cmpsb', 'cmpsw', 'cmpsd', 'cmpsq', 'scasb', 'scasw', 'scasd', 'scasq'),
      fc.boolean(),
      count,
      place,
      place,
      fc.integer({ min: 0, max: SIZE - 8 }),
      fc.constantFrom(0n, 0x0101_0101_0101_0101n),
      fc.boolean(),
      (op, equal, n, to, from, odd, rax, narrow) => {
        // All alike, but for one place.
        const data = (at: bigint): bigint => (at >> 3n === BigInt(odd >> 3) ? 0x0100_00ff_0000_0100n : 0n)
        const text = [
          'mov edx, 70',
          'warm: xor ecx, ecx',
          'jmp go',
          'back: dec edx',
          'jne warm',
          `mov rax, ${rax}`,
          `mov rcx, ${narrow ? n + 2 ** 32 : n}`,
          `mov rsi, ${from}`,
          `mov rdi, ${to}`,
          `cmp edx, ${n & 3}`,
          `go: ${narrow ? '.byte 0x67\n' : ''}${equal ? 'repe' : 'repne'} ${op}`,
          'pushfq',
          'pop rbx',
          'cmp edx, 1',
          'jge back',
          'hlt',
        ].join('\n')
        const wanted = outcome('interpret', text, data)
        for (const tier of TIERS.slice(1)) t.equal(outcome(tier, text, data), wanted, tier)
      },
    ),
    { numRuns: 20 },
  )
})

t.test('counts of more bytes than 32 bits count go on to where nothing is mapped', async t => {
  for (const operation of ['rep stosq', 'rep stosb', 'rep movsw', 'repe cmpsd', 'repne scasq'])
    for (const count of ['0x20000000', '0x100000001', '0x2000000000000000', '0x8000000000000000']) {
      const text = `mov rcx, ${count}\nmov edi, ${DATA + 0x800}\nmov esi, ${DATA + 0x1000}\nmov rax, 0x123456789abcdef\n${operation}\nhlt`
      const same = () => 0x5555_5555_5555_5555n
      const want = outcome('interpret', text, same)
      for (const tier of ['compile', 'lockstep', 'coldstep'] as const)
        t.equal(outcome(tier, text, same), want, `${operation} ${count} ${tier}`)
    }
})
