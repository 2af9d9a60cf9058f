import t from 'tap'
import * as abi from '#abi'
import { hva } from '#bits'
import { fuzzIoctls } from './fuzz.ts'
import { OrdinarySample } from './ordinary/sample.ts'

t.test('random ioctls with random structures leave the machine consistent', async t => {
  const { calls, answers, done, wrong } = fuzzIoctls(3, 12_000)
  t.same(wrong, [])
  t.equal(calls, 12_000)
  for (const name of ['ok', 'EINVAL', 'EFAULT', 'ENOTTY', 'EINTR', 'EIO', 'EEXIST', 'EBADF', 'NotModelled'])
    t.ok(answers.get(name), name)
  t.ok(done.size > 40, `${done.size} different requests were done`)
})

t.test('the same seed meets the same', async t => {
  t.same([...fuzzIoctls(7, 2000).answers], [...fuzzIoctls(7, 2000).answers])
})

t.test('found so: KVM_SET_XSAVE of a vCPU whose CPUID puts a component beyond the area', async t => {
  const s = new OrdinarySample()
  const vcpu = s.vcpu()
  const entry = { function: 0xd, index: 9, flags: 1, eax: 8, ebx: 0x7fff_fff0 }
  s.host.set(abi.kvm_cpuid2, s.scratch, { nent: 1, padding: 0 })
  s.host.set(abi.kvm_cpuid_entry2, hva(s.scratch + BigInt(abi.kvm_cpuid2.size)), entry)
  t.equal(s.host.ioctl(vcpu, abi.KVM_SET_CPUID2, s.scratch), 0)
  const region = new Uint8Array(4096)
  new DataView(region.buffer).setBigUint64(512, abi.XCR0_PKRU, true)
  t.equal(s.call(vcpu, abi.KVM_SET_XSAVE, abi.kvm_xsave, { region }), 0)
  s.host.close()
})
