import t from 'tap'
import * as abi from '#abi'
import type { Layout, struct, Values } from '#bits'
import { outcome } from '../sample.ts'
import { CODE, OrdinarySample } from './sample.ts'

type Shape = Parameters<typeof struct>[1]

const sample = (t: { teardown(run: () => void): void }) => {
  const s = new OrdinarySample()
  t.teardown(() => s.host.close())
  s.code('hlt')
  return { s, vcpu: s.vcpu() }
}
const get = <S extends Shape>(s: OrdinarySample, vcpu: number, request: number, layout: Layout<S>): Values<S> => {
  s.host.ioctl(vcpu, request, s.data)
  return s.host.get(layout, s.data)
}
/** What there is, with `values` in it, is set. */
const change = <S extends Shape>(
  s: OrdinarySample,
  vcpu: number,
  [getting, setting]: [number, number],
  layout: Layout<S>,
  values: Partial<Values<S>>,
): number | string => {
  s.host.ioctl(vcpu, getting, s.data)
  s.host.set(layout, s.data, values)
  return outcome(() => s.host.ioctl(vcpu, setting, s.data))
}

t.test('a new vCPU stands as after reset', async t => {
  const s = new OrdinarySample()
  t.teardown(() => s.host.close())
  const vcpu = s.host.ioctl(s.vm, abi.KVM_CREATE_VCPU, 0)
  t.match(get(s, vcpu, abi.KVM_GET_REGS, abi.kvm_regs), { rip: 0xfff0n, rflags: 2n })
  const sregs = get(s, vcpu, abi.KVM_GET_SREGS, abi.kvm_sregs)
  t.match(sregs, { cr0: 0x6000_0010n, cr4: 0n, efer: 0n, apic_base: 0xfee0_0900n })
  const cs = abi.kvm_segment.read(new DataView(sregs.cs.buffer, sregs.cs.byteOffset), 0)
  t.match(cs, { base: 0xffff_0000n, selector: 0xf000, limit: 0xffff, type: 11, present: 1, s: 1 })
})

t.test('what is set is what is got', async t => {
  const { s, vcpu } = sample(t)
  for (const [getting, setting, layout] of [
    [abi.KVM_GET_SREGS, abi.KVM_SET_SREGS, abi.kvm_sregs],
    [abi.KVM_GET_SREGS2, abi.KVM_SET_SREGS2, abi.kvm_sregs2],
    [abi.KVM_GET_FPU, abi.KVM_SET_FPU, abi.kvm_fpu],
    [abi.KVM_GET_XSAVE, abi.KVM_SET_XSAVE, abi.kvm_xsave],
    [abi.KVM_GET_XSAVE2, abi.KVM_SET_XSAVE, abi.kvm_xsave],
    [abi.KVM_GET_XCRS, abi.KVM_SET_XCRS, abi.kvm_xcrs],
    [abi.KVM_GET_DEBUGREGS, abi.KVM_SET_DEBUGREGS, abi.kvm_debugregs],
    [abi.KVM_GET_VCPU_EVENTS, abi.KVM_SET_VCPU_EVENTS, abi.kvm_vcpu_events],
  ] as const) {
    const read = () => {
      s.host.ioctl(vcpu, getting, s.data)
      return s.host.read(s.data, layout.size)
    }
    const before = read()
    t.equal(s.host.ioctl(vcpu, setting, s.data), 0, layout.name)
    t.same(read(), before, layout.name)
  }
  const fpu = { fcw: 0x27f, fsw: 0x3800, ftwx: 0x81, last_ip: 0x1234n, fpr: new Uint8Array(128).fill(7, 0, 10) }
  t.equal(change(s, vcpu, [abi.KVM_GET_FPU, abi.KVM_SET_FPU], abi.kvm_fpu, fpu), 0)
  t.match(get(s, vcpu, abi.KVM_GET_FPU, abi.kvm_fpu), { fcw: 0x27f, fsw: 0x3800, ftwx: 0x81, last_ip: 0x1234n })
  const region = get(s, vcpu, abi.KVM_GET_XSAVE, abi.kvm_xsave).region
  t.equal(new DataView(region.buffer).getUint16(0, true), 0x27f)
  region.fill(0xab, 576, 592)
  t.equal(change(s, vcpu, [abi.KVM_GET_XSAVE, abi.KVM_SET_XSAVE], abi.kvm_xsave, { region }), 0)
  t.equal(get(s, vcpu, abi.KVM_GET_XSAVE, abi.kvm_xsave).region[577], 0xab, 'upper half of YMM0')
  change(s, vcpu, [abi.KVM_GET_DEBUGREGS, abi.KVM_SET_DEBUGREGS], abi.kvm_debugregs, { db: [1n, 2n, 3n, 4n] })
  t.same(get(s, vcpu, abi.KVM_GET_DEBUGREGS, abi.kvm_debugregs).db, [1n, 2n, 3n, 4n])
  const events = { flags: abi.KVM_VCPUEVENT_VALID_NMI_PENDING, nmi_pending: 1, interrupt_injected: 1, interrupt_nr: 65 }
  change(s, vcpu, [abi.KVM_GET_VCPU_EVENTS, abi.KVM_SET_VCPU_EVENTS], abi.kvm_vcpu_events, events)
  t.match(get(s, vcpu, abi.KVM_GET_VCPU_EVENTS, abi.kvm_vcpu_events), { nmi_pending: 1, interrupt_nr: 65 })
  t.same(get(s, vcpu, abi.KVM_GET_SREGS, abi.kvm_sregs).interrupt_bitmap, [0n, 2n, 0n, 0n])
})

