import t from 'tap'
import * as abi from '#abi'
import { type Hva, hva } from '#bits'
import { outcome } from '../sample.ts'
import { CODE, MEMORY, OrdinarySample } from './sample.ts'

/** A guest of `text` and its kvm_run; the host process ends with the test, and every frame has come back. */
const guest = (t: { teardown(run: () => void): void }, text: string): { s: OrdinarySample; vcpu: number; at: Hva } => {
  const s = new OrdinarySample()
  t.teardown(() => s.host.close())
  s.code(text)
  const vcpu = s.vcpu()
  return { s, vcpu, at: s.mapRun(vcpu) }
}

/** The exit is MMIO: what it says. */
const mmio = (s: OrdinarySample, vcpu: number, at: Hva) => {
  const { result, reason } = s.run(vcpu, at)
  const { phys_addr, data, len, is_write } = s.exit(abi.kvm_run_mmio, at)
  const value = new DataView(data.buffer, data.byteOffset).getBigUint64(0, true)
  return { result, reason, phys_addr, value, len, is_write }
}
const answer = (s: OrdinarySample, at: Hva, value: bigint) =>
  s.host.store(hva(at + BigInt(abi.KVM_RUN_EXIT + abi.kvm_run_mmio.offset.data)), 8, value)
const write = (phys_addr: bigint, len: number, value: bigint) =>
  ({ result: 0, reason: abi.KVM_EXIT_MMIO, phys_addr, len, value, is_write: 1 }) as const
const read = (phys_addr: bigint, len: number) =>
  ({ result: 0, reason: abi.KVM_EXIT_MMIO, phys_addr, len, value: 0n, is_write: 0 }) as const

const immediate = (s: OrdinarySample, vcpu: number, at: Hva): number | string => {
  const flag = hva(at + BigInt(abi.kvm_run.offset.immediate_exit))
  s.host.store(flag, 1, 1n)
  const result = outcome(() => s.host.ioctl(vcpu, abi.KVM_RUN))
  s.host.store(flag, 1, 0n)
  return result
}

t.test('a ucall by IN shows RDI, and is completed without running the guest', async t => {
  const { s, vcpu, at } = guest(t, 'mov rdi, 0x123456789abc\nmov edx, 0x1000\nmov eax, -1\nin al, dx\nnop\nhlt')
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_IO })
  t.match(s.exit(abi.kvm_run_io, at), { direction: 0, size: 1, port: 0x1000, count: 1, data_offset: 4096n })
  const before = s.regs(vcpu)
  t.equal(before.rdi, 0x1234_5678_9abcn)
  s.host.store(hva(at + 4096n), 1, 0x5an)
  t.equal(immediate(s, vcpu, at), 'EINTR')
  const after = s.regs(vcpu)
  t.equal(after.rip, before.rip + 1n)
  t.equal(after.rax, 0xffff_ff5an)
  t.equal(immediate(s, vcpu, at), 'EINTR', 'nothing is left to complete')
  t.equal(s.regs(vcpu).rip, after.rip)
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_HLT })
})

t.test('OUT of each size; string I/O element by element', async t => {
  const { s, vcpu, at } = guest(
    t,
    `mov edx, 0x80
    mov eax, 0x11223344
    out dx, al
    out dx, ax
    out dx, eax
    mov esi, offset words
    mov ecx, 2
    rep outsw
    hlt
  words:
    nop
    nop
    nop
    nop`.replace('offset words', '0x1100'),
  )
  s.host.store(hva(s.memory + 0x1100n), 4, 0xbbbb_aaaan)
  const seen: [number, bigint][] = []
  for (let n = 0; n < 5; n++) {
    t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_IO })
    const { direction, size, port } = s.exit(abi.kvm_run_io, at)
    t.same([direction, port], [1, 0x80])
    seen.push([size, s.host.load(hva(at + 4096n), 4) & ((1n << BigInt(8 * size)) - 1n)])
  }
  t.same(seen, [
    [1, 0x44n],
    [2, 0x3344n],
    [4, 0x1122_3344n],
    [2, 0xaaaan],
    [2, 0xbbbbn],
  ])
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_HLT })
  t.equal(s.regs(vcpu).rcx, 0n)
})

