/** Guest and host share a page of memory: from the start, and after MapGPA. Upstream: tdx_shared_mem_test.c. */
import {
  KVM_CAP_EXIT_HYPERCALL,
  KVM_HC_MAP_GPA_RANGE,
  KVM_MAP_GPA_RANGE_ENCRYPTED,
  shared,
  test,
  u32,
  u64,
} from '#harness'

const mailbox = shared('mailbox', { fromGuest: u64, fromHost: u64 })

test('guest_and_host_see_what_the_other_wrote', async t => {
  const td = t.td({
    guest(g) {
      const { fromGuest, fromHost } = mailbox.in(g)
      fromGuest.set(0xcafe_cafen)
      g.sync(1)
      g.assert.eq(fromHost.get(), 0xabcd_abcdn)
      g.done()
    },
  })
  t.assert.eq(mailbox.of(td).fromGuest, 0n)

  const sync = await td.vcpu.until('UCALL_SYNC')
  t.assert.eq(sync.stage, 1n)
  t.assert.eq(mailbox.of(td).fromGuest, 0xcafe_cafen)
  mailbox.of(td).fromHost = 0xabcd_abcdn

  await td.vcpu.until('UCALL_DONE')
})

const PRIVATE = 0x8000_0000n
const SHARED = PRIVATE | (1n << 30n)
const GPA = 0x4000_0000n
const PORT = 0x87

test('verify_shared_mem', async t => {
  const td = t.td({
    slots: [{ slot: 3, gpa: GPA, size: 4096, isPrivate: true }],
    map: [
      { gva: PRIVATE, gpa: GPA, size: 4096 },
      { gva: SHARED, gpa: GPA, size: 4096, shared: true },
    ],
    guest(g) {
      g.assert.eq(g.vmcall.mapGpa({ gpa: g.sharedGpa(GPA), size: 4096n }).status, 0n)
      g.store(SHARED, u32, 0xcafe_cafen)
      g.out(PORT, 4, 0)
      g.out(PORT, 4, g.load(SHARED, u32))
      g.done()
    },
  })
  td.enableCap(KVM_CAP_EXIT_HYPERCALL, 1n << BigInt(KVM_HC_MAP_GPA_RANGE))

  const ask = await td.vcpu.until('KVM_EXIT_HYPERCALL')
  const [gpa = 0n, pages = 0n, flags = 0n] = ask.args
  t.assert.match({ nr: ask.nr, gpa, pages }, { nr: BigInt(KVM_HC_MAP_GPA_RANGE), gpa: GPA, pages: 1n })
  td.setPrivate(gpa, pages * 4096n, flags === KVM_MAP_GPA_RANGE_ENCRYPTED)
  ask.answer(0n)

  t.assert.match(await td.vcpu.until('KVM_EXIT_IO'), { port: PORT, direction: 'out', size: 4 })
  t.assert.match([...td.hostRead({ gpa: GPA }, 4)], [0xfe, 0xca, 0xfe, 0xca])
  td.hostWrite({ gpa: GPA }, Uint8Array.of(0xcd, 0xab, 0xcd, 0xab))
  t.assert.match(await td.vcpu.until('KVM_EXIT_IO'), { port: PORT, direction: 'out', data: 0xabcd_abcdn })
  await td.vcpu.until('UCALL_DONE')
})
