/** A TD and its TDVMCALLs, one after the other. Upstream: tdx_vm_test.c, of series v8 and (verify_td_lifecycle) v13. */
import {
  type GuestBuilder,
  KVM_CAP_MAX_VCPUS,
  KVM_CHECK_EXTENSION,
  KVM_GET_CPUID2,
  KVM_GET_MP_STATE,
  KVM_GET_MSRS,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MP_STATE_HALTED,
  KVM_MP_STATE_RUNNABLE,
  KVM_MSR_FILTER_DEFAULT_DENY,
  KVM_MSR_FILTER_READ,
  KVM_MSR_FILTER_WRITE,
  KVM_SET_MP_STATE,
  KVM_SET_MSRS,
  KVM_SYSTEM_EVENT_TDX_FATAL,
  KVM_X86_SET_MSR_FILTER,
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_mp_state,
  kvm_msr_entry,
  kvm_msr_filter,
  kvm_msr_filter_range,
  kvm_msrs,
  type Size,
  TDVMCALL_STATUS_INVALID_OPERAND,
  type Td,
  test,
  u64,
  type Vcpu,
} from '#harness'

const SUCCESS_PORT = 0x30
const INVALID = TDVMCALL_STATUS_INVALID_OPERAND
const SEPT_VE_DISABLE = 1n << 28n

/** How the tests of series v2 to v8 end well. */
const succeed = (g: GuestBuilder): void => g.out(SUCCESS_PORT, 4, 0)
const untilSuccess = async (t: { assert: { match(seen: object, want: object): void } }, vcpu: Vcpu): Promise<void> => {
  t.assert.match(await vcpu.until('KVM_EXIT_IO'), { port: SUCCESS_PORT, direction: 'out', size: 4 })
}

test('verify_td_lifecycle', async t => {
  const td = t.td({ guest: g => g.done() })

  await td.vcpu.until('UCALL_DONE')
})

test('verify_td_lifecycle_by_port', async t => {
  const td = t.td({ guest: succeed })

  await untilSuccess(t, td.vcpu)
})

const FATAL_CODE = 0x0baa_aaad_0000_0000n

test('verify_report_fatal_error', async t => {
  const td = t.td({
    guest(g) {
      g.assert.eq(g.vmcall.reportFatalError({ code: FATAL_CODE, gpa: 0n }).status, 0n)
      succeed(g)
    },
  })

  const event = await td.vcpu.until('KVM_EXIT_SYSTEM_EVENT')
  t.assert.eq(event.type, KVM_SYSTEM_EVENT_TDX_FATAL)
  t.assert.eq(event.data.length, 16)
  t.assert.eq(event.data[12], FATAL_CODE)
  t.assert.eq(event.data[13], 0n)
  await untilSuccess(t, td.vcpu)
})

test('verify_td_ioexit', async t => {
  const td = t.td({
    guest(g) {
      g.out(0x50, 1, 0xab)
      g.assert.eq(g.in(0x50, 1), 0xac)
      succeed(g)
    },
  })

  const out = await td.vcpu.until('KVM_EXIT_IO')
  t.assert.match(out, { port: 0x50, direction: 'out', size: 1, data: 0xabn })
  const into = await td.vcpu.until('KVM_EXIT_IO')
  t.assert.match(into, { port: 0x50, direction: 'in', size: 1 })
  into.answer(out.data + 1n)
  await untilSuccess(t, td.vcpu)
})

/** KVM's own CPUID of a vCPU. */
const cpuidOf = (vcpu: Vcpu, leaf: number) => {
  const room = new Uint8Array(kvm_cpuid2.size + 256 * kvm_cpuid_entry2.size)
  room.set(kvm_cpuid2.encode({ nent: 256 }))
  const { bytes } = vcpu.callBytes(KVM_GET_CPUID2, room)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const count = kvm_cpuid2.read(view, 0).nent
  for (let i = 0; i < count; i++) {
    const entry = kvm_cpuid_entry2.read(view, kvm_cpuid2.size + i * kvm_cpuid_entry2.size)
    if (entry.function === leaf) return entry
  }
  throw new Error(`the vCPU has no CPUID leaf ${leaf}`)
}

