/** KVM_SET_GUEST_DEBUG: stops at instructions, at INT3, and after each one. Upstream: tools/testing/selftests/kvm/x86/debug_regs.c. */
import t from 'tap'
import * as abi from '#abi'
import type { Hva } from '#bits'
import { outcome } from '../sample.ts'
import { CODE, OrdinarySample } from './sample.ts'

const { KVM_GUESTDBG_ENABLE: ENABLE, KVM_GUESTDBG_SINGLESTEP: STEP } = abi
const { KVM_GUESTDBG_USE_SW_BP: SOFTWARE, KVM_GUESTDBG_USE_HW_BP: HARDWARE } = abi

const guest = (text: string) => {
  const s = new OrdinarySample()
  const labels = s.code(text)
  const vcpu = s.vcpu()
  const at: Hva = s.mapRun(vcpu)
  const debug = (control: number, debugreg: readonly bigint[] = []) =>
    outcome(() =>
      s.call(vcpu, abi.KVM_SET_GUEST_DEBUG, abi.kvm_guest_debug, {
        control,
        debugreg: Array.from({ length: 8 }, (_, n) => debugreg[n] ?? 0n),
      }),
    )
  const run = () => {
    const { reason } = s.run(vcpu, at)
    return reason === abi.KVM_EXIT_DEBUG ? s.exit(abi.kvm_run_debug, at) : reason
  }
  return { s, labels, vcpu, at, debug, run }
}

t.test('INT3 is userspace’s, and the guest’s again', async t => {
  const { s, labels, vcpu, debug, run } = guest('nop\nhere: int3\nmov eax, 5\nhlt')
  t.equal(debug(ENABLE | SOFTWARE), 0)
  t.match(run(), { exception: abi.VECTOR_BP, pc: labels['here']! })
  t.match(run(), { exception: abi.VECTOR_BP, pc: labels['here']! }, 'it stands there')
  s.setRegs(vcpu, { rip: labels['here']! + 1n })
  t.equal(run(), abi.KVM_EXIT_HLT)
  t.equal(s.regs(vcpu).rax, 5n)
  t.equal(debug(0), 0)
  s.setRegs(vcpu, { rip: CODE })
  t.equal(run(), abi.KVM_EXIT_SHUTDOWN, 'the guest has no handler for it')
  s.host.close()
})

t.test('debug registers stop before an instruction', async t => {
  const { s, labels, debug, run } = guest('nop\nfirst: mov eax, 1\nmov ebx, 2\nsecond: mov ecx, 3\nhlt')
  // L0 and G3, instructions.
  t.equal(debug(ENABLE | HARDWARE, [labels['first']!, 0n, 0n, labels['second']!, 0n, 0n, 0n, 0x481n]), 0)
  t.match(run(), { exception: abi.VECTOR_DB, pc: labels['first']!, dr6: 0xffff_0ff1n, dr7: 0x481n })
  t.equal(debug(ENABLE | HARDWARE, [0n, 0n, 0n, labels['second']!, 0n, 0n, 0n, 0x480n]), 0)
  t.match(run(), { exception: abi.VECTOR_DB, pc: labels['second']!, dr6: 0xffff_0ff8n })
  t.equal(debug(0), 0)
  t.equal(run(), abi.KVM_EXIT_HLT)
  s.host.close()
})

t.test('step by step, through what KVM and userspace answer', async t => {
  const { s, vcpu, labels, debug, run } = guest(`
    mov eax, 1
    one: cpuid
    two: mov edx, 0x80
    three: in al, dx
    four: mov [0x3000], eax
    five: hlt`)
  t.equal(debug(ENABLE | STEP), 0)
  const stepped = (label: string) =>
    t.match(run(), { exception: abi.VECTOR_DB, pc: labels[label]!, dr6: 0xffff_4ff0n }, label)
  stepped('one')
  stepped('two')
  stepped('three')
  t.equal(run(), abi.KVM_EXIT_IO)
  stepped('four')
  stepped('five')
  t.equal(run(), abi.KVM_EXIT_HLT)
  t.equal(s.regs(vcpu).rflags & 0x100n, 0n, 'the guest’s TF is its own')
  s.host.close()
})