t.test('an instruction that touches no memory slot is MMIO, whatever it is', async t => {
  const { s, vcpu, at } = guest(
    t,
    `mov rbx, 0x30000000
    mov rax, 0x8877665544332211
    mov qword ptr [rbx], rax
    mov byte ptr [rbx + 3], al
    mov cx, word ptr [rbx + 8]
    add dword ptr [rbx + 16], 5
    push qword ptr [rbx + 24]
    movups xmm0, xmmword ptr [rbx + 32]
    mov rsi, rbx
    mov rdi, 0x2000
    mov ecx, 2
    rep movsb
    hlt`,
  )
  const base = 0x3000_0000n
  t.same(mmio(s, vcpu, at), write(base, 8, 0x8877_6655_4433_2211n))
  t.equal(s.regs(vcpu).rip, CODE + 20n, 'a write is told when the instruction is over')
  t.same(mmio(s, vcpu, at), write(base + 3n, 1, 0x11n))
  t.same(mmio(s, vcpu, at), read(base + 8n, 2))
  answer(s, at, 0xffff_ffff_ffff_1234n)
  t.same(mmio(s, vcpu, at), read(base + 16n, 4))
  t.equal(s.regs(vcpu).rcx & 0xffffn, 0x1234n)
  answer(s, at, 7n)
  t.same(mmio(s, vcpu, at), write(base + 16n, 4, 12n))
  t.same(mmio(s, vcpu, at), read(base + 24n, 8))
  answer(s, at, 0xabcdn)
  t.same(mmio(s, vcpu, at), read(base + 32n, 8))
  answer(s, at, 1n)
  t.same(mmio(s, vcpu, at), read(base + 40n, 8))
  answer(s, at, 2n)
  t.same(mmio(s, vcpu, at), read(base, 1))
  answer(s, at, 0x61n)
  t.same(mmio(s, vcpu, at), read(base + 1n, 1))
  answer(s, at, 0x62n)
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_HLT })
  const { rsp, rcx } = s.regs(vcpu)
  t.equal(s.host.load(hva(s.memory + rsp), 8), 0xabcdn)
  t.equal(rcx, 0n)
  t.equal(s.host.load(hva(s.memory + 0x2000n), 2), 0x6261n)
  s.host.ioctl(vcpu, abi.KVM_GET_FPU, s.data)
  const { xmm } = s.host.get(abi.kvm_fpu, s.data)
  t.same([xmm[0], xmm[8]], [1, 2])
})

t.test('MMIO reads of one place to memory of another device: both are told', async t => {
  const { s, vcpu, at } = guest(t, 'mov rsi, 0x30000000\nmov rdi, 0x30001000\nmovsq\nhlt')
  t.same(mmio(s, vcpu, at), read(0x3000_0000n, 8))
  answer(s, at, 99n)
  t.same(mmio(s, vcpu, at), write(0x3000_1000n, 8, 99n))
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_HLT })
})

t.test('a read-only slot is read in place, and written by MMIO', async t => {
  const { s, vcpu, at } = guest(t, 'mov rbx, 0x30000000\nmov rax, qword ptr [rbx]\nmov qword ptr [rbx], rcx\nhlt')
  const rom = s.host.mmap(4096)
  s.host.store(rom, 8, 0x55n)
  s.slot(1, 0x3000_0000n, 4096, rom, abi.KVM_MEM_READONLY)
  t.same(mmio(s, vcpu, at), write(0x3000_0000n, 8, s.regs(vcpu).rcx))
  t.equal(s.regs(vcpu).rax, 0x55n)
})

t.test('memory that is not there: fetched, it is an internal error; unmapped by the host, EFAULT', async t => {
  const { s, vcpu, at } = guest(t, 'mov rax, 0x30000000\njmp rax')
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_INTERNAL_ERROR })
  t.equal(s.exit(abi.kvm_run_internal, at).suberror, abi.KVM_INTERNAL_ERROR_EMULATION)
  s.setRegs(vcpu, { rip: CODE })
  s.host.munmap(s.memory, MEMORY)
  t.equal(s.run(vcpu, at).result, 'EFAULT')
})

