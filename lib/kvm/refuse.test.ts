/** What KVM refuses on a TD, with which errno: the checklist of upstream's negative selftests, and the order of construction. */
import t from 'tap'
import * as abi from '#abi'
import { NotModelled } from '#bits'
import { SAPPHIRE_RAPIDS } from '#tdx'
import { outcome, Sample } from './sample.ts'

const HALT_LOOP = Uint8Array.of(0xeb, 0xfe)

t.test('a host without TDX says so', async t => {
  const { host, kvm } = new Sample({ tdx: false })
  t.equal(host.ioctl(kvm, abi.KVM_GET_API_VERSION), 12)
  t.equal(host.ioctl(kvm, abi.KVM_CHECK_EXTENSION, abi.KVM_CAP_VM_TYPES) & (1 << 5), 0)
  t.equal(
    outcome(() => host.ioctl(kvm, abi.KVM_CREATE_VM, 5)),
    'EINVAL',
  )
  host.close()
  t.equal(host.memory.used, 0)
})

t.test('system ioctls', async t => {
  const sample = new Sample()
  const { host, kvm } = sample
  const call = (request: number, arg: number | bigint = 0): number | string =>
    outcome(() => host.ioctl(kvm, request, arg))
  t.equal(call(abi.KVM_GET_VCPU_MMAP_SIZE), 12288)
  t.equal(call(abi.KVM_CHECK_EXTENSION, abi.KVM_CAP_VM_TYPES), (1 << 5) | 1)
  t.equal(call(abi.KVM_CHECK_EXTENSION, abi.KVM_CAP_IMMEDIATE_EXIT), 1)
  t.equal(call(abi.KVM_CHECK_EXTENSION, 9999), 0)
  t.equal(call(abi.KVM_CREATE_VM, 77), 'EINVAL')
  for (const type of [abi.KVM_X86_SW_PROTECTED_VM, abi.KVM_X86_SEV_VM, abi.KVM_X86_SNP_VM])
    t.equal(call(abi.KVM_CREATE_VM, type), 'EINVAL')
  t.throws(
    () => host.ioctl(kvm, abi.KVM_X86_GET_MCE_CAP_SUPPORTED),
    new NotModelled('KVM_X86_GET_MCE_CAP_SUPPORTED of a /dev/kvm'),
  )
  t.equal(call(0xae77), 'ENOTTY', 'no such request')
  t.equal(call(abi.KVM_RUN), 'ENOTTY', 'not of /dev/kvm')
  t.equal(call(abi.KVM_GET_SUPPORTED_CPUID, 0x1234n), 'EFAULT')
  host.write(sample.scratch, abi.kvm_cpuid2.encode({ nent: 3 }))
  t.equal(call(abi.KVM_GET_SUPPORTED_CPUID, sample.scratch), 'E2BIG')
  t.equal(
    outcome(() => host.ioctl(99, abi.KVM_RUN)),
    'EBADF',
  )
  t.equal(
    outcome(() => host.open('/dev/sev')),
    'ENOENT',
  )
  const leaf = sample.supported().find(({ function: f }) => f === 0x8000_0008)
  t.equal((leaf?.eax ?? 0) >>> 16, 52)
  host.close()
})

