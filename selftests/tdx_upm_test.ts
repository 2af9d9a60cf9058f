/**
 * Unmapping private memory: pages become shared and private again, by MapGPA or by memory faults, and what was private is
 * lost. Upstream: tdx_upm_test.c, of series v8 (28/30 and 29/30).
 */
import {
  fixture,
  type GuestBuilder,
  KVM_CAP_EXIT_HYPERCALL,
  KVM_HC_MAP_GPA_RANGE,
  KVM_MAP_GPA_RANGE_ENCRYPTED,
  type Td,
  u32,
  type Vcpu,
} from '#harness'

const GPA = 0x8000_0000n
const SIZE = 0x20_0000n
const PRIVATE = 0x9000_0000n
const SHARED = PRIVATE | (1n << 32n)
/** In the middle of the area, what changes hands. */
const FOCUS = { at: 0x10_0000n, size: 0xa000n }
const AFTER = FOCUS.at + FOCUS.size
const REPORT = 0x31
const ACCEPT = 0x87
const [HOST, GUEST, GUEST_SHARED, HOST_SHARED] = [0x11, 0x33, 0x44, 0x22]
const EPT_VIOLATION = 48n

const quad = (byte: number): bigint => BigInt(byte) * 0x0101_0101_0101_0101n

/** Every 64 bytes from `at` on have the byte: enough to tell one fill from another, and 4 KiB pages from each other. */
const check = (g: GuestBuilder, at: bigint, size: bigint, byte: number): void =>
  g.repeat(size / 64n, i => g.assert.eq(g.load(i.mul(64n).add(at), 8), quad(byte)))
const fill = (g: GuestBuilder, at: bigint, size: bigint, byte: number): void => {
  g.asm('rep stosq', { in: { rdi: at, rax: quad(byte), rcx: size / 8n }, clobbers: ['rdi', 'rcx'] })
}
const checkGeneral = (g: GuestBuilder): void => {
  check(g, PRIVATE, FOCUS.at, GUEST)
  check(g, PRIVATE + AFTER, SIZE - AFTER, GUEST)
}

/** A page that the guest has not accepted: it tells the host which, and accepts. */
const handleVe = (g: GuestBuilder): void =>
  g.onException(20, () => {
    const info = g.tdcall.vpVeinfoGet()
    g.assert.eq(info.status, 0n)
    g.assert.eq(info.reason.and(0xffffn), EPT_VIOLATION)
    g.assert.ge(info.gpa, GPA + FOCUS.at)
    g.assert.lt(info.gpa, GPA + AFTER)
    g.out(ACCEPT, 4, info.gpa.and(0xffff_ffffn).as(u32))
    g.out(ACCEPT, 4, info.gpa.shr(32n).as(u32))
    g.assert.eq(g.tdcall.memPageAccept({ gpa: info.gpa.and(~0xfffn & 0xffff_ffff_ffff_ffffn) }).status, 0n)
  })

const upm = fixture('upm', {
  variants: { explicit: { explicit: true }, implicit: { explicit: false } },

  setup(t, { explicit }) {
    const td = t.td({
      slots: [{ slot: 3, gpa: GPA, size: Number(SIZE), isPrivate: true, fill: HOST }],
      map: [
        { gva: PRIVATE, gpa: GPA, size: Number(SIZE) },
        { gva: SHARED, gpa: GPA, size: Number(SIZE), shared: true },
      ],
      guest(g) {
        handleVe(g)
        fill(g, PRIVATE, SIZE, GUEST)
        g.out(REPORT, 4, 1)

        check(g, PRIVATE, SIZE, GUEST)
        if (explicit) {
          const gpa = g.sharedGpa(GPA + FOCUS.at)
          g.assert.eq(g.vmcall.mapGpa({ gpa, size: FOCUS.size }).status, 0n)
          checkGeneral(g)
          check(g, SHARED + FOCUS.at, FOCUS.size, HOST)
        }
        fill(g, SHARED + FOCUS.at, FOCUS.size, GUEST_SHARED)
        checkGeneral(g)
        g.out(REPORT, 4, 2)

        check(g, SHARED + FOCUS.at, FOCUS.size, HOST_SHARED)
        if (explicit) {
          g.assert.eq(g.vmcall.mapGpa({ gpa: GPA + FOCUS.at, size: FOCUS.size }).status, 0n)
          checkGeneral(g)
          check(g, PRIVATE + FOCUS.at, FOCUS.size, 0)
        } else {
          fill(g, PRIVATE + FOCUS.at, FOCUS.size, GUEST_SHARED)
          checkGeneral(g)
        }
        g.out(REPORT, 4, 3)

        fill(g, PRIVATE, SIZE, GUEST)
        check(g, PRIVATE, SIZE, GUEST)
        g.done()
      },
    })
    td.enableCap(KVM_CAP_EXIT_HYPERCALL, 1n << BigInt(KVM_HC_MAP_GPA_RANGE))
    return td
  },
})

