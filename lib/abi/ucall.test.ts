import t from 'tap'
import { tdBootParameters, tdPerVcpuParameters, UCALL_POOL_MAX, ucall, ucallPool } from '#abi'

t.test('struct ucall and its pool have the layout of the KVM selftests', async t => {
  t.same(ucall.offset, { cmd: 0, args: 8, buffer: 64, hva: 1088 })
  t.equal(ucall.size, 1096)
  t.same(ucallPool(3), { ucalls: 8, size: 8 + 3 * 1096 })
  t.same(ucallPool(65), { ucalls: 16, size: 16 + 65 * 1096 })
  t.equal(Math.ceil(ucallPool(UCALL_POOL_MAX).size / 4096), 138, 'the pages a selftest gives its pool')
})

t.test('the boot parameters have the layout of td_boot.h', async t => {
  t.same(tdBootParameters.offset, { cr0: 0, cr3: 4, cr4: 8, gdtLimit: 12, gdtBase: 14, idtLimit: 18, idtBase: 20 })
  t.equal(tdBootParameters.size, 24)
  t.same(tdPerVcpuParameters.offset, { esp: 0, guestCode: 8 })
  t.equal(tdPerVcpuParameters.size, 16)
})
