import fc from 'fast-check'
import t from 'tap'
import { buildGuest, disassemble, type GuestBuilder, TYPES, type TypeName } from './index.ts'
import { Machine, SHARED } from './testdata/machine.ts'

const listing = (guest: (g: GuestBuilder) => void): string => {
  const image = buildGuest(guest, { vcpus: 1, sharedBit: SHARED })
  const code = image.segments.find(s => s.name === 'code')!
  return disassemble(code.bytes, code.gva, code.gva, 60)
    .map(l => l.text)
    .join('; ')
}

/** Tells which case each of `seen` takes: the guest's answer, and the one that JavaScript gives. */
const answers = (name: TypeName, cases: readonly (readonly bigint[])[], seen: readonly bigint[]) => {
  const type = TYPES[name]
  const machine = new Machine(g => {
    const at = g.memory('seen', 8 * seen.length)
    for (const [i, value] of seen.entries()) g.store(at + BigInt(8 * i), type, value)
    const out = g.var(TYPES.u64, 0n)
    g.repeat(BigInt(seen.length), i => {
      g.switch(
        g.load(i.shl(3n).add(at), type),
        cases.map((values, n) => [values, () => out.set(BigInt(n))] as const),
        () => out.set(99n),
      )
      g.sync(out)
    })
    g.done()
  })
  try {
    const got = machine.all().flatMap(said => (said.name === 'UCALL_SYNC' ? [said.args[1]] : []))
    const want = seen.map(value => {
      const n = cases.findIndex(values => values.includes(value))
      return n < 0 ? 99n : BigInt(n)
    })
    return { got, want }
  } finally {
    machine.close()
  }
}

t.test('a switch goes where JavaScript goes, by a table or without', t => {
  for (const name of Object.keys(TYPES) as TypeName[]) {
    const { size, signed } = TYPES[name]
    const bits = BigInt(size * 8)
    const [least, most] = signed ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n]
    const inside = (value: bigint) => (value < least ? least : value > most ? most : value)
    const near = fc.constantFrom(least, 0n, most - 30n).chain(base =>
      fc.record({
        cases: fc.array(
          fc.array(
            fc.bigInt({ min: -10n, max: 30n }).map(d => inside(base + d)),
            { minLength: 1, maxLength: 3 },
          ),
          { minLength: 1, maxLength: 12 },
        ),
        seen: fc.array(
          fc.oneof(
            fc.bigInt({ min: -12n, max: 32n }).map(d => inside(base + d)),
            fc.constantFrom(least, most, 0n),
          ),
          { minLength: 1, maxLength: 30 },
        ),
      }),
    )
    fc.assert(
      fc.property(near, ({ cases, seen }) => {
        const { got, want } = answers(name, cases, seen)
        t.same(got, want)
      }),
      { numRuns: 12, seed: 7 },
    )
  }
  t.end()
})

t.test('many values close together are a table of addresses, few or scattered ones are compared', t => {
  const by = (values: readonly bigint[]) => (g: GuestBuilder) => {
    g.switch(
      g.load(0x50_0000n, TYPES.u64),
      values.map(value => [value, () => g.sync(value)] as const),
    )
    g.done()
  }
  t.match(listing(by([3n, 4n, 5n, 6n, 8n])), /cmp \w+, 0x5; ja .*mov r11d, dword ptr \[\w+\*4\+0x40\w+\]; jmp r11;/)
  t.notMatch(listing(by([1n, 2n, 3n])), /jmp r11/)
  t.notMatch(listing(by([1n, 100n, 1000n, 10_000n, 100_000n])), /jmp r11/)
  t.end()
})
