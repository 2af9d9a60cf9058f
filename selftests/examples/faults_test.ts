/** Exceptions: expected ones with what they say, safe accesses, and a handler that goes on behind the fault. */
import { PF, test, u64, VECTOR_UD } from '#harness'

const NOWHERE = 0x7000_0000n

test('a_page_fault_says_where_and_why', async t => {
  const td = t.td({
    guest(g) {
      const write = g.expectFault('#PF', () => g.store(NOWHERE, u64, 1n))
      g.assert.eq(write.cr2, NOWHERE)
      g.assert.eq(write.errorCode, BigInt(PF.WRITE))
      const read = g.expectFault('#PF', () => g.load(NOWHERE + 8n, u64))
      g.assert.eq(read.cr2, NOWHERE + 8n)
      g.assert.eq(read.errorCode, 0n)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})

test('an_address_that_is_not_canonical_is_a_general_protection_fault', async t => {
  const td = t.td({
    guest(g) {
      const { vector } = g.cpu.safe('mov rax, qword ptr [rbx]', { in: { rbx: 1n << 63n }, out: ['rax'] })
      g.assert.eq(vector, 13n)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})

test('a_handler_skips_what_it_does_not_know', async t => {
  const td = t.td({
    guest(g) {
      const count = g.memory('count', 8)
      g.onException(VECTOR_UD, frame => {
        g.atomic.add(count, u64, 1n)
        frame.set('rip', frame.get('rip').add(2n))
      })
      g.repeat(3n, () => g.cpu.ud2())
      g.assert.eq(g.load(count, u64), 3n)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})
