/** What one ucall costs by each way to the host; what is logged is read by ucall.ts. */
import { fixture, KVM_GET_REGS, KVM_RUN, type VmOptions } from '#harness'

const ROUNDS = 2000

const guest: VmOptions['guest'] = g => {
  g.repeat(ROUNDS, i => g.sync(i))
  g.done()
}

const cost = fixture('cost', {
  variants: {
    mmio: { transport: 'mmio', hacks: [] },
    fatal: { transport: 'fatal', hacks: [] },
    port_index: { transport: 'port-index', hacks: [] },
    port_rdi: { transport: 'port-rdi', hacks: ['KVM_GET_REGS of a TD'] },
    ordinary_vm: { transport: undefined, hacks: [] },
  },
  setup: (t, { transport, hacks }) => (transport === undefined ? t.vm({ guest }) : t.td({ transport, hacks, guest })),
})

cost.test('of_a_ucall', async (t, vm) => {
  const { host } = vm.vm.machine
  const ioctl = host.ioctl.bind(host)
  const counts = { runs: 0, regs: 0 }
  host.ioctl = (fd, request, arg) => {
    if (request === KVM_RUN) counts.runs++
    if (request === KVM_GET_REGS) counts.regs++
    return ioctl(fd, request, arg)
  }
  await vm.vcpu.until('UCALL_SYNC')
  const instructions = vm.vcpu.instructions
  const before = { ...counts }
  const start = performance.now()
  for (let round = 1; round < ROUNDS; round++) await vm.vcpu.until('UCALL_SYNC')
  const rounds = ROUNDS - 1
  const each = {
    instructions: (vm.vcpu.instructions - instructions) / rounds,
    runs: (counts.runs - before.runs) / rounds,
    regs: (counts.regs - before.regs) / rounds,
    microseconds: ((performance.now() - start) * 1000) / rounds,
  }
  await vm.vcpu.until('UCALL_DONE')
  t.log(JSON.stringify(each))
})
