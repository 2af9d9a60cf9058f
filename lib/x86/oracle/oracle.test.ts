import t from 'tap'
import { print } from '../print.ts'
import { Chance } from './chance.ts'
import { compare } from './compare.ts'
import { CODE, program } from './generate.ts'
import { Ours } from './ours.ts'
import { openReal } from './real.ts'

const real = openReal()

const listing = ({ insns, ip, mode }: ReturnType<typeof program>): string => {
  let at = CODE.at + ip
  const lines = insns.map(insn => {
    const line = `${at.toString(16)} ${print(insn, BigInt(at))}`
    at += insn.length
    return line
  })
  return `${mode}-bit: ${lines.join('; ')}`
}

t.test(
  'random programs do here what they do on the processor of this machine',
  { skip: typeof real === 'string' ? real : false },
  async t => {
    if (typeof real === 'string') return
    t.teardown(() => real.close())
    const ours = new Ours()
    for (let batch = 0; batch < 2; batch++) {
      const programs = Array.from({ length: 400 }, (_, n) => {
        const chance = new Chance(0x5eedn + BigInt(batch * 400 + n))
        return program(chance, n % 4 === 0 ? 32 : 64)
      })
      const answers = real.ask(programs)
      for (const [n, asked] of programs.entries()) {
        const differences = compare(asked, ours.run(asked), answers[n]!)
        if (differences.length > 0) t.fail(listing(asked), { differences })
      }
    }
    t.pass()
  },
)

t.test('the same seed gives the same program', t => {
  const one = () => program(new Chance(7n), 64)
  t.same(one(), one())
  t.notSame(one().bytes, program(new Chance(8n), 64).bytes)
  t.end()
})

t.test('the tiers agree on random programs', t => {
  const [interpreted, compiled] = [new Ours(), new Ours('compile')]
  for (let n = 0; n < 60; n++) {
    const asked = program(new Chance(0xabcn + BigInt(n)), n % 4 === 0 ? 32 : 64)
    const [a, b] = [interpreted.run(asked), compiled.run(asked)]
    if (compare(asked, b, a).length > 0) t.fail(listing(asked), { differences: compare(asked, b, a) })
  }
  t.pass()
  t.end()
})
