/** KVM_GET_DIRTY_LOG tells which pages were written, of an ordinary VM and of a TD's shared memory. */
import { fixture, KVM_MEM_LOG_DIRTY_PAGES, type TdOptions, u64 } from '#harness'

const [GVA, GPA, PAGES] = [0x9000_0000n, 0xc000_0000n, 70]

const guest: TdOptions['guest'] = g => {
  const page = (n: number): bigint => GVA + BigInt(n * 4096)
  g.assert.eq(g.load(page(5), u64), 0)
  g.sync(1)
  g.store(page(0), u64, 1)
  g.store(page(5), u64, 1)
  g.store(page(69), u64, 1)
  g.sync(2)
  g.store(page(5), u64, 2)
  g.sync(3)
  g.done()
}

const log = fixture('dirty_log', {
  variants: { td: { shape: 'td' }, vm: { shape: 'vm' } },
  setup(t, { shape }) {
    const slots = [{ slot: 10, gpa: GPA, size: PAGES * 4096, memfd: false, flags: KVM_MEM_LOG_DIRTY_PAGES }]
    const map = [{ gva: GVA, gpa: GPA, size: PAGES * 4096, shared: true }]
    return shape === 'td' ? t.td({ slots, map, guest }) : t.vm({ slots, map, guest })
  },
})

log.test('has_what_was_written_since', async (t, vm) => {
  for (const written of [[], [0, 5, 69], [5]]) {
    await vm.vcpu.until('UCALL_SYNC')
    t.assert.match(vm.dirtyPages(10), written)
    t.assert.match(vm.dirtyPages(10), [])
  }
  t.assert.errno(() => vm.dirtyPages(0), 'ENOENT')
  await vm.vcpu.until('UCALL_DONE')
})
