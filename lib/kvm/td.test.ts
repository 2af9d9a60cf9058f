/** A bare TD, whole: it boots from the reset vector into 64-bit mode and talks to the host by TDVMCALLs. */
import t from 'tap'
import * as abi from '#abi'
import { gva, type Hva, PAGE_SIZE } from '#bits'
import { assemble } from '#x86'
import type { HostOptions } from './host.ts'
import { Sample } from './sample.ts'

/** The top of the first 4 GiB: PML4, PDPT, page directory, code with the reset vector. */
const BASE = 0xffff_c000n
const PAGES = 4
const SHARED = 1n << 51n

const BOOT = `
  mov eax, cr4
  or eax, 0x20
  mov cr4, eax
  mov eax, 0xffffc000
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  lgdt [gdtr]
  jmp 8:long
gdt:
  .quad 0, 0x00209b0000000000
gdtr:
  .word 15
  .long gdt
.mode 64
long:
  xor eax, eax
  mov ecx, 0xfc00
  xor r10d, r10d
`

/** Code for 64-bit mode to run after boot; RAX = 0, RCX exposes R10 to R15, R10 = 0. */
const image = (guest: string): Uint8Array => {
  const out = new Uint8Array(PAGES * PAGE_SIZE)
  const view = new DataView(out.buffer)
  view.setBigUint64(0, (BASE + 0x1000n) | 3n, true)
  view.setBigUint64(0x1000 + 3 * 8, (BASE + 0x2000n) | 3n, true)
  // 2 MiB to 4 GiB, mapped to itself; the one below to the shared alias of 2 GiB.
  view.setBigUint64(0x2000 + 511 * 8, 0xffe0_0083n, true)
  view.setBigUint64(0x2000 + 510 * 8, SHARED | 0x8000_0083n, true)
  view.setBigUint64(0x2000 + 509 * 8, 0x8000_0083n, true)
  out.set(assemble(BOOT + guest, { mode: 32, at: BASE + 0x3000n }).bytes, 0x3000)
  out.set(assemble('jmp 0xfffff000', { mode: 32, at: 0xffff_fff0n }).bytes, 0x3ff0)
  return out
}

type Td = {
  readonly sample: Sample
  readonly vm: number
  readonly vcpu: number
  readonly run: Hva
  readonly memory: Hva
}

const build = (guest: string, options: HostOptions = {}, rcx = 0n): Td => {
  const sample = new Sample({ processors: 2, ...options })
  const vm = sample.createVm()
  sample.splitIrqchip(vm)
  sample.initVm(vm)
  const { hva: memory } = sample.addSlot(vm, 0, BASE, PAGES)
  const vcpu = sample.addVcpu(vm, 0, rcx)
  sample.host.write(memory, image(guest))
  sample.setPrivate(vm, BASE, PAGES)
  sample.initMemory(vcpu, memory, BASE, PAGES)
  sample.tdx(vm, abi.KVM_TDX_FINALIZE_VM)
  return { sample, vm, vcpu, run: sample.mapRun(vcpu), memory }
}

const end = (t: Pick<typeof import('tap').default, 'equal'>, { sample }: Td): void => {
  sample.host.close()
  t.equal(sample.host.memory.used, 0, 'every frame came back')
}

const MMIO = `
  mov r11d, 48
  mov r12d, 8
  mov r14, 0x8000000001000
`
const FATAL = `
  mov r11d, 0x10003
  tdcall
`