t.test('INIT_VM', async t => {
  const sample = new Sample()
  const vm = sample.createVm()
  const init = (...args: Parameters<typeof sample.initVm> extends [number, ...infer R] ? R : never): number | string =>
    outcome(() => sample.initVm(vm, ...args))
  const cpuid = sample.wanted(vm)
  const before = sample.host.framesInUse
  t.equal(
    outcome(() => sample.tdx(vm, abi.KVM_TDX_CAPABILITIES, 0x1000n)),
    'EFAULT',
  )
  t.equal(
    outcome(() => sample.tdx(vm, abi.KVM_TDX_CAPABILITIES, sample.data, 1)),
    'EINVAL',
    'flags',
  )
  sample.host.set(abi.kvm_tdx_capabilities, sample.data, { nent: 1 })
  t.equal(
    outcome(() => sample.tdx(vm, abi.KVM_TDX_CAPABILITIES, sample.data)),
    'E2BIG',
  )
  t.equal(
    outcome(() => sample.tdx(vm, 99)),
    'EINVAL',
    'unknown command',
  )
  t.equal(
    outcome(() => sample.tdx(vm, abi.KVM_TDX_INIT_VM, sample.data, 0, 1n)),
    'EINVAL',
    'hw_error on input',
  )
  t.equal(init({ attributes: 1n }), 'EINVAL', 'DEBUG')
  t.equal(init({ xfam: 1n << 8n }), 'EINVAL', 'PT')
  t.equal(init({ reserved: new Uint8Array(96).fill(1) }), 'EINVAL')
  t.equal(init({ padding: 1 }), 'EINVAL')
  t.equal(init({ nent: 257 }), 'E2BIG')
  t.equal(
    init(
      {},
      cpuid.filter(({ function: f }) => f !== 0x8000_0008),
    ),
    'EINVAL',
    'no leaf 0x80000008',
  )
  const width = (bits: number): typeof cpuid =>
    cpuid.map(entry => (entry.function === 0x8000_0008 ? { ...entry, eax: bits << 16 } : entry))
  t.equal(init({}, width(46)), 'EINVAL')
  t.equal(init({}, [...cpuid, cpuid[0]!]), 'EINVAL', 'an entry twice')
  t.equal(init({}, [...cpuid, { ...cpuid[0]!, function: 0x16 }]), 'EINVAL', 'a leaf that is not configurable')
  for (const [name, ebx, ecx] of [
    ['HLE', 1 << 4, 0],
    ['RTM', 1 << 11, 0],
    ['WAITPKG', 0, 1 << 5],
  ] as const) {
    const with7 = cpuid.map(entry =>
      entry.function === 7 && entry.index === 0 ? { ...entry, ebx: entry.ebx | ebx, ecx: entry.ecx | ecx } : entry,
    )
    t.equal(init({}, with7), 'EINVAL', name)
    t.equal(sample.hwError, 0n, `${name}: the module has not been asked`)
  }
  t.equal(sample.host.framesInUse, before, 'what was refused left nothing behind')

  t.equal(
    outcome(() => sample.host.ioctl(vm, abi.KVM_CREATE_VCPU, 0)),
    'EIO',
    'a vCPU before INIT_VM',
  )
  for (const khz of [0x7fff_ffff, 0xffff_ffff])
    t.equal(
      outcome(() => sample.host.ioctl(vm, abi.KVM_SET_TSC_KHZ, khz)),
      'EINVAL',
      'faster than a TSC is scaled',
    )
  sample.host.ioctl(vm, abi.KVM_SET_TSC_KHZ, 50_000)
  t.equal(init(), 'EINVAL', 'TSC frequency the module does not want')
  t.equal(sample.hwError, abi.TDX_OPERAND_INVALID | 70n)
  sample.host.ioctl(vm, abi.KVM_SET_TSC_KHZ, 1_000_000)
  t.equal(init({}, width(48)), 0, 'and once more, right')
  t.equal(init(), 'EINVAL', 'twice')
  sample.host.close()
  t.equal(sample.host.memory.used, 0)
})