t.test('HLT, triple fault, TDCALL, CPUID, XSETBV, VMCALL', async t => {
  const { s, vcpu, at } = guest(
    t,
    'hlt\nmov eax, 0x80000008\ncpuid\nhlt\nmov eax, 1\nvmcall\nhlt\nmov eax, 77\nvmcall\nhlt\nud2',
  )
  const halt = { result: 0, reason: abi.KVM_EXIT_HLT }
  t.same(s.run(vcpu, at), halt)
  t.equal(s.regs(vcpu).rip, CODE + 1n)
  t.same(s.run(vcpu, at), halt)
  t.not(s.regs(vcpu).rax & 0xffn, 0n)
  t.same(s.run(vcpu, at), halt)
  t.equal(s.regs(vcpu).rax, 0n)
  t.same(s.run(vcpu, at), halt)
  t.equal(s.regs(vcpu).rax, BigInt.asUintN(64, -1000n), 'KVM_ENOSYS')
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_SHUTDOWN })

  const labels = s.code('tdcall\nnop\nud:\nmov eax, 0x600d\nhlt')
  s.gate(6, labels['ud']!)
  s.setRegs(vcpu, { rip: CODE })
  t.same(s.run(vcpu, at), halt)
  t.equal(s.regs(vcpu).rax, 0x600dn, 'TDCALL is no instruction here')
})

t.test('MSRs: the filter, unknown ones, and what userspace answers', async t => {
  const { s, vcpu, at } = guest(
    t,
    'mov ecx, 0x12345\nrdmsr\nhlt\nmov ecx, 0xc0000103\nmov eax, 5\nxor edx, edx\nwrmsr\nrdmsr\nhlt',
  )
  s.call(s.vm, abi.KVM_ENABLE_CAP, abi.kvm_enable_cap, {
    cap: abi.KVM_CAP_X86_USER_SPACE_MSR,
    args: [BigInt(abi.KVM_MSR_EXIT_REASON_INVAL), 0n, 0n, 0n],
  })
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_X86_RDMSR })
  t.match(s.exit(abi.kvm_run_msr, at), { index: 0x12345, reason: abi.KVM_MSR_EXIT_REASON_INVAL })
  s.answer(abi.kvm_run_msr, at, { data: 0x1_0000_0002n })
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_HLT })
  t.match(s.regs(vcpu), { rax: 2n, rdx: 1n })
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_HLT })
  t.match(s.regs(vcpu), { rax: 5n, rdx: 0n })

  // Without userspace's wish it is #GP.
  s.call(s.vm, abi.KVM_ENABLE_CAP, abi.kvm_enable_cap, { cap: abi.KVM_CAP_X86_USER_SPACE_MSR, args: [0n, 0n, 0n, 0n] })
  const labels = s.code('mov ecx, 0x12345\nrdmsr\ngp:\nmov eax, 0x600d\nhlt')
  s.gate(13, labels['gp']!)
  s.setRegs(vcpu, { rip: CODE })
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_HLT })
  t.equal(s.regs(vcpu).rax, 0x600dn)
})

t.test('KVM_INTERRUPT waits for IF, and the window for it is told; KVM_NMI does not wait', async t => {
  const { s, vcpu, at } = guest(t, 'nop\nnop\nsti\nnop\nnop\nhlt')
  const labels = s.code('irq:\nmov ebx, 0x1234\nhlt\niretq\nnmi:\nmov ebx, 0x999\nhlt\niretq', 0x1800n)
  s.gate(0x41, labels['irq']!)
  s.gate(2, labels['nmi']!)
  const window = hva(at + BigInt(abi.kvm_run.offset.request_interrupt_window))
  s.host.store(window, 1, 1n)
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_IRQ_WINDOW_OPEN })
  t.equal(s.regs(vcpu).rip, CODE + 4n, 'one instruction after STI')
  s.host.store(window, 1, 0n)
  t.match(s.host.get(abi.kvm_run, at), { ready_for_interrupt_injection: 1, if_flag: 1 })
  t.equal(
    outcome(() => s.call(vcpu, abi.KVM_INTERRUPT, abi.kvm_interrupt, { irq: 256 })),
    'EINVAL',
  )
  t.equal(s.call(vcpu, abi.KVM_INTERRUPT, abi.kvm_interrupt, { irq: 0x41 }), 0)
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_HLT })
  t.equal(s.regs(vcpu).rbx, 0x1234n)
  t.equal(s.host.ioctl(vcpu, abi.KVM_NMI), 0)
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_HLT })
  t.equal(s.regs(vcpu).rbx, 0x999n)
})

