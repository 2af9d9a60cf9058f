/** What KVM does in the kernel beside vCPUs: ioeventfds, coalesced writes, the VM's clock, MSR lists, the boot CPU, dirty logs by hand. */
import t from 'tap'
import * as abi from '#abi'
import { hva } from '#bits'
import { OrdinarySample } from './ordinary/sample.ts'
import { outcome } from './sample.ts'
import { answered, end, resumed, SHARED, scripted, vmcall } from './testdata/scripted.ts'

const [MATCH, PIO] = [abi.KVM_IOEVENTFD_FLAG_DATAMATCH, abi.KVM_IOEVENTFD_FLAG_PIO]
const DEASSIGN = abi.KVM_IOEVENTFD_FLAG_DEASSIGN
const GPA = 0x8000_0000n

t.test('KVM_IOEVENTFD of a TD: the write is heard, and makes no exit', async t => {
  const td = scripted()
  const { sample, vm } = td
  const { host } = sample
  const [first, second] = [host.eventfd(), host.eventfd()]
  const set = (fd: number, values: { addr?: bigint; len?: number; flags?: number; datamatch?: bigint }) =>
    outcome(() => sample.call(vm, abi.KVM_IOEVENTFD, abi.kvm_ioeventfd, { fd, addr: GPA, len: 4, ...values }))
  const heard = (fd: number) => outcome(() => Number(host.readEventfd(fd)))
  t.equal(set(first, { flags: MATCH, datamatch: 7n }), 0)
  t.equal(set(second, { flags: MATCH, datamatch: 8n }), 0, 'the same place, another value')
  t.equal(set(second, { flags: MATCH, datamatch: 7n }), 'EEXIST')
  t.equal(set(second, {}), 'EEXIST', 'any value is that one too')
  t.equal(set(second, { len: 3 }), 'EINVAL')
  t.equal(set(second, { len: 0, flags: MATCH }), 'EINVAL', 'no length, no value')
  t.equal(set(second, { addr: 2n ** 64n - 2n }), 'EINVAL')
  t.equal(set(second, { flags: 8 }), 'EINVAL')
  t.equal(set(9999, {}), 'EBADF')
  t.equal(set(vm, {}), 'EINVAL')
  const write = (size: bigint, value: bigint, gpa = GPA) => ({
    r11: 48n,
    r12: size,
    r13: 1n,
    r14: gpa | SHARED,
    r15: value,
  })
  t.equal(answered(td, write(4n, 7n)).r10, 0n)
  t.same([heard(first), heard(second)], [1, 'EAGAIN'])
  answered(td, write(4n, 0x1_0000_0008n))
  t.same([heard(first), heard(second)], ['EAGAIN', 1], 'four bytes of it')
  td.enter.push(vmcall(write(8n, 7n)))
  t.equal(sample.run(td.vcpu, td.run).reason, abi.KVM_EXIT_MMIO, 'another size is userspace’s')
  resumed(td)
  td.enter.push(vmcall(write(4n, 9n)))
  t.equal(sample.run(td.vcpu, td.run).reason, abi.KVM_EXIT_MMIO, 'another value too')
  resumed(td)
  t.equal(set(first, { flags: PIO, addr: 0x50n, len: 0 }), 0)
  answered(td, { r11: 30n, r12: 2n, r13: 1n, r14: 0x50n, r15: 5n })
  t.equal(heard(first), 1, 'a port, any size')
  td.enter.push(vmcall({ r11: 30n, r12: 2n, r13: 0n, r14: 0x50n }))
  t.equal(sample.run(td.vcpu, td.run).reason, abi.KVM_EXIT_IO, 'a read is userspace’s')
  resumed(td)
  t.equal(set(second, { flags: DEASSIGN | MATCH, datamatch: 7n }), 'ENOENT', 'that is the other one’s')
  t.equal(set(first, { flags: DEASSIGN | MATCH, datamatch: 7n }), 0)
  t.equal(set(first, { flags: DEASSIGN | MATCH, datamatch: 7n }), 'ENOENT')
  td.enter.push(vmcall(write(4n, 7n)))
  t.equal(sample.run(td.vcpu, td.run).reason, abi.KVM_EXIT_MMIO)
  end(t, td)
})