t.test('vCPUs', async t => {
  const sample = new Sample({ processors: 3 })
  const { host } = sample
  const vm = sample.createVm()
  const create = (id: number): number | string => outcome(() => host.ioctl(vm, abi.KVM_CREATE_VCPU, id))
  t.equal(
    outcome(() => host.ioctl(vm, abi.KVM_CREATE_IRQCHIP)),
    'ENOTTY',
  )
  sample.initVm(vm)
  t.equal(create(0), 'EINVAL', 'no split irqchip')
  t.equal(sample.splitIrqchip(vm), 0)
  t.equal(
    outcome(() => sample.splitIrqchip(vm)),
    'EEXIST',
  )
  t.equal(create(5000), 'EINVAL', 'id')
  const vcpu = host.ioctl(vm, abi.KVM_CREATE_VCPU, 0)
  t.equal(create(0), 'EEXIST')
  t.equal(host.ioctl(vm, abi.KVM_CHECK_EXTENSION, abi.KVM_CAP_MAX_VCPUS), 3)

  const tdx = (id: number, data = 0n, flags = 0): number | string => outcome(() => sample.tdx(vcpu, id, data, flags))
  t.equal(tdx(abi.KVM_TDX_INIT_VCPU), 'EINVAL', 'no x2APIC in its CPUID')
  host.set(abi.kvm_cpuid2, sample.data, { nent: 1 })
  t.equal(tdx(abi.KVM_TDX_GET_CPUID, sample.data), 'E2BIG')
  t.ok(host.get(abi.kvm_cpuid2, sample.data).nent > 1, 'how many it would take')
  sample.giveCpuid(vcpu)
  t.equal(tdx(abi.KVM_TDX_INIT_VCPU, 0n, 1), 'EINVAL', 'flags')
  t.equal(tdx(abi.KVM_TDX_INIT_MEM_REGION, sample.data), 'EINVAL', 'before INIT_VCPU')
  t.equal(
    outcome(() => host.ioctl(vcpu, abi.KVM_RUN)),
    'EINVAL',
    'before INIT_VCPU',
  )
  t.equal(tdx(abi.KVM_TDX_INIT_VCPU), 0)
  t.equal(tdx(abi.KVM_TDX_INIT_VCPU), 'EINVAL', 'twice')
  t.equal(tdx(abi.KVM_TDX_FINALIZE_VM), 'EINVAL', "a VM's command")
  t.equal(tdx(99), 'EINVAL')
  t.equal(
    outcome(() => host.ioctl(vcpu, abi.KVM_RUN)),
    'EINVAL',
    'before FINALIZE_VM',
  )
  for (const request of [
    abi.KVM_GET_REGS,
    abi.KVM_SET_REGS,
    abi.KVM_GET_SREGS,
    abi.KVM_SET_SREGS,
    abi.KVM_GET_SREGS2,
    abi.KVM_SET_SREGS2,
    abi.KVM_GET_FPU,
    abi.KVM_SET_FPU,
    abi.KVM_GET_XSAVE,
    abi.KVM_GET_XSAVE2,
    abi.KVM_SET_XSAVE,
    abi.KVM_GET_XCRS,
    abi.KVM_SET_XCRS,
    abi.KVM_GET_DEBUGREGS,
    abi.KVM_SET_DEBUGREGS,
    abi.KVM_SET_GUEST_DEBUG,
    abi.KVM_GET_LAPIC,
    abi.KVM_SET_LAPIC,
  ]) {
    t.equal(
      outcome(() => host.ioctl(vcpu, request, sample.data)),
      'EINVAL',
      abi.KVM_IOCTL_NAMES.get(request) ?? '',
    )
  }
  t.equal(
    outcome(() => host.ioctl(vcpu, abi.KVM_TRANSLATE, sample.data)),
    'EINVAL',
  )
  t.equal(
    outcome(() => host.ioctl(vcpu, abi.KVM_SMI)),
    'ENOTTY',
  )
  const interrupt = (irq: number) => outcome(() => sample.call(vcpu, abi.KVM_INTERRUPT, abi.kvm_interrupt, { irq }))
  t.same([interrupt(256), interrupt(32), interrupt(33)], ['EINVAL', 0, 'EEXIST'])
  t.equal(
    outcome(() => host.ioctl(vcpu, abi.KVM_CREATE_VCPU, 1)),
    'ENOTTY',
  )
  t.equal(
    outcome(() => sample.call(vcpu, abi.KVM_SET_MP_STATE, abi.kvm_mp_state, { mp_state: 9 })),
    'EINVAL',
  )
  create(1)
  create(2)
  t.equal(create(7), 'EINVAL', 'more than the maximum')
  host.close()
  t.equal(host.memory.used, 0)
})

