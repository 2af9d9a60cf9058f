/** A test's life, for whoever keeps an image of this process: what has run once need not be read again. */
import type { Outcome } from './collect.ts'
import { forgetMachine } from './machine.ts'
import { declared, test } from './test.ts'
import { runTest } from './trial.ts'

const PORT = 0x10

/** Runs a small test that no file has, and lets go of what it ran on. */
export const rehearse = async (): Promise<Outcome> => {
  const [group] = await declared(async () =>
    test('rehearsal', async t => {
      const td = t.td({
        guest(g) {
          g.out(PORT, 1, 1n)
          g.assert.eq(g.in(PORT, 1), 2n)
          g.done()
        },
      })
      t.assert.match(await td.vcpu.until('KVM_EXIT_IO'), { port: PORT, direction: 'out', size: 1, data: 1n })
      const exit = await td.vcpu.until('KVM_EXIT_IO')
      t.assert.match(exit, { port: PORT, direction: 'in', size: 1 })
      exit.answer(2n)
      await td.vcpu.until('UCALL_DONE')
    }),
  )
  const only = group?.tests[0]
  if (group === undefined || only === undefined) throw new Error('a rehearsal of nothing')
  const job = { file: '', name: 'global.rehearsal', group, test: only, variant: undefined, xfail: undefined }
  const outcome = await runTest(job, { seed: 1n, timeout: 0, deadline: () => false, emit: () => {} })
  forgetMachine()
  return outcome
}
