/**
 * Host writes to private memory: the memory's integrity check fails at the TD's next access, which is a machine check. The
 * TDX module ends the TD for good, and KVM_RUN tells of a VP.ENTER that cannot be recovered from. TDX module ABI, "TD exits";
 * Linux arch/x86/kvm/vmx/tdx.c, tdx_handle_exit.
 */
import {
  fixture,
  KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
  TDX_NON_RECOVERABLE_TD_NON_ACCESSIBLE,
  TDX_TD_FATAL,
  test,
  u64,
} from '#harness'

const [GPA, SIZE] = [0x9000_0000n, 0x4000]
const RET = 0xc3
/** VP.ENTER's completion status, whose exit reason 0 is an exception; and the processor. */
const died = (status: bigint) => ({ suberror: KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, data: [status, 0n] })

const access = fixture('access', {
  variants: { read: { kind: 'read' }, write: { kind: 'write' }, fetch: { kind: 'fetch' } },
  setup: (t, { kind }) =>
    t.td({
      vcpus: 2,
      slots: [{ slot: 3, gpa: GPA, size: SIZE, isPrivate: true, fill: RET }],
      map: [{ gva: GPA, gpa: GPA, size: SIZE }],
      guest(g) {
        g.sync(1)
        g.when(g.vcpuIndex().eq(0n), () => {
          if (kind === 'read') g.load(GPA + 8n, u64)
          else if (kind === 'write') g.store(GPA + 8n, u64, 1)
          else g.asm('call rax', { in: { rax: GPA }, clobbers: [] })
        })
        g.done()
      },
    }),
})

access.test('of_what_the_host_wrote_is_the_end', async (t, td) => {
  const [first, second] = td.vcpus
  if (first === undefined || second === undefined) throw new Error('two vCPUs were asked for')
  for (const vcpu of td.vcpus) await vcpu.until('UCALL_SYNC')
  td.poison({ gpa: GPA })
  t.assert.match(await first.until('KVM_EXIT_INTERNAL_ERROR'), died(TDX_NON_RECOVERABLE_TD_NON_ACCESSIBLE))
  t.assert.match(await first.until('KVM_EXIT_INTERNAL_ERROR'), died(TDX_TD_FATAL))
  const { suberror, data } = await second.until('KVM_EXIT_INTERNAL_ERROR')
  t.assert.match([suberror, data[0]], [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, TDX_TD_FATAL], 'nor another vCPU')
})

test('a_page_that_nobody_touches_or_that_comes_anew_does_no_harm', async t => {
  const td = t.td({
    slots: [{ slot: 3, gpa: GPA, size: SIZE, isPrivate: true, fill: RET }],
    map: [{ gva: GPA, gpa: GPA, size: SIZE }],
    guest(g) {
      g.assert.eq(g.load(GPA, u64), 0xc3c3_c3c3_c3c3_c3c3n)
      g.sync(1)
      g.assert.eq(g.load(GPA + 0x1000n, u64), 0xc3c3_c3c3_c3c3_c3c3n)
      g.sync(2)
      g.assert.eq(g.tdcall.memPageAccept({ gpa: GPA }).status, 0n)
      g.assert.eq(g.load(GPA, u64), 0n)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_SYNC')
  td.poison({ gpa: GPA })
  await td.vcpu.until('UCALL_SYNC')
  td.setPrivate(GPA, 4096n, false)
  t.assert.errno(() => td.poison({ gpa: GPA }), 'ENOENT')
  td.setPrivate(GPA, 4096n, true)
  await td.vcpu.until('UCALL_DONE')
})
