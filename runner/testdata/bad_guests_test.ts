/** Guests that go wrong in the ways there are, and one that does not: for tests of what the user sees. */
import { test } from '#harness'

test('endless_loop', { timeout: 200 }, async t => {
  const td = t.td({ guest: g => g.asm`again: jmp again` })
  await td.vcpu.until('UCALL_DONE')
})

test('jumps_into_nothing', async t => {
  const td = t.td({
    guest: g => g.asm`mov rax, 0x7fff00000000
    jmp rax`,
  })
  await td.vcpu.until('UCALL_DONE')
})

test('invalid_opcode', async t => {
  const td = t.td({ guest: g => g.asm`ud2` })
  await td.vcpu.until('UCALL_DONE')
})

test('done', async t => {
  const td = t.td({ guest: g => g.done() })
  await td.vcpu.until('UCALL_DONE')
})
