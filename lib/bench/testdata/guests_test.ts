/** Guests whose lives and exits are timed; run by the bench, not by the runner. */
import { test } from '#harness'

const ROUND_TRIPS = 5000

test('nothing', () => {})

test('life', async t => {
  const td = t.td({ guest: g => g.done() })
  await td.vcpu.until('UCALL_DONE')
})

const MANY = 1000

test('many', async t => {
  const before = process.memoryUsage.rss()
  for (let n = 0; n < MANY; n++) {
    const td = t.td({
      guest(g) {
        g.sync(1)
        g.done()
      },
    })
    await td.vcpu.until('UCALL_SYNC')
  }
  t.log(String((process.memoryUsage.rss() - before) / 2 ** 20))
})

test('round_trips', async t => {
  const td = t.td({
    guest(g) {
      g.repeat(ROUND_TRIPS, i => g.sync(i))
      g.done()
    },
  })
  // The first thousand warm the path up.
  for (let i = 0; i < 1000; i++) await td.vcpu.until('UCALL_SYNC')
  const start = performance.now()
  for (let i = 1000; i < ROUND_TRIPS; i++) await td.vcpu.until('UCALL_SYNC')
  t.log(String(((performance.now() - start) * 1000) / (ROUND_TRIPS - 1000)))
  await td.vcpu.until('UCALL_DONE')
})
