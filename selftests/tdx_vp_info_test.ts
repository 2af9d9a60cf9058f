/** TDG.VP.INFO: what a TD's vCPU learns about itself. Upstream: tdx_vm_test.c, verify_tdcall_vp_info. */
import { fixture } from '#harness'

const SEPT_VE_DISABLE = 1n << 28n

const vpInfo = fixture('vp_info', {
  variants: {
    gpa_48: { gpaWidth: 48 },
    gpa_52: { gpaWidth: 52 },
  },

  setup(t, { gpaWidth }) {
    return t.td({
      gpaWidth,
      attributes: SEPT_VE_DISABLE,
      guest(g) {
        const info = g.tdcall.vpInfo()
        g.assert.eq(info.status, 0n)
        g.sync(info.gpaw, info.attributes, info.vcpus, info.index, info.flags, info.reserved)
        g.done()
      },
    })
  },
})

vpInfo.test('tells_the_vcpu_what_the_td_is', async (t, td, { gpaWidth }) => {
  const { values } = await td.vcpu.until('UCALL_SYNC')
  const [gpaw = 0n, attributes, vcpus = 0n, index, flags = 0n, reserved] = values
  t.expect.bits(gpaw, 0x3fn, BigInt(gpaWidth))
  t.expect.eq(attributes, SEPT_VE_DISABLE)
  t.expect.bits(vcpus, 0xffff_ffffn, 1n)
  t.expect.eq(index, 0n)
  t.expect.eq(flags >> 1n, 0n)
  t.expect.eq(reserved, 0n)

  await td.vcpu.until('UCALL_DONE')
})
