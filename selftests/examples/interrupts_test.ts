/** Interrupts: a vCPU interrupts itself and the other one by the x2APIC, and each handler ends what it got. */
import { shared, test, u64 } from '#harness'

const [OWN, OTHER] = [0x40, 0x50]
const seen = shared('seen', { own: u64, other: u64 })

test('a_vcpu_interrupts_itself', async t => {
  const td = t.td({
    guest(g) {
      const { own } = seen.in(g)
      g.onInterrupt(OWN, () => g.atomic.add(own.address, u64, 1n))
      g.apic.selfIpi(OWN)
      g.assert.eq(own.get(), 0n, 'not before STI')
      g.cpu.sti()
      g.while(
        () => own.get().eq(0n),
        () => g.cpu.pause(),
      )
      g.assert.eq(g.apic.read('ISR', OWN >> 5), 0n, 'nothing is in service any more')
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
  t.assert.eq(seen.of(td).own, 1n)
})

test('a_vcpu_interrupts_another', async t => {
  const td = t.td({
    guest: [
      function sender(g) {
        g.apic.send({ vector: OTHER, to: 1n })
        g.done()
      },
      function receiver(g) {
        const { other } = seen.in(g)
        g.onInterrupt(OTHER, () => g.atomic.add(other.address, u64, 1n))
        g.apic.enable()
        g.cpu.sti()
        g.sync(1)
        g.while(
          () => other.get().eq(0n),
          () => g.cpu.pause(),
        )
        g.done()
      },
    ],
  })
  const [sender, receiver] = td.vcpus

  await receiver!.until('UCALL_SYNC')
  await sender!.until('UCALL_DONE')
  await receiver!.until('UCALL_DONE')
  t.assert.eq(seen.of(td).other, 1n)
})