test('verify_td_cpuid', async t => {
  const td = t.td({
    guest(g) {
      const { ebx, ecx } = g.cpu.cpuid(1)
      g.sync(ebx, ecx)
      g.done()
    },
  })

  const { values } = await td.vcpu.until('UCALL_SYNC')
  const [ebx = 0n, ecx = 0n] = values
  const kvm = cpuidOf(td.vcpu, 1)
  t.assert.eq(ecx & 1n, 1n, 'SSE3')
  t.assert.eq((ebx >> 8n) & 0xffn, 8n, 'CLFLUSH: 8 quadwords')
  t.assert.eq((ebx >> 16n) & 0xffn, BigInt((kvm.ebx >>> 16) & 0xff), 'most logical processor ids')
  t.assert.eq((ecx >> 12n) & 1n, BigInt((kvm.ecx >>> 12) & 1), 'FMA')
  t.assert.eq(ebx >> 24n, 0n, 'initial APIC id')
  await td.vcpu.until('UCALL_DONE')
})

test('verify_get_td_vmcall_info', async t => {
  const td = t.td({
    guest(g) {
      const info = g.vmcall.getTdVmCallInfo({ leaf: 0n })
      g.sync(info.status, info.r11, info.r12, info.r13, info.r14)
      g.done()
    },
  })

  const { values } = await td.vcpu.until('UCALL_SYNC')
  for (const value of values) t.expect.eq(value, 0n)
  await td.vcpu.until('UCALL_DONE')
})

const WRITES: readonly [Size, bigint][] = [
  [1, 0xabn],
  [2, 0xabcdn],
  [4, 0xffab_cdefn],
]

test('verify_guest_writes', async t => {
  const td = t.td({
    guest(g) {
      for (const [size, value] of WRITES) g.out(0x51, size, value)
      const bad = g.vmcall.io({ size: 5n, direction: 1n, port: 0x51n, data: 0x4n })
      g.vmcall.reportFatalError({ code: bad.status, gpa: 0n })
      succeed(g)
    },
  })

  for (const [size, data] of WRITES)
    t.assert.match(await td.vcpu.until('KVM_EXIT_IO'), { port: 0x51, direction: 'out', size, data })
  // Five bytes make no exit.
  t.assert.eq((await td.vcpu.until('KVM_EXIT_SYSTEM_EVENT')).data[12], INVALID)
  await untilSuccess(t, td.vcpu)
})

test('verify_guest_reads', async t => {
  const td = t.td({
    guest(g) {
      for (const [size, value] of WRITES) g.assert.eq(g.in(0x52, size), value)
      const bad = g.vmcall.io({ size: 5n, direction: 0n, port: 0x52n })
      g.vmcall.reportFatalError({ code: bad.status, gpa: 0n })
      succeed(g)
    },
  })

  for (const [size, data] of WRITES) {
    const read = await td.vcpu.until('KVM_EXIT_IO')
    t.assert.match(read, { port: 0x52, direction: 'in', size })
    read.answer(data)
  }
  t.assert.eq((await td.vcpu.until('KVM_EXIT_SYSTEM_EVENT')).data[12], INVALID)
  await untilSuccess(t, td.vcpu)
})

const [ICR, MISC_ENABLE, POWER_CTL] = [0x830n, 0x1a0n, 0x1fcn]

/** Everything is denied but reading IA32_MISC_ENABLE and writing IA32_POWER_CTL; x2APIC MSRs are never filtered. */
const filterMsrs = (td: Td): void => {
  const { host } = td.vm.machine
  const bitmap = host.mmap(4096)
  host.store(bitmap, 8, 1n)
  const ranges = new Uint8Array(16 * kvm_msr_filter_range.size)
  ranges.set(kvm_msr_filter_range.encode({ flags: KVM_MSR_FILTER_READ, nmsrs: 1, base: Number(MISC_ENABLE), bitmap }))
  const write = { flags: KVM_MSR_FILTER_WRITE, nmsrs: 1, base: Number(POWER_CTL), bitmap }
  ranges.set(kvm_msr_filter_range.encode(write), kvm_msr_filter_range.size)
  td.call(KVM_X86_SET_MSR_FILTER, kvm_msr_filter, { flags: KVM_MSR_FILTER_DEFAULT_DENY, ranges })
}

