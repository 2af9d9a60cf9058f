import t from 'tap'
import { collected, run } from './sample.ts'

const named = await collected('vcpus_test.ts')

for (const name of ['loses_an_update', 'loses_an_unlocked_update'])
  t.test(`${name}: found within 200 interleavings, and its seed shows it again`, async t => {
    const test = named(`global.${name}`)
    const failing: bigint[] = []
    for (let seed = 0n; seed < 200n; seed++) {
      const { status, isInterleaved, failures } = await run(test, { seed })
      t.equal(isInterleaved, true)
      if (status === 'pass') continue
      failing.push(seed)
      t.match(failures, [{ comparison: { seen: { value: '0x1' }, want: { value: '0x2' } } }])
    }
    t.comment(`${failing.length} of 200 interleavings lose it`)
    t.ok(failing.length > 0)
    t.ok(failing.length < 200, 'and others do not')
    const [seed = 0n] = failing
    t.same(await run(test, { seed }), await run(test, { seed }))
  })

t.test('an atomic update is never lost', async t => {
  for (const name of ['loses_none', 'loses_no_locked_update'])
    for (let seed = 0n; seed < 100n; seed++) t.equal((await run(named(`global.${name}`), { seed })).status, 'pass')
})

t.test('vCPUs that wait for each other come to their end, in any interleaving', async t => {
  const instructions = new Set<number>()
  for (let seed = 0n; seed < 10n; seed++) {
    const ran = await run(named('global.plays_ping_pong'), { seed })
    t.equal(ran.status, 'pass')
    instructions.add(ran.instructions)
  }
  t.ok(instructions.size > 1, 'interleavings differ')
})

t.test('each vCPU has a life of its own in the test', async t => {
  const orders = new Set<string>()
  for (let seed = 0n; seed < 20n; seed++) {
    const { status, said } = await run(named('global.syncs_each_by_itself'), { seed })
    t.equal(status, 'pass')
    orders.add(said.join())
  }
  t.ok(orders.size > 1, 'interleavings differ')
})

t.test('a failure in one ends the test, whatever the other does', async t => {
  const { status, failures } = await run(named('global.fails_in_one'))
  t.equal(status, 'fail')
  t.match(failures, [
    {
      message: 'the second is to blame',
      guest: { vcpu: 1 },
      host: { site: { file: /vcpus_test/ }, waiting: 'UCALL_DONE' },
    },
  ])
})

t.test('a limit in instructions ends a test at the same place on any machine', async t => {
  const test = named('global.spins_for_ever')
  const ran = await run(test)
  t.match(ran, {
    status: 'timeout',
    reason: '100000 instructions',
    instructions: 100_000,
    failures: [{ kind: 'timeout', message: 'the guest did not reach UCALL_DONE within 100000 instructions' }],
  })
  t.same(await run(test), ran)
  t.match(await run(named('global.both_spin_for_ever')), { status: 'timeout', instructions: 50_000 })
})

t.test('a signal, after so many instructions, and immediate_exit interrupt KVM_RUN', async t => {
  t.match(await run(named('global.is_interrupted')), { status: 'pass', failures: [] })
})

t.test('the host lets time go by: each vCPU sleeps and wakes as it has said', async t => {
  for (let seed = 0n; seed < 6n; seed++)
    t.match(await run(named('global.time_goes_by_for_both'), { seed }), { status: 'pass', failures: [] })
  const asleep = await run(named('global.sleeps_for_ever'))
  t.match(asleep, { status: 'fail', failures: [{ message: /^KVM_RUN: the vCPU is halted and nothing is left/ }] })
  const said = await run(named('global.says_something_meanwhile'))
  t.match(said.failures, [{ message: 'unexpected UCALL_SYNC values 0x1', host: { waiting: 'KVM_EXIT_INTR' } }])
})
