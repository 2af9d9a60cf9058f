/** TDG.VP.VMCALL<MapGPA>: the guest asks for memory to become shared, the host decides. */
import { fixture, KVM_CAP_EXIT_HYPERCALL, KVM_HC_MAP_GPA_RANGE, TDVMCALL_STATUS_INVALID_OPERAND } from '#harness'

const AREA = 0x10_0000n
const SIZE = 0xa000n

const mapGpa = fixture('map_gpa', {
  setup(t) {
    const td = t.td({
      memory: 0x20_0000,
      guest(g) {
        g.sync(g.vmcall.mapGpa({ gpa: g.sharedGpa(AREA), size: SIZE }).status)
        g.done()
      },
    })
    td.enableCap(KVM_CAP_EXIT_HYPERCALL, 1n << BigInt(KVM_HC_MAP_GPA_RANGE))
    return td
  },
})

mapGpa.test('is_for_the_host_to_answer', async (t, td) => {
  const exit = await td.vcpu.until('KVM_EXIT_HYPERCALL')
  t.assert.eq(exit.nr, BigInt(KVM_HC_MAP_GPA_RANGE))
  const [address, pages, attributes] = exit.args
  t.assert.eq(address, AREA)
  t.assert.eq(pages, SIZE / 4096n)
  t.assert.eq(attributes, 0n)
  td.setPrivate(AREA, SIZE, false)
  exit.answer(0n)

  const { stage: status } = await td.vcpu.until('UCALL_SYNC')
  t.assert.eq(status, 0n)
  await td.vcpu.until('UCALL_DONE')
})

mapGpa.test('may_be_refused', async (t, td) => {
  const exit = await td.vcpu.until('KVM_EXIT_HYPERCALL')
  exit.answer(22n)

  const { stage: status } = await td.vcpu.until('UCALL_SYNC')
  t.assert.eq(status, TDVMCALL_STATUS_INVALID_OPERAND)
  await td.vcpu.until('UCALL_DONE')
})
