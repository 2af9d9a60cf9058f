/**
 * What TDG.VP.VMCALL's mask selects reaches the host, what it does not stays the guest's: each register, both ways.
 * Asked for in the replies to "[PATCH v13 00/22] TDX KVM selftests"; TDX module ABI, TDG.VP.VMCALL.
 */
import {
  fixture,
  TDVMCALL_CPUID,
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

/** What KVM answers CPUID with, by register: each comes back only where the guest selected it. */
const RESULTS = { r12: 12n, r13: 13n, r14: 14n, r15: 15n } as const
type Result = keyof typeof RESULTS

const answered = fixture('rcx_mask_answered', {
  variants: {
    r12: { shown: ['r12'] },
    r13: { shown: ['r13'] },
    r14: { shown: ['r14'] },
    r15: { shown: ['r15'] },
    r12_and_r15: { shown: ['r12', 'r15'] },
    none: { shown: [] },
    all: { shown: ['r12', 'r13', 'r14', 'r15'] },
  } as Record<string, { readonly shown: readonly Result[] }>,
})

answered.test('selects_what_the_guest_gets', async (t, _, { shown }) => {
  const td = t.td({
    guest(g) {
      // Leaf 0, which every sub-leaf has alike: EAX is at least 0x23, EBX, EDX and ECX are GenuineIntel.
      const mask = shown.reduce((bits, name) => bits | (1n << RESULTS[name]), R10 | R11)
      const own = { r12: 0n, r13: 0n, r14: 0xe14n, r15: 0xe15n }
      const after = g.vmcall.raw({ ...own, r11: BigInt(TDVMCALL_CPUID) }, mask)
      const host = { r13: 0x756e_6547n, r14: 0x6c65_746en, r15: 0x4965_6e69n }
      g.assert.eq(after.r10, 0n)
      if (shown.includes('r12')) g.expect.ge(after.r12, 0x23n)
      else g.expect.eq(after.r12, own.r12)
      for (const name of ['r13', 'r14', 'r15'] as const)
        g.expect.eq(after[name], shown.includes(name) ? host[name] : own[name], name)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

const NUMBERS = Array.from({ length: 16 }, (_, n) => n)
const vector = (n: number): bigint => 0x0101_0101_0101_0101n * BigInt(n + 1)

const xmm = fixture('xmm_mask', {
  variants: Object.fromEntries([
    ['none', { selected: [] }],
    ...NUMBERS.map(n => [`xmm${n}`, { selected: [n] }] as const),
    ['all', { selected: NUMBERS }],
  ]) as Record<string, { readonly selected: readonly number[] }>,
})

xmm.test('registers_outside_it_are_the_guests', async (t, _, { selected }) => {
  const td = t.td({
    guest(g) {
      const save = g.memory('save', 256, { align: 16 })
      const mask = selected.reduce((bits, n) => bits | (1n << BigInt(16 + n)), 0xfc00n)
      // RBP is never selected and always kept: the TD is one with NO_RBP_MOD.
      const { rax: rbp } = g.asm(
        `push rbp
        ${NUMBERS.map(n => `mov rax, ${vector(n)}\nmovq xmm${n}, rax\npunpcklqdq xmm${n}, xmm${n}`).join('\n')}
        mov rbp, 0x0bad0bad
        mov ecx, ${mask}
        xor r10d, r10d
        mov r11d, 0x10000
        xor r12d, r12d
        xor eax, eax
        tdcall
        ${NUMBERS.map(n => `movdqu [rdi+${16 * n}], xmm${n}`).join('\n')}
        mov rax, rbp
        pop rbp`,
        { in: { rdi: save }, out: ['rax'] },
      )
      g.assert.eq(rbp, 0x0bad_0badn)
      for (const n of NUMBERS) {
        // What is shown comes back as the host leaves it, and KVM leaves none of the guest's there.
        const want = selected.includes(n) ? 0n : vector(n)
        g.expect.eq(g.load(save + BigInt(16 * n), 8), want, `XMM${n}`)
        g.expect.eq(g.load(save + BigInt(16 * n + 8), 8), want, `XMM${n}, upper half`)
      }
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})
