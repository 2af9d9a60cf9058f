/** Dirty rings and KVM_SET_SIGNAL_MASK, as upstream's tools/testing/selftests/kvm/dirty_log_test.c uses them. */
import t from 'tap'
import * as abi from '#abi'
import { type Hva, hva } from '#bits'
import { PhysicalMemory } from '#x86'
import { DirtyRing } from './dirtyring.ts'
import { OrdinarySample } from './ordinary/sample.ts'
import { outcome, type Sample } from './sample.ts'
import { end, SHARED, scripted } from './testdata/scripted.ts'

const MAPPED = abi.KVM_DIRTY_LOG_PAGE_OFFSET * 4096

const enable = (s: Sample, vm: number, bytes: bigint, cap: number = abi.KVM_CAP_DIRTY_LOG_RING) =>
  outcome(() => s.call(vm, abi.KVM_ENABLE_CAP, abi.kvm_enable_cap, { cap, args: [bytes, 0n, 0n, 0n] }))

/** Entries that say DIRTY from `first` on, marked as seen; their slots and pages. */
const harvest = (s: Sample, ring: Hva, size: number, first = 0): string[] => {
  const found: string[] = []
  for (let n = first; ; n++) {
    const at = hva(ring + BigInt((n % size) * abi.kvm_dirty_gfn.size))
    const { flags, slot, offset } = s.host.get(abi.kvm_dirty_gfn, at)
    if (flags !== abi.KVM_DIRTY_GFN_F_DIRTY) return found
    s.host.set(abi.kvm_dirty_gfn, at, { flags: abi.KVM_DIRTY_GFN_F_RESET })
    found.push(`${slot} ${offset}`)
  }
}

t.test('KVM_CAP_DIRTY_LOG_RING: sizes, once, before vCPUs; no bitmaps then', async t => {
  const s = new OrdinarySample()
  t.teardown(() => s.host.close())
  const { host, vm, kvm } = s
  const most = host.ioctl(kvm, abi.KVM_CHECK_EXTENSION, abi.KVM_CAP_DIRTY_LOG_RING)
  t.equal(most, 65536 * 16)
  t.equal(host.ioctl(vm, abi.KVM_CHECK_EXTENSION, abi.KVM_CAP_DIRTY_LOG_RING_ACQ_REL), most)
  t.equal(
    outcome(() => host.ioctl(vm, abi.KVM_RESET_DIRTY_RINGS)),
    'EINVAL',
  )
  for (const bytes of [0n, 12288n, 4096n, 8192n]) t.equal(enable(s, vm, bytes), 'EINVAL', `${bytes}`)
  t.equal(enable(s, vm, BigInt(2 * most)), 'E2BIG')
  t.equal(enable(s, vm, 16384n, abi.KVM_CAP_DIRTY_LOG_RING_ACQ_REL), 0)
  t.equal(enable(s, vm, 16384n), 'EINVAL', 'twice')
  t.equal(
    outcome(() => s.call(vm, abi.KVM_GET_DIRTY_LOG, abi.kvm_dirty_log, { slot: 0 })),
    'ENXIO',
  )
  t.equal(
    outcome(() => s.call(vm, abi.KVM_CLEAR_DIRTY_LOG, abi.kvm_clear_dirty_log, { slot: 0 })),
    'ENXIO',
  )
  t.equal(host.ioctl(vm, abi.KVM_RESET_DIRTY_RINGS), 0)
  const late = new OrdinarySample()
  t.teardown(() => late.host.close())
  const vcpu = late.vcpu()
  t.equal(enable(late, late.vm, 16384n), 'EINVAL')
  const mmap = (length: number, offset: number) => outcome(() => Number(late.host.mmapFd(vcpu, length, offset)))
  t.equal(mmap(4096, MAPPED), 'EINVAL', 'no ring')
  t.equal(mmap(4096, 4096), 'EINVAL')
})

