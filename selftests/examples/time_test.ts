/** Time: it is counted, not measured, so that a timer fires at the same instruction in every run, and nobody waits for it. */
import { fixture, kinds, product, shared, struct, test, u64, vcpus } from '#harness'

const VECTOR = 0x40
/** The TSC counts 2 GHz; the APIC's bus, and with it the timer's count, 1 GHz. */
const count = (ticks: bigint): bigint => ticks / 2n
const counts = struct('counts', { ticks: u64 })
const seen = shared('seen', { ticks: u64, woken: u64, at: u64 })

test('a_deadline_wakes_a_halted_guest', async t => {
  const td = t.td({
    guest(g) {
      const { ticks, at } = seen.in(g)
      g.apic.enable()
      g.onInterrupt(VECTOR, () => {
        at.set(g.cpu.rdtsc())
        ticks.set(ticks.get().add(1n))
      })
      g.apic.timer({ vector: VECTOR, mode: 'deadline' })
      const deadline = g.var(g.cpu.rdtsc().add(3_000_000_000n))
      g.apic.deadline(deadline)
      g.cpu.sti()
      g.halt()
      g.assert.eq(ticks.get(), 1n)
      g.assert.inRange(at.get(), deadline, deadline.add(1000n))
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})

const timer = fixture('timer', { variants: product(kinds, vcpus(1, 2)) })

timer.test('counts_the_ticks', async (t, _, { kind, vcpus }) => {
  const td = t.make({
    kind,
    vcpus,
    guest(g) {
      const { ticks } = g.perVcpu('own', counts)
      g.apic.enable()
      g.onInterrupt(VECTOR, () => {
        const own = g.perVcpu('own', counts)
        own.ticks.set(own.ticks.get().add(1n))
      })
      const start = g.var(g.cpu.rdtsc())
      g.apic.timer({ vector: VECTOR, mode: 'periodic', count: count(10_000n) })
      g.cpu.sti()
      g.while(
        () => ticks.get().lt(10n),
        () => g.cpu.pause(),
      )
      g.assert.inRange(g.cpu.rdtsc().sub(start), 100_000n, 102_000n)
      g.done()
    },
  })

  await td.run()
})

test('the_host_lets_time_go_by', async t => {
  const td = t.td({
    guest(g) {
      const { woken } = seen.in(g)
      g.apic.enable()
      g.onInterrupt(VECTOR, () => woken.set(woken.get().add(1n)))
      g.apic.timer({ vector: VECTOR, mode: 'periodic', count: count(1_000_000n) })
      g.cpu.sti()
      g.sync(1)
      g.loop(() => g.halt())
    },
  })

  await td.vcpu.until('UCALL_SYNC')
  const start = td.vcpu.clock
  await td.vcpu.advance(500_000)
  t.assert.eq(seen.of(td).woken, 0n)
  await td.vcpu.advance(1_000_000)
  t.assert.eq(seen.of(td).woken, 1n)
  // A whole second of a processor of 2 GHz: the guest runs some instructions of it.
  await td.vcpu.advance(2_000_000_000n)
  t.assert.inRange(seen.of(td).woken, 2000n, 2001n)
  t.assert.inRange(td.vcpu.clock - start, 2_001_500_000n, 2_001_501_000n)
})
