/**
 * Every TDG.VP.VMCALL sub-function and every status that KVM or its userspace answers it with, beside the plain ones of
 * tdx_vm_test.ts. GHCI (348552), "TDG.VP.VMCALL Interface"; Linux arch/x86/kvm/vmx/tdx.c.
 */
import {
  fixture,
  KVM_CAP_EXIT_HYPERCALL,
  KVM_HC_MAP_GPA_RANGE,
  KVM_NMI,
  kvm_run_tdx_get_tdvmcall_info,
  TDVMCALL_GET_QUOTE,
  TDVMCALL_GET_TD_VM_CALL_INFO,
  TDVMCALL_MIGTD,
  TDVMCALL_PCONFIG,
  TDVMCALL_SERVICE,
  TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT,
  TDVMCALL_STATUS_ALIGN_ERROR,
  TDVMCALL_STATUS_GPA_INUSE,
  TDVMCALL_STATUS_INVALID_OPERAND,
  TDVMCALL_STATUS_RETRY,
  TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED,
  test,
} from '#harness'

const [INVALID, UNSUPPORTED] = [TDVMCALL_STATUS_INVALID_OPERAND, TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED]
const [EAGAIN, EINVAL] = [11n, 22n]
const CHUNK = 0x20_0000n
const RUN_EXIT = 32n
const AREA = 0x4000_0000n

const unknown = fixture('a_sub_function', {
  variants: {
    pconfig: { number: TDVMCALL_PCONFIG },
    service: { number: TDVMCALL_SERVICE },
    migtd: { number: TDVMCALL_MIGTD },
    zero: { number: 0 },
    beyond: { number: 0x1_0007 },
    wide: { number: 0x1_0000_000a },
  },
})