t.test('what no processor holds is refused', async t => {
  const { s, vcpu } = sample(t)
  const sregs = (values: Partial<Values<typeof abi.kvm_sregs.fields>>) =>
    change(s, vcpu, [abi.KVM_GET_SREGS, abi.KVM_SET_SREGS], abi.kvm_sregs, values)
  t.equal(sregs({ cr4: 0n }), 'EINVAL', 'long mode without PAE')
  t.equal(sregs({ efer: abi.EFER_LME }), 'EINVAL', 'LME and PG without LMA')
  t.equal(sregs({ cr0: 1n, efer: abi.EFER_LMA }), 'EINVAL', 'LMA without paging')
  t.equal(sregs({ cr0: 1n << 32n }), 'EINVAL')
  const at = [abi.KVM_GET_SREGS2, abi.KVM_SET_SREGS2] as [number, number]
  t.equal(change(s, vcpu, at, abi.kvm_sregs2, { flags: 1n }), 'EINVAL', 'PDPTRs in long mode')
  t.equal(change(s, vcpu, at, abi.kvm_sregs2, { flags: 2n }), 'EINVAL')
  t.equal(change(s, vcpu, [abi.KVM_GET_XCRS, abi.KVM_SET_XCRS], abi.kvm_xcrs, { flags: 1 }), 'EINVAL')
  const xcrs = abi.kvm_xcr.encode({ xcr: 0, value: 4n })
  const region = new Uint8Array(256)
  region.set(xcrs)
  t.equal(change(s, vcpu, [abi.KVM_GET_XCRS, abi.KVM_SET_XCRS], abi.kvm_xcrs, { xcrs: region }), 'EINVAL', 'AVX alone')
  const xsave = get(s, vcpu, abi.KVM_GET_XSAVE, abi.kvm_xsave).region
  xsave[519] = 0x80
  t.equal(change(s, vcpu, [abi.KVM_GET_XSAVE, abi.KVM_SET_XSAVE], abi.kvm_xsave, { region: xsave }), 'EINVAL')
  const debug = [abi.KVM_GET_DEBUGREGS, abi.KVM_SET_DEBUGREGS] as [number, number]
  t.equal(change(s, vcpu, debug, abi.kvm_debugregs, { dr7: 1n << 32n }), 'EINVAL')
  const events = [abi.KVM_GET_VCPU_EVENTS, abi.KVM_SET_VCPU_EVENTS] as [number, number]
  t.equal(get(s, vcpu, abi.KVM_GET_VCPU_EVENTS, abi.kvm_vcpu_events).flags, 13, 'NMIs, the shadow, and no SMM')
  for (const flags of [abi.KVM_VCPUEVENT_VALID_PAYLOAD, abi.KVM_VCPUEVENT_VALID_TRIPLE_FAULT])
    t.equal(change(s, vcpu, events, abi.kvm_vcpu_events, { flags }), 'EINVAL', 'nobody has enabled it')
  const flags = abi.KVM_VCPUEVENT_VALID_SMM
  t.equal(change(s, vcpu, events, abi.kvm_vcpu_events, { flags, smi: Uint8Array.of(1, 0, 0, 0) }), 'EINVAL')
  t.equal(change(s, vcpu, events, abi.kvm_vcpu_events, { flags, smi: new Uint8Array(4) }), 0)
  t.equal(change(s, vcpu, events, abi.kvm_vcpu_events, { exception_injected: 1, exception_nr: 2 }), 'EINVAL')
  for (const request of [abi.KVM_GET_LAPIC, abi.KVM_SET_LAPIC, abi.KVM_MEMORY_ENCRYPT_OP])
    t.equal(
      outcome(() => s.host.ioctl(vcpu, request, s.data)),
      'EINVAL',
      'no irqchip, nothing encrypted',
    )
  t.equal(
    outcome(() => s.host.ioctl(s.vm, abi.KVM_MEMORY_ENCRYPT_OP, s.data)),
    'ENOTTY',
  )
  t.equal(
    outcome(() => s.host.ioctl(s.vm, abi.KVM_CREATE_IRQCHIP)),
    'EINVAL',
    'after a vCPU',
  )
})

