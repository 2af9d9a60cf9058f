/** A TD lives: it boots from the reset vector, says GUEST_DONE and goes. Upstream: tdx_vm_test.c. */
import { test } from '#harness'

test('verify_td_lifecycle', async t => {
  const td = t.td({ guest: g => g.done() })

  await td.vcpu.until('UCALL_DONE')
})
