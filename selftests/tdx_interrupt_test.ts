/** Interrupts of a TD: from the host by MSI and irqfd, from vCPU to vCPU, from the timer, and what wakes a halted vCPU. */
import { u64 as count, KVM_NMI, shared, test, u32, u64 } from '#harness'

const seen = shared('seen', { interrupts: count, sum: u64, nmis: count })

const VECTOR = 0x41
const TSC_DEADLINE_MODE = 2n << 17n

test('an_msi_reaches_the_guest', async t => {
  const td = t.td({
    guest(g) {
      const { interrupts } = seen.in(g)
      g.apic.enable()
      g.onInterrupt(VECTOR, () => interrupts.set(interrupts.get().add(1)))
      g.cpu.sti()
      g.sync(1)
      g.assert.eq(interrupts.get(), 1)
      g.cpu.cli()
      g.sync(2)
      g.assert.eq(interrupts.get(), 1, 'interrupts are off')
      g.cpu.sti()
      g.asm('nop\nnop')
      g.assert.eq(interrupts.get(), 2)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_SYNC')
  t.assert.eq(td.msi(VECTOR), 1)
  await td.vcpu.until('UCALL_SYNC')
  t.assert.eq(td.msi(VECTOR), 1)
  t.assert.eq(td.msi(VECTOR, 77), 0, 'there is no such APIC')
  await td.vcpu.until('UCALL_DONE')
})

test('an_interrupt_wakes_a_halted_vcpu', async t => {
  const td = t.td({
    guest(g) {
      const { interrupts } = seen.in(g)
      g.apic.enable()
      g.onInterrupt(VECTOR, () => interrupts.set(interrupts.get().add(1)))
      g.cpu.sti()
      g.sync(1)
      g.assert.eq(g.vmcall.hlt({ interruptsBlocked: 0n }).status, 0n)
      g.assert.eq(interrupts.get(), 1)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_SYNC')
  td.vcpu.signal({ instructions: 1000 })
  await td.vcpu.until('KVM_EXIT_INTR')
  t.assert.eq(seen.of(td).interrupts, 0n)
  td.msi(VECTOR)
  await td.vcpu.until('UCALL_DONE')
})

test('an_nmi_wakes_a_vcpu_that_has_interrupts_blocked', async t => {
  const td = t.td({
    guest(g) {
      const { nmis } = seen.in(g)
      g.onException(2, () => nmis.set(nmis.get().add(1)))
      g.assert.eq(g.vmcall.hlt({ interruptsBlocked: 1n }).status, 0n)
      g.assert.eq(nmis.get(), 1)
      g.done()
    },
  })

  td.vcpu.signal({ instructions: 1000 })
  await td.vcpu.until('KVM_EXIT_INTR')
  td.vcpu.ioctl(KVM_NMI)
  await td.vcpu.until('UCALL_DONE')
})

test('every_vector_arrives_by_irqfd', async t => {
  const [first, last] = [32, 255]
  const td = t.td({
    guest(g) {
      const { interrupts, sum } = seen.in(g)
      g.apic.enable()
      for (let vector = first; vector <= last; vector++)
        g.onInterrupt(vector, frame => {
          interrupts.set(interrupts.get().add(1))
          sum.set(sum.get().add(frame.get('vector')))
        })
      g.cpu.sti()
      g.sync(0)
      g.while(
        () => interrupts.get().ne(BigInt(last - first + 1)),
        () => g.asm('pause', { clobbers: [] }),
      )
      g.done()
    },
  })

  const gsis = Array.from({ length: last - first + 1 }, (_, gsi) => gsi)
  td.routeGsis(gsis.map(gsi => ({ gsi, vector: first + gsi })))
  const signals = gsis.map(gsi => td.irqfd(gsi))
  await td.vcpu.until('UCALL_SYNC')
  for (const signal of signals) signal()
  await td.vcpu.until('UCALL_DONE')
  t.assert.eq(seen.of(td).sum, BigInt(((first + last) * (last - first + 1)) / 2))
})

test('vcpus_interrupt_each_other', async t => {
  const td = t.td({
    vcpus: 2,
    guest(g) {
      const { interrupts, sum } = seen.in(g)
      g.apic.enable()
      g.onInterrupt(VECTOR, () => g.atomic.add(interrupts.address, u64, 1))
      g.cpu.sti()
      // Both have to be ready before the first one sends.
      g.atomic.add(sum.address, u64, 1)
      g.while(
        () => sum.get().ne(2),
        () => g.asm('pause', { clobbers: [] }),
      )
      g.apic.send({ vector: VECTOR, shorthand: 'others' })
      g.while(
        () => interrupts.get().ne(2),
        () => g.asm('pause', { clobbers: [] }),
      )
      g.done()
    },
  })

  await td.run()
  t.assert.eq(seen.of(td).interrupts, 2n)
})

test('the_timer_fires_at_its_deadline', async t => {
  const td = t.td({
    guest(g) {
      const { interrupts, sum } = seen.in(g)
      g.apic.enable()
      g.onInterrupt(VECTOR, () => {
        sum.set(g.cpu.rdtsc())
        interrupts.set(interrupts.get().add(1))
      })
      g.apic.write('LVT_TIMER', TSC_DEADLINE_MODE | BigInt(VECTOR))
      const deadline = g.var(g.cpu.rdtsc().add(5_000_000))
      g.assert.eq(g.vmcall.wrmsr({ index: 0x6e0n, value: deadline }).status, 0n)
      g.cpu.sti()
      // Halted, the guest is woken at once, and its TSC has gone on.
      g.assert.eq(g.vmcall.hlt({ interruptsBlocked: 0n }).status, 0n)
      g.assert.eq(interrupts.get(), 1)
      g.assert.ge(sum.get(), deadline)
      g.assert.lt(sum.get(), deadline.add(1000))
      // Running, it is interrupted when the time has come.
      deadline.set(g.cpu.rdtsc().add(20_000))
      g.assert.eq(g.vmcall.wrmsr({ index: 0x6e0n, value: deadline }).status, 0n)
      g.while(
        () => interrupts.get().ne(2),
        () => g.asm('pause', { clobbers: [] }),
      )
      g.assert.ge(sum.get(), deadline)
      g.assert.lt(sum.get(), deadline.add(1000))
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})

test('a_self_ipi_comes_between_two_instructions', async t => {
  // An interrupt comes between two instructions and leaves every register as it was.
  const td = t.td({
    guest(g) {
      g.apic.enable()
      const { interrupts } = seen.in(g)
      g.onInterrupt(VECTOR, () => interrupts.set(interrupts.get().add(1)))
      g.cpu.sti()
      g.apic.selfIpi(VECTOR)
      const value = g.var(u32, 0x1234_5678)
      g.assert.eq(value, 0x1234_5678)
      g.assert.eq(interrupts.get(), 1)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})
