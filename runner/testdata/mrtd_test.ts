/** For `seamless mrtd`: a TD with registers of its owner's, memory of the test's, and two vCPUs. */
import { KVM_MEMORY_ENCRYPT_OP, KVM_TDX_INIT_MEM_REGION, kvm_tdx_cmd, kvm_tdx_init_mem_region, test } from '#harness'

const FILL = Uint8Array.from({ length: 48 }, (_, i) => i)

test('owned', async t => {
  const td = t.td({
    mrconfigid: FILL,
    mrowner: FILL.toReversed(),
    vcpus: 2,
    slots: [{ slot: 3, gpa: 0x4000_0000n, size: 0x2000, isPrivate: true, fill: 0xab }],
    guest: g => g.done(),
  })
  await td.run()
})

test('adds_its_own', async t => {
  const td = t.td({ finalize: false, slots: [{ slot: 3, gpa: 0x4000_0000n, size: 0x3000 }], guest: g => g.done() })
  const { host } = td.vm.machine
  const at = host.mmap(0x3000)
  host.write(at, new Uint8Array(0x1000).fill(0xcd))
  td.setPrivate(0x4000_0000n, 0x3000n, true)
  for (const [gpa, flags] of [
    [0x4000_0000n, 1],
    [0x4000_1000n, 0],
  ] as const) {
    const region = kvm_tdx_init_mem_region.encode({ source_addr: at, gpa, nr_pages: 1n })
    const where = host.mmap(4096)
    host.write(where, region)
    td.vcpu.call(KVM_MEMORY_ENCRYPT_OP, kvm_tdx_cmd, { id: KVM_TDX_INIT_MEM_REGION, flags, data: where })
  }
  td.finalize()
  await td.run()
})

test('none', async () => {})