t.test('INIT_MEM_REGION and FINALIZE_VM', async t => {
  const sample = new Sample()
  const { host } = sample
  const vm = sample.createVm()
  t.equal(
    outcome(() => sample.tdx(vm, abi.KVM_TDX_FINALIZE_VM)),
    'EINVAL',
    'before INIT_VM',
  )
  sample.splitIrqchip(vm)
  sample.initVm(vm)
  const gpa = 0x10_0000n
  const { hva: source } = sample.addSlot(vm, 0, gpa, 4)
  const vcpu = sample.addVcpu(vm, 0)
  const add = (at: bigint, pages: number, from = source, flags = 1): number | string =>
    outcome(() => sample.initMemory(vcpu, from, at, pages, flags))
  t.equal(add(gpa, 1), 'EINVAL', 'not private')
  sample.setPrivate(vm, gpa, 3)
  t.equal(add(gpa + 1n, 1), 'EINVAL', 'unaligned gpa')
  t.equal(add(gpa, 0), 'EINVAL', 'no pages')
  t.equal(add(gpa | (1n << 51n), 1), 'EINVAL', 'shared bit')
  t.equal(add(gpa, 1, source, 2), 'EINVAL', 'flags')
  t.equal(add(0x50_0000n, 1), 'EINVAL', 'no slot')
  t.equal(add(gpa, 4), 'EINVAL', 'the fourth page is not private')
  t.match(host.get(abi.kvm_tdx_init_mem_region, sample.data), { gpa: gpa + 0x3000n, nr_pages: 1n }, 'three were done')
  t.equal(add(gpa, 1), 'EIO', 'populated already')
  t.equal(
    outcome(() =>
      sample.call(vcpu, abi.KVM_PRE_FAULT_MEMORY, abi.kvm_pre_fault_memory, { gpa: gpa + 0x3000n, size: 4096n }),
    ),
    'EOPNOTSUPP',
    'before FINALIZE_VM',
  )
  t.equal(sample.tdx(vm, abi.KVM_TDX_FINALIZE_VM), 0)
  t.equal(
    outcome(() => sample.tdx(vm, abi.KVM_TDX_FINALIZE_VM)),
    'EINVAL',
    'twice',
  )
  t.equal(add(gpa, 1), 'EINVAL', 'after FINALIZE_VM')
  t.equal(
    outcome(() => sample.tdx(vcpu, abi.KVM_TDX_INIT_VCPU)),
    'EINVAL',
  )
  t.equal(
    outcome(() => host.ioctl(vm, abi.KVM_CREATE_VCPU, 1)),
    'EIO',
    'a vCPU after FINALIZE_VM',
  )
  sample.setPrivate(vm, gpa + 0x3000n, 1)
  const pre = { gpa: gpa + 0x3000n, size: 4096n }
  t.equal(sample.call(vcpu, abi.KVM_PRE_FAULT_MEMORY, abi.kvm_pre_fault_memory, pre), 0)
  t.match(host.get(abi.kvm_pre_fault_memory, sample.scratch), { gpa: gpa + 0x4000n, size: 0n })
  host.close()
  t.equal(host.memory.used, 0)
})

t.test('FINALIZE_VM without a vCPU: the module refuses, the VM is dead', async t => {
  const sample = new Sample()
  const vm = sample.createVm()
  sample.initVm(vm)
  t.equal(
    outcome(() => sample.tdx(vm, abi.KVM_TDX_FINALIZE_VM)),
    'EIO',
  )
  t.equal(sample.hwError, abi.TDX_NO_VCPUS)
  t.equal(
    outcome(() => sample.host.ioctl(vm, abi.KVM_CHECK_EXTENSION, 0)),
    'EIO',
  )
  sample.host.close()
  t.equal(sample.host.memory.used, 0)
})

t.test('a TD more than there are key IDs', async t => {
  const platform = { ...SAPPHIRE_RAPIDS, keyIdBits: 7, firstPrivateHkid: 126 }
  const sample = new Sample({ platform })
  const first = sample.createVm()
  const second = sample.createVm()
  t.equal(sample.initVm(first), 0)
  t.equal(
    outcome(() => sample.initVm(second)),
    'ENOSPC',
  )
  sample.host.close(first)
  t.equal(sample.initVm(second), 0, 'the key ID of a TD that is gone is free')
  sample.host.close()
  t.equal(sample.host.memory.used, 0)
})

