import t from 'tap'
import { PhysicalMemory } from '#x86'
import { giveMachine, Machine } from './machine.ts'
import { collected, run } from './sample.ts'

const named = await collected('tds_test.ts')

t.test('the same seed gives the same instructions, whatever ran before', async t => {
  const first = await run(named('global.works_a_little'), { seed: 7n })
  const between = await run(named('global.two_tds_side_by_side'))
  const second = await run(named('global.works_a_little'), { seed: 7n })
  t.equal(first.status, 'pass')
  t.equal(between.status, 'pass')
  t.same(second, first)
  t.ok(first.instructions > 100)
  t.match(first.said, [/^TSC [0-9a-f]+\n$/])
})

for (const name of [
  'global.two_vcpus_have_their_own_guests',
  'global.private_memory_is_out_of_sight',
  'global.shared_memory_by_name_and_by_structure',
  'says.mmio.what_it_does',
  'says.fatal.what_it_does',
  'says.port_index.what_it_does',
  'global.is_left_before_finalize',
  'global.five_levels_of_tables',
])
  t.test(name, async t => {
    const { status, failures } = await run(named(name))
    t.same(failures, [])
    t.equal(status, 'pass')
  })

t.test('a machine without memory left says so, and the next test runs', async t => {
  // The next test gets the memory of the last machine.
  giveMachine(new Machine({ memory: new PhysicalMemory(2 ** 26) }, () => false))
  const { status, failures } = await run(named('global.touches_much_shared_memory'))
  t.equal(status, 'fail')
  t.match(failures, [{ message: /out of memory: all 16384 frames \(64 MiB\) are in use/, guest: { vcpu: 0 } }])
  t.match(await run(named('global.works_a_little')), { status: 'pass', failures: [] })
})

t.test("a ucall in RDI fails as it must: KVM does not show a TD's registers", async t => {
  const { status, failures } = await run(named('says.port_rdi.what_it_does'))
  t.equal(status, 'fail')
  t.match(failures, [{ kind: 'unexpected-exit', message: /^KVM_GET_REGS: .*\(EINVAL\)$/ }])
})
