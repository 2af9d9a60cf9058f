/**
 * Interrupts that were sent to a TD before it moves arrive where it goes. Upstream: tdx_irqfd_migrate_test.c of the RFC
 * "Add TDX intra-host migration" (2025-06).
 */
import { test, u64 } from '#harness'

const [FIRST, LAST] = [32, 255]
const COUNT = LAST - FIRST + 1
const MOVES = 10

test('interrupts_survive_ten_moves', async t => {
  const td = t.td({
    hacks: ['moving a TD to another VM'],
    guest(g) {
      const counts = g.memory('counts', 8 * 256, { shared: true })
      const total = g.memory('total', 8)
      g.apic.enable()
      for (let vector = FIRST; vector <= LAST; vector++)
        g.onInterrupt(vector, () => {
          const at = counts + BigInt(8 * vector)
          g.store(at, u64, g.load(at, u64).add(1))
          g.store(total, u64, g.load(total, u64).add(1))
        })
      g.cpu.sti()
      g.sync(0)
      g.repeat(MOVES, round => {
        g.while(
          () => g.load(total, u64).lt(round.add(1).mul(BigInt(COUNT))),
          () => g.asm('pause', { clobbers: [] }),
        )
        g.sync(round)
      })
      g.done()
    },
  })
  const routes = Array.from({ length: COUNT }, (_, gsi) => ({ gsi, vector: FIRST + gsi }))

  td.routeGsis(routes)
  let signals = routes.map(({ gsi }) => td.irqfd(gsi))
  await td.vcpu.until('UCALL_SYNC')
  for (let move = 1; move <= MOVES; move++) {
    // Sent to the VM that is about to be left.
    for (const signal of signals) signal()
    td.move()
    td.routeGsis(routes)
    signals = routes.map(({ gsi }) => td.irqfd(gsi))
    await td.vcpu.until('UCALL_SYNC')
    for (const { vector } of routes) t.expect.eq(td.load(td.address('counts') + BigInt(8 * vector)), BigInt(move))
  }
  await td.vcpu.until('UCALL_DONE')
})