t.test('coalesced MMIO and ports wait in a ring that every vCPU’s mapping shows', async t => {
  const td = scripted()
  const { sample, vm } = td
  const { host } = sample
  const zone = (request: number, values: { addr?: bigint; size?: number; pio?: number }) =>
    outcome(() => sample.call(vm, request, abi.kvm_coalesced_mmio_zone, { addr: GPA, size: 16, ...values }))
  const page = outcome(() => host.ioctl(sample.kvm, abi.KVM_CHECK_EXTENSION, abi.KVM_CAP_COALESCED_MMIO))
  const ring = hva(td.run + BigInt(Number(page) * 4096))
  const numbers = () => host.get(abi.kvm_coalesced_mmio_ring, ring)
  const entry = (n: number) =>
    host.get(
      abi.kvm_coalesced_mmio,
      hva(ring + BigInt(abi.kvm_coalesced_mmio_ring.size + n * abi.kvm_coalesced_mmio.size)),
    )
  t.equal(abi.KVM_COALESCED_MMIO_MAX, 170)
  t.equal(zone(abi.KVM_REGISTER_COALESCED_MMIO, { pio: 2 }), 'EINVAL')
  t.equal(zone(abi.KVM_REGISTER_COALESCED_MMIO, {}), 0)
  t.equal(zone(abi.KVM_REGISTER_COALESCED_MMIO, { addr: 0x60n, size: 2, pio: 1 }), 0)
  const write = (gpa: bigint, size = 8n) => ({
    r11: 48n,
    r12: size,
    r13: 1n,
    r14: gpa | SHARED,
    r15: 0x1122_3344_5566_7788n,
  })
  answered(td, write(GPA + 8n))
  answered(td, { r11: 30n, r12: 1n, r13: 1n, r14: 0x61n, r15: 0xabn })
  t.match(numbers(), { first: 0, last: 2 })
  t.match(entry(0), { phys_addr: GPA + 8n, len: 8, pio: 0 })
  t.equal(Buffer.from(entry(0).data).readBigUInt64LE(), 0x1122_3344_5566_7788n)
  t.match(entry(1), { phys_addr: 0x61n, len: 1, pio: 1 })
  t.equal(entry(1).data[0], 0xab)
  td.enter.push(vmcall(write(GPA + 12n)))
  t.equal(sample.run(td.vcpu, td.run).reason, abi.KVM_EXIT_MMIO, 'it reaches out of the zone')
  resumed(td)
  for (let n = 2; n < abi.KVM_COALESCED_MMIO_MAX - 1; n++) answered(td, write(GPA))
  t.match(numbers(), { first: 0, last: 169 })
  td.enter.push(vmcall(write(GPA)))
  t.equal(sample.run(td.vcpu, td.run).reason, abi.KVM_EXIT_MMIO, 'the ring is full')
  resumed(td)
  host.set(abi.kvm_coalesced_mmio_ring, ring, { first: 5 })
  answered(td, write(GPA))
  t.match(numbers(), { first: 5, last: 0 }, 'round again')
  host.set(abi.kvm_coalesced_mmio_ring, ring, { first: 0xffff_ffff, last: 0xffff_ffff })
  td.enter.push(vmcall(write(GPA)))
  t.equal(sample.run(td.vcpu, td.run).reason, abi.KVM_EXIT_MMIO, 'numbers that are none')
  resumed(td)
  host.set(abi.kvm_coalesced_mmio_ring, ring, { first: 0, last: 0 })
  t.equal(zone(abi.KVM_UNREGISTER_COALESCED_MMIO, { addr: GPA + 4n, size: 4 }), 0, 'any part of it')
  td.enter.push(vmcall(write(GPA)))
  t.equal(sample.run(td.vcpu, td.run).reason, abi.KVM_EXIT_MMIO)
  end(t, td)
})

