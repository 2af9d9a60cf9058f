import fc from 'fast-check'
import t from 'tap'
import { buildGuest, disassemble, type GuestBuilder, TYPES, type TypeName } from './index.ts'
import { Machine, SHARED } from './testdata/machine.ts'

/** Numbers at the edges of a type, and others. */
const numbersOf = (name: TypeName): fc.Arbitrary<bigint> => {
  const { size, signed } = TYPES[name]
  const bits = BigInt(size * 8)
  const [least, most] = signed ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n]
  return fc.oneof(
    fc.bigInt(least, most),
    fc.constantFrom(least, least + 1n, most, most - 1n, most / 2n, most / 2n + 1n, 0n, 1n),
    fc.bigInt(least < -300n ? -300n : least, most > 300n ? 300n : most),
  )
}

for (const name of Object.keys(TYPES) as TypeName[])
  t.test(`division of ${name} by constants`, async t => {
    const type = TYPES[name]
    const number = numbersOf(name)
    const isTrap = (a: bigint, c: bigint) => c === 0n || (c === -1n && a <= -(1n << 7n))
    const one = fc.tuple(number, number).filter(([a, c]) => !isTrap(a, c))
    const bits = (value: bigint) => BigInt.asUintN(type.size * 8, value)
    fc.assert(
      fc.property(fc.array(one, { minLength: 20, maxLength: 20 }), pairs => {
        const machine = new Machine(g => {
          const at = g.memory('dividends', 8 * pairs.length)
          for (const [i, [a]] of pairs.entries()) g.store(at + BigInt(8 * i), type, a)
          const load = (i: number) => g.load(at + BigInt(8 * i), type)
          g.sync(...pairs.map(([, c], i) => load(i).div(c)), ...pairs.map(([, c], i) => load(i).mod(c)))
          g.done()
        })
        try {
          machine.next()
          const from = machine.image.ucall.pool + 24n
          const seen = Array.from({ length: 40 }, (_, i) => bits(machine.read(from + BigInt(8 * i), 8)))
          t.same(seen, [...pairs.map(([a, c]) => bits(a / c)), ...pairs.map(([a, c]) => bits(a % c))])
        } finally {
          machine.close()
        }
      }),
      { numRuns: 25 },
    )
  })

t.test('no DIV where the divisor is known', async t => {
  const listing = (guest: (g: GuestBuilder) => void): string => {
    const image = buildGuest(guest, { vcpus: 1, sharedBit: SHARED })
    const code = image.segments.find(s => s.name === 'code')!
    return disassemble(code.bytes, code.gva, code.gva, 30)
      .map(l => l.text)
      .join('; ')
  }
  for (const name of ['u8', 'u16', 'u32', 'u64', 'i8', 'i16', 'i32', 'i64'] as const)
    t.notMatch(
      listing(g => g.sync(g.load(0x50_0000n, TYPES[name]).div(7))),
      /\bi?div\b/,
      name,
    )
  t.match(
    listing(g => g.sync(g.load(0x50_0000n, TYPES.u64).div(g.load(0x50_0008n, TYPES.u64)))),
    /\bdiv\b/,
  )
})
