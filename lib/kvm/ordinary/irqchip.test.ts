/** Interrupt controllers in the kernel, as a VM's userspace and its guest see them. */
import t from 'tap'
import * as abi from '#abi'
import { type Hva, hva } from '#bits'
import { outcome } from '../sample.ts'
import { OrdinarySample } from './sample.ts'

const VECTOR = 0x41
const COUNT = 0x8000n
/** The PICs masked, as they are not from the start; xAPIC on; I/O APIC entry `pin` is `low` for local APIC 0. */
const setUp = (pin: number, low: number) => `
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  mov ebx, 0xfee000f0
  mov dword ptr [rbx], 0x1ff
  mov ebx, 0xfec00000
  mov dword ptr [rbx], ${0x11 + 2 * pin}
  mov dword ptr [rbx+16], 0
  mov dword ptr [rbx], ${0x10 + 2 * pin}
  mov dword ptr [rbx+16], ${low}`
/** Counts at 0x8000 and tells userspace by OUT before the end of service, with the count in AL. */
const HANDLER = `
handler:
  inc dword ptr [0x8000]
  mov eax, [0x8000]
  out 0x80, al
  mov ebx, 0xfee000b0
  mov dword ptr [rbx], 0
  iretq`
const LEVEL = 1 << 15

const guest = (
  t: { teardown(run: () => void): void },
  text: string,
): { s: OrdinarySample; vcpu: number; at: Hva; line: (irq: number, level: number) => number; out: () => number } => {
  const s = new OrdinarySample({}, ({ host, vm }) => host.ioctl(vm, abi.KVM_CREATE_IRQCHIP))
  t.teardown(() => s.host.close())
  const { handler = 0n } = s.code(text)
  for (const vector of [VECTOR, 0x24]) s.gate(vector, handler)
  const vcpu = s.vcpu()
  const at = s.mapRun(vcpu)
  const line = (irq: number, level: number): number => {
    s.call(s.vm, abi.KVM_IRQ_LINE_STATUS, abi.kvm_irq_level, { irq, level })
    return s.host.get(abi.kvm_irq_level, s.scratch).level | 0
  }
  /** Runs to the next OUT: the byte. */
  const out = (): number => {
    const { result, reason } = s.run(vcpu, at)
    if (result !== 0 || reason !== abi.KVM_EXIT_IO) throw new Error(`${result}, exit reason ${reason}`)
    return Number(s.host.load(hva(at + 4096n), 1))
  }
  return { s, vcpu, at, line, out }
}
const count = (s: OrdinarySample): bigint => s.host.load(hva(s.memory + COUNT), 4)

t.test('KVM_IRQ_LINE: an edge through the I/O APIC wakes the guest', async t => {
  const { s, line, out } = guest(
    t,
    `${setUp(10, VECTOR)}\nsti\nmov al, 0\nout 0x80, al\nagain: hlt\njmp again\n${HANDLER}`,
  )
  t.equal(out(), 0)
  t.equal(line(9, 1), -1, 'masked here and there')
  t.equal(s.call(s.vm, abi.KVM_IRQ_LINE, abi.kvm_irq_level, { irq: 10, level: 1 }), 0)
  t.equal(out(), 1)
  t.equal(line(10, 1), 0, 'one with the first')
  line(10, 0)
  t.ok(line(10, 1) >= 1)
  t.equal(out(), 2)
  t.equal(line(500, 1), -1, 'a GSI without a route')
})

t.test('a level comes again after each EOI until userspace lowers it', async t => {
  const { s, vcpu, at, line, out } = guest(t, `${setUp(11, LEVEL | VECTOR)}\nsti\nagain: hlt\njmp again\n${HANDLER}`)
  const { host } = s
  host.onBlock = () => line(11, 1) >= 0
  t.equal(out(), 1)
  t.equal(out(), 2)
  line(11, 0)
  host.onBlock = () => false
  t.equal(s.run(vcpu, at).result, 'EINTR', 'halted for good')
  t.equal(count(s), 2n)
})

