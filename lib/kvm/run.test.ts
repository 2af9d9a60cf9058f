/** KVM_RUN against a VP.ENTER that the test scripts: what each TD exit becomes in kvm_run, and what the guest gets back. */
import t from 'tap'
import * as abi from '#abi'
import { hva } from '#bits'
import type { SeamcallRegs } from '#tdx'
import { outcome } from './sample.ts'
import { answered, capture, end, INVALID_OPERAND, resumed, SHARED, scripted, vmcall } from './testdata/scripted.ts'

t.test('Instruction.IO', async t => {
  const td = scripted()
  const { sample, vcpu, run, enter } = td
  for (const [size, data] of [
    [1, 0xabn],
    [2, 0xabcdn],
    [4, 0xffab_cdefn],
  ] as const) {
    enter.push(vmcall({ r11: 30n, r12: BigInt(size), r13: 1n, r14: 0x51n, r15: 0xdead_beef_0000_0000n | data }))
    t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_IO })
    const out = { direction: 1, size, port: 0x51, count: 1, data_offset: 4096n }
    t.same(sample.exit(abi.kvm_run_io, run), out)
    t.equal(sample.host.load(hva(run + 4096n), size), data)
    t.equal(resumed(td).r10, 0n)

    enter.push(vmcall({ r11: 30n, r12: BigInt(size), r13: 0n, r14: 0x52n, r15: 0n }))
    sample.run(vcpu, run)
    t.same(sample.exit(abi.kvm_run_io, run), { ...out, direction: 0, port: 0x52 })
    sample.host.store(hva(run + 4096n), 8, 0xffff_ffff_0000_0000n | data)
    t.match(resumed(td), { r10: 0n, r11: data }, 'zero-extended')
  }
  t.equal(answered(td, { r11: 30n, r12: 5n, r13: 0n, r14: 0x52n }).r10, INVALID_OPERAND, 'size 5')
  t.equal(answered(td, { r11: 30n, r12: 8n, r13: 0n, r14: 0x52n }).r10, INVALID_OPERAND, 'size 8')
  t.equal(answered(td, { r11: 30n, r12: 1n, r13: 2n, r14: 0x52n }).r10, INVALID_OPERAND, 'direction 2')
  end(t, td)
})

t.test('#VE.RequestMMIO', async t => {
  const td = scripted()
  const { sample, vcpu, run, enter } = td
  const gpa = 0x2_0000_0000n
  for (const size of [1, 2, 4, 8] as const) {
    const data = BigInt.asUintN(8 * size, 0x1234_5678_90ab_cdefn)
    enter.push(vmcall({ r11: 48n, r12: BigInt(size), r13: 1n, r14: gpa | SHARED, r15: 0x1234_5678_90ab_cdefn }))
    t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_MMIO })
    const { data: bytes, ...rest } = sample.exit(abi.kvm_run_mmio, run)
    t.same(rest, { phys_addr: gpa, len: size, is_write: 1 })
    t.equal(new DataView(bytes.buffer).getBigUint64(0, true), data)
    t.equal(resumed(td).r10, 0n)

    enter.push(vmcall({ r11: 48n, r12: BigInt(size), r13: 0n, r14: gpa | SHARED }))
    sample.run(vcpu, run)
    t.equal(sample.exit(abi.kvm_run_mmio, run).is_write, 0)
    sample.answer(abi.kvm_run_mmio, run, { data: new Uint8Array(8).fill(0xa5) })
    t.match(resumed(td), { r10: 0n, r11: BigInt.asUintN(8 * size, 0xa5a5_a5a5_a5a5_a5a5n) })
  }
  t.equal(answered(td, { r11: 48n, r12: 10n, r13: 0n, r14: gpa | SHARED }).r10, INVALID_OPERAND, 'size 10')
  t.equal(answered(td, { r11: 48n, r12: 8n, r13: 1n, r14: 0xfffn }).r10, INVALID_OPERAND, 'private address')
  t.equal(answered(td, { r11: 48n, r12: 8n, r13: 3n, r14: gpa | SHARED }).r10, INVALID_OPERAND, 'direction 3')
  const last = 2n * SHARED - 4n
  t.equal(answered(td, { r11: 48n, r12: 8n, r13: 1n, r14: last }).r10, INVALID_OPERAND, 'ends beyond what is shared')
  enter.push(vmcall({ r11: 48n, r12: 4n, r13: 1n, r14: last }))
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_MMIO }, 'the last four bytes')
  end(t, td)
})

t.test('immediate_exit completes the exit before and does not enter the guest', async t => {
  const td = scripted()
  const { sample, vcpu, run, enter } = td
  enter.push(vmcall({ r11: 48n, r12: 8n, r13: 0n, r14: 0x1000n | SHARED }))
  sample.run(vcpu, run)
  sample.answer(abi.kvm_run_mmio, run, { data: new Uint8Array(8).fill(1) })
  sample.host.set(abi.kvm_run, run, { immediate_exit: 1 })
  t.same(sample.run(vcpu, run), { result: 'EINTR', reason: abi.KVM_EXIT_MMIO })
  sample.answer(abi.kvm_run_mmio, run, { data: new Uint8Array(8).fill(2) })
  t.same(sample.run(vcpu, run), { result: 'EINTR', reason: abi.KVM_EXIT_MMIO })
  sample.host.set(abi.kvm_run, run, { immediate_exit: 0 })
  t.equal(resumed(td).r11, 0x0101_0101_0101_0101n, 'the answer is the one that was there at completion')
  end(t, td)
})

