/** Guest and host share a page of memory. Upstream: tdx_shared_mem_test.c, without its MapGPA. */
import { shared, test, u64 } from '#harness'

const mailbox = shared('mailbox', { fromGuest: u64, fromHost: u64 })

test('guest_and_host_see_what_the_other_wrote', async t => {
  const td = t.td({
    guest(g) {
      const { fromGuest, fromHost } = mailbox.in(g)
      fromGuest.set(0xcafe_cafen)
      g.sync(1)
      g.assert.eq(fromHost.get(), 0xabcd_abcdn)
      g.done()
    },
  })
  t.assert.eq(mailbox.of(td).fromGuest, 0n)

  const sync = await td.vcpu.until('UCALL_SYNC')
  t.assert.eq(sync.stage, 1n)
  t.assert.eq(mailbox.of(td).fromGuest, 0xcafe_cafen)
  mailbox.of(td).fromHost = 0xabcd_abcdn

  await td.vcpu.until('UCALL_DONE')
})
