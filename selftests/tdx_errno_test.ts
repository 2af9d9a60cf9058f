/** What KVM refuses of a TD, and how: the errno of each mistake. Linux arch/x86/kvm/vmx/tdx.c and virt/kvm/kvm_main.c. */
import {
  KVM_CAP_SPLIT_IRQCHIP,
  KVM_CREATE_IRQCHIP,
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_ENABLE_CAP,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_IRQFD,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
  KVM_MEMORY_ENCRYPT_OP,
  KVM_PRE_FAULT_MEMORY,
  KVM_RUN,
  KVM_SET_MEMORY_ATTRIBUTES,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_USER_MEMORY_REGION2,
  KVM_SMI,
  KVM_TDX_CAPABILITIES,
  KVM_TDX_FINALIZE_VM,
  KVM_TDX_INIT_MEM_REGION,
  KVM_TDX_INIT_VCPU,
  KVM_TDX_INIT_VM,
  KVM_X86_TDX_VM,
  kvm_cpuid_entry2,
  kvm_enable_cap,
  kvm_irqfd,
  kvm_memory_attributes,
  kvm_pre_fault_memory,
  kvm_tdx_cmd,
  kvm_tdx_init_mem_region,
  kvm_tdx_init_vm,
  kvm_userspace_memory_region2,
  TDX_NO_VCPUS,
  type Td,
  test,
  type Words,
} from '#harness'

/** An errno by its name. */
type Name = Parameters<Words['errno']>[1]

/** KVM_MEMORY_ENCRYPT_OP of the VM. */
const vmOp = (td: Td, id: number, more: { flags?: number; data?: bigint; hw_error?: bigint } = {}): number =>
  td.call(KVM_MEMORY_ENCRYPT_OP, kvm_tdx_cmd, { id, ...more })
const vcpuOp = (td: Td, id: number, more: { flags?: number; data?: bigint; hw_error?: bigint } = {}): number =>
  td.vcpu.call(KVM_MEMORY_ENCRYPT_OP, kvm_tdx_cmd, { id, ...more })

/** Bytes of the host process, for what a command points to. */
const put = (td: Td, bytes: Uint8Array): bigint => {
  const { host } = td.vm.machine
  const at = host.mmap(bytes.length)
  host.write(at, bytes)
  return at
}

test('a_finalized_td', async t => {
  const td = t.td({ guest: g => g.done() })
  const refused = (run: () => unknown, errno: Name = 'EINVAL') => t.expect.errno(run, errno)

  refused(() => vmOp(td, KVM_TDX_INIT_VM, { data: put(td, kvm_tdx_init_vm.encode({})) }))
  refused(() => vmOp(td, KVM_TDX_FINALIZE_VM))
  refused(() => vmOp(td, 99))
  refused(() => vmOp(td, KVM_TDX_CAPABILITIES, { flags: 1 }))
  refused(() => vmOp(td, KVM_TDX_CAPABILITIES, { hw_error: 1n }))
  refused(() => vmOp(td, KVM_TDX_CAPABILITIES, { data: 1n << 60n }), 'EFAULT')
  refused(() => vcpuOp(td, KVM_TDX_INIT_VCPU))
  refused(() => vcpuOp(td, KVM_TDX_INIT_MEM_REGION))
  refused(() => td.ioctl(KVM_CREATE_VCPU, 1), 'EIO')
  refused(() => td.ioctl(KVM_CREATE_IRQCHIP), 'ENOTTY')
  refused(() => td.vcpu.ioctl(KVM_SMI), 'ENOTTY')
  for (const request of [KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS, KVM_SET_SREGS])
    refused(() => td.vcpu.ioctl(request))
  await td.vcpu.until('UCALL_DONE')
})