t.test('a halted vCPU with a local APIC waits inside KVM_RUN, and its timer wakes it in no time', async t => {
  const s = new OrdinarySample({}, ({ host, vm }) => {
    host.ioctl(vm, abi.KVM_CREATE_IRQCHIP)
  })
  t.teardown(() => s.host.close())
  const labels = s.code(
    `mov ecx, 0x1b
    rdmsr
    or eax, 0x400
    wrmsr
    mov ecx, 0x80f
    mov eax, 0x1ff
    xor edx, edx
    wrmsr
    mov ecx, 0x832
    mov eax, 0x50
    wrmsr
    mov ecx, 0x838
    mov eax, 1000000
    wrmsr
    sti
    hlt
    rdtsc
    mov edi, eax
    mov edx, 0x80
    out dx, al
    hlt
  timer:
    mov ebx, 0x7777
    mov ecx, 0x80b
    xor eax, eax
    xor edx, edx
    wrmsr
    iretq`,
  )
  s.gate(0x50, labels['timer']!)
  const vcpu = s.vcpu()
  const at = s.mapRun(vcpu)
  t.same(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_IO })
  const { rbx, rdi } = s.regs(vcpu)
  t.equal(rbx, 0x7777n)
  t.ok(rdi >= 1_000_000n, 'the time has gone by')
  // Nothing more would wake it.
  t.equal(s.run(vcpu, at).result, 'EINTR')
  s.host.ioctl(vcpu, abi.KVM_GET_MP_STATE, s.data)
  t.equal(s.host.get(abi.kvm_mp_state, s.data).mp_state, abi.KVM_MP_STATE_HALTED)
  t.equal(
    outcome(() => s.call(vcpu, abi.KVM_INTERRUPT, abi.kvm_interrupt, { irq: 0x41 })),
    'ENXIO',
  )
  t.equal(s.host.ioctl(vcpu, abi.KVM_GET_LAPIC, s.data), 0)
  const { regs } = s.host.get(abi.kvm_lapic_state, s.data)
  t.equal(new DataView(regs.buffer, regs.byteOffset).getUint32(0x320, true), 0x50, 'LVT timer')
  t.equal(s.host.ioctl(vcpu, abi.KVM_SET_LAPIC, s.data), 0)
})

t.test('INIT and SIPI start a second vCPU in real mode; IPIs go both ways', async t => {
  const s = new OrdinarySample({}, ({ host, vm }) => {
    host.ioctl(vm, abi.KVM_CREATE_IRQCHIP)
  })
  t.teardown(() => s.host.close())
  // xAPIC: INIT, SIPI to page 3, of APIC 1.
  s.code(
    `mov rbx, 0xfee00000
    mov dword ptr [rbx + 0xf0], 0x1ff
    mov dword ptr [rbx + 0x310], 0x01000000
    mov dword ptr [rbx + 0x300], 0x4500
    mov dword ptr [rbx + 0x310], 0x01000000
    mov dword ptr [rbx + 0x300], 0x4603
    mov edx, 0x80
    out dx, al
    hlt`,
  )
  const first = s.vcpu(0)
  const second = s.vcpu(1)
  const [at, at2] = [s.mapRun(first), s.mapRun(second)]
  t.equal(s.run(second, at2).result, 'EINTR', 'it waits to be started')
  t.same(s.run(first, at), { result: 0, reason: abi.KVM_EXIT_IO })
  // mov al, 0x5a; out 0x81, al, in real mode at 0x300:0.
  s.host.write(hva(s.memory + 0x3000n), Uint8Array.of(0xb0, 0x5a, 0xe6, 0x81, 0xf4))
  t.same(s.run(second, at2), { result: 0, reason: abi.KVM_EXIT_IO })
  t.match(s.exit(abi.kvm_run_io, at2), { port: 0x81, size: 1 })
  t.equal(s.host.load(hva(at2 + 4096n), 1), 0x5an)
})
