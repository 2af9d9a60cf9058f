/**
 * What TDG.VP.VMCALL's mask selects reaches the host, what it does not stays the guest's: each register, both ways.
 * Asked for in the replies to "[PATCH v13 00/22] TDX KVM selftests"; TDX module ABI, TDG.VP.VMCALL.
 */
import {
  fixture,
  TDVMCALL_REPORT_FATAL_ERROR,
  TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED,
  TDX_OPERAND_INVALID,
  test,
} from '#harness'

/** Registers that a guest may show, by number: their bit in RCX, and their place in the exit. */
const NUMBER = { rdx: 2, rbx: 3, rsi: 6, rdi: 7, r8: 8, r9: 9, r12: 12, r13: 13, r14: 14, r15: 15 } as const
type Name = keyof typeof NUMBER
const NAMES = Object.keys(NUMBER) as Name[]
const [R10, R11] = [1n << 10n, 1n << 11n]

const ownValue = (name: Name): bigint => 0x1111_1111_1111_1111n * BigInt(NUMBER[name])
const values = Object.fromEntries(NAMES.map(name => [name, ownValue(name)])) as Record<Name, bigint>
const bit = (name: Name): bigint => 1n << BigInt(NUMBER[name])

const mask = fixture('rcx_mask', {
  variants: Object.fromEntries([
    ...NAMES.map(name => [name, { shown: [name] }] as const),
    ['none', { shown: [] as Name[] }],
    ['all', { shown: NAMES }],
  ]) as Record<string, { readonly shown: readonly Name[] }>,

  setup(t, { shown }) {
    return t.td({
      guest(g) {
        const selected = shown.reduce((bits, name) => bits | bit(name), R10 | R11)
        const after = g.vmcall.raw({ ...values, r11: BigInt(TDVMCALL_REPORT_FATAL_ERROR) }, selected)
        for (const name of NAMES) g.expect.eq(after[name], ownValue(name), name)
        g.expect.eq(after.r10, 0n)
        g.done()
      },
    })
  },
})

mask.test('selects_what_the_host_sees', async (t, td, { shown }) => {
  const { data } = await td.vcpu.until('KVM_EXIT_SYSTEM_EVENT')
  for (const name of NAMES) t.expect.eq(data[NUMBER[name]], shown.includes(name) ? ownValue(name) : 0n, name)
  await td.vcpu.until('UCALL_DONE')
})

test('a_status_is_seen_only_in_a_selected_r10', async t => {
  const td = t.td({
    guest(g) {
      // The host sees R10 = 0, a standard call, and what it answers there is lost.
      const hidden = g.vmcall.raw({ r10: 0x77n, r11: 0x7777n }, R11)
      g.assert.eq(hidden.r10, 0x77n)
      const shown = g.vmcall.raw({ r11: 0x7777n }, R10 | R11)
      g.assert.eq(shown.r10, TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED)
      // Without R11 the sub-function is 0, which there is not.
      g.assert.eq(g.vmcall.raw({ r11: 0x30n }, R10).r10, TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})

const never = fixture('rcx_mask_refuses', {
  variants: {
    rax: { number: 0n },
    rcx: { number: 1n },
    rsp: { number: 4n },
    rbp: { number: 5n },
    bit_32: { number: 32n },
  },
})

never.test('registers_that_are_never_shown', async (t, _, { number }) => {
  const td = t.td({
    guest(g) {
      const { rax } = g.tdcall.raw(0n, { rcx: R10 | R11 | (1n << number), r10: 0n, r11: 0x10003n })
      g.assert.eq(rax.and(0xffff_ffff_0000_0000n), TDX_OPERAND_INVALID)
      g.done()
    },
  })

  // The call never reached the host.
  await td.vcpu.until('UCALL_DONE')
})
