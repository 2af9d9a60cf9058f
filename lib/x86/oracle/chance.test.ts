import t from 'tap'
import { Chance } from './chance.ts'

const MASK = 0xffff_ffff_ffff_ffffn

/** Splitmix64 as its authors wrote it down: S. Vigna, "splitmix64.c". */
const words = function* (seed: bigint): Generator<bigint> {
  for (let state = seed & MASK; ; ) {
    state = (state + 0x9e37_79b9_7f4a_7c15n) & MASK
    let z = state
    z = ((z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & MASK
    z = ((z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn) & MASK
    yield z ^ (z >> 31n)
  }
}

t.test('numbers in halves are those of splitmix64', async t => {
  t.equal(new Chance(0n).word(), 0xe220_a839_7b1d_cdafn, 'the first of seed 0')
  for (const seed of [0n, 1n, 0x5eedn, MASK, 0x9e37_79b9_7f4a_7c15n, 77n << 40n]) {
    const chance = new Chance(seed)
    let wrong = 0
    let n = 0
    for (const word of words(seed)) {
      const limit = 1 + ((n * 7919) % 0x20_0001)
      const seen = n % 2 === 0 ? chance.word() : BigInt(chance.below(limit))
      if (seen !== (n % 2 === 0 ? word : word % BigInt(limit))) wrong++
      if (++n === 4000) break
    }
    t.equal(wrong, 0, `seed ${seed}`)
  }
})
