/** One test alone, and one that is not written: as a file looks while somebody works on it. */
import { fixture, test } from '#harness'

test('left_out', t => t.log('not reached'))

const of = fixture('of', { variants: { one: { n: 1 } } })
of.test.only('alone', (t, _, { n }) => t.assert.eq(n, 1))
of.test.todo('unwritten')