unknown.test('that_kvm_does_not_know_is_unsupported', async (t, _, { number }) => {
  const td = t.td({
    guest(g) {
      g.assert.eq(g.vmcall.raw({ r11: BigInt(number) }).r10, UNSUPPORTED)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('get_td_vm_call_info_has_two_leaves', async t => {
  const td = t.td({
    guest(g) {
      g.assert.eq(g.vmcall.getTdVmCallInfo({ leaf: 2n }).status, INVALID)
      const info = g.vmcall.getTdVmCallInfo({ leaf: 1n })
      g.assert.match(info, { status: 0n, r11: 2n, r12: 3n, r13: 4n, r14: 5n })
      // Nobody sets anything: the optional sub-functions are none.
      g.assert.match(g.vmcall.getTdVmCallInfo({ leaf: 1n }), { status: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n })
      g.done()
    },
  })
  const exit = await td.vcpu.until('KVM_EXIT_TDX')
  t.assert.eq(exit.nr, BigInt(TDVMCALL_GET_TD_VM_CALL_INFO))
  t.assert.eq(exit.data[0], 1n, 'the leaf')
  const { host } = td.vm.machine
  const { offset } = kvm_run_tdx_get_tdvmcall_info
  for (const [n, name] of (['r11', 'r12', 'r13', 'r14'] as const).entries())
    host.store(
      (td.vm.vcpus[0]!.run + RUN_EXIT + BigInt(offset[name])) as Parameters<typeof host.store>[0],
      8,
      BigInt(n) + 2n,
    )
  await td.vcpu.until('KVM_EXIT_TDX')
  await td.vcpu.until('UCALL_DONE')
})

const quote = fixture('get_quote', {
  variants: {
    left_alone: { ret: undefined, status: UNSUPPORTED },
    done: { ret: 0n, status: 0n },
    in_use: { ret: TDVMCALL_STATUS_GPA_INUSE, status: TDVMCALL_STATUS_GPA_INUSE },
    refused: { ret: INVALID, status: INVALID },
  },
})

quote.test('is_userspaces_to_answer', async (t, _, { ret, status }) => {
  const td = t.td({
    guest(g) {
      g.assert.eq(g.vmcall.getQuote({ gpa: AREA, size: 4096n }).status, INVALID, 'a private buffer')
      g.assert.eq(g.vmcall.getQuote({ gpa: g.sharedGpa(AREA), size: 4096n }).status, status)
      g.done()
    },
  })
  const exit = await td.vcpu.until('KVM_EXIT_TDX')
  t.assert.eq(exit.nr, BigInt(TDVMCALL_GET_QUOTE))
  t.assert.match([...exit.data].slice(0, 2), [AREA, 4096n])
  if (ret !== undefined) exit.answer(ret)
  await td.vcpu.until('UCALL_DONE')
})

const notify = fixture('setup_event_notify_interrupt', {
  variants: {
    below_32: { vector: 31n, asks: false, ret: undefined, status: INVALID },
    above_255: { vector: 256n, asks: false, ret: undefined, status: INVALID },
    left_alone: { vector: 32n, asks: true, ret: undefined, status: UNSUPPORTED },
    done: { vector: 255n, asks: true, ret: 0n, status: 0n },
  },
})

notify.test('names_a_vector', async (t, _, { vector, asks, ret, status }) => {
  const td = t.td({
    guest(g) {
      g.assert.eq(g.vmcall.setupEventNotifyInterrupt({ vector }).status, status)
      g.done()
    },
  })
  if (asks) {
    const exit = await td.vcpu.until('KVM_EXIT_TDX')
    t.assert.eq(exit.nr, BigInt(TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT))
    t.assert.eq(exit.data[0], vector)
    if (ret !== undefined) exit.answer(ret)
  }
  await td.vcpu.until('UCALL_DONE')
})

const badRange = fixture('map_gpa_of', {
  variants: {
    nothing: { gpa: AREA, size: 0n, status: INVALID },
    an_overflow: { gpa: AREA, size: 0xffff_ffff_ffff_f000n, status: INVALID },
    what_is_too_wide: { gpa: 1n << 48n, size: 4096n, status: INVALID },
    both_halves: { gpa: (1n << 47n) - 4096n, size: 8192n, status: INVALID },
    part_of_a_page: { gpa: AREA, size: 100n, status: TDVMCALL_STATUS_ALIGN_ERROR },
    the_middle_of_a_page: { gpa: AREA + 8n, size: 4096n, status: TDVMCALL_STATUS_ALIGN_ERROR },
    /** Range before alignment. */
    both_wrongs: { gpa: (1n << 48n) + 8n, size: 100n, status: INVALID },
  },
})

badRange.test('is_refused_where_it_begins', async (t, _, { gpa, size, status }) => {
  const td = t.td({
    guest(g) {
      g.assert.match(g.vmcall.mapGpa({ gpa, size }), { status, next: gpa })
      g.done()
    },
  })
  td.enableCap(KVM_CAP_EXIT_HYPERCALL, 1n << BigInt(KVM_HC_MAP_GPA_RANGE))
  await td.vcpu.until('UCALL_DONE')
})

test('map_gpa_without_the_capability_is_unsupported', async t => {
  const td = t.td({
    guest(g) {
      g.assert.match(g.vmcall.mapGpa({ gpa: AREA, size: 4096n }), { status: UNSUPPORTED, next: AREA })
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('map_gpa_comes_two_mebibytes_at_a_time', async t => {
  const start = AREA + 0x1000n
  const td = t.td({
    guest(g) {
      g.assert.eq(g.vmcall.mapGpa({ gpa: g.sharedGpa(start), size: 2n * CHUNK + 4096n }).status, 0n)
      g.done()
    },
  })
  td.enableCap(KVM_CAP_EXIT_HYPERCALL, 1n << BigInt(KVM_HC_MAP_GPA_RANGE))
  for (const [gpa, pages] of [
    [start, 512n],
    [start + CHUNK, 512n],
    [start + 2n * CHUNK, 1n],
  ] as const) {
    const { args } = await td.vcpu.until('KVM_EXIT_HYPERCALL')
    t.assert.match([...args].slice(0, 3), [gpa, pages, 0n])
  }
  await td.vcpu.until('UCALL_DONE')
})

const answers = fixture('map_gpa_answered', {
  variants: {
    eagain: { ret: EAGAIN, status: TDVMCALL_STATUS_RETRY },
    einval: { ret: EINVAL, status: INVALID },
  },
})

answers.test('says_where_to_go_on', async (t, _, { ret, status }) => {
  const td = t.td({
    guest(g) {
      const wanted = g.sharedGpa(AREA)
      g.assert.match(g.vmcall.mapGpa({ gpa: wanted, size: 2n * CHUNK }), { status, next: wanted + CHUNK })
      g.done()
    },
  })
  td.enableCap(KVM_CAP_EXIT_HYPERCALL, 1n << BigInt(KVM_HC_MAP_GPA_RANGE))
  await td.vcpu.until('KVM_EXIT_HYPERCALL')
  const second = await td.vcpu.until('KVM_EXIT_HYPERCALL')
  second.answer(ret)
  await td.vcpu.until('UCALL_DONE')
})

test('map_gpa_stops_for_what_is_pending', async t => {
  const td = t.td({
    guest(g) {
      g.onException(2, () => {})
      const retry = g.vmcall.mapGpa({ gpa: AREA, size: 2n * CHUNK })
      g.assert.match(retry, { status: TDVMCALL_STATUS_RETRY, next: AREA + CHUNK })
      g.assert.eq(g.vmcall.mapGpa({ gpa: retry.next, size: CHUNK }).status, 0n)
      g.done()
    },
  })
  td.enableCap(KVM_CAP_EXIT_HYPERCALL, 1n << BigInt(KVM_HC_MAP_GPA_RANGE))
  await td.vcpu.until('KVM_EXIT_HYPERCALL')
  td.vcpu.ioctl(KVM_NMI)
  await td.vcpu.until('KVM_EXIT_HYPERCALL')
  await td.vcpu.until('UCALL_DONE')
})

test('a_hypercall_of_kvms_has_its_number_in_r10', async t => {
  const [KVM_HC_VAPIC_POLL_IRQ, ENOSYS] = [1n, BigInt.asUintN(64, -1000n)]
  const td = t.td({
    guest(g) {
      g.assert.eq(g.vmcall.hypercall(KVM_HC_VAPIC_POLL_IRQ).result, 0n)
      g.assert.eq(g.vmcall.hypercall(99n).result, ENOSYS)
      g.assert.eq(g.vmcall.hypercall(BigInt(KVM_HC_MAP_GPA_RANGE), AREA, 3n, 16n).result, 7n)
      g.assert.eq(
        g.vmcall.hypercall(BigInt(KVM_HC_MAP_GPA_RANGE), AREA + 8n, 3n, 16n).result,
        BigInt.asUintN(64, -EINVAL),
      )
      g.done()
    },
  })
  td.enableCap(KVM_CAP_EXIT_HYPERCALL, 1n << BigInt(KVM_HC_MAP_GPA_RANGE))
  const exit = await td.vcpu.until('KVM_EXIT_HYPERCALL')
  t.assert.match([...exit.args].slice(0, 3), [AREA, 3n, 16n])
  exit.answer(7n)
  await td.vcpu.until('UCALL_DONE')
})
