/** TDVMCALLs that KVM answers, or asks userspace about, against a VP.ENTER that the test scripts. */
import t from 'tap'
import * as abi from '#abi'
import { hva } from '#bits'
import { answered, end, INVALID_OPERAND, resumed, SHARED, scripted, vmcall } from './testdata/scripted.ts'

t.test('MapGPA', async t => {
  const td = scripted()
  const { sample, vm, vcpu, run, enter } = td
  const MAP = { r11: 0x10001n }
  const off = answered(td, { ...MAP, r12: 0x8000_0000n | SHARED, r13: 0x1000n })
  t.match(off, { r10: abi.TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED, r11: 0x8000_0000n | SHARED }, 'capability not enabled')

  sample.call(vm, abi.KVM_ENABLE_CAP, abi.kvm_enable_cap, {
    cap: abi.KVM_CAP_EXIT_HYPERCALL,
    args: [1n << 12n, 0n, 0n, 0n],
  })
  const refused = (r12: bigint, r13: bigint): bigint | undefined => answered(td, { ...MAP, r12, r13 }).r10
  t.equal(refused(0x1000n, 0n), INVALID_OPERAND, 'no size')
  t.equal(refused(2n ** 64n - 4096n, 8192n), INVALID_OPERAND, 'wraps')
  t.equal(refused(1n << 52n, 4096n), INVALID_OPERAND, 'no legal address')
  t.equal(refused(SHARED - 4096n, 8192n), INVALID_OPERAND, 'both sides of the shared bit')
  t.equal(refused(SHARED - 4095n, 8192n), INVALID_OPERAND, 'the range is looked at before its alignment')
  t.equal(refused(0x1001n, 4096n), abi.TDVMCALL_STATUS_ALIGN_ERROR)
  t.equal(refused(0x1000n, 4097n), abi.TDVMCALL_STATUS_ALIGN_ERROR)

  // 5 MiB: three chunks.
  const start = 0x8000_0000n
  const chunks = [
    [start, 512n],
    [start + 0x20_0000n, 512n],
    [start + 0x40_0000n, 256n],
  ] as const
  enter.push(vmcall({ ...MAP, r12: start | SHARED, r13: 0x50_0000n }))
  for (const [gpa, pages] of chunks) {
    t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_HYPERCALL })
    const { args, ...rest } = sample.exit(abi.kvm_run_hypercall, run)
    t.same(args.slice(0, 3), [gpa, pages, abi.KVM_MAP_GPA_RANGE_DECRYPTED])
    t.same(rest, { nr: 12n, ret: 0n, flags: 1n })
  }
  t.equal(resumed(td).r10, 0n)

  for (const [ret, r10] of [
    [11n, abi.TDVMCALL_STATUS_RETRY],
    [22n, INVALID_OPERAND],
  ] as const) {
    enter.push(vmcall({ ...MAP, r12: start, r13: 0x1000n }))
    sample.run(vcpu, run)
    t.equal(sample.exit(abi.kvm_run_hypercall, run).args[2], abi.KVM_MAP_GPA_RANGE_ENCRYPTED)
    sample.answer(abi.kvm_run_hypercall, run, { ret })
    t.match(resumed(td), { r10, r11: start })
  }
  enter.push(vmcall({ ...MAP, r12: start, r13: 0x1000n }))
  sample.run(vcpu, run)
  sample.answer(abi.kvm_run_hypercall, run, { ret: 5n })
  t.equal(sample.run(vcpu, run).result, 'EINVAL', 'any other answer')
  end(t, td)
})