t.test('one TDVMCALL MMIO, out and in', async t => {
  const td = build(`
    ${MMIO}
    mov r13d, 1
    mov r15, 0x1122334455667788
    tdcall
    mov r12, r10
    xor r10d, r10d
    ${FATAL}
    ${MMIO}
    xor r13d, r13d
    tdcall
    mov r12, r11
    ${FATAL}
    hlt
  `)
  const { sample, vcpu, run } = td
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_MMIO })
  const { data, ...rest } = sample.exit(abi.kvm_run_mmio, run)
  t.same(rest, { phys_addr: 0x1000n, len: 8, is_write: 1 })
  t.equal(new DataView(data.buffer).getBigUint64(0, true), 0x1122_3344_5566_7788n)
  const seen = sample.host.inspect(vcpu)
  t.equal(seen.mode, 64)
  t.ok(seen.instructions > 15 && seen.instructions < 30, `${seen.instructions} instructions`)
  t.same(seen.read(gva(seen.rip - 4n), 4), Uint8Array.of(0x66, 0x0f, 0x01, 0xcc), 'RIP is behind the TDCALL')

  sample.host.set(abi.kvm_run, run, { immediate_exit: 1 })
  t.equal(sample.run(vcpu, run).result, 'EINTR')
  sample.host.set(abi.kvm_run, run, { immediate_exit: 0 })
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_SYSTEM_EVENT })
  t.equal(sample.exit(abi.kvm_run_system_event, run).data[12], 0n, 'R10 was 0')

  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_MMIO })
  sample.answer(abi.kvm_run_mmio, run, { data: new Uint8Array(8).fill(0x5a) })
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_SYSTEM_EVENT })
  t.equal(sample.exit(abi.kvm_run_system_event, run).data[12], 0x5a5a_5a5a_5a5a_5a5an)
  end(t, td)
})

t.test('shared memory: the guest stores, the host sees it, and the other way', async t => {
  const td = build(`
    mov rbx, 0xffc00000
    mov dword ptr [rbx], 0xcafecafe
    ${FATAL}
    mov r12d, [rbx]
    ${FATAL}
  `)
  const { sample, vm, vcpu, run } = td
  const { hva: shared } = sample.addSlot(vm, 1, 0x8000_0000n, 2)
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_SYSTEM_EVENT })
  t.equal(sample.host.load(shared, 4), 0xcafe_cafen)
  sample.host.store(shared, 4, 0xabcd_abcdn)
  sample.run(vcpu, run)
  t.equal(sample.exit(abi.kvm_run_system_event, run).data[12], 0xabcd_abcdn)
  end(t, td)
})

t.test('conversion by memory fault, both ways; private pages come back zeroed and accepted', async t => {
  // RSI counts where the guest is.
  const td = build(`
    mov rbx, 0xffc00000
    mov rdi, 0xffa00000
    mov dword ptr [rbx], 0x11
    ${FATAL}
    mov ecx, 0x80000000
    mov eax, 6
    tdcall
    mov r12, rax
    mov r13d, [rdi]
    mov dword ptr [rdi], 0x22
    mov ecx, 0xfc00
    xor eax, eax
    ${FATAL}
    mov r12d, [rbx]
    ${FATAL}
  `)
  const { sample, vm, vcpu, run } = td
  const { hva: shared } = sample.addSlot(vm, 1, 0x8000_0000n, 1)
  sample.run(vcpu, run)
  t.equal(sample.host.load(shared, 4), 0x11n)

  t.same(sample.run(vcpu, run), { result: 'EFAULT', reason: abi.KVM_EXIT_MEMORY_FAULT })
  const fault = { gpa: 0x8000_0000n, size: 4096n }
  t.same(sample.exit(abi.kvm_run_memory_fault, run), { flags: 8n, ...fault })
  sample.setPrivate(vm, 0x8000_0000n, 1)
  t.same(sample.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_SYSTEM_EVENT })
  const { data } = sample.exit(abi.kvm_run_system_event, run)
  t.same([data[12], data[13]], [0n, 0n], 'ACCEPT succeeded, the page is zero')
  t.equal(sample.host.load(shared, 4), 0x11n, 'the host does not see private data')

  t.same(sample.run(vcpu, run), { result: 'EFAULT', reason: abi.KVM_EXIT_MEMORY_FAULT })
  t.same(sample.exit(abi.kvm_run_memory_fault, run), { flags: 0n, ...fault })
  sample.setPrivate(vm, 0x8000_0000n, 1, false)
  sample.run(vcpu, run)
  t.equal(sample.exit(abi.kvm_run_system_event, run).data[12], 0x11n)
  end(t, td)
})

