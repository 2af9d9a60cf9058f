import fc from 'fast-check'
import t from 'tap'
import { repeatInBulk } from './bulk.ts'
import { Fault } from './fault.ts'
import type { Insn } from './insn.ts'
import { execute } from './interpret.ts'
import { CODE, longMode, type TestMachine } from './testdata/machine.ts'

/** Everything that a string instruction may change. */
const outcome = (m: TestMachine, insn: Insn, run: (insn: Insn) => void) => {
  let fault = 'none'
  try {
    run(insn)
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    fault = error.message
  }
  const pages = [0x5_0000n, 0x5_1000n, 0x5_2000n].map(at => {
    const host = m.stage.frame(at as never, 'read')
    return Buffer.from(m.memory.u8.subarray(host, host + 4096)).toString('hex')
  })
  return { fault, next: m.cpu.next, gpr: [...m.cpu.gpr], pages: pages.join() }
}

t.test('REP MOVS and STOS in bulk are as element by element, overlaps and faults included', async t => {
  const texts = ['rep movsb', 'rep movsw', 'rep movsd', 'rep movsq', 'rep stosb', 'rep stosd', 'rep stosq']
  const place = fc.integer({ min: 0x5_0000, max: 0x5_2fff })
  fc.assert(
    fc.property(
      fc.constantFrom(...texts),
      place,
      fc.integer({ min: -70, max: 5000 }),
      fc.nat(6000),
      (text, to, by, n) => {
        const machines = [0, 1].map(() => {
          const m = longMode()
          // The page behind the three is not there.
          m.put64(0x4000n + 8n * 0x53n, 0n)
          m.asm(CODE, text)
          for (let at = 0n; at < 0x3000n; at += 8n)
            m.put64(0x5_0000n + at, (at * 0x9e37_79b9_7f4a_7c15n) & 0xffff_ffff_ffff_ffffn)
          m.cpu.gpr[0] = 0x1122_3344_5566_7788n
          m.cpu.gpr[1] = BigInt(n)
          m.cpu.gpr[6] = BigInt(Math.min(Math.max(to - by, 0x5_0000), 0x5_2fff))
          m.cpu.gpr[7] = BigInt(to)
          return m
        })
        const [a, b] = [machines[0]!, machines[1]!]
        const insn = a.cpu.fetch.at(a.stage.frame(CODE as never, 'read') as never).at(0, 64)
        if (typeof insn === 'string') throw new Error(insn)
        let taken = false
        const seen = outcome(a, insn, i => {
          taken = true
          if (!repeatInBulk(a.cpu, i)) execute(a.cpu, i)
        })
        t.ok(taken)
        t.same(
          seen,
          outcome(b, insn, i => execute(b.cpu, i)),
        )
        for (const { cpu } of machines) cpu.close()
      },
    ),
    { numRuns: 60 },
  )
})