const LOGGED = 0x4000_0000n
/** Ring of 1024 entries, of which KVM keeps 576; a slot of `pages` that logs, written page by page. */
const guest = (pages: number) => {
  const s = new OrdinarySample({}, sample => enable(sample, sample.vm, 16384n))
  const at = s.host.mmap(pages * 4096)
  s.slot(1, 0x20_0000n, pages * 4096, at, abi.KVM_MEM_LOG_DIRTY_PAGES)
  s.code(`
    again: mov rbx, 0x200000
    mov ecx, ${pages}
    next: inc dword ptr [rbx]
    add rbx, 4096
    dec ecx
    jnz next
    out 0x80, al
    jmp again`)
  const vcpu = s.vcpu()
  return { s, vcpu, run: s.mapRun(vcpu), ring: s.host.mmapFd(vcpu, 16384, MAPPED) }
}

t.test('each page once, until userspace has taken it out', async t => {
  const { s, vcpu, run, ring } = guest(5)
  const wanted = [0, 1, 2, 3, 4].map(page => `1 ${page}`)
  t.equal(s.run(vcpu, run).reason, abi.KVM_EXIT_IO)
  t.equal(s.run(vcpu, run).reason, abi.KVM_EXIT_IO)
  t.same(harvest(s, ring, 1024), wanted)
  t.same(harvest(s, ring, 1024), [])
  t.equal(s.run(vcpu, run).reason, abi.KVM_EXIT_IO)
  t.same(harvest(s, ring, 1024, 5), [], 'not noticed before the reset')
  t.equal(s.host.ioctl(s.vm, abi.KVM_RESET_DIRTY_RINGS), 5)
  t.equal(s.host.ioctl(s.vm, abi.KVM_RESET_DIRTY_RINGS), 0)
  t.equal(s.run(vcpu, run).reason, abi.KVM_EXIT_IO)
  t.same(harvest(s, ring, 1024, 5), wanted)
  // Of slots and pages that there are not KVM knows nothing.
  for (const [n, entry] of [{ slot: 7 }, { offset: 99n }, { offset: 1n << 63n }].entries())
    s.host.set(abi.kvm_dirty_gfn, hva(ring + BigInt((5 + n) * 16)), entry)
  t.equal(s.host.ioctl(s.vm, abi.KVM_RESET_DIRTY_RINGS), 5)
  t.equal(s.run(vcpu, run).reason, abi.KVM_EXIT_IO)
  t.same(harvest(s, ring, 1024, 10), ['1 3', '1 4'])
  s.host.close()
  t.equal(s.host.memory.used, 0)
})

t.test('KVM_EXIT_DIRTY_RING_FULL until there is room', async t => {
  const { s, vcpu, run, ring } = guest(600)
  const found: string[] = []
  for (let full = 0; ; full++) {
    const { result, reason } = s.run(vcpu, run)
    t.equal(result, 0)
    if (reason === abi.KVM_EXIT_IO) {
      t.equal(full, 1)
      break
    }
    t.equal(reason, abi.KVM_EXIT_DIRTY_RING_FULL)
    t.equal(s.run(vcpu, run).reason, abi.KVM_EXIT_DIRTY_RING_FULL, 'it does not go on by itself')
    const some = harvest(s, ring, 1024, found.length)
    t.ok(some.length >= 1024 - 576 && some.length < 600, `${some.length} entries`)
    found.push(...some)
    t.equal(s.host.ioctl(s.vm, abi.KVM_RESET_DIRTY_RINGS), some.length)
  }
  found.push(...harvest(s, ring, 1024, found.length))
  t.same(
    found,
    Array.from({ length: 600 }, (_, page) => `1 ${page}`),
  )
  s.host.close()
})

t.test('more than the ring holds waits its turn', async t => {
  const memory = new PhysicalMemory()
  const ring = new DirtyRing(memory, 4096, 64)
  for (let n = 0; n < 300; n++) ring.push(2, n)
  t.equal(ring.isFull, true)
  const seen: bigint[] = []
  const take = (first: number, count: number): void => {
    for (let n = first; n < first + count; n++)
      abi.kvm_dirty_gfn.set(memory.view, ring.pages[0]! + (n % 256) * 16, 'flags', abi.KVM_DIRTY_GFN_F_RESET)
  }
  take(0, 100)
  t.equal(
    ring.reset((_slot, offset) => seen.push(offset)),
    100,
  )
  t.equal(ring.isFull, true, '200 of 192')
  take(100, 200)
  t.equal(
    ring.reset((_slot, offset) => seen.push(offset)),
    200,
  )
  t.same(
    seen,
    Array.from({ length: 300 }, (_, n) => BigInt(n)),
  )
  t.equal(ring.isFull, false)
  ring.close()
  t.equal(memory.used, 0)
})

