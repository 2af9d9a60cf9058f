/** A TD's memory: its states as the guest meets them, much of it, and what the host does to it. */
import {
  KVM_PRE_FAULT_MEMORY,
  kvm_pre_fault_memory,
  TDX_PAGE_ALREADY_ACCEPTED,
  TDX_PAGE_SIZE_MISMATCH,
  test,
  u64,
} from '#harness'

const [GVA, GPA] = [0x9000_0000n, 0x1_0000_0000n]
const CLASS = 0xffff_ffff_0000_0000n

test('a_page_goes_through_its_states', async t => {
  const td = t.td({
    slots: [{ slot: 3, gpa: GPA, size: 0x20_0000 }],
    map: [{ gva: GVA, gpa: GPA, size: 4096 }],
    guest(g) {
      const accept = (level = 0n) => g.tdcall.memPageAccept({ gpa: GPA | level }).status
      // Free: the host maps the page when it is asked for, and the call goes on.
      g.assert.eq(accept(), 0n)
      g.assert.eq(accept().and(CLASS), TDX_PAGE_ALREADY_ACCEPTED)
      g.assert.eq(accept(1n).and(CLASS), TDX_PAGE_SIZE_MISMATCH)
      g.assert.eq(g.load(GVA, u64), 0)
      g.store(GVA, u64, 0x55)
      g.sync(1)
      // The host took it away and gives a new one, which is pending; it comes empty.
      g.assert.eq(accept(), 0n)
      g.assert.eq(g.load(GVA, u64), 0)
      g.sync(2)
      // Mapped beforehand it is pending, not accepted.
      g.assert.eq(accept(), 0n)
      g.done()
    },
  })

  td.setPrivate(GPA, 0x20_0000n, true)
  await td.vcpu.until('UCALL_SYNC')
  td.setPrivate(GPA, 4096n, false)
  td.setPrivate(GPA, 4096n, true)
  await td.vcpu.until('UCALL_SYNC')
  td.setPrivate(GPA, 4096n, false)
  td.setPrivate(GPA, 4096n, true)
  td.vcpu.call(KVM_PRE_FAULT_MEMORY, kvm_pre_fault_memory, { gpa: GPA, size: 4096n })
  await td.vcpu.until('UCALL_DONE')
})

test('a_page_that_is_not_accepted_faults_or_shuts_down', async t => {
  const make = (attributes: bigint) => {
    const td = t.td({
      attributes,
      slots: [{ slot: 3, gpa: GPA, size: 4096 }],
      map: [{ gva: GVA, gpa: GPA, size: 4096 }],
      guest(g) {
        const { vector } = g.catchFault(() => g.store(GVA, u64, 1))
        g.sync(vector)
        g.done()
      },
    })
    td.setPrivate(GPA, 4096n, true)
    return td
  }

  t.assert.eq((await make(0n).vcpu.until('UCALL_SYNC')).values[0], 20n)
  // SEPT_VE_DISABLE: the host is told instead.
  await make(1n << 28n).vcpu.until('KVM_EXIT_SHUTDOWN')
})

test('more_than_two_gib_touched_here_and_there', async t => {
  const [size, step] = [0x9000_0000n, 0x240_0000n]
  const pages = size / step
  const map = Array.from({ length: Number(pages) }, (_, n) => ({
    gva: GVA + BigInt(n) * 4096n,
    gpa: GPA + BigInt(n) * step,
    size: 4096,
  }))
  const td = t.td({
    slots: [{ slot: 3, gpa: GPA, size: Number(size) }],
    map,
    guest(g) {
      g.repeat(pages, n => g.assert.eq(g.tdcall.memPageAccept({ gpa: n.mul(step).add(GPA) }).status, 0n))
      g.repeat(pages, n => g.store(n.mul(4096n).add(GVA), u64, n))
      g.repeat(pages, n => g.assert.eq(g.load(n.mul(4096n).add(GVA), u64), n))
      g.done()
    },
  })

  td.setPrivate(GPA, size, true)
  await td.vcpu.until('UCALL_DONE')
})

test('what_the_host_writes_to_private_memory_is_not_there', async t => {
  const td = t.td({
    guest(g) {
      const secret = g.memory('secret', 4096, { align: 4096 })
      g.store(secret, u64, 0xabcd)
      g.sync(1)
      g.assert.eq(g.load(secret, u64), 0xabcd)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_SYNC')
  const seen = td.hostRead('secret', 8)
  t.assert.ne(seen[0], 0xcd)
  td.hostWrite('secret', new Uint8Array(4096).fill(0xee))
  await td.vcpu.until('UCALL_DONE')
})