const setMsr = (vcpu: Vcpu, index: bigint, data: bigint): number => {
  const entry = kvm_msr_entry.encode({ index: Number(index), data })
  return vcpu.callBytes(KVM_SET_MSRS, Uint8Array.of(...kvm_msrs.encode({ nmsrs: 1 }), ...entry)).result
}
const getMsr = (vcpu: Vcpu, index: bigint): bigint => {
  const entry = kvm_msr_entry.encode({ index: Number(index) })
  const { bytes } = vcpu.callBytes(KVM_GET_MSRS, Uint8Array.of(...kvm_msrs.encode({ nmsrs: 1 }), ...entry))
  return kvm_msr_entry.read(new DataView(bytes.buffer, bytes.byteOffset), kvm_msrs.size).data
}

test('verify_guest_msr_reads', async t => {
  const td = t.td({
    guest(g) {
      const icr = g.vmcall.rdmsr({ index: ICR })
      g.assert.eq(icr.status, 0n)
      const misc = g.vmcall.rdmsr({ index: MISC_ENABLE })
      g.assert.eq(misc.status, 0n)
      g.sync(icr.value, misc.value, g.vmcall.rdmsr({ index: POWER_CTL }).status)
      g.done()
    },
  })
  filterMsrs(td)
  for (const [index, value] of [
    [ICR, 4n],
    [MISC_ENABLE, 5n],
    [POWER_CTL, 6n],
  ] as const)
    t.assert.eq(setMsr(td.vcpu, index, value), 1)

  const { values } = await td.vcpu.until('UCALL_SYNC')
  t.assert.match([...values], [4n, 5n, INVALID])
  await td.vcpu.until('UCALL_DONE')
})

test('verify_guest_msr_writes', async t => {
  const td = t.td({
    guest(g) {
      g.assert.eq(g.vmcall.wrmsr({ index: ICR, value: 4n }).status, 0n)
      g.sync(g.vmcall.wrmsr({ index: MISC_ENABLE, value: 5n }).status)
      g.assert.eq(g.vmcall.wrmsr({ index: POWER_CTL, value: 6n }).status, 0n)
      g.done()
    },
  })
  filterMsrs(td)
  const before = getMsr(td.vcpu, MISC_ENABLE)

  const { values } = await td.vcpu.until('UCALL_SYNC')
  t.assert.eq(values[0], INVALID)
  t.assert.eq(getMsr(td.vcpu, ICR), 4n)
  t.assert.eq(getMsr(td.vcpu, MISC_ENABLE), before)
  await td.vcpu.until('UCALL_DONE')
  t.assert.eq(getMsr(td.vcpu, POWER_CTL), 6n)
})

test('verify_guest_hlt', async t => {
  const td = t.td({
    guest(g) {
      g.assert.eq(g.vmcall.hlt({ interruptsBlocked: 0n }).status, 0n)
      succeed(g)
    },
  })

  // SIGALRM, which ends a KVM_RUN that nothing else would end.
  td.vcpu.signal({ instructions: 1_000_000 })
  await td.vcpu.until('KVM_EXIT_INTR')
  t.assert.eq(td.vcpu.get(KVM_GET_MP_STATE, kvm_mp_state).mp_state, KVM_MP_STATE_HALTED)
  td.vcpu.call(KVM_SET_MP_STATE, kvm_mp_state, { mp_state: KVM_MP_STATE_RUNNABLE })
  await untilSuccess(t, td.vcpu)
})

const MMIO = 0x2_0000_0000n
const MMIO_VALUES: readonly [Size, bigint][] = [
  [1, 0x12n],
  [2, 0x1234n],
  [4, 0x1234_5678n],
  [8, 0x1234_5678_90ab_cdefn],
]

test('verify_mmio_reads', async t => {
  const td = t.td({
    guest(g) {
      for (const [size, value] of MMIO_VALUES) g.assert.eq(g.mmioRead(MMIO, size), value)
      g.sync(g.vmcall.mmio({ size: 10n, direction: 0n, gpa: g.sharedGpa(MMIO) }).status)
      g.done()
    },
  })

  for (const [size, value] of MMIO_VALUES) {
    const read = await td.vcpu.until('KVM_EXIT_MMIO')
    t.assert.match(read, { gpa: MMIO, direction: 'read', size })
    read.answer(value)
  }
  t.assert.eq((await td.vcpu.until('UCALL_SYNC')).values[0], INVALID)
  await td.vcpu.until('UCALL_DONE')
})