t.test('a TD’s shared memory', async t => {
  const td = scripted(s => vm => t.equal(enable(s, vm, 4096n), 0))
  const { sample: s, vm, vcpu, run, enter } = td
  const ring = s.host.mmapFd(vcpu, 4096, MAPPED)
  s.call(vm, abi.KVM_SET_USER_MEMORY_REGION, abi.kvm_userspace_memory_region, {
    slot: 3,
    flags: abi.KVM_MEM_LOG_DIRTY_PAGES,
    guest_phys_addr: LOGGED,
    memory_size: 8n * 4096n,
    userspace_addr: s.host.mmap(8 * 4096),
  })
  const sharedBit = SHARED
  const write = (page: bigint, qualification = 2n) =>
    enter.push(regs =>
      Object.assign(regs, { rax: 48n, rcx: qualification, rdx: 0n, r8: sharedBit | (LOGGED + page * 4096n) }),
    )
  const leave = () => enter.push(regs => Object.assign(regs, { rax: 77n, rcx: 0xfc00n, r10: 0n, r11: 0x10003n }))
  write(6n)
  write(2n, 1n)
  write(2n)
  leave()
  t.match(s.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_SYSTEM_EVENT })
  t.same(harvest(s, ring, 256), ['3 6', '3 2'], 'a read is none')
  t.equal(s.host.ioctl(vm, abi.KVM_RESET_DIRTY_RINGS), 2)
  write(6n)
  leave()
  s.run(vcpu, run)
  t.same(harvest(s, ring, 256, 2), ['3 6'])
  end(t, td)
})

t.test('KVM_SET_SIGNAL_MASK: signals that KVM_RUN does not end for', async t => {
  const s = new OrdinarySample()
  const { host } = s
  s.code('again: inc rax\nout 0x80, al\njmp again')
  const [vcpu, other] = [s.vcpu(), s.vcpu(1)]
  const [run, otherRun] = [s.mapRun(vcpu), s.mapRun(other)]
  const SIGUSR1 = 1n << 9n
  let pending = 0n
  const processMask = 0n
  host.signalPending = blocked => (pending & ~(blocked ?? processMask)) !== 0n
  const set = (values: { len: number }, signals: bigint): number | string => {
    host.write(s.scratch, abi.kvm_signal_mask.encode(values))
    host.store(hva(s.scratch + 4n), 8, signals)
    return outcome(() => host.ioctl(vcpu, abi.KVM_SET_SIGNAL_MASK, s.scratch))
  }
  t.equal(set({ len: 4 }, SIGUSR1), 'EINVAL')
  t.equal(
    outcome(() => host.ioctl(vcpu, abi.KVM_SET_SIGNAL_MASK, 8n)),
    'EFAULT',
  )
  t.equal(set({ len: 8 }, SIGUSR1), 0)
  pending = SIGUSR1
  t.match(s.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_IO }, 'blocked here')
  t.match(s.run(other, otherRun), { result: 'EINTR', reason: abi.KVM_EXIT_INTR }, 'but not for the other vCPU')
  pending |= 1n << 8n
  t.equal(set({ len: 8 }, (1n << 64n) - 1n), 0)
  t.match(s.run(vcpu, run), { result: 'EINTR', reason: abi.KVM_EXIT_INTR }, 'SIGKILL is nobody’s to block')
  pending = SIGUSR1
  t.match(s.run(vcpu, run), { result: 0 })
  t.equal(host.ioctl(vcpu, abi.KVM_SET_SIGNAL_MASK, 0n), 0)
  t.equal(s.run(vcpu, run).result, 'EINTR', 'the process’s own again')
  host.close()
})