/** Every byte that the host has in a part of the area is `byte`. */
const hostHas = (td: Td, at: bigint, size: bigint, byte: number): boolean =>
  td.hostRead({ gpa: GPA + at }, Number(size)).every(seen => seen === byte)

upm.test('conversion', async (t, td, { explicit }) => {
  const { vcpu } = td
  const reported = async (stage: bigint): Promise<void> =>
    t.assert.match(await vcpu.until('KVM_EXIT_IO'), { port: REPORT, direction: 'out', size: 4, data: stage })
  const generalIsHosts = (): void => {
    t.assert.eq(hostHas(td, 0n, FOCUS.at, HOST), true)
    t.assert.eq(hostHas(td, AFTER, SIZE - AFTER, HOST), true)
  }
  /** The guest wants the whole focus area, by one call or by a fault for each page. */
  const convert = async (isPrivate: boolean): Promise<void> => {
    if (explicit) {
      const ask = await vcpu.until('KVM_EXIT_HYPERCALL')
      const [gpa = 0n, pages = 0n, flags] = ask.args
      t.assert.match([gpa, pages * 4096n], [GPA + FOCUS.at, FOCUS.size])
      t.assert.eq(flags, isPrivate ? KVM_MAP_GPA_RANGE_ENCRYPTED : 0n)
      td.setPrivate(gpa, pages * 4096n, isPrivate)
      ask.answer(0n)
      return
    }
    for (let at = 0n; at < FOCUS.size; at += 4096n) {
      const fault = await vcpu.until('KVM_EXIT_MEMORY_FAULT')
      t.assert.match(fault, { gpa: GPA + FOCUS.at + at, size: 4096n, isPrivate })
      td.setPrivate(fault.gpa, fault.size, isPrivate)
      if (isPrivate) await accepted(vcpu, at)
    }
  }
  const accepted = async (from: Vcpu, at: bigint): Promise<void> => {
    const low = await from.until('KVM_EXIT_IO')
    t.assert.match(low, { port: ACCEPT, direction: 'out', data: GPA + FOCUS.at + at })
    t.assert.match(await from.until('KVM_EXIT_IO'), { port: ACCEPT, direction: 'out', data: 0n })
  }

  await reported(1n)
  t.assert.eq(hostHas(td, 0n, SIZE, HOST), true, "the host's memory is not the guest's")

  await convert(false)
  await reported(2n)
  generalIsHosts()
  t.assert.eq(hostHas(td, FOCUS.at, FOCUS.size, GUEST_SHARED), true)
  td.hostWrite({ gpa: GPA + FOCUS.at }, new Uint8Array(Number(FOCUS.size)).fill(HOST_SHARED))

  await convert(true)
  if (explicit) for (let at = 0n; at < FOCUS.size; at += 4096n) await accepted(vcpu, at)
  await reported(3n)
  generalIsHosts()
  t.assert.eq(hostHas(td, FOCUS.at, FOCUS.size, HOST_SHARED), true, 'what the host has there is out of sight again')
  await vcpu.until('UCALL_DONE')
})
