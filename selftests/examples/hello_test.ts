/** Where to begin: a TD boots, prints, checks something about itself and is done. */
import { test } from '#harness'

test('a_td_says_hello', async t => {
  const td = t.td({
    guest(g) {
      const six = g.var(6n)
      g.printf('hello from a TD: 6 * 7 is %lu\n', six.mul(7n))
      g.assert.eq(six.mul(7n), 42n)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})