t.test('KVM_IRQFD with RESAMPLE: the line falls at the EOI, and its owner is told', async t => {
  const { s, vcpu, at, line, out } = guest(t, `${setUp(12, LEVEL | VECTOR)}\nsti\nagain: hlt\njmp again\n${HANDLER}`)
  const { host } = s
  const [fd, resamplefd] = [host.eventfd(), host.eventfd()]
  const flags = abi.KVM_IRQFD_FLAG_RESAMPLE
  const set = (values: { fd: number; flags: number; resamplefd?: number }) =>
    outcome(() => s.call(s.vm, abi.KVM_IRQFD, abi.kvm_irqfd, { gsi: 12, ...values }))
  t.equal(set({ fd, flags, resamplefd: 999 }), 'EBADF')
  t.equal(set({ fd, flags, resamplefd: vcpu }), 'EINVAL')
  t.equal(set({ fd, flags, resamplefd }), 0)
  t.equal(set({ fd, flags, resamplefd }), 'EBUSY')
  host.onBlock = () => false
  t.equal(s.run(vcpu, at).result, 'EINTR')
  host.signalEventfd(fd)
  t.equal(out(), 1)
  t.equal(
    outcome(() => Number(host.readEventfd(resamplefd))),
    'EAGAIN',
    'in service',
  )
  t.equal(s.run(vcpu, at).result, 'EINTR', 'served, and not asserted any more')
  t.equal(host.readEventfd(resamplefd), 1n)
  // Userspace’s own level of the same line is not its own to lower.
  line(12, 1)
  t.equal(out(), 2)
  t.equal(out(), 3)
  line(12, 0)
  t.equal(s.run(vcpu, at).result, 'EINTR')
  t.equal(host.readEventfd(resamplefd), 2n, 'both ends are told')
  t.equal(set({ fd, flags: abi.KVM_IRQFD_FLAG_DEASSIGN }), 0)
  host.signalEventfd(fd)
  t.equal(s.run(vcpu, at).result, 'EINTR')
  t.equal(count(s), 3n)
})

t.test('RESAMPLE needs an I/O APIC in the kernel', async t => {
  const s = new OrdinarySample({}, sample => sample.splitIrqchip(sample.vm))
  t.teardown(() => s.host.close())
  const [fd, resamplefd] = [s.host.eventfd(), s.host.eventfd()]
  const values = { fd, resamplefd, flags: abi.KVM_IRQFD_FLAG_RESAMPLE }
  t.equal(
    outcome(() => s.call(s.vm, abi.KVM_IRQFD, abi.kvm_irqfd, values)),
    'EINVAL',
  )
  for (const request of [abi.KVM_GET_IRQCHIP, abi.KVM_SET_IRQCHIP])
    t.equal(
      outcome(() => s.call(s.vm, request, abi.kvm_irqchip, { chip_id: 0 })),
      'ENXIO',
    )
})

t.test('the PIC reaches the bootstrap processor through LINT0', async t => {
  const icw = [0x11, 0x20, 4, 1].map((value, n) => `mov al, ${value}\nout ${n === 0 ? 0x20 : 0x21}, al`).join('\n')
  const { s, vcpu, at, line } = guest(
    t,
    `${icw}
    mov al, 0xef
    out 0x21, al
    in al, 0x21
    mov esi, eax
    sti
    hlt
    cli
    out 0x80, al
    mov ebx, 0xfee00350
    mov dword ptr [rbx], 0x10700
    sti
    again: hlt
    jmp again
  handler:
    mov edi, 0x24
    mov al, 0x20
    out 0x20, al
    iretq`,
  )
  const { host } = s
  host.onBlock = () => false
  t.equal(s.run(vcpu, at).result, 'EINTR', 'halted')
  t.equal(s.regs(vcpu).rsi & 0xffn, 0xefn)
  t.ok(line(4, 1) >= 1)
  t.match(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_IO })
  t.equal(s.regs(vcpu).rdi, 0x24n)
  s.setRegs(vcpu, { rdi: 0n })
  line(4, 0)
  line(4, 1)
  t.equal(s.run(vcpu, at).result, 'EINTR')
  t.equal(s.regs(vcpu).rdi, 0n, 'LINT0 is masked')
})

