/** What the TDX module says: leaves as words with named results, and a status for what is asked wrongly. */
import { TDX_OPERAND_INVALID, TDX_SUCCESS, test } from '#harness'

test('leaves_answer_by_name', async t => {
  const td = t.td({
    vcpus: 2,
    guest(g) {
      const info = g.tdcall.vpInfo()
      g.assert.eq(info.status, TDX_SUCCESS)
      g.assert.eq(info.gpaw.and(0x3fn), 48n)
      g.assert.eq(info.index, g.vcpuIndex())
      g.assert.eq(info.vcpus.and(0xffff_ffffn), 2n)

      const wrong = g.tdcall.mrRtmrExtend({ gpa: 1n, index: 0n })
      g.assert.eq(wrong.status.and(~0xffn & 0xffff_ffff_0000_0000n), TDX_OPERAND_INVALID)
      g.done()
    },
  })

  for (const vcpu of td.vcpus) await vcpu.until('UCALL_DONE')
})