test('a_td_that_is_being_built', async t => {
  const td = t.td({ finalize: false, slots: [{ slot: 3, gpa: 0x4000_0000n, size: 0x4000 }], guest: g => g.done() })
  const refused = (run: () => unknown, errno: Name = 'EINVAL') => t.expect.errno(run, errno)
  const source = put(td, new Uint8Array(4096))
  const region = (values: { source_addr?: bigint; gpa?: bigint; nr_pages?: bigint }, flags = 0) => {
    const whole = { source_addr: source, gpa: 0x4000_0000n, nr_pages: 1n, ...values }
    return vcpuOp(td, KVM_TDX_INIT_MEM_REGION, { flags, data: put(td, kvm_tdx_init_mem_region.encode(whole)) })
  }

  refused(() => td.vcpu.ioctl(KVM_RUN))
  refused(() => vcpuOp(td, KVM_TDX_INIT_VCPU))
  refused(() => vcpuOp(td, KVM_TDX_INIT_VCPU, { flags: 1 }))
  refused(() => region({ gpa: 0x4000_0010n }))
  refused(() => region({ source_addr: source + 1n }))
  refused(() => region({ nr_pages: 0n }))
  refused(() => region({ nr_pages: 1n << 52n }))
  refused(() => region({ gpa: 0x4000_0000n | td.vm.sharedBit }))
  refused(() => region({}, 2))
  refused(() => region({}))
  refused(() => region({ gpa: 0x7000_0000n }))
  const preFault = { gpa: 0x4000_0000n, size: 4096n }
  refused(() => td.vcpu.call(KVM_PRE_FAULT_MEMORY, kvm_pre_fault_memory, preFault), 'EOPNOTSUPP')
  td.setPrivate(0x4000_0000n, 4096n, true)
  t.expect.eq(region({}), 0)
  refused(() => region({}), 'EIO')
  td.finalize()
  await td.vcpu.until('UCALL_DONE')
})

test('a_td_by_hand', t => {
  // Its host, and what a whole TD was made from.
  const { host, kvm, scratch } = t.td({ guest: g => g.done() }).vm.machine
  const fds: number[] = []
  const ioctl = (fd: number, request: number, bytes: Uint8Array): number => {
    host.write(scratch, bytes)
    return host.ioctl(fd, request, scratch)
  }
  const room = host.mmap(0x4000)
  const command = (fd: number, id: number, data = 0n): number =>
    ioctl(fd, KVM_MEMORY_ENCRYPT_OP, kvm_tdx_cmd.encode({ id, data }))
  const create = (): number => {
    const fd = host.ioctl(kvm, KVM_CREATE_VM, KVM_X86_TDX_VM)
    fds.push(fd)
    return fd
  }
  const splitIrqchip = (fd: number): number =>
    ioctl(fd, KVM_ENABLE_CAP, kvm_enable_cap.encode({ cap: KVM_CAP_SPLIT_IRQCHIP, args: [24n, 0n, 0n, 0n] }))
  /** The only entry that KVM asks for: 48 bits of guest physical address. */
  const cpuid = kvm_cpuid_entry2.encode({ function: 0x8000_0008, eax: 48 << 16 })
  const init = (fd: number, values: Parameters<typeof kvm_tdx_init_vm.encode>[0] = {}, entries = [cpuid]): number => {
    host.write(room, kvm_tdx_init_vm.encode({ nent: entries.length, ...values }))
    for (const [n, entry] of entries.entries())
      host.write((room + BigInt(kvm_tdx_init_vm.size + n * entry.length)) as typeof room, entry)
    return command(fd, KVM_TDX_INIT_VM, room)
  }

  const vm = create()
  t.expect.errno(() => host.ioctl(vm, KVM_CREATE_VCPU, 0), 'EIO')
  t.expect.errno(() => command(vm, KVM_TDX_FINALIZE_VM), 'EINVAL')
  t.expect.errno(() => init(vm, { attributes: 1n }), 'EINVAL')
  t.expect.errno(() => init(vm, { attributes: 1n << 63n }), 'EINVAL')
  t.expect.errno(() => init(vm, { xfam: 1n << 62n }), 'EINVAL')
  t.expect.errno(() => init(vm, { reserved: new Uint8Array(96).fill(1, 95) }), 'EINVAL')
  t.expect.errno(() => init(vm, { padding: 1 }), 'EINVAL')
  t.expect.errno(() => init(vm, { nent: 257 }), 'E2BIG')
  t.expect.errno(() => init(vm, {}, []), 'EINVAL')
  t.expect.errno(() => init(vm, {}, [cpuid, cpuid]), 'EINVAL')
  t.expect.errno(() => init(vm, {}, [kvm_cpuid_entry2.encode({ function: 0x8000_0008, eax: 40 << 16 })]), 'EINVAL')
  t.expect.errno(() => init(vm, {}, [cpuid, kvm_cpuid_entry2.encode({ function: 0x4000_0000 })]), 'EINVAL')
  t.expect.errno(() => command(vm, KVM_TDX_INIT_VM, 1n << 60n), 'EFAULT')
  t.assert.eq(init(vm), 0)
  t.expect.errno(() => init(vm), 'EINVAL')
  t.expect.errno(() => host.ioctl(vm, KVM_CREATE_VCPU, 0), 'EINVAL')
  t.assert.eq(splitIrqchip(vm), 0)
  const vcpu = host.ioctl(vm, KVM_CREATE_VCPU, 0)
  fds.push(vcpu)
  t.expect.errno(() => host.ioctl(vm, KVM_CREATE_VCPU, 0), 'EEXIST')
  // No x2APIC in the CPUID that nobody has set.
  t.expect.errno(() => command(vcpu, KVM_TDX_INIT_VCPU), 'EINVAL')
  t.expect.errno(() => host.ioctl(vcpu, KVM_RUN), 'EINVAL')

  // TDH.MR.FINALIZE without a vCPU: the TD is dead, and its VM with it.
  const empty = create()
  init(empty)
  t.expect.errno(() => command(empty, KVM_TDX_FINALIZE_VM), 'EIO')
  t.expect.eq(host.get(kvm_tdx_cmd, scratch).hw_error, TDX_NO_VCPUS)
  t.expect.errno(() => splitIrqchip(empty), 'EIO')
  for (const fd of fds.reverse()) host.close(fd)
})

