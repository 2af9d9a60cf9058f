/** Several vCPUs of one TD: each with its own code, or all with the same one and data of their own. */
import { shared, struct, test, u32, u64 } from '#harness'

const mailbox = shared('mailbox', { full: u32, letter: u64 })

test('one_vcpu_writes_and_the_other_reads', async t => {
  const td = t.td({
    guest: [
      function writer(g) {
        const { full, letter } = mailbox.in(g)
        letter.set(0xcafen)
        full.set(1)
        g.done()
      },
      function reader(g) {
        const { full, letter } = mailbox.in(g)
        g.while(
          () => full.get().eq(0),
          () => g.cpu.pause(),
        )
        g.assert.eq(letter.get(), 0xcafen)
        g.done()
      },
    ],
  })
  const [writer, reader] = td.vcpus

  await writer!.until('UCALL_DONE')
  await reader!.until('UCALL_DONE')
})

const own = struct('own', { rounds: u64 })
const total = shared('total', { sum: u64 })

test('every_vcpu_knows_its_number_and_has_its_own_data', async t => {
  const td = t.td({
    vcpus: 4,
    guest(g) {
      const { rounds } = g.perVcpu('own', own)
      g.repeat(g.vcpuIndex().add(1n), () => rounds.set(rounds.get().add(1n)))
      g.atomic.add(total.in(g).sum.address, u64, rounds.get())
      g.done()
    },
  })

  for (const vcpu of td.vcpus) await vcpu.until('UCALL_DONE')
  t.assert.eq(total.of(td).sum, 1n + 2n + 3n + 4n)
})
