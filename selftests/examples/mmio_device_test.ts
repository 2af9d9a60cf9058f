/** A device that the host emulates: the guest programs it by MMIO, the host answers what it reads. */
import { test, u32 } from '#harness'

const DEVICE = 0x2_0000_0000n
const [ID, COMMAND, RESULT] = [DEVICE, DEVICE + 4n, DEVICE + 8n]
const DOUBLE = 2n

test('the_device_doubles_what_it_is_given', async t => {
  const td = t.td({
    guest(g) {
      g.assert.eq(g.mmioRead(ID, 4), 0x5ea1n)
      g.repeat(3n, i => {
        g.mmioWrite(COMMAND, 4, i.as(u32))
        g.assert.eq(g.mmioRead(RESULT, 8), i.mul(DOUBLE))
      })
      g.done()
    },
  })

  const id = await td.vcpu.until('KVM_EXIT_MMIO')
  t.assert.match(id, { gpa: ID, direction: 'read', size: 4 })
  id.answer(0x5ea1n)
  for (let n = 0n; n < 3n; n++) {
    const command = await td.vcpu.until('KVM_EXIT_MMIO')
    t.assert.match(command, { gpa: COMMAND, direction: 'write', data: n })
    const result = await td.vcpu.until('KVM_EXIT_MMIO')
    t.assert.match(result, { gpa: RESULT, direction: 'read', size: 8 })
    result.answer(command.data * DOUBLE)
  }
  await td.vcpu.until('UCALL_DONE')
})
