import t from 'tap'
import { fuzz, fuzzLoops } from './fuzz.ts'

t.test('random bytes as code end in exits, in every mode', async t => {
  const { crashes, ends, runs } = fuzz(4000, 0x5eedn)
  t.same(crashes, [])
  t.equal(
    [...ends.values()].reduce((sum, count) => sum + count, 0),
    runs,
  )
  // Exceptions that stop, triple faults, budgets used up, ports, memory that is not there, HLT.
  for (const reason of ['0', '2', '52', '30', '48', '12']) t.ok(ends.has(reason), `some end with reason ${reason}`)
})

t.test('the same in compiled code', async t => {
  t.same(fuzz(300, 0x5eedn, 'compile').crashes, [])
})

t.test('a seed gives the same runs again', async t => {
  const summary = () => {
    const { ends, instructions } = fuzz(300, 9n)
    return { ends: [...ends], instructions }
  }
  t.same(summary(), summary())
})

t.test('random bytes that get hot, in two tiers', async t => {
  for (const [tier, number] of [
    ['auto', 2],
    ['cold', 6],
    ['compile', 8],
  ] as const)
    t.same(fuzzLoops(1, 1n, tier, 'interpret', number).crashes, [], tier)
})