t.test('the MSR lists name MSRs that can be read', async t => {
  const sample = new OrdinarySample()
  const { host, kvm, scratch } = sample
  const list = (request: number): number[] => {
    host.set(abi.kvm_msr_list, scratch, { nmsrs: 0 })
    t.equal(
      outcome(() => host.ioctl(kvm, request, scratch)),
      'E2BIG',
    )
    const { nmsrs } = host.get(abi.kvm_msr_list, scratch)
    t.equal(host.ioctl(kvm, request, scratch), 0)
    return Array.from({ length: nmsrs }, (_, n) => Number(host.load(hva(scratch + 4n + BigInt(4 * n)), 4)))
  }
  const read = (fd: number, index: number): number => {
    host.set(abi.kvm_msrs, scratch, { nmsrs: 1 })
    host.set(abi.kvm_msr_entry, hva(scratch + BigInt(abi.kvm_msrs.size)), { index, data: 0n })
    return host.ioctl(fd, abi.KVM_GET_MSRS, scratch)
  }
  const vcpu = sample.vcpu()
  const saved = list(abi.KVM_GET_MSR_INDEX_LIST)
  t.ok(saved.length > 20)
  for (const index of saved) t.equal(read(vcpu, index), 1, `0x${index.toString(16)}`)
  for (const index of list(abi.KVM_GET_MSR_FEATURE_INDEX_LIST)) t.equal(read(kvm, index), 1, `0x${index.toString(16)}`)
  t.equal(read(kvm, abi.IA32_ARCH_CAPABILITIES), 1)
  t.not(host.get(abi.kvm_msr_entry, hva(scratch + BigInt(abi.kvm_msrs.size))).data, 0n)
  t.equal(read(kvm, abi.IA32_STAR), 0, 'no feature')
  host.set(abi.kvm_msrs, scratch, { nmsrs: 256 })
  t.equal(
    outcome(() => host.ioctl(kvm, abi.KVM_GET_MSRS, scratch)),
    'E2BIG',
  )
  host.close()
  t.equal(host.memory.used, 0)
})

t.test('an ordinary VM: writes of its guest that are heard, or wait, are no exits', async t => {
  const s = new OrdinarySample()
  const { host, vm } = s
  s.code('mov eax, 5\nmov rbx, 0x30000000\nmov [rbx], eax\nmov [rbx+8], eax\nmov dx, 0x50\nout dx, al\nout dx, ax\nhlt')
  const fd = host.eventfd()
  s.call(vm, abi.KVM_IOEVENTFD, abi.kvm_ioeventfd, { fd, addr: 0x3000_0000n, len: 4 })
  s.call(vm, abi.KVM_IOEVENTFD, abi.kvm_ioeventfd, { fd, addr: 0x50n, len: 1, flags: PIO })
  s.call(vm, abi.KVM_REGISTER_COALESCED_MMIO, abi.kvm_coalesced_mmio_zone, { addr: 0x3000_0008n, size: 4 })
  const vcpu = s.vcpu()
  const at = s.mapRun(vcpu)
  t.equal(s.run(vcpu, at).reason, abi.KVM_EXIT_IO)
  t.match(s.exit(abi.kvm_run_io, at), { port: 0x50, size: 2 }, 'only the two bytes are told')
  t.equal(host.readEventfd(fd), 2n)
  t.match(host.get(abi.kvm_coalesced_mmio_ring, hva(at + 8192n)), { first: 0, last: 1 })
  t.equal(s.run(vcpu, at).reason, abi.KVM_EXIT_HLT)
  host.close()
  t.equal(host.memory.used, 0)
})

t.test('the VM’s clock goes with its vCPUs, from where userspace sets it', async t => {
  const s = new OrdinarySample()
  const { host, vm } = s
  s.code('mov ecx, 1000000\nagain: loop again\nhlt')
  const vcpu = s.vcpu()
  const clock = () => {
    host.ioctl(vm, abi.KVM_GET_CLOCK, s.scratch)
    return host.get(abi.kvm_clock_data, s.scratch)
  }
  t.match(clock(), { clock: 0n, flags: abi.KVM_CLOCK_TSC_STABLE | abi.KVM_CLOCK_HOST_TSC })
  s.run(vcpu, s.mapRun(vcpu))
  const { clock: after } = clock()
  t.ok(after >= 500_000n && after < 501_000n, `${after}: a million instructions at 2 GHz`)
  t.equal(s.call(vm, abi.KVM_SET_CLOCK, abi.kvm_clock_data, { clock: 10n ** 12n }), 0)
  t.equal(clock().clock, 10n ** 12n)
  t.equal(
    outcome(() => s.call(vm, abi.KVM_SET_CLOCK, abi.kvm_clock_data, { flags: 1 })),
    'EINVAL',
  )
  t.throws(() => s.call(vm, abi.KVM_SET_CLOCK, abi.kvm_clock_data, { flags: 4 }), { name: 'NotModelled' })
  host.close()
})