t.test('the guest starts with the RCX that INIT_VCPU gave; KVM_GET_REGS stays refused', async t => {
  const td = build(
    `
    mov r12, r8
    ${FATAL}
  `,
    {},
    0x1234_5678_9abc_def0n,
  )
  const { sample, vcpu, run } = td
  sample.run(vcpu, run)
  t.equal(sample.exit(abi.kvm_run_system_event, run).data[12], 0x1234_5678_9abc_def0n)
  t.throws(() => sample.host.ioctl(vcpu, abi.KVM_GET_REGS, sample.data), { code: 'EINVAL' })
  end(t, td)
})

t.test('two vCPUs of one TD, each on a processor of its own, and memory that leaves while both have run', async t => {
  const sample = new Sample({ processors: 2 })
  const vm = sample.createVm()
  sample.splitIrqchip(vm)
  sample.initVm(vm)
  const { hva: memory } = sample.addSlot(vm, 0, BASE, PAGES)
  const vcpus = [sample.addVcpu(vm, 0), sample.addVcpu(vm, 1)]
  sample.host.write(
    memory,
    image(`
    mov rbx, 0xffc00000
    mov r12d, esi
    mov [rbx + r12 * 4], r12d
    ${FATAL}
    mov r12d, [rbx]
    ${FATAL}
  `),
  )
  sample.setPrivate(vm, BASE, PAGES)
  sample.initMemory(vcpus[0]!, memory, BASE, PAGES)
  sample.tdx(vm, abi.KVM_TDX_FINALIZE_VM)
  const runs = vcpus.map(vcpu => sample.mapRun(vcpu))
  const shared = [1, 2].map(slot => sample.addSlot(vm, slot, 0x8000_0000n + BigInt((slot - 1) * PAGE_SIZE), 1).hva)
  for (const [i, vcpu] of vcpus.entries()) {
    t.same(sample.run(vcpu, runs[i]!), { result: 0, reason: abi.KVM_EXIT_SYSTEM_EVENT })
    t.equal(sample.exit(abi.kvm_run_system_event, runs[i]!).data[12], BigInt(i), 'ESI is the index')
  }
  t.equal(sample.host.load(shared[0]!, 8), 0x1_0000_0000n)
  // The slot goes and comes back with other memory behind it: no vCPU may see the old one.
  const region = { slot: 1, guest_phys_addr: 0x8000_0000n, userspace_addr: shared[1]!, guest_memfd: 0 }
  const layout = abi.kvm_userspace_memory_region2
  sample.call(vm, abi.KVM_SET_USER_MEMORY_REGION2, layout, { ...region, memory_size: 0n })
  sample.call(vm, abi.KVM_SET_USER_MEMORY_REGION2, layout, { ...region, memory_size: 4096n })
  sample.host.store(shared[1]!, 8, 0x77n)
  for (const [i, vcpu] of vcpus.entries()) {
    sample.run(vcpu, runs[i]!)
    t.equal(sample.exit(abi.kvm_run_system_event, runs[i]!).data[12], 0x77n)
  }
  sample.host.close()
  t.equal(sample.host.memory.used, 0)
})

t.test('a guest that never leaves is left at the next tick of the host when a signal is pending', async t => {
  const td = build('jmp $')
  const { sample, vcpu, run } = td
  let asked = 0
  sample.host.signalPending = () => asked++ > 0
  t.same(sample.run(vcpu, run), { result: 'EINTR', reason: abi.KVM_EXIT_INTR })
  t.equal(asked, 2)
  end(t, td)
})

t.test('a triple fault is KVM_EXIT_SHUTDOWN, and the VM can still be torn down', async t => {
  const td = build('ud2')
  t.same(td.sample.run(td.vcpu, td.run), { result: 0, reason: abi.KVM_EXIT_SHUTDOWN })
  end(t, td)
})

t.test('the same seed gives the same instructions', async t => {
  const counts = [1, 2].map(() => {
    const td = build(FATAL, { seed: 7n })
    td.sample.run(td.vcpu, td.run)
    const { instructions, rip } = td.sample.host.inspect(td.vcpu)
    td.sample.host.close()
    return [instructions, rip]
  })
  t.same(counts[0], counts[1])
})
