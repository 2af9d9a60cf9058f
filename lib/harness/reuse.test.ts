import t from 'tap'
import type { Event } from '#reports'
import { collected, run } from './sample.ts'

const life = await collected('tds_test.ts')
const vcpus = await collected('vcpus_test.ts')

/** Everything that a test does, as its reader sees it: each SEAMCALL's status, each exit, its outcome. */
const heard = async (named: typeof life, name: string, seed: bigint) => {
  const events: Event[] = []
  const outcome = await named(name).run({
    seed,
    timeout: 0,
    deadline: () => false,
    trace: ['exits'],
    emit: event => events.push(event),
  })
  return { outcome, events }
}

t.test('what a test does follows from its seed, whatever ran in the same worker before', async t => {
  for (const name of ['works_a_little', 'shared_memory_by_name_and_by_structure'].map(name => `global.${name}`)) {
    const first = await heard(life, name, 7n)
    await run(vcpus('global.plays_ping_pong'), { seed: 3n })
    await run(vcpus('global.fails_in_one'), { seed: 4n })
    await run(life(name), { seed: 8n })
    t.same(await heard(life, name, 7n), first, name)
  }
})

t.test('interleavings too', async t => {
  const name = 'global.loses_an_update'
  for (let seed = 0n; seed < 10n; seed++) {
    const first = await heard(vcpus, name, seed)
    await run(life('global.works_a_little'), { seed: seed + 1n })
    t.same(await heard(vcpus, name, seed), first)
  }
})