t.test('a dirty log in userspace’s hands: read as often as one likes, cleared page by page', async t => {
  const s = new OrdinarySample()
  const { host, vm } = s
  const PAGES = 130
  const enable = (how: bigint) =>
    outcome(() =>
      s.call(vm, abi.KVM_ENABLE_CAP, abi.kvm_enable_cap, {
        cap: abi.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
        args: [how, 0n, 0n, 0n],
      }),
    )
  t.equal(enable(2n), 'EINVAL', 'initially set, without being by hand')
  t.equal(enable(4n), 'EINVAL')
  t.equal(enable(3n), 0)
  const memory = host.mmap(PAGES * 4096)
  s.slot(5, 0x3000_0000n, PAGES * 4096, memory, abi.KVM_MEM_LOG_DIRTY_PAGES)
  const bitmap = host.mmap(4096)
  const dirty = (): number[] => {
    s.call(vm, abi.KVM_GET_DIRTY_LOG, abi.kvm_dirty_log, { slot: 5, dirty_bitmap: bitmap })
    const bytes = host.read(bitmap, 24)
    return Array.from({ length: 192 }, (_, n) => n).filter(n => (bytes[n >> 3]! & (1 << (n & 7))) !== 0)
  }
  const clear = (first_page: bigint, num_pages: number, pages: readonly number[], slot = 5) => {
    const bytes = new Uint8Array(24)
    for (const n of pages) bytes[n >> 3]! |= 1 << (n & 7)
    host.write(bitmap, bytes)
    const values = { slot, first_page, num_pages, dirty_bitmap: bitmap }
    return outcome(() => s.call(vm, abi.KVM_CLEAR_DIRTY_LOG, abi.kvm_clear_dirty_log, values))
  }
  const all = Array.from({ length: PAGES }, (_, n) => n)
  t.same(dirty(), all, 'all of it at first')
  t.same(dirty(), all, 'and again')
  t.equal(clear(0n, PAGES, all), 0)
  t.same(dirty(), [])
  s.code('mov rbx, 0x30000000\nmov [rbx], eax\nmov [rbx+0x41000], eax\nmov [rbx+0x81000], eax\nhlt')
  const vcpu = s.vcpu()
  const at = s.mapRun(vcpu)
  t.equal(s.run(vcpu, at).reason, abi.KVM_EXIT_HLT)
  t.same(dirty(), [0, 65, 129])
  for (const [first, count] of [
    [1n, 64],
    [0n, 63],
    [64n, 67],
    [192n, 0],
    [0n, 192],
  ] as const)
    t.equal(clear(first, count, []), 'EINVAL', `${count} from ${first}`)
  t.equal(clear(0n, 64, [], 6), 'ENOENT')
  t.equal(clear(64n, 66, [1]), 0, 'a part: page 65')
  t.same(dirty(), [0, 129])
  s.setRegs(vcpu, { rip: 0x1000n })
  t.equal(s.run(vcpu, at).reason, abi.KVM_EXIT_HLT)
  t.same(dirty(), [0, 65, 129], 'what is written again is noticed again')
  host.close()
})

t.test('KVM_SET_BOOT_CPU_ID: another vCPU begins', async t => {
  const s = new OrdinarySample({}, sample => {
    sample.host.ioctl(sample.vm, abi.KVM_CREATE_IRQCHIP)
    t.equal(
      outcome(() => sample.host.ioctl(sample.vm, abi.KVM_SET_BOOT_CPU_ID, 5000)),
      'EINVAL',
    )
    t.equal(sample.host.ioctl(sample.vm, abi.KVM_SET_BOOT_CPU_ID, 1), 0)
  })
  const { host, vm } = s
  s.code('mov ecx, 0x1b\nrdmsr\nhlt')
  const [first, second] = [s.vcpu(0), s.vcpu(1)]
  const state = (vcpu: number) => {
    host.ioctl(vcpu, abi.KVM_GET_MP_STATE, s.scratch)
    return host.get(abi.kvm_mp_state, s.scratch).mp_state
  }
  t.equal(state(first), abi.KVM_MP_STATE_UNINITIALIZED)
  t.equal(state(second), abi.KVM_MP_STATE_RUNNABLE)
  host.signalPending = () => false
  s.run(second, s.mapRun(second))
  t.equal(s.regs(second).rax & 0x100n, 0x100n, 'BSP')
  t.equal(
    outcome(() => host.ioctl(vm, abi.KVM_SET_BOOT_CPU_ID, 0)),
    'EBUSY',
  )
  host.close()
})