test('memory', t => {
  const td = t.td({ guest: g => g.done() })
  const refused = (run: () => unknown, errno: Name = 'EINVAL') => t.expect.errno(run, errno)
  const attributes = (values: { address?: bigint; size?: bigint; attributes?: bigint; flags?: bigint }) => () =>
    td.call(KVM_SET_MEMORY_ATTRIBUTES, kvm_memory_attributes, { address: 0n, size: 4096n, attributes: 8n, ...values })
  const slot =
    (flags: number, more: { guest_phys_addr?: bigint; guest_memfd?: number } = {}) =>
    () =>
      td.call(KVM_SET_USER_MEMORY_REGION2, kvm_userspace_memory_region2, {
        slot: 9,
        flags,
        guest_phys_addr: 0x5000_0000n,
        memory_size: 4096n,
        userspace_addr: put(td, new Uint8Array(4096)),
        ...more,
      })

  refused(attributes({ size: 0n }))
  refused(attributes({ size: 100n }))
  refused(attributes({ address: 1n }))
  refused(attributes({ attributes: 4n }))
  refused(attributes({ flags: 1n }))
  refused(attributes({ address: td.vm.sharedBit }))
  refused(slot(KVM_MEM_READONLY))
  refused(slot(4 | KVM_MEM_LOG_DIRTY_PAGES))
  refused(slot(4, { guest_memfd: 9999 }), 'EBADF')
  refused(slot(0, { guest_phys_addr: 0n }), 'EEXIST')
  refused(slot(0, { guest_phys_addr: 0x123n }))
})

test('interrupts', t => {
  const td = t.td({ guest: g => g.done() })
  const { host } = td.vm.machine
  const fd = host.eventfd()
  const irqfd =
    (flags: number, descriptor = fd) =>
    () =>
      td.call(KVM_IRQFD, kvm_irqfd, { fd: descriptor, gsi: 1, flags })

  t.expect.eq(irqfd(0)(), 0)
  t.expect.errno(irqfd(0), 'EBUSY')
  t.expect.eq(irqfd(1)(), 0)
  t.expect.errno(irqfd(2), 'EINVAL')
  t.expect.errno(irqfd(4), 'EINVAL')
  t.expect.errno(irqfd(0, td.vm.fd), 'EINVAL')
  t.expect.errno(irqfd(0, 9999), 'EBADF')
  t.expect.errno(() => td.routeGsis([{ gsi: 5000, vector: 32 }]), 'EINVAL')
})
