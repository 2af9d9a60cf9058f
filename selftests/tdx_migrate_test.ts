/** A TD moves from one VM of its host to another. Upstream: tdx_migrate_tests.c of the RFC "Add TDX intra-host migration" (2025-06). */
import {
  type GuestBuilder,
  KVM_CAP_EXIT_HYPERCALL,
  KVM_CAP_SPLIT_IRQCHIP,
  KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM,
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_ENABLE_CAP,
  KVM_HC_MAP_GPA_RANGE,
  KVM_RUN,
  KVM_X86_TDX_VM,
  kvm_enable_cap,
  type Td,
  test,
  u32,
} from '#harness'

const MOVES = { hacks: ['moving a TD to another VM'] } as const
const PORT = 0x50
const SUCCESS_PORT = 0x30
const VMS = 10

const reportTwice = (g: GuestBuilder): void => {
  g.out(PORT, 1, 1)
  g.out(PORT, 1, 2)
  g.done()
}
const reports = async (
  t: { assert: { match(seen: object, want: object): void } },
  td: Td,
  data: bigint,
): Promise<void> => t.assert.match(await td.vcpu.until('KVM_EXIT_IO'), { port: PORT, direction: 'out', size: 1, data })

test('test_tdx_migrate_vm_with_private_memory', async t => {
  const td = t.td({ ...MOVES, guest: reportTwice })
  t.assert.eq(td.ioctl(KVM_CHECK_EXTENSION, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM), 1)

  td.move()
  await reports(t, td, 1n)
  await reports(t, td, 2n)
  await td.vcpu.until('UCALL_DONE')
})

test('test_tdx_migrate_running_vm', async t => {
  const td = t.td({ ...MOVES, guest: reportTwice })

  await reports(t, td, 1n)
  td.move()
  await reports(t, td, 2n)
  await td.vcpu.until('UCALL_DONE')
})

const [PRIVATE, SHARED, GPA] = [0x8000_0000n, 0xc000_0000n, 0x4000_0000n]
const [PRIVATE_VALUE, SHARED_VALUE] = [100, 200]

test('test_tdx_migrate_vm_with_shared_mem', async t => {
  const td = t.td({
    ...MOVES,
    slots: [{ slot: 3, gpa: GPA, size: 4096, isPrivate: true }],
    map: [
      { gva: PRIVATE, gpa: GPA, size: 4096 },
      { gva: SHARED, gpa: GPA, size: 4096, shared: true },
    ],
    guest(g) {
      const own = g.memory('own', 4)
      g.assert.eq(g.vmcall.mapGpa({ gpa: g.sharedGpa(GPA), size: 4096n }).status, 0n)
      g.store(own, u32, PRIVATE_VALUE)
      g.store(SHARED, u32, SHARED_VALUE)
      g.out(PORT, 4, g.load(own, u32))
      g.store(own, u32, g.load(own, u32).add(1))
      g.store(SHARED, u32, g.load(SHARED, u32).sub(1))
      g.out(PORT, 4, g.load(own, u32))
      g.out(SUCCESS_PORT, 4, 0)
    },
  })
  td.enableCap(KVM_CAP_EXIT_HYPERCALL, 1n << BigInt(KVM_HC_MAP_GPA_RANGE))
  const shared = () => td.hostRead({ gpa: GPA }, 1)[0] ?? 0

  const ask = await td.vcpu.until('KVM_EXIT_HYPERCALL')
  td.setPrivate(GPA, 4096n, false)
  ask.answer(0n)
  t.assert.match(await td.vcpu.until('KVM_EXIT_IO'), { port: PORT, data: BigInt(PRIVATE_VALUE) })
  t.assert.eq(shared(), SHARED_VALUE)

  td.move()
  t.assert.match(await td.vcpu.until('KVM_EXIT_IO'), { port: PORT, data: BigInt(PRIVATE_VALUE + 1) })
  t.assert.eq(shared(), SHARED_VALUE - 1)
  t.assert.match(await td.vcpu.until('KVM_EXIT_IO'), { port: SUCCESS_PORT, size: 4 })
})

