/** TDs of several vCPUs: every one boots by itself, knows its number, and sees what the others write. */
import { fixture, shared, test, u64 } from '#harness'

const seen = shared('seen', { booted: u64, sum: u64 })

const boot = fixture('boot', {
  variants: { two: { vcpus: 2 }, eight: { vcpus: 8 }, sixty_four: { vcpus: 64 } },
  setup: (t, { vcpus }) =>
    t.td({
      vcpus,
      guest(g) {
        const { booted, sum } = seen.in(g)
        const { index, vcpus: numbers } = g.tdcall.vpInfo()
        g.assert.eq(numbers.and(0xffff_ffffn), BigInt(vcpus))
        g.assert.eq(index, g.vcpuIndex())
        g.atomic.add(sum.address, u64, index)
        g.atomic.add(booted.address, u64, 1)
        // Nobody goes on before all are there.
        g.while(
          () => booted.get().ne(BigInt(vcpus)),
          () => g.asm('pause', { clobbers: [] }),
        )
        g.done()
      },
    }),
})

boot.test('every_vcpu_comes_up', async (t, td, { vcpus }) => {
  await td.run()
  t.assert.eq(seen.of(td).sum, BigInt((vcpus * (vcpus - 1)) / 2))
})

test('ordinary_vms_boot_them_too', async t => {
  const vm = t.vm({
    vcpus: 4,
    guest(g) {
      const { booted } = seen.in(g)
      g.atomic.add(booted.address, u64, g.vcpuIndex().add(1))
      g.done()
    },
  })

  await vm.run()
  t.assert.eq(seen.of(vm).booted, 10n)
})
