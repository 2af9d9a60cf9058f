import t from 'tap'
import { parseSeed, testSeed } from './seed.ts'

t.test('a seed is a 64-bit number, printed in hex', async t => {
  t.equal(parseSeed('255'), '0xff')
  t.equal(parseSeed('0xFFFFFFFFFFFFFFFF'), '0xffffffffffffffff')
  t.match(parseSeed('random'), /^0x[0-9a-f]{1,16}$/)
  for (const bad of ['', '-1', '1e3', '0x', '0x1_0000', '18446744073709551616'])
    t.throws(() => parseSeed(bad), { name: 'UsageError', message: `--seed ${bad}: not a 64-bit number, nor "random"` })
})

t.test("a test's seed depends on the run's seed and its own name only", async t => {
  t.equal(testSeed('0x5eed', 'global.boots'), testSeed('0x5eed', 'global.boots'))
  t.not(testSeed('0x5eed', 'global.boots'), testSeed('0x5eee', 'global.boots'))
  t.not(testSeed('0x5eed', 'global.boots'), testSeed('0x5eed', 'global.halts'))
  t.ok(testSeed('0xffffffffffffffff', 'a') < 1n << 64n)
})
