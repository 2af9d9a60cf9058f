/** TDVMCALLs and what a TD sees of CPUID and memory. Upstream: tdx_vm_test.c of "TDX KVM selftests" v8, tests 2 to 14. */
import {
  allowMsrs,
  IA32_MISC_ENABLE,
  KVM_GET_MP_STATE,
  KVM_MP_STATE_HALTED,
  KVM_MP_STATE_RUNNABLE,
  KVM_SET_MP_STATE,
  KVM_SYSTEM_EVENT_TDX_FATAL,
  kvm_mp_state,
  readCpuid,
  readMsr,
  TDVMCALL_STATUS_INVALID_OPERAND,
  test,
  u32,
  u64,
  writeMsr,
  X2APIC,
} from '#harness'

const SIZES = [1, 2, 4] as const
const VALUE = { 1: 0xabn, 2: 0xabcdn, 4: 0xffab_cdefn, 8: 0x1234_5678_90ab_cdefn } as const
const DEVICE = 0x2_0000_0000n
const IA32_POWER_CTL = 0x1fc

test('report_fatal_error', async t => {
  const td = t.td({
    guest(g) {
      g.vmcall.reportFatalError({ code: 0x0baa_aaad_0000_0000n })
      g.done()
    },
  })

  const { type, data } = await td.vcpu.until('KVM_EXIT_SYSTEM_EVENT')
  t.assert.eq(type, KVM_SYSTEM_EVENT_TDX_FATAL)
  t.assert.eq(data.length, 16)
  t.assert.eq(data[12], 0x0baa_aaad_0000_0000n)
  t.assert.eq(data[13], 0n)
  await td.vcpu.until('UCALL_DONE')
})

test('ioexit', async t => {
  const td = t.td({
    guest(g) {
      g.out(0x50, 1, 0xab)
      g.assert.eq(g.in(0x50, 1), 0xac)
      g.done()
    },
  })

  const { data } = await td.vcpu.until('KVM_EXIT_IO')
  t.assert.eq(data, 0xabn)
  const read = await td.vcpu.until('KVM_EXIT_IO')
  read.answer(data + 1n)
  await td.vcpu.until('UCALL_DONE')
})

test('cpuid_native', async t => {
  const td = t.td({
    guest(g) {
      const { ebx, ecx } = g.cpu.cpuid(1n)
      g.assert.eq(ecx.and(1), 1, 'SSE3')
      g.assert.eq(ebx.shr(8).and(0xff), 8, 'CLFLUSH line size')
      g.assert.eq(ebx.shr(24), 0, 'initial APIC ID')
      g.sync(ebx.shr(16).and(0xff), ecx.shr(12).and(1))
      g.done()
    },
  })

  const { values } = await td.vcpu.until('UCALL_SYNC')
  const { ebx, ecx } = readCpuid(td.vcpu, 1)
  t.assert.eq(values[0], (ebx >> 16n) & 0xffn, 'logical processors')
  t.assert.eq(values[1], (ecx >> 12n) & 1n, 'FMA')
  await td.vcpu.until('UCALL_DONE')
})

