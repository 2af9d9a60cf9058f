/** A TD's registers are its own: KVM refuses to read or set them, before the first KVM_RUN and after. */
import {
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_GET_SREGS2,
  KVM_RUN,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_SREGS2,
  test,
} from '#harness'

const PROTECTED = [KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS, KVM_SET_SREGS, KVM_GET_SREGS2, KVM_SET_SREGS2]

test('registers_are_refused', async t => {
  const td = t.td({ guest: g => g.done() })

  for (const request of PROTECTED) t.expect.errno(() => td.vcpu.ioctl(request), 'EINVAL')
  await td.vcpu.until('UCALL_DONE')
  for (const request of PROTECTED) t.expect.errno(() => td.vcpu.ioctl(request), 'EINVAL')
})

test('a_vcpu_does_not_run_before_the_td_is_finalized', async t => {
  const td = t.td({ finalize: false, guest: g => g.done() })

  t.assert.errno(() => td.vcpu.ioctl(KVM_RUN), 'EINVAL')
  td.finalize()
  await td.vcpu.until('UCALL_DONE')
})