t.test('CPUID comes from KVM_SET_CPUID2, HLT blocks', async t => {
  const td = scripted()
  const { sample, vcpu, run, enter } = td
  const max = answered(td, { r11: 10n, r12: 0xffff_ffff_0000_0000n, r13: 0n })
  t.equal(max.r13, 0x756e_6547n, 'GenuineIntel; the upper half of R12 does not count')
  t.equal(max.r10, 0n)

  enter.push(vmcall({ r11: 12n, r12: 0n }))
  t.same(sample.run(vcpu, run), { result: 'EINTR', reason: abi.KVM_EXIT_INTR }, 'nothing can wake it')
  const state = (): number => {
    sample.host.ioctl(vcpu, abi.KVM_GET_MP_STATE, sample.scratch)
    return Number(sample.host.load(sample.scratch, 4))
  }
  t.equal(state(), abi.KVM_MP_STATE_HALTED)
  let asked = 0
  sample.host.onBlock = () => asked++ < 2
  t.equal(sample.run(vcpu, run).result, 'EINTR')
  t.equal(asked, 3)
  sample.call(vcpu, abi.KVM_SET_MP_STATE, abi.kvm_mp_state, { mp_state: abi.KVM_MP_STATE_RUNNABLE })
  t.equal(resumed(td).r10, 0n)

  enter.push(vmcall({ r11: 12n, r12: 1n }))
  t.equal(sample.run(vcpu, run).result, 'EINTR')
  t.equal(sample.host.ioctl(vcpu, abi.KVM_NMI), 0)
  t.equal(resumed(td).r10, 0n, 'an NMI wakes it, interrupts blocked or not')
  t.equal(state(), abi.KVM_MP_STATE_RUNNABLE)
  end(t, td)
})

t.test('MSRs: emulated, filtered, or userspace', async t => {
  const td = scripted()
  const { sample, vm, vcpu, run, enter } = td
  const RDMSR = 31n
  const WRMSR = 32n
  t.match(answered(td, { r11: WRMSR, r12: 0x1fcn, r13: 6n }), { r10: 0n })
  t.match(answered(td, { r11: RDMSR, r12: 0x1fcn }), { r10: 0n, r11: 6n })
  t.equal(answered(td, { r11: RDMSR, r12: 0x10n }).r10, INVALID_OPERAND, 'not emulated for a TD')
  t.equal(answered(td, { r11: WRMSR, r12: 0x1bn, r13: 0n }).r10, INVALID_OPERAND, 'APICBASE is read-only')

  // Default deny; 0x1a0 may be read, 0x1fc may be written.
  const bitmap = hva(sample.scratch + 0x1000n)
  sample.host.write(bitmap, new Uint8Array(8).fill(0xff))
  const ranges = new Uint8Array(16 * 24)
  ranges.set(abi.kvm_msr_filter_range.encode({ flags: abi.KVM_MSR_FILTER_READ, nmsrs: 1, base: 0x1a0, bitmap }), 0)
  ranges.set(abi.kvm_msr_filter_range.encode({ flags: abi.KVM_MSR_FILTER_WRITE, nmsrs: 1, base: 0x1fc, bitmap }), 24)
  sample.call(vm, abi.KVM_X86_SET_MSR_FILTER, abi.kvm_msr_filter, { flags: abi.KVM_MSR_FILTER_DEFAULT_DENY, ranges })
  t.equal(answered(td, { r11: RDMSR, r12: 0x1fcn }).r10, INVALID_OPERAND)
  t.equal(answered(td, { r11: WRMSR, r12: 0x1a0n, r13: 0n }).r10, INVALID_OPERAND)
  t.match(answered(td, { r11: RDMSR, r12: 0x1a0n }), { r10: 0n, r11: 0x1800n })
  t.match(answered(td, { r11: WRMSR, r12: 0x1fcn, r13: 7n }), { r10: 0n })
  t.match(answered(td, { r11: WRMSR, r12: 0x830n, r13: 4n }), { r10: 0n }, 'x2APIC MSRs are never filtered')
  t.match(answered(td, { r11: RDMSR, r12: 0x830n }), { r10: 0n, r11: 4n })

  // Denied ones to userspace.
  sample.call(vm, abi.KVM_ENABLE_CAP, abi.kvm_enable_cap, {
    cap: abi.KVM_CAP_X86_USER_SPACE_MSR,
    args: [BigInt(abi.KVM_MSR_EXIT_REASON_FILTER), 0n, 0n, 0n],
  })
  enter.push(vmcall({ r11: RDMSR, r12: 0x1fcn }))
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_X86_RDMSR })
  t.match(sample.exit(abi.kvm_run_msr, run), { error: 0, reason: abi.KVM_MSR_EXIT_REASON_FILTER, index: 0x1fc })
  sample.answer(abi.kvm_run_msr, run, { data: 99n })
  t.match(resumed(td), { r10: 0n, r11: 99n })
  enter.push(vmcall({ r11: WRMSR, r12: 0x1a0n, r13: 5n }))
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_X86_WRMSR })
  t.match(sample.exit(abi.kvm_run_msr, run), { index: 0x1a0, data: 5n })
  sample.answer(abi.kvm_run_msr, run, { error: 1 })
  t.equal(resumed(td).r10, INVALID_OPERAND)
  end(t, td)
})