t.test('memory slots and attributes', async t => {
  const sample = new Sample()
  const { host } = sample
  const vm = sample.createVm()
  const other = sample.createVm()
  const memory = host.mmap(0x10_000)
  const region = (values: Parameters<typeof abi.kvm_userspace_memory_region2.encode>[0]): number | string =>
    outcome(() =>
      sample.call(vm, abi.KVM_SET_USER_MEMORY_REGION2, abi.kvm_userspace_memory_region2, {
        memory_size: 0x4000n,
        userspace_addr: memory,
        ...values,
      }),
    )
  const memfd = (fd: number, size = 0x4000n, flags = 0n): number | string =>
    outcome(() => sample.call(fd, abi.KVM_CREATE_GUEST_MEMFD, abi.kvm_create_guest_memfd, { size, flags }))
  t.equal(memfd(vm, 0n), 'EINVAL')
  t.equal(memfd(vm, 0x1001n), 'EINVAL')
  t.equal(memfd(vm, 0x1000n, 0x80n), 'EINVAL')
  const guest_memfd = Number(memfd(vm))
  const foreign = Number(memfd(other))
  const withMemfd = { flags: abi.KVM_MEM_GUEST_MEMFD, guest_memfd }

  t.equal(region({ flags: abi.KVM_MEM_READONLY }), 'EINVAL')
  t.equal(region({ flags: abi.KVM_MEM_GUEST_MEMFD | abi.KVM_MEM_LOG_DIRTY_PAGES, guest_memfd }), 'EINVAL')
  t.equal(region({ slot: 32764 }), 'EINVAL')
  t.equal(region({ slot: 0x1_0000 }), 'EINVAL', 'second address space')
  t.equal(region({ memory_size: 0x123n }), 'EINVAL')
  t.equal(region({ guest_phys_addr: 1n }), 'EINVAL')
  t.equal(region({ userspace_addr: 1n }), 'EINVAL')
  t.equal(region({ memory_size: 0n }), 'EINVAL', 'deletes nothing')
  t.equal(region({ flags: abi.KVM_MEM_GUEST_MEMFD, guest_memfd: 99 }), 'EBADF')
  t.equal(region({ flags: abi.KVM_MEM_GUEST_MEMFD, guest_memfd: vm }), 'EINVAL')
  t.equal(region({ flags: abi.KVM_MEM_GUEST_MEMFD, guest_memfd: foreign }), 'EINVAL')
  t.equal(region({ ...withMemfd, guest_memfd_offset: 0x1000n }), 'EINVAL', 'past the end of the file')
  t.equal(region({ ...withMemfd, slot: 1 }), 0)
  t.equal(region({ ...withMemfd, slot: 1 }), 'EINVAL', 'guest_memfd slots do not change')
  t.equal(region({ ...withMemfd, slot: 2, guest_phys_addr: 0x10_0000n }), 'EEXIST', 'bound already')
  t.equal(region({ slot: 2, guest_phys_addr: 0x3000n }), 'EEXIST', 'overlap')
  const beyond = { ...withMemfd, slot: 2, guest_phys_addr: 0x3000n, guest_memfd_offset: 2n ** 64n - 4096n }
  t.equal(region(beyond), 'EINVAL', 'an offset that overflows comes before it')
  t.equal(region({ slot: 2, flags: abi.KVM_MEM_LOG_DIRTY_PAGES, guest_phys_addr: 0x10_0000n }), 0)
  t.equal(region({ slot: 2, guest_phys_addr: 0x20_0000n }), 0, 'moved')
  t.equal(region({ slot: 2, guest_phys_addr: 0x20_0000n, memory_size: 0x5000n }), 'EINVAL', 'resized')
  t.equal(region({ slot: 2, memory_size: 0n }), 0, 'deleted')

  const attributes = (values: Parameters<typeof abi.kvm_memory_attributes.encode>[0]): number | string =>
    outcome(() =>
      sample.call(vm, abi.KVM_SET_MEMORY_ATTRIBUTES, abi.kvm_memory_attributes, {
        size: 0x1000n,
        attributes: 8n,
        ...values,
      }),
    )
  t.equal(attributes({ flags: 1n }), 'EINVAL')
  t.equal(attributes({ attributes: 1n }), 'EINVAL')
  t.equal(attributes({ size: 0n }), 'EINVAL')
  t.equal(attributes({ address: 0x800n }), 'EINVAL')
  t.equal(attributes({ address: 2n ** 64n - 0x1000n, size: 0x1000n }), 'EINVAL')
  t.equal(attributes({ address: 0x7_0000_0000n }), 0, 'no slot is needed')
  sample.initVm(vm)
  t.equal(attributes({ address: 1n << 51n }), 'EINVAL', 'shared bit')
  t.equal(region({ slot: 3, guest_phys_addr: 1n << 51n }), 'EINVAL', 'shared bit')
  host.close()
  t.equal(host.memory.used, 0)
})

