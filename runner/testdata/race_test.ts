/** Two vCPUs that lose an update of each other in some interleavings, for the unit tests. */
import { type GuestBuilder, shared, test, u64 } from '#harness'

const common = shared('common', { count: u64 })

test('loses_an_update', async t => {
  const guest = (g: GuestBuilder) => {
    const { count } = common.in(g)
    // Long enough apart that few interleavings bring them together.
    g.when(g.vcpuIndex().eq(1n), () => g.repeat(3000, () => {}))
    count.set(count.get().add(1n))
    g.done()
  }
  const td = t.td({ guest: [guest, guest] })
  await td.run()
  t.assert.eq(common.of(td).count, 2n)
})
