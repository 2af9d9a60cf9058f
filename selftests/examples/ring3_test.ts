/** User mode: ring 3 computes and asserts, and what it may not do faults. */
import { PF, test, u64 } from '#harness'

test('privileged_instructions_fault_in_ring_3', async t => {
  const td = t.td({
    guest(g) {
      const sum = g.var(0n)
      g.user(() => {
        g.repeat(10n, i => sum.set(sum.add(i)))
        g.assert.eq(sum, 45n, 'ring 3 has the same variables')
      })
      g.expectFault('#GP', () => g.user(() => g.cpu.cli()))
      g.expectFault('#GP', () => g.user(() => g.tdcall.vpInfo()))
      const { errorCode } = g.expectFault('#PF', () => g.user(() => g.store(0x7000_0000n, u64, 1n)))
      g.assert.eq(errorCode, BigInt(PF.USER | PF.WRITE))
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})