t.test('a VM lives until its last file has gone, in any order, and its key ID is free again', async t => {
  const orders = [
    ['vm', 'vcpu', 'memfd'],
    ['memfd', 'vcpu', 'vm'],
    ['vcpu', 'memfd', 'vm'],
    ['memfd', 'vm', 'vcpu'],
  ] as const
  const sample = new Sample()
  const { host } = sample
  host.store(sample.scratch, 8, 0n)
  const before = host.framesInUse
  for (const order of orders) {
    const td = sample.build(HALT_LOOP)
    const run = sample.mapRun(td.vcpu)
    t.equal(host.tdx().keyIds.used, 1)
    for (const name of order) host.close(td[name])
    t.equal(host.tdx().keyIds.used, 1, 'kvm_run is still mapped')
    host.munmap(run, 12288)
    t.equal(host.tdx().keyIds.used, 0)
    host.munmap(td.page, 4096)
    t.equal(host.framesInUse, before, `${order}`)
  }
  const again = sample.build(HALT_LOOP)
  t.same([again.vm, again.vcpu], [4, 6], 'descriptors do not depend on what came before')
  host.exit()
  t.equal(host.framesInUse, 0)
  host.close()
  t.equal(host.memory.used, 0)
})

t.test('KVM_CHECK_EXTENSION: what there is, how much of it, and what there is not', async t => {
  const s = new Sample()
  t.teardown(() => s.host.close())
  const td = s.createVm()
  const ordinary = s.host.ioctl(s.kvm, abi.KVM_CREATE_VM, abi.KVM_X86_DEFAULT_VM)
  const ask = (fd: number, name: string): number => {
    const [capability] = [...abi.KVM_CAP_NAMES].find(([, known]) => known === `KVM_CAP_${name}`)!
    return s.host.ioctl(fd, abi.KVM_CHECK_EXTENSION, capability)
  }
  const HOST = 'of /dev/kvm and of VMs'
  const answers: Readonly<Record<string, Readonly<Record<string, number>>>> = {
    [HOST]: {
      IRQCHIP: 1,
      HLT: 1,
      PIT2: 1,
      SYNC_MMU: 1,
      VCPU_EVENTS: 1,
      DEBUGREGS: 1,
      XSAVE: 1,
      XSAVE2: 4096,
      XCRS: 1,
      SREGS2: 1,
      TSC_DEADLINE_TIMER: 1,
      IRQ_ROUTING: 4096,
      SET_GUEST_DEBUG: 1,
      SET_GUEST_DEBUG2: 0xf_0003,
      X2APIC_API: 3,
      EXIT_HYPERCALL: 1 << 12,
      X86_USER_SPACE_MSR: 1,
      MEMORY_ATTRIBUTES: 8,
      GUEST_MEMFD: 1,
      GUEST_MEMFD_FLAGS: 3,
      DIRTY_LOG_RING: 0x10_0000,
      DIRTY_LOG_RING_ACQ_REL: 0x10_0000,
      MANUAL_DIRTY_LOG_PROTECT2: 3,
      COALESCED_MMIO: 2,
      X86_SMM: 0,
      MCE: 0,
      NESTED_STATE: 0,
      BINARY_STATS_FD: 1,
      EXCEPTION_PAYLOAD: 0,
      X86_TRIPLE_FAULT_EVENT: 0,
      XEN_HVM: 0,
      HYPERV_CPUID: 0,
      SYNC_REGS: 0,
      VM_COPY_ENC_CONTEXT_FROM: 0,
      VM_MOVE_ENC_CONTEXT_FROM: 0,
      X86_BUS_LOCK_EXIT: 0,
      X86_NOTIFY_VMEXIT: 0,
    },
    'of a TD': { READONLY_MEM: 0, IRQFD_RESAMPLE: 0 },
    'of an ordinary VM': { READONLY_MEM: 1, IRQFD_RESAMPLE: 1 },
  }
  for (const [of, table] of Object.entries(answers)) {
    const fds = of === HOST ? [s.kvm, td, ordinary] : [of === 'of a TD' ? td : ordinary]
    for (const [name, answer] of Object.entries(table))
      for (const fd of fds) t.equal(ask(fd, name), answer, `KVM_CAP_${name} ${of}`)
  }
})
