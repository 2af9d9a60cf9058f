/** KVM's paravirtual features: leaf 0x4000_0001 says which there are, and what it does not say is not there. */
import t from 'tap'
import * as abi from '#abi'
import { findCpuid } from './cpuid.ts'
import { OrdinarySample } from './ordinary/sample.ts'
import { answered, end, scripted } from './testdata/scripted.ts'

/** By bit of EAX: the MSRs of a feature. Linux arch/x86/include/uapi/asm/kvm_para.h. */
const MSRS: Readonly<Record<number, readonly number[]>> = {
  0: [0x11, 0x12],
  3: [0x4b56_4d00, 0x4b56_4d01],
  4: [0x4b56_4d02],
  5: [0x4b56_4d03],
  6: [0x4b56_4d04],
  12: [0x4b56_4d05],
  14: [0x4b56_4d06, 0x4b56_4d07],
  17: [0x4b56_4d08],
}
/** And their hypercalls: PV_UNHALT's kick, PV_SEND_IPI, PV_SCHED_YIELD. */
const HYPERCALLS: Readonly<Record<number, number>> = { 7: 5, 11: 10, 13: 11 }
const [POLL_CONTROL, ASYNC_PF] = [0x4b56_4d05, 0x4b56_4d02]
/** The clock's features; a TD has none of their MSRs (tdx_has_emulated_msr). */
const CLOCKS = ['0', '3']
const RDMSR = 31n
const WRMSR = 32n
const [INVALID_OPERAND, ENOSYS] = [abi.TDVMCALL_STATUS_INVALID_OPERAND, BigInt.asUintN(64, -1000n)]

const features = (entries: Parameters<typeof findCpuid>[0]): number => findCpuid(entries, 0x4000_0001, 0)?.eax ?? 0

t.test('a TD: a feature but the clock has its MSRs and hypercalls, or is not offered', async t => {
  const td = scripted()
  const offered = features(td.sample.host.supportedCpuid())
  t.equal(offered, 0x100b, 'CLOCKSOURCE, NOP_IO_DELAY, CLOCKSOURCE2 and POLL_CONTROL')
  for (const [bit, msrs] of Object.entries(MSRS))
    for (const msr of msrs) {
      const wanted = ((offered >> Number(bit)) & 1) === 1 && !CLOCKS.includes(bit) ? 0n : INVALID_OPERAND
      t.equal(answered(td, { r11: RDMSR, r12: BigInt(msr) }).r10, wanted, `bit ${bit}: RDMSR ${msr.toString(16)}`)
      t.equal(answered(td, { r11: WRMSR, r12: BigInt(msr), r13: 1n }).r10, wanted, `WRMSR ${msr.toString(16)}`)
    }
  for (const [bit, number] of Object.entries(HYPERCALLS)) {
    t.equal((offered >> Number(bit)) & 1, 0)
    t.equal(answered(td, { r10: BigInt(number), r11: 0n }).r10, ENOSYS, `hypercall ${number}`)
  }
  t.equal(answered(td, { r11: WRMSR, r12: BigInt(POLL_CONTROL), r13: 2n }).r10, INVALID_OPERAND, 'reserved bits')
  end(t, td)
})

t.test('an ordinary VM: what is not offered is #GP, POLL_CONTROL a bit', async t => {
  const s = new OrdinarySample()
  const { handler = 0n } = s.code(`mov ecx, ${POLL_CONTROL}
    rdmsr
    mov ebx, eax
    xor eax, eax
    wrmsr
    rdmsr
    mov esi, eax
    mov eax, 2
    wrmsr
    mov ecx, ${ASYNC_PF}
    mov eax, 0x1001
    wrmsr
    mov eax, 0x40000001
    xor ecx, ecx
    cpuid
    hlt
  handler:
    inc edi
    add qword ptr [rsp+8], 2
    add rsp, 8
    iretq`)
  s.gate(13, handler)
  const vcpu = s.vcpu()
  s.setRegs(vcpu, { rdi: 0n })
  t.same(s.run(vcpu, s.mapRun(vcpu)), { result: 0, reason: abi.KVM_EXIT_HLT })
  t.match(s.regs(vcpu), { rsi: 0n, rdi: 2n, rax: 0x100bn }, 'two #GPs: a reserved bit, and an MSR that is not there')
  s.host.close()
})
