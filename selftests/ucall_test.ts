/** How a guest reports to the host: each of the ways that were weighed for TDs, and an ordinary VM's. See docs/ucall.md. */
import { fixture, KVM_GET_REGS, shared, test, u64, type VmOptions } from '#harness'

const counted = shared('counted', { sum: u64 })

/** Values, text, a structure of its own for each vCPU: everything that a ucall carries. */
const guest: VmOptions['guest'] = g => {
  const { sum } = counted.in(g)
  g.sync(1, 0xcafe_f00d_1234_5678n, 3n)
  g.printf('half way, %d', 50)
  g.repeat(5, i => {
    sum.set(sum.get().add(i))
    g.sync(2, i)
  })
  g.ucallNone()
  g.done()
}

const ucall = fixture('ucall', {
  variants: {
    mmio: { transport: 'mmio', shape: 'td', hacks: [] },
    fatal: { transport: 'fatal', shape: 'td', hacks: [] },
    port_index: { transport: 'port-index', shape: 'td', hacks: [] },
    port_rdi_with_hack: { transport: 'port-rdi', shape: 'td', hacks: ['KVM_GET_REGS of a TD'] },
    ordinary_vm: { transport: 'mmio', shape: 'vm', hacks: [] },
  },
  setup: (t, { transport, shape, hacks }) => (shape === 'vm' ? t.vm({ guest }) : t.td({ transport, hacks, guest })),
})

ucall.test('says_the_same_by_every_way', async (t, vm) => {
  const first = await vm.vcpu.until('UCALL_SYNC')
  t.assert.eq(first.stage, 1n)
  t.assert.eq(first.values[1], 0xcafe_f00d_1234_5678n)
  for (let i = 0n; i < 5n; i++) {
    const { values } = await vm.vcpu.until('UCALL_SYNC')
    t.assert.eq(values[1], i)
  }
  await vm.vcpu.until('UCALL_NONE')
  await vm.vcpu.until('UCALL_DONE')
  t.assert.eq(counted.of(vm).sum, 10n)
})

test('rdi_is_out_of_sight_without_the_hack', async t => {
  const td = t.td({
    guest: g => g.sync(g.vmcall.raw({ r11: 30n, r12: 1n, r13: 1n, r14: 0x1000n, rdi: 7n }, 0xfc80n).r10),
  })

  await td.vcpu.until('KVM_EXIT_IO')
  t.assert.errno(() => td.vcpu.ioctl(KVM_GET_REGS), 'EINVAL')
})