test('verify_mmio_writes', async t => {
  const td = t.td({
    guest(g) {
      for (const [size, value] of MMIO_VALUES) g.mmioWrite(MMIO, size, value)
      g.sync(0x42)
      g.sync(g.vmcall.mmio({ size: 10n, direction: 1n, gpa: g.sharedGpa(MMIO), data: 0n }).status)
      // A private address.
      g.sync(g.vmcall.mmio({ size: 8n, direction: 1n, gpa: 0xfffn, data: 0n }).status)
      g.done()
    },
  })

  for (const [size, data] of MMIO_VALUES)
    t.assert.match(await td.vcpu.until('KVM_EXIT_MMIO'), { gpa: MMIO, direction: 'write', size, data })
  t.assert.eq((await td.vcpu.until('UCALL_SYNC')).stage, 0x42n)
  for (let bad = 0; bad < 2; bad++) t.assert.eq((await td.vcpu.until('UCALL_SYNC')).values[0], INVALID)
  await td.vcpu.until('UCALL_DONE')
})

test('verify_td_cpuid_tdcall', async t => {
  const td = t.td({
    guest(g) {
      const { status, eax, ebx, ecx, edx } = g.vmcall.cpuid({ leaf: 1n, subleaf: 0n })
      g.assert.eq(status, 0n)
      g.sync(eax, ebx, ecx, edx)
      g.done()
    },
  })

  const { values } = await td.vcpu.until('UCALL_SYNC')
  const [eax, ebx = 0n, ecx, edx] = values
  const kvm = cpuidOf(td.vcpu, 1)
  t.assert.eq(eax, BigInt(kvm.eax))
  t.assert.bits(ebx, 0xff_ffffn, BigInt(kvm.ebx & 0xff_ffff))
  t.assert.eq(ecx, BigInt(kvm.ecx))
  t.assert.eq(edx, BigInt(kvm.edx))
  await td.vcpu.until('UCALL_DONE')
})

test('verify_host_reading_private_mem', async t => {
  const td = t.td({
    guest(g) {
      const page = g.memory('secret', 4096, { align: 4096 })
      g.store(page, u64, 0xabcd)
      g.out(0x53, 4, 0)
      g.store(page, u64, 0xfedc)
      succeed(g)
    },
  })

  t.assert.match(await td.vcpu.until('KVM_EXIT_IO'), { port: 0x53, size: 4 })
  const first = td.hostRead('secret', 8)
  await untilSuccess(t, td.vcpu)
  t.assert.match([...td.hostRead('secret', 8)], [...first])
})

test('verify_tdcall_vp_info', async t => {
  const td = t.td({
    vcpus: 2,
    attributes: SEPT_VE_DISABLE,
    guest(g) {
      const { status, gpaw, attributes, vcpus, index, flags, reserved } = g.tdcall.vpInfo()
      g.assert.eq(status, 0n)
      g.sync(gpaw, attributes, vcpus, index, flags, reserved)
      g.done()
    },
  })
  const most = BigInt(td.ioctl(KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS))

  for (const vcpu of td.vcpus) {
    const { values } = await vcpu.until('UCALL_SYNC')
    const [gpaw, attributes, vcpus, index, flags = 0n, reserved] = values
    t.expect.eq(gpaw, 48n)
    t.expect.eq(attributes, SEPT_VE_DISABLE)
    t.expect.eq(vcpus, 2n | (most << 32n))
    t.expect.eq(index, BigInt(vcpu.index))
    t.expect.eq(flags >> 1n, 0n)
    t.expect.eq(reserved, 0n)
    await vcpu.until('UCALL_DONE')
  }
})

test('verify_log_dirty_pages_flag_on_non_gmemfd_slot', async t => {
  const [at, gpa] = [0x9000_0000n, 0xc000_0000n]
  const td = t.td({
    slots: [{ slot: 10, gpa, size: 4096, memfd: false, flags: KVM_MEM_LOG_DIRTY_PAGES }],
    map: [{ gva: at, gpa, size: 4096, shared: true }],
    guest(g) {
      g.memset(at, 1, 8)
      succeed(g)
    },
  })

  await untilSuccess(t, td.vcpu)
  t.assert.match([...td.hostRead({ gpa }, 9)], [1, 1, 1, 1, 1, 1, 1, 1, 0])
})