t.test('KVM_GET_IRQCHIP and KVM_SET_IRQCHIP', async t => {
  const { s } = guest(t, 'hlt')
  const get = (chip_id: number): Uint8Array => {
    s.call(s.vm, abi.KVM_GET_IRQCHIP, abi.kvm_irqchip, { chip_id })
    return s.host.get(abi.kvm_irqchip, s.scratch).chip
  }
  const set = (chip_id: number, chip: Uint8Array) =>
    outcome(() => s.call(s.vm, abi.KVM_SET_IRQCHIP, abi.kvm_irqchip, { chip_id, chip }))
  const ioapic = get(abi.KVM_IRQCHIP_IOAPIC)
  const view = new DataView(ioapic.buffer, ioapic.byteOffset)
  t.equal(view.getBigUint64(0, true), 0xfec0_0000n)
  view.setUint32(24 + 8 * 3, LEVEL | 0x55, true)
  t.equal(set(abi.KVM_IRQCHIP_IOAPIC, ioapic), 0)
  t.same(get(abi.KVM_IRQCHIP_IOAPIC), ioapic)
  const slave = get(abi.KVM_IRQCHIP_PIC_SLAVE)
  slave[2] = 0xa5
  t.equal(set(abi.KVM_IRQCHIP_PIC_SLAVE, slave), 0)
  t.same([get(abi.KVM_IRQCHIP_PIC_SLAVE)[2], get(abi.KVM_IRQCHIP_PIC_MASTER)[2]], [0xa5, 0])
  t.equal(set(3, slave), 'EINVAL')
  t.equal(
    outcome(() => s.call(s.vm, abi.KVM_GET_IRQCHIP, abi.kvm_irqchip, { chip_id: 3 })),
    'EINVAL',
  )
})

t.test('KVM_SET_GSI_ROUTING to pins: what a GSI may lead to', async t => {
  const { s, line } = guest(t, 'hlt')
  const pin = (gsi: number, chip: number, number: number) => ({
    gsi,
    type: abi.KVM_IRQ_ROUTING_IRQCHIP,
    address_lo: chip,
    address_hi: number,
  })
  const msi = (gsi: number) => ({ gsi, type: abi.KVM_IRQ_ROUTING_MSI, address_lo: 0xfee0_0000, data: VECTOR })
  const route = (...entries: Partial<ReturnType<typeof pin> & ReturnType<typeof msi>>[]) => {
    const bytes = entries.flatMap(entry => [...abi.kvm_irq_routing_entry.encode(entry)])
    s.host.write(s.scratch, new Uint8Array([...abi.kvm_irq_routing.encode({ nr: entries.length }), ...bytes]))
    return outcome(() => s.host.ioctl(s.vm, abi.KVM_SET_GSI_ROUTING, s.scratch))
  }
  t.equal(route(pin(40, 0, 7), pin(40, 2, 23), pin(41, 1, 7), msi(42)), 0)
  t.equal(line(10, 1), -1, 'the routes that there were are gone')
  t.equal(line(40, 1), 1, 'the PIC has latched it; the I/O APIC has it masked')
  t.equal(route(pin(1, 0, 8)), 'EINVAL')
  t.equal(route(pin(1, 2, 24)), 'EINVAL')
  t.equal(route(pin(1, 3, 0)), 'EINVAL')
  t.equal(route(pin(1, 2, 0), pin(1, 2, 1)), 'EINVAL', 'twice the same chip')
  t.equal(route(pin(1, 2, 0), msi(1)), 'EINVAL', 'a message bears no other')
  t.equal(route(msi(1), msi(1)), 'EINVAL')
  t.equal(line(40, 0), 2, 'what was refused has changed nothing')
  const message = { address_lo: 0xfee0_0000, address_hi: 1, data: VECTOR }
  const signal = () => outcome(() => s.call(s.vm, abi.KVM_SIGNAL_MSI, abi.kvm_msi, message))
  t.equal(route({ ...msi(1), address_hi: 1 }), 0)
  t.not(signal(), 'EINVAL')
  s.call(s.vm, abi.KVM_ENABLE_CAP, abi.kvm_enable_cap, { cap: abi.KVM_CAP_X2APIC_API, args: [1n, 0n, 0n, 0n] })
  t.equal(route({ ...msi(1), address_hi: 1 }), 'EINVAL', 'bits of an address that has 32-bit IDs')
  t.equal(signal(), 'EINVAL')
  const bare = new OrdinarySample()
  t.teardown(() => bare.host.close())
  const fd = bare.host.eventfd()
  for (const flags of [0, abi.KVM_IRQFD_FLAG_RESAMPLE])
    t.equal(
      outcome(() => bare.call(bare.vm, abi.KVM_IRQFD, abi.kvm_irqfd, { fd, flags, gsi: 1 })),
      'EINVAL',
      'no irqchip',
    )
})
