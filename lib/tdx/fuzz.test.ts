import t from 'tap'
import { fuzzSeamcalls, fuzzTdcalls } from './fuzz.ts'

t.test('random and spoilt SEAMCALLs are answered and leave the module consistent', async t => {
  const { wrong, statuses, calls } = fuzzSeamcalls(3n, 6000)
  t.same(wrong, [])
  t.ok(calls >= 6000)
  t.ok(statuses.size > 25, `${statuses.size} different statuses`)
  t.ok((statuses.get('TDX_SUCCESS') ?? 0) > 500)
})

t.test('random TDCALLs are answered and leave the TD consistent', async t => {
  const { wrong, statuses } = fuzzTdcalls(3n, 3000)
  t.same(wrong, [])
  t.ok(statuses.size > 6, `${statuses.size} different statuses`)
})

t.test('the same seed meets the same', async t => {
  t.same([...fuzzSeamcalls(9n, 2000).statuses], [...fuzzSeamcalls(9n, 2000).statuses])
})
