/** TDG.VP.VMCALL<#VE.RequestMMIO>: an access to a GPA that no memslot covers is the host's to answer. */
import { fixture } from '#harness'

const GPA = 0x2_0000_0000n

const mmio = fixture('mmio', {
  variants: {
    byte: { size: 1, value: 0x12n },
    word: { size: 2, value: 0x1234n },
    dword: { size: 4, value: 0x1234_5678n },
    qword: { size: 8, value: 0x1234_5678_90ab_cdefn },
  },
})

mmio.test('read_is_answered', async (t, _, { size, value }) => {
  const td = t.td({
    guest(g) {
      g.assert.eq(g.mmioRead(GPA, size), value)
      g.done()
    },
  })

  const read = await td.vcpu.until('KVM_EXIT_MMIO')
  t.assert.match(read, { gpa: GPA, direction: 'read', size })
  read.answer(value)

  await td.vcpu.until('UCALL_DONE')
})

mmio.test('write_arrives', async (t, _, { size, value }) => {
  const td = t.td({
    guest(g) {
      g.mmioWrite(GPA, size, value)
      g.done()
    },
  })

  const write = await td.vcpu.until('KVM_EXIT_MMIO')
  t.assert.match(write, { gpa: GPA, direction: 'write', size, data: value })

  await td.vcpu.until('UCALL_DONE')
})