t.test('KVM_TRANSLATE walks the guest', async t => {
  const { s, vcpu } = sample(t)
  const translate = (linear_address: bigint) => {
    s.call(vcpu, abi.KVM_TRANSLATE, abi.kvm_translation, { linear_address })
    return s.host.get(abi.kvm_translation, s.scratch)
  }
  t.match(translate(CODE + 5n), { physical_address: CODE + 5n, valid: 1 })
  t.match(translate(0x7fff_0000_0000n), { valid: 0 })
})

t.test('an irqchip is made once', async t => {
  const s = new OrdinarySample({}, sample => {
    sample.host.ioctl(sample.vm, abi.KVM_CREATE_IRQCHIP)
    t.equal(
      outcome(() => sample.host.ioctl(sample.vm, abi.KVM_CREATE_IRQCHIP)),
      'EEXIST',
    )
    t.equal(
      outcome(() => sample.splitIrqchip(sample.vm)),
      'EEXIST',
    )
  })
  s.host.close()
})

t.test("a host's TSC and TSC_ADJUST do not move each other", async t => {
  const { s, vcpu } = sample(t)
  const [TSC, ADJUST] = [abi.IA32_TIME_STAMP_COUNTER, abi.IA32_TSC_ADJUST]
  const msr = (request: number, index: number, value = 0n): bigint => {
    // struct kvm_msrs of one entry: nmsrs, pad; index, reserved, data.
    const bytes = new Uint8Array(24)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, 1, true)
    view.setUint32(8, index, true)
    view.setBigUint64(16, value, true)
    s.host.write(s.data, bytes)
    t.equal(s.host.ioctl(vcpu, request, s.data), 1)
    return new DataView(Uint8Array.from(s.host.read(s.data, 24)).buffer).getBigUint64(16, true)
  }
  msr(abi.KVM_SET_MSRS, TSC, 0x1_0000_0000n)
  t.equal(msr(abi.KVM_GET_MSRS, ADJUST), 0n)
  const before = msr(abi.KVM_GET_MSRS, TSC)
  t.ok(before >= 0x1_0000_0000n)
  msr(abi.KVM_SET_MSRS, ADJUST, 0x1234_5678_9abcn)
  t.equal(msr(abi.KVM_GET_MSRS, ADJUST), 0x1234_5678_9abcn)
  t.equal(msr(abi.KVM_GET_MSRS, TSC), before)
})
