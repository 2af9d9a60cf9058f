import t from 'tap'
import { stats } from '../compile/runtime.ts'
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
    const ours = new Ours('auto')
    for (const [batch, turns] of [0, 0, 100].entries()) {
      const programs = Array.from({ length: turns === 0 ? 400 : 100 }, (_, n) => {
        const chance = new Chance(0x5eedn + BigInt(batch * 400 + n))
        return program(chance, n % 4 === 0 ? 32 : 64, 4, undefined, turns)
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
  const interpreted = new Ours('interpret')
  for (const [tier, count, turns] of [
    ['compile', 60, 0],
    ['lockstep', 30, 4],
    ['auto', 60, 100],
    ['cold', 60, 4],
  ] as const) {
    const other = new Ours(tier)
    for (let n = 0; n < count; n++) {
      const asked = program(new Chance(0xabcn + BigInt(n)), n % 4 === 0 ? 32 : 64, 4, undefined, turns)
      const differences = compare(asked, other.run(asked), interpreted.run(asked))
      if (differences.length > 0) t.fail(`${tier} ${listing(asked)}`, { differences })
    }
  }
  t.pass()
  t.end()
})

/** What the compiler has of its own beside integers: strings, vectors, division of 128 bits. */
const SPECIAL =
  /^(MOVS|STOS|LODS|SCAS|CMPS|I?DIV|I?MUL|MULX|V?P|V?MOV|V?(ADD|SUB|MUL|DIV|SQRT|CVT|CMP|UNPCK|SHUF|BLEND)|CRC32)/

t.test('loops of what is compiled in a way of its own', t => {
  const [interpreted, hot] = [new Ours('interpret'), new Ours('auto')]
  const before = stats.retired
  for (let n = 0; n < 100; n++) {
    const asked = program(new Chance(0xdefn + BigInt(n)), n % 4 === 0 ? 32 : 64, 3, SPECIAL, 100)
    const differences = compare(asked, hot.run(asked), interpreted.run(asked))
    if (differences.length > 0) t.fail(listing(asked), { differences })
  }
  t.ok(stats.retired - before > 1000, 'in compiled code')
  t.end()
})