test('test_tdx_migrate_multiple_vms', async t => {
  const td = t.td({ ...MOVES, guest: g => g.done() })

  const first = td.move()
  for (let n = 1; n < VMS; n++) td.move()
  // What a TD was moved from is dead: it cannot come back.
  const { host } = first.machine
  const back = kvm_enable_cap.encode({ cap: KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, args: [BigInt(td.vm.fd), 0n, 0n, 0n] })
  host.write(first.machine.scratch, back)
  t.assert.errno(() => host.ioctl(first.fd, KVM_ENABLE_CAP, first.machine.scratch), 'EIO')
  t.assert.errno(() => host.ioctl(first.vcpus[0]?.fd ?? -1, KVM_RUN), 'EIO')
  await td.vcpu.until('UCALL_DONE')
})

test('a_vm_is_moved_to_only_where_it_fits', t => {
  const source = t.td({ ...MOVES, vcpus: 2, guest: g => g.done() })
  const open = t.td({ ...MOVES, finalize: false, guest: g => g.done() })
  const move = (to: Td, from: number): void => to.enableCap(KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, BigInt(from))

  t.expect.errno(() => move(source, open.vm.fd), 'EINVAL')
  t.expect.errno(() => move(source, source.vm.fd), 'EINVAL')
  t.expect.errno(() => move(open, source.vm.fd), 'EINVAL')
  t.expect.errno(() => move(open, source.vcpu.fd), 'EBADF')
  t.expect.errno(() => move(open, 9999), 'EBADF')
})

test('a_vm_that_waits_for_a_td_has_its_vcpus', async t => {
  const td = t.td({ ...MOVES, guest: reportTwice })
  const { host, kvm, scratch } = td.vm.machine
  const vms: number[] = []
  const empty = (vcpus: readonly number[]): number => {
    const fd = host.ioctl(kvm, KVM_CREATE_VM, KVM_X86_TDX_VM)
    vms.push(fd)
    host.write(scratch, kvm_enable_cap.encode({ cap: KVM_CAP_SPLIT_IRQCHIP, args: [24n, 0n, 0n, 0n] }))
    host.ioctl(fd, KVM_ENABLE_CAP, scratch)
    for (const id of vcpus) vms.push(host.ioctl(fd, KVM_CREATE_VCPU, id))
    return fd
  }
  const move = (to: number, from: number): number => {
    const args = [BigInt(from), 0n, 0n, 0n]
    host.write(scratch, kvm_enable_cap.encode({ cap: KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, args }))
    return host.ioctl(to, KVM_ENABLE_CAP, scratch)
  }

  // Neither a VM that is no TD yet, with vCPUs or without, nor to one that has none, or others.
  t.expect.errno(() => move(empty([]), empty([])), 'EINVAL')
  t.expect.errno(() => move(empty([0]), empty([0])), 'EINVAL')
  t.expect.errno(() => move(empty([]), td.vm.fd), 'EINVAL')
  t.expect.errno(() => move(empty([1]), td.vm.fd), 'EINVAL')
  t.expect.errno(() => move(empty([0, 1]), td.vm.fd), 'EINVAL')
  // A TD that nobody took goes on where it is.
  await reports(t, td, 1n)
  await reports(t, td, 2n)
  await td.vcpu.until('UCALL_DONE')
  for (const fd of vms.reverse()) host.close(fd)
})

test('without_the_hack_kvm_moves_no_td', t => {
  const td = t.td({ guest: g => g.done() })
  t.assert.eq(td.ioctl(KVM_CHECK_EXTENSION, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM), 0)
  t.assert.errno(() => td.enableCap(KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, BigInt(td.vm.fd)), 'EINVAL')
})
