/** What the host's words do, for the unit tests: some of these fail on purpose. */
import { fixture, test } from '#harness'

test('holds', t => {
  t.assert.eq(2n + 2n, 4n)
  t.expect.lt(1, 2)
  t.assert.match({ port: 0x32, data: 1n }, { port: 0x32 })
  t.log('said')
})

test('assert_stops', t => {
  const sum = 2n + 2n
  t.assert.eq(sum, 5n, 'arithmetic')
  t.log('not reached')
})

test('expect_goes_on', t => {
  const flags = 0b1010n
  t.expect.bits(flags, 0b110n, 0b100n)
  t.expect.ge(
    1, // a comment, with a comma
    [2, 3].length,
  )
  t.log('reached')
})

test('match_shows_fields', t => {
  t.assert.match({ port: 0x31, direction: 'in', size: 2 }, { port: 0x32, direction: 'in' })
})

test('is_skipped', t => {
  t.require(1 + 1 === 3, 'arithmetic is not that kind')
})

test('is_known_to_fail', { xfail: 'known' }, t => {
  t.assert.eq(1, 2)
})

test('passes_although_known_to_fail', { xfail: 'known' }, () => {})

test('throws', () => {
  throw new TypeError('a fault of the test')
})

test('a_caught_failure_still_fails', t => {
  try {
    t.assert.eq(1, 2)
  } catch {
    t.log('caught')
  }
})

const steps: string[] = []

const counted = fixture('counted', {
  variants: { one: { n: 1 }, two: { n: 2 } },
  setup(t, { n }) {
    steps.push(`setup ${n}`)
    if (t.name.includes('broken')) t.assert.eq('setup', 'broken')
    return { half: n / 2 }
  },
  teardown(t, self, { n }) {
    t.log(`${steps.splice(0).join(', ')}, teardown ${n} ${self.half}`)
  },
})

counted.test('gets_what_setup_made', { tags: ['fast'], timeout: 500 }, (t, self, variant) => {
  t.assert.eq(self.half * 2, variant.n)
})

counted.test('is_torn_down_after_failure', { xfail: { two: 'two is odd' } }, (t, _, { n }) => {
  t.assert.eq(n, 0)
})

counted.test('broken_setup', t => {
  t.log('not reached')
})

test('shows_both_sides', t => {
  const seen = Uint8Array.from({ length: 40 }, (_, i) => (i === 18 ? 0xff : i))
  t.expect.bytes(
    seen,
    seen.map((_, i) => i),
    'a counting page',
  )
  t.expect.bytes(Uint8Array.of(1, 2), [1, 3])
  t.expect.inRange(seen.length, 1, 39)
  t.expect.inRange(5n, 5n, 5n)
  t.expect.match({ list: [1, 2, 3] }, { list: [1, 2] })
  t.expect.matches({ list: [1, 2, 3] }, { list: [1, 2] })
  t.expect.matches({ list: [1, 2, 3], name: 'td' }, { list: [1, 4], name: /^t/ })
})
