/**
 * Conversion in place: one page of a guest_memfd is shared, private and shared again. Upstream: the proof of concept of
 * guest_memfd in-place conversion with a TDX test (2026-06-05).
 */
import {
  KVM_CAP_EXIT_HYPERCALL,
  KVM_CAP_GUEST_MEMFD_FLAGS,
  KVM_CHECK_EXTENSION,
  KVM_HC_MAP_GPA_RANGE,
  test,
  u8,
} from '#harness'

const [PRIVATE, SHARED, GPA] = [0x8000_0000n, 0xc000_0000n, 0x4000_0000n]
const [A, B, C] = [0x41, 0x42, 0x43]

test('a_page_is_converted_in_place', async t => {
  const td = t.td({
    slots: [{ slot: 3, gpa: GPA, size: 4096, inPlace: true, fill: A, isPrivate: true }],
    map: [
      { gva: PRIVATE, gpa: GPA, size: 4096 },
      { gva: SHARED, gpa: GPA, size: 4096, shared: true },
    ],
    guest(g) {
      // What the host put there before was measured into the TD.
      g.assert.eq(g.load(PRIVATE, u8), A)
      g.assert.eq(g.vmcall.mapGpa({ gpa: g.sharedGpa(GPA), size: 4096n }).status, 0n)
      g.assert.eq(g.load(SHARED, u8), 0, 'what was private is lost')
      g.store(SHARED, u8, B)
      g.sync(0x99)
      g.assert.eq(g.load(SHARED, u8), C)
      g.assert.eq(g.vmcall.mapGpa({ gpa: GPA, size: 4096n }).status, 0n)
      g.assert.eq(g.tdcall.memPageAccept({ gpa: GPA }).status, 0n)
      g.assert.eq(g.load(PRIVATE, u8), 0)
      g.store(PRIVATE, u8, A)
      g.sync(0x9a)
      g.assert.eq(g.load(PRIVATE, u8), A)
      g.done()
    },
  })
  t.assert.eq(td.ioctl(KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS), 3)
  td.enableCap(KVM_CAP_EXIT_HYPERCALL, 1n << BigInt(KVM_HC_MAP_GPA_RANGE))
  // The host cannot reach what is private, though it has it mapped.
  t.assert.errno(() => td.hostRead({ gpa: GPA }, 1), 'EFAULT')

  const toShared = await td.vcpu.until('KVM_EXIT_HYPERCALL')
  td.setPrivate(GPA, 4096n, false)
  toShared.answer(0n)
  t.assert.eq((await td.vcpu.until('UCALL_SYNC')).stage, 0x99n)
  t.assert.eq(td.hostRead({ gpa: GPA }, 1)[0], B)
  td.hostWrite({ gpa: GPA }, Uint8Array.of(C))

  const toPrivate = await td.vcpu.until('KVM_EXIT_HYPERCALL')
  td.setPrivate(GPA, 4096n, true)
  toPrivate.answer(0n)
  await td.vcpu.until('UCALL_SYNC')
  t.assert.errno(() => td.hostWrite({ gpa: GPA }, Uint8Array.of(C)), 'EFAULT')
  await td.vcpu.until('UCALL_DONE')
})