test('get_td_vmcall_info', async t => {
  const td = t.td({
    guest(g) {
      const { status, ...info } = g.vmcall.getTdVmCallInfo({ leaf: 0n })
      for (const zero of [status, info.r11, info.r12, info.r13, info.r14]) g.assert.eq(zero, 0n)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})

test('io_writes', async t => {
  const td = t.td({
    guest(g) {
      for (const size of SIZES) g.out(0x51, size, VALUE[size])
      const { status } = g.vmcall.io({ size: 5n, direction: 1n, port: 0x51n })
      g.assert.eq(status, TDVMCALL_STATUS_INVALID_OPERAND)
      g.done()
    },
  })

  for (const size of SIZES) {
    const io = await td.vcpu.until('KVM_EXIT_IO')
    t.assert.match(io, { port: 0x51, direction: 'out', size, data: VALUE[size] })
  }
  await td.vcpu.until('UCALL_DONE')
})

test('io_reads', async t => {
  const td = t.td({
    guest(g) {
      for (const size of SIZES) g.assert.eq(g.in(0x52, size).as(u64), VALUE[size])
      const { status } = g.vmcall.io({ size: 5n, direction: 0n, port: 0x52n })
      g.assert.eq(status, TDVMCALL_STATUS_INVALID_OPERAND)
      g.done()
    },
  })

  for (const size of SIZES) {
    const io = await td.vcpu.until('KVM_EXIT_IO')
    t.assert.match(io, { port: 0x52, direction: 'in', size })
    io.answer(VALUE[size])
  }
  await td.vcpu.until('UCALL_DONE')
})

test('msr_reads', async t => {
  const td = t.td({
    guest(g) {
      for (const [index, want] of [
        [X2APIC.ICR, 4n],
        [IA32_MISC_ENABLE, 5n],
      ] as const)
        g.assert.eq(g.vmcall.rdmsr({ index: BigInt(index) }).value, want)
      g.assert.eq(g.vmcall.rdmsr({ index: BigInt(IA32_POWER_CTL) }).status, TDVMCALL_STATUS_INVALID_OPERAND)
      g.done()
    },
  })
  allowMsrs(td, { [IA32_MISC_ENABLE]: ['read'], [IA32_POWER_CTL]: ['write'] })
  writeMsr(td.vcpu, X2APIC.ICR, 4n)
  writeMsr(td.vcpu, IA32_MISC_ENABLE, 5n)
  writeMsr(td.vcpu, IA32_POWER_CTL, 6n)

  await td.vcpu.until('UCALL_DONE')
})

test('msr_writes', async t => {
  const td = t.td({
    guest(g) {
      g.assert.eq(g.vmcall.wrmsr({ index: BigInt(X2APIC.ICR), value: 4n }).status, 0n)
      const denied = g.vmcall.wrmsr({ index: BigInt(IA32_MISC_ENABLE), value: 5n })
      g.assert.eq(denied.status, TDVMCALL_STATUS_INVALID_OPERAND)
      g.assert.eq(g.vmcall.wrmsr({ index: BigInt(IA32_POWER_CTL), value: 6n }).status, 0n)
      g.done()
    },
  })
  allowMsrs(td, { [IA32_MISC_ENABLE]: ['read'], [IA32_POWER_CTL]: ['write'] })
  const before = readMsr(td.vcpu, IA32_MISC_ENABLE)

  await td.vcpu.until('UCALL_DONE')
  t.assert.eq(readMsr(td.vcpu, IA32_MISC_ENABLE), before)
  t.assert.eq(readMsr(td.vcpu, IA32_POWER_CTL), 6n)
})

test('hlt', async t => {
  const td = t.td({
    guest(g) {
      g.vmcall.hlt({ interruptsBlocked: 0n })
      g.done()
    },
  })

  td.vcpu.signal({ instructions: 1_000_000 })
  await td.vcpu.until('KVM_EXIT_INTR')
  t.assert.eq(td.vcpu.get(KVM_GET_MP_STATE, kvm_mp_state).mp_state, KVM_MP_STATE_HALTED)
  td.vcpu.call(KVM_SET_MP_STATE, kvm_mp_state, { mp_state: KVM_MP_STATE_RUNNABLE })
  await td.vcpu.until('UCALL_DONE')
})

test('mmio_reads', async t => {
  const td = t.td({
    guest(g) {
      for (const size of [...SIZES, 8] as const) g.assert.eq(g.mmioRead(DEVICE, size).as(u64), VALUE[size])
      const { status } = g.vmcall.mmio({ size: 10n, direction: 0n, gpa: g.sharedGpa(DEVICE) })
      g.assert.eq(status, TDVMCALL_STATUS_INVALID_OPERAND)
      g.done()
    },
  })

  for (const size of [...SIZES, 8] as const) {
    const mmio = await td.vcpu.until('KVM_EXIT_MMIO')
    t.assert.match(mmio, { gpa: DEVICE, direction: 'read', size })
    mmio.answer(VALUE[size])
  }
  await td.vcpu.until('UCALL_DONE')
})

test('mmio_writes', async t => {
  const td = t.td({
    guest(g) {
      for (const size of [...SIZES, 8] as const) g.mmioWrite(DEVICE, size, VALUE[size])
      const wrong = [
        { size: 10n, gpa: g.sharedGpa(DEVICE) },
        { size: 8n, gpa: 0xfffn },
      ]
      for (const call of wrong)
        g.assert.eq(g.vmcall.mmio({ ...call, direction: 1n, data: 0n }).status, TDVMCALL_STATUS_INVALID_OPERAND)
      g.done()
    },
  })

  for (const size of [...SIZES, 8] as const) {
    const mmio = await td.vcpu.until('KVM_EXIT_MMIO')
    t.assert.match(mmio, { gpa: DEVICE, direction: 'write', size, data: VALUE[size] })
  }
  await td.vcpu.until('UCALL_DONE')
})

test('cpuid_tdcall', async t => {
  const td = t.td({
    guest(g) {
      const { eax, ebx, ecx, edx } = g.vmcall.cpuid({ leaf: 1n, subleaf: 0n })
      g.sync(eax, ebx.and(0xff_ffffn), ecx, edx)
      g.done()
    },
  })

  const { values } = await td.vcpu.until('UCALL_SYNC')
  const { eax, ebx, ecx, edx } = readCpuid(td.vcpu, 1)
  for (const [n, want] of [eax, ebx & 0xff_ffffn, ecx, edx].entries()) t.assert.eq(values[n], want)
  await td.vcpu.until('UCALL_DONE')
})

test('host_reading_private_memory', async t => {
  const td = t.td({
    guest(g) {
      const secret = g.memory('secret', 4)
      for (const value of [0xabcd, 0xfedc]) {
        g.store(secret, u32, value)
        g.sync(value)
      }
      g.done()
    },
  })

  await td.vcpu.until('UCALL_SYNC')
  const first = td.hostRead('secret', 4)
  await td.vcpu.until('UCALL_SYNC')
  t.assert.eq(td.hostRead('secret', 4), first)
  await td.vcpu.until('UCALL_DONE')
})
