/** Several vCPUs at once, for the unit tests: one of these fails in some interleavings. */
import { type GuestBuilder, shared, test, u64 } from '#harness'

const common = shared('common', { count: u64 })

/** Two vCPUs add to a counter in shared memory. */
const adders = (add: (g: GuestBuilder) => void) => {
  const guest = (g: GuestBuilder) => {
    add(g)
    g.done()
  }
  return [guest, guest]
}

const increment = (g: GuestBuilder): void => {
  const { count } = common.in(g)
  const seen = g.var(count.get())
  g.asm('', { clobbers: [] })
  count.set(seen.add(1n))
}

test('loses_an_unlocked_update', async t => {
  const td = t.td({ guest: adders(g => g.asm('inc qword ptr [rbx]', { in: { rbx: common.in(g).count.address } })) })
  await td.run()
  t.assert.eq(common.of(td).count, 2n)
})

test('loses_no_locked_update', async t => {
  const td = t.td({
    guest: adders(g => g.asm('lock inc qword ptr [rbx]', { in: { rbx: common.in(g).count.address } })),
  })
  await td.run()
  t.assert.eq(common.of(td).count, 2n)
})

test('loses_an_update', async t => {
  const td = t.td({ guest: adders(increment) })
  await td.run()
  t.assert.eq(common.of(td).count, 2n)
})

test('loses_none', async t => {
  const td = t.td({ guest: adders(g => g.atomic.fetchAdd(common.in(g).count.address, u64, 1n)) })
  await td.run()
  t.assert.eq(common.of(td).count, 2n)
})

test('plays_ping_pong', async t => {
  const ROUNDS = 20n
  const player = (mine: bigint) => (g: GuestBuilder) => {
    const { count } = common.in(g)
    g.repeat(ROUNDS, i => {
      g.while(
        () => count.get().ne(i.mul(2n).add(mine)),
        () => {},
      )
      count.set(count.get().add(1n))
    })
    g.done()
  }
  const td = t.td({ guest: [player(0n), player(1n)] })
  await Promise.all([td.vcpus[0]!.until('UCALL_DONE'), td.vcpus[1]!.until('UCALL_DONE')])
  t.assert.eq(common.of(td).count, 2n * ROUNDS)
})

test('syncs_each_by_itself', async t => {
  const guest = (g: GuestBuilder) => {
    g.repeat(5, i => g.sync(i))
    g.done()
  }
  const td = t.td({ guest: [guest, guest, guest] })
  const order: string[] = []
  await Promise.all(
    td.vcpus.map(async vcpu => {
      for (let i = 0n; i < 5n; i++) {
        const { stage } = await vcpu.until('UCALL_SYNC')
        t.assert.eq(stage, i)
        order.push(`${vcpu.index}`)
      }
      await vcpu.until('UCALL_DONE')
    }),
  )
  t.log(order.join(''))
})

test('fails_in_one', async t => {
  const td = t.td({ guest: [g => g.loop(() => {}), g => g.fail('the second is to blame')] })
  await td.run()
})

test('spins_for_ever', { instructions: 100_000 }, async t => {
  const td = t.td({ guest: g => g.loop(() => {}) })
  await td.vcpu.until('UCALL_DONE')
})

test('both_spin_for_ever', { instructions: 50_000 }, async t => {
  const guest = (g: GuestBuilder) => g.loop(() => {})
  await t.td({ guest: [guest, guest] }).run()
})

test('is_interrupted', async t => {
  const td = t.td({
    guest(g) {
      g.repeat(10_000, () => {})
      g.sync(1)
      g.done()
    },
  })
  const { vcpu } = td
  vcpu.signal()
  await vcpu.until('KVM_EXIT_INTR')
  t.assert.eq(vcpu.instructions, 0)
  vcpu.signal({ instructions: 1000 })
  await vcpu.until('KVM_EXIT_INTR')
  t.assert.eq(vcpu.instructions, 1000)
  await vcpu.until('UCALL_SYNC')
  vcpu.immediateExit = true
  const before = vcpu.instructions
  await vcpu.until('KVM_EXIT_INTR')
  t.assert.eq(vcpu.instructions, before)
  vcpu.immediateExit = false
  await vcpu.until('UCALL_DONE')
})

const ticks = shared('ticks', { first: u64, second: u64 })

test('time_goes_by_for_both', async t => {
  const sleeper = (which: 'first' | 'second', period: bigint) => (g: GuestBuilder) => {
    const count = ticks.in(g)[which]
    g.apic.enable()
    g.onInterrupt(0x40 + Number(period), () => count.set(count.get().add(1n)))
    g.apic.timer({ vector: 0x40 + Number(period), mode: 'periodic', count: period * 500_000n })
    g.cpu.sti()
    g.loop(() => g.halt())
  }
  const td = t.td({ guest: [sleeper('first', 1n), sleeper('second', 3n)] })
  // Not yet, and from the first instruction on.
  await td.advance(500_000)
  const before = td.vcpus.map(vcpu => vcpu.clock)
  await td.advance(9_000_000)
  const { first, second } = ticks.of(td)
  t.assert.eq(first, 9n)
  t.assert.eq(second, 3n)
  for (const [n, vcpu] of td.vcpus.entries()) t.assert.inRange(vcpu.clock - before[n]!, 9_000_000n, 9_000_100n)
})

test('sleeps_for_ever', async t => {
  const td = t.td({
    guest(g) {
      g.cpu.sti()
      g.halt()
    },
  })
  await td.vcpu.advance(1_000_000)
  t.assert.ge(td.vcpu.clock, 1_000_000n)
  t.assert.lt(td.vcpu.instructions, 1000)
  await td.vcpu.until('UCALL_DONE')
})

test('says_something_meanwhile', async t => {
  const td = t.td({ guest: g => g.sync(1) })
  await td.vcpu.advance(1_000_000)
})