t.test('an exception of userspace’s', async t => {
  const { s, vcpu, debug, run } = guest('again: jmp again\nhandler: hlt')
  const { handler } = s.code('again: jmp again\nhandler: hlt')
  s.gate(1, handler!)
  s.gate(3, handler!)
  t.equal(debug(abi.KVM_GUESTDBG_INJECT_BP), 0)
  t.equal(debug(abi.KVM_GUESTDBG_INJECT_DB), 'EBUSY')
  t.equal(run(), abi.KVM_EXIT_HLT)
  t.equal(s.regs(vcpu).rip, handler! + 1n)
  s.host.close()
})

t.test('debug registers stop after accesses to data', async t => {
  const { s, vcpu, labels, debug, run } = guest(`
    mov eax, [0x3000]
    mov [0x3000], eax
    one: mov ebx, [0x3002]
    two: mov cl, [0x3008]
    mov [0x2fff], ax
    three: mov esi, 0x2000
    mov edi, 0x2ffe
    mov ecx, 4
    cld
    copy: rep movsb
    four: mov rdx, dr7
    mov eax, [0x20000000]
    hlt`)
  // L0: writes of four bytes at 0x3000. L1: reads and writes of four bytes at 0x3004. L2: four ports, which IN leaves before.
  const dr7 = 0x41dn | (0xdn << 16n) | (0xfn << 20n) | (0xen << 24n)
  const data = [0x3000n, 0x3004n, 0x2000_0000n, 0n, 0n, 0n, 0n, dr7]
  t.equal(debug(ENABLE | HARDWARE, data), 0)
  const stops = (label: string, dr6: bigint, why: string) =>
    t.match(run(), { exception: abi.VECTOR_DB, pc: labels[label]!, dr6, dr7 }, why)
  stops('one', 0xffff_0ff1n, 'not the read before')
  stops('two', 0xffff_0ff2n, '0x3002 to 0x3005 reaches the second')
  stops('three', 0xffff_0ff1n, '0x2fff and 0x3000')
  t.match(run(), { pc: labels['copy']! }, 'between two elements')
  t.equal(s.regs(vcpu).rcx, 1n)
  t.match(run(), { pc: labels['four']! }, 'and after the last one')
  t.equal(run(), abi.KVM_EXIT_MMIO)
  t.equal(s.regs(vcpu).rdx, 0x400n, 'the guest’s DR7 is its own')
  t.equal(run(), abi.KVM_EXIT_HLT)
  s.setRegs(vcpu, { rip: CODE })
  t.equal(debug(ENABLE | HARDWARE | STEP, data), 0)
  for (const met of [0n, 1n, 2n]) t.match(run(), { exception: abi.VECTOR_DB, dr6: 0xffff_4ff0n | met })
  t.equal(debug(0), 0)
  t.equal(run(), abi.KVM_EXIT_MMIO)
  s.host.close()
})

t.test('userspace’s breakpoints stand in the place of the guest’s', async t => {
  const { s, vcpu, labels, debug, run } = guest('again: mov [0x3000], eax\nbehind: hlt\nhandler: mov ebp, 1\nhlt')
  s.gate(1, labels['handler']!)
  const own = () =>
    s.call(vcpu, abi.KVM_SET_DEBUGREGS, abi.kvm_debugregs, { db: [0x3000n, 0n, 0n, 0n], dr7: 0xd_0401n })
  own()
  t.equal(debug(ENABLE | HARDWARE, [0n, 0n, 0n, 0x5000n, 0n, 0n, 0n, 0xd000_0480n]), 0)
  t.equal(run(), abi.KVM_EXIT_HLT)
  t.equal(s.regs(vcpu).rbp, 0n)
  t.equal(debug(0), 0)
  s.setRegs(vcpu, { rip: CODE })
  t.equal(run(), abi.KVM_EXIT_HLT)
  t.equal(s.regs(vcpu).rbp, 1n)
  s.host.close()
})
