import t from 'tap'
import { takeMachine } from './machine.ts'
import { rehearse } from './rehearse.ts'
import { standing } from './trial.ts'

t.test('a rehearsal passes, and leaves nothing behind', async t => {
  const { status, instructions } = await rehearse()
  t.equal(status, 'pass')
  t.ok(instructions > 0)
  t.equal(standing(), undefined)
  const machines = [1n, 2n].map(seed => takeMachine(seed, () => false))
  t.not(machines[0]!.host.memory, machines[1]!.host.memory)
  t.equal(machines[0]!.host.memory.frames, machines[1]!.host.memory.frames)
  for (const machine of machines) machine.close()
})