t.test('KVM_CAP_X86_APIC_BUS_CYCLES_NS: the timer counts the bus', async t => {
  const none = new OrdinarySample()
  const set = (args: bigint[]) =>
    outcome(() =>
      none.call(none.vm, abi.KVM_ENABLE_CAP, abi.kvm_enable_cap, { cap: abi.KVM_CAP_X86_APIC_BUS_CYCLES_NS, args }),
    )
  t.equal(set([40n, 0n, 0n, 0n]), 'ENXIO', 'no irqchip')
  none.host.ioctl(none.vm, abi.KVM_CREATE_IRQCHIP)
  t.equal(set([0n, 0n, 0n, 0n]), 'EINVAL')
  none.vcpu()
  t.equal(set([40n, 0n, 0n, 0n]), 'EINVAL', 'there is a vCPU')
  none.host.close()
  for (const [ns, ticks] of [
    [undefined, 2],
    [40n, 80],
    [3n, 6],
  ] as const) {
    const s = new OrdinarySample({}, sample => {
      sample.host.ioctl(sample.vm, abi.KVM_CREATE_IRQCHIP)
      if (ns === undefined) return
      const set = () =>
        sample.call(sample.vm, abi.KVM_ENABLE_CAP, abi.kvm_enable_cap, {
          cap: abi.KVM_CAP_X86_APIC_BUS_CYCLES_NS,
          args: [ns, 0n, 0n, 0n],
        })
      t.equal(set(), 0)
    })
    // TDCR: divide by 1; 100 000 counts, of which the loop lets some go by.
    s.code(`mov rbx, 0xfee00000
      mov dword ptr [rbx+0xf0], 0x1ff
      mov dword ptr [rbx+0x3e0], 0xb
      mov dword ptr [rbx+0x380], 100000
      mov ecx, 100000
      again: loop again
      mov eax, [rbx+0x390]
      hlt`)
    const vcpu = s.vcpu()
    s.host.signalPending = () => false
    s.run(vcpu, s.mapRun(vcpu))
    const gone = 100_000 - Number(s.regs(vcpu).rax)
    t.ok(Math.abs(gone - 100_000 / ticks) < 3, `${ns} ns: ${gone} counts in 100 000 instructions`)
    s.host.close()
  }
})

t.test('KVM_PRE_FAULT_MEMORY of an ordinary VM', async t => {
  const s = new OrdinarySample()
  const vcpu = s.vcpu()
  const fault = (gpa: bigint, size: bigint, flags = 0n) =>
    outcome(() => s.call(vcpu, abi.KVM_PRE_FAULT_MEMORY, abi.kvm_pre_fault_memory, { gpa, size, flags }))
  t.equal(fault(0n, 0x2000n), 0)
  t.match(s.host.get(abi.kvm_pre_fault_memory, s.scratch), { gpa: 0x2000n, size: 0n })
  t.equal(fault(0n, 0n), 'EINVAL')
  t.equal(fault(8n, 4096n), 'EINVAL')
  t.equal(fault(0n, 4096n, 1n), 'EINVAL')
  t.equal(fault(0x1f_f000n, 0x2000n), 'ENOENT', 'the second page is in no slot')
  t.match(s.host.get(abi.kvm_pre_fault_memory, s.scratch), { gpa: 0x20_0000n, size: 0x1000n })
  s.host.munmap(hva(s.memory + 0x1000n), 4096)
  t.equal(fault(0x1000n, 4096n), 'EFAULT')
  s.host.close()
})