t.test('ReportFatalError shows every register, and the guest may be run on', async t => {
  const td = scripted()
  const { sample, vcpu, run, enter } = td
  const regs = {
    rbx: 3n,
    rdx: 2n,
    rsi: 6n,
    rdi: 7n,
    r8: 8n,
    r9: 9n,
    r12: 0x0baa_aaad_0000_0000n,
    r13: 13n,
    r14: 14n,
    r15: 15n,
  }
  enter.push(vmcall({ r11: 0x10003n, rcx: 0xffccn, ...regs }))
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_SYSTEM_EVENT })
  t.same(sample.exit(abi.kvm_run_system_event, run), {
    type: abi.KVM_SYSTEM_EVENT_TDX_FATAL,
    ndata: 16,
    data: [77n, 0xffccn, 2n, 3n, 0n, 0n, 6n, 7n, 8n, 9n, 0n, 0x10003n, 0x0baa_aaad_0000_0000n, 13n, 14n, 15n],
  })
  t.match(resumed(td), { r10: 0n, r12: 0x0baa_aaad_0000_0000n })
  end(t, td)
})

t.test('exits that are not TDVMCALLs', async t => {
  const td = scripted()
  const { sample, vcpu, run, enter } = td
  const leave = (rax: bigint, values: Partial<SeamcallRegs> = {}) => vmcall({ rcx: 0n, ...values, rax })
  let ticks = 0
  enter.push(leave(1n), leave(1n), regs => {
    ticks++
    leave(2n | abi.TDX_NON_RECOVERABLE_VCPU)(regs)
  })
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_SHUTDOWN }, 'triple fault, after two host ticks')
  t.equal(ticks, 1)

  enter.push(leave(abi.TDX_NON_RECOVERABLE_TD | 49n))
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_INTERNAL_ERROR })
  const { suberror, ndata, data } = sample.exit(abi.kvm_run_internal, run)
  t.same([suberror, ndata, ...data.slice(0, 2)], [4, 2, abi.TDX_NON_RECOVERABLE_TD | 49n, 0n])

  enter.push(leave(abi.TDX_NON_RECOVERABLE_VCPU | (1n << 31n) | 33n))
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_FAIL_ENTRY })

  // Private page that is pending, in a TD that wants no #VE for it.
  enter.push(leave(48n, { rcx: 1n, rdx: 6n, r8: 0xffff_f000n }))
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_SHUTDOWN })

  sample.host.signalPending = () => true
  t.same(sample.run(vcpu, run), { result: 'EINTR', reason: abi.KVM_EXIT_INTR })
  sample.host.signalPending = undefined

  enter.push(leave(48n, { rcx: 4n, r8: 0x1000n | SHARED }))
  t.equal(sample.run(vcpu, run).result, 'EIO', 'an instruction fetch from shared memory kills the VM')
  t.equal(
    outcome(() => sample.host.ioctl(vcpu, abi.KVM_GET_MP_STATE, sample.scratch)),
    'EIO',
  )
  end(t, td)
})

t.test('an EPT violation maps, or asks userspace', async t => {
  const td = scripted()
  const { sample, vm, vcpu, run, enter } = td
  const touch = (gpa: bigint) => vmcall({ rax: 48n, rcx: 1n, r8: gpa })
  const gpa = 0x8000_0000n
  const memory = sample.addSlot(vm, 3, gpa, 4)
  const fault = (): unknown => sample.exit(abi.kvm_run_memory_fault, run)

  enter.push(touch(gpa))
  t.same(sample.run(vcpu, run), { result: 'EFAULT', reason: abi.KVM_EXIT_MEMORY_FAULT })
  t.same(fault(), { flags: 8n, gpa, size: 4096n }, 'private access to shared memory')

  enter.push(touch((gpa + 0x1000n) | SHARED), capture({}))
  t.equal(sample.run(vcpu, run).reason, abi.KVM_EXIT_SYSTEM_EVENT, 'shared access is mapped')

  sample.setPrivate(vm, gpa, 4)
  enter.push(touch((gpa + 0x1000n) | SHARED))
  t.same(sample.run(vcpu, run), { result: 'EFAULT', reason: abi.KVM_EXIT_MEMORY_FAULT })
  t.same(fault(), { flags: 0n, gpa: gpa + 0x1000n, size: 4096n })

  const before = sample.host.framesInUse
  enter.push(touch(gpa), capture({}))
  t.equal(sample.run(vcpu, run).reason, abi.KVM_EXIT_SYSTEM_EVENT, 'private access is mapped pending')
  t.ok(sample.host.framesInUse > before)

  // No slot: private accesses ask, shared ones become #VE.
  enter.push(touch(0x9000_0000n))
  t.same(sample.run(vcpu, run), { result: 'EFAULT', reason: abi.KVM_EXIT_MEMORY_FAULT })
  enter.push(touch(0x9000_0000n | SHARED), capture({}))
  t.equal(sample.run(vcpu, run).reason, abi.KVM_EXIT_SYSTEM_EVENT)

  // Host memory that is gone.
  sample.setPrivate(vm, gpa, 4, false)
  sample.host.munmap(memory.hva, 4 * 4096)
  enter.push(touch(gpa | SHARED))
  t.equal(sample.run(vcpu, run).result, 'EFAULT')
  end(t, td)
})
