/** TDG.VP.VMCALL<Instruction.IO>: what the guest writes reaches the host, what the host answers reaches the guest. */
import { fixture } from '#harness'

const PORT = 0x32

const portIo = fixture('port_io', {
  variants: {
    byte: { size: 1, sent: 0xabn },
    word: { size: 2, sent: 0xabcdn },
    dword: { size: 4, sent: 0xabcd_1234n },
  },

  setup(t, { size, sent }) {
    return t.td({
      guest(g) {
        g.out(PORT, size, sent)
        g.assert.eq(g.in(PORT, size), sent + 1n)
        g.done()
      },
    })
  },
})

portIo.test('round_trip', async (t, td, { size, sent }) => {
  const out = await td.vcpu.until('KVM_EXIT_IO')
  t.assert.match(out, { port: PORT, direction: 'out', size, data: sent })

  const into = await td.vcpu.until('KVM_EXIT_IO')
  t.assert.match(into, { port: PORT, direction: 'in', size })
  into.answer(sent + 1n)

  await td.vcpu.until('UCALL_DONE')
})