t.test('the host reads and writes the same MSRs', async t => {
  const td = scripted()
  const { sample, vcpu } = td
  const entries = (...list: [number, bigint][]): Uint8Array => {
    const out = new Uint8Array(8 + 16 * list.length)
    out.set(abi.kvm_msrs.encode({ nmsrs: list.length }))
    for (const [i, [index, data]] of list.entries()) out.set(abi.kvm_msr_entry.encode({ index, data }), 8 + 16 * i)
    return out
  }
  sample.host.write(sample.scratch, entries([0x830, 4n], [0x1a0, 5n], [0x1fc, 6n]))
  t.equal(sample.host.ioctl(vcpu, abi.KVM_SET_MSRS, sample.scratch), 3)
  t.equal(answered(td, { r11: 31n, r12: 0x1a0n }).r11, 5n)
  sample.host.write(sample.scratch, entries([0x1fc, 0n], [0x10, 0n], [0x1a0, 0n]))
  t.equal(sample.host.ioctl(vcpu, abi.KVM_GET_MSRS, sample.scratch), 1, 'stops at the first it does not have')
  t.equal(sample.host.get(abi.kvm_msr_entry, hva(sample.scratch + 8n)).data, 6n)
  end(t, td)
})

t.test('GetTdVmCallInfo, GetQuote, SetupEventNotifyInterrupt, and what does not exist', async t => {
  const td = scripted()
  const { sample, vcpu, run, enter } = td
  t.match(answered(td, { r11: 0x10000n, r12: 0n, r13: 5n, r14: 6n }), { r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n })
  t.equal(answered(td, { r11: 0x10000n, r12: 2n }).r10, INVALID_OPERAND)
  enter.push(vmcall({ r11: 0x10000n, r12: 1n }))
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_TDX })
  const info = { flags: 0n, nr: 0x10000n, ret: 0n, leaf: 1n, r11: 0n, r12: 0n, r13: 0n, r14: 0n }
  t.same(sample.exit(abi.kvm_run_tdx_get_tdvmcall_info, run), info)
  sample.answer(abi.kvm_run_tdx_get_tdvmcall_info, run, { r11: 2n, r12: 3n, r13: 4n, r14: 5n })
  t.match(resumed(td), { r10: 0n, r11: 2n, r12: 3n, r13: 4n, r14: 5n })

  t.equal(answered(td, { r11: 0x10002n, r12: 0x1000n, r13: 0x1000n }).r10, INVALID_OPERAND, 'private buffer')
  enter.push(vmcall({ r11: 0x10002n, r12: 0x1000n | SHARED, r13: 0x2000n }))
  sample.run(vcpu, run)
  const unsupported = abi.TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED
  const quote = { flags: 0n, nr: 0x10002n, ret: unsupported, gpa: 0x1000n, size: 0x2000n }
  t.same(sample.exit(abi.kvm_run_tdx_get_quote, run), quote)
  t.equal(resumed(td).r10, unsupported)

  t.equal(answered(td, { r11: 0x10004n, r12: 31n }).r10, INVALID_OPERAND)
  t.equal(answered(td, { r11: 0x10004n, r12: 256n }).r10, INVALID_OPERAND)
  enter.push(vmcall({ r11: 0x10004n, r12: 32n }))
  sample.run(vcpu, run)
  t.match(sample.exit(abi.kvm_run_tdx_setup_event_notify, run), { nr: 0x10004n, vector: 32n })
  sample.answer(abi.kvm_run_tdx_setup_event_notify, run, { ret: 0n })
  t.equal(resumed(td).r10, 0n)

  t.equal(answered(td, { r11: 0x10005n }).r10, unsupported)
  t.equal(answered(td, { r11: 0x1_0000_0030n }).r10, unsupported, 'only the low half would be RequestMMIO')
  t.equal(answered(td, { r10: 5n, r11: 1n }).r10, 2n ** 64n - 1000n, 'a hypercall KVM does not know: -KVM_ENOSYS')
  end(t, td)
})
