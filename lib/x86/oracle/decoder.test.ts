import t from 'tap'
import { againstOther, iced, ourReading } from './decoder.ts'
import { differences } from './decoder-differences.ts'

const skip = iced === undefined ? 'iced-x86 is not installed' : false

t.test('random bytes and bytes made from the table, against another decoder', { skip }, async t => {
  if (iced === undefined) return
  const { cases, same, invalid, explained, unexplained } = againstOther(iced, 60_000, 0x5eed)
  t.same([...unexplained], [], 'lengths, mnemonics and operands')
  const known = [...explained.values()].reduce((sum, count) => sum + count, 0)
  t.equal(same + known, cases)
  t.ok(known < cases / 200, `${known} of ${cases} differ for a reason`)
  t.ok(invalid < cases / 4, `${invalid} are no instruction`)
})

t.test('a difference is explained by what it is, not by where it is', async t => {
  const none = () => []
  const reading = (name: string, operands = '', length = 3) => ({ name, length, operands })
  const wide = reading('lar', 'r9, r10')
  t.ok(differences(reading('lar', 'r9, r10d'), wide, none), 'the width of a name')
  t.equal(differences(reading('lar', 'r9, r11d'), wide, none), undefined, 'another register')
  t.equal(differences(reading('lar', 'r9, r10d', 4), wide, none), undefined, 'another length')
  t.equal(differences(reading('add', 'r9, r10d'), reading('add', 'r9, r10'), none), undefined)
  t.equal(differences(reading('invalid'), reading('vaddph'), none), undefined)
  t.ok(differences(reading('invalid'), reading('vaddph'), () => ['AVX512_FP16']))
})

t.test('readings name what there is', async t => {
  const of = (hex: string, mode: 64 | 32 | 16) =>
    ourReading(Uint8Array.from(Buffer.from(hex.padEnd(32, '0'), 'hex')), 0, mode)
  t.same(of('f0488344850401', 64), { name: 'add', length: 7, operands: 'lock 8 ss:[rbp+rax*4+4], #1' })
  t.same(of('488d0510000000', 64), { name: 'lea', length: 7, operands: 'rax, 0 ds:[rip+17]' })
  t.same(of('75fe', 32), { name: 'jne', length: 2, operands: '@0' })
})
