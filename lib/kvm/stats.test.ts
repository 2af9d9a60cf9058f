/** Statistics, read as upstream's tools/testing/selftests/kvm/kvm_binary_stats_test.c reads them. */
import t from 'tap'
import * as abi from '#abi'
import { OrdinarySample } from './ordinary/sample.ts'
import { outcome, Sample } from './sample.ts'

const NAME = abi.KVM_STATS_NAME_SIZE
const string = (bytes: Uint8Array): string => new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)))

/** What a file says, by name, after the checks that upstream makes of it. */
const statistics = (s: Sample, fd: number): { id: string; values: Record<string, bigint>; flags: number[] } => {
  const view = (length: number, offset: number): DataView => {
    const bytes = s.host.pread(fd, length, offset)
    if (bytes.length !== length) throw new Error(`${bytes.length} of ${length} bytes at ${offset}`)
    return new DataView(bytes.buffer, bytes.byteOffset)
  }
  const header = abi.kvm_stats_header.read(view(abi.kvm_stats_header.size, 0), 0)
  const size = abi.kvm_stats_desc.size + header.name_size
  t.match(header, { flags: 0, name_size: NAME, id_offset: abi.kvm_stats_header.size })
  t.ok(header.desc_offset >= header.id_offset + NAME)
  t.ok(header.data_offset >= header.desc_offset + header.num_desc * size)
  const id = string(s.host.pread(fd, NAME, header.id_offset))
  const values: Record<string, bigint> = {}
  const flags: number[] = []
  for (let n = 0; n < header.num_desc; n++) {
    const at = header.desc_offset + n * size
    const one = abi.kvm_stats_desc.read(view(abi.kvm_stats_desc.size, at), 0)
    t.match(one, { exponent: 0, size: 1, bucket_size: 0 })
    flags.push(one.flags)
    const name = string(s.host.pread(fd, NAME, at + abi.kvm_stats_desc.size))
    values[name] = view(8, header.data_offset + one.offset).getBigUint64(0, true)
  }
  t.equal(s.host.pread(fd, 100, header.data_offset + 8 * header.num_desc).length, 0, 'the end')
  return { id, values, flags }
}

t.test('what a vCPU did, and its VM', async t => {
  const s = new OrdinarySample()
  s.code('in al, 0x80\nmov [0x20000000], eax\nmov eax, 1\nvmcall\nhlt\nagain: jmp again')
  const vcpu = s.vcpu()
  const at = s.mapRun(vcpu)
  const fd = s.host.ioctl(vcpu, abi.KVM_GET_STATS_FD)
  t.same(statistics(s, fd).values, {
    exits: 0n,
    io_exits: 0n,
    mmio_exits: 0n,
    signal_exits: 0n,
    halt_exits: 0n,
    hypercalls: 0n,
    blocking: 0n,
  })
  for (const reason of [abi.KVM_EXIT_IO, abi.KVM_EXIT_MMIO, abi.KVM_EXIT_HLT]) t.equal(s.run(vcpu, at).reason, reason)
  s.host.signalPending = () => true
  t.equal(s.run(vcpu, at).result, 'EINTR')
  const { id, values, flags } = statistics(s, fd)
  t.match(id, /^kvm-\d+\/vcpu-0$/)
  t.match(values, { io_exits: 1n, mmio_exits: 1n, signal_exits: 1n, halt_exits: 1n, hypercalls: 1n, blocking: 0n })
  t.ok(values['exits']! >= 3n, `${values['exits']}`)
  t.same([...new Set(flags)], [abi.KVM_STATS_TYPE_CUMULATIVE, abi.KVM_STATS_TYPE_INSTANT | abi.KVM_STATS_UNIT_BOOLEAN])
  const vm = s.host.ioctl(s.vm, abi.KVM_GET_STATS_FD)
  const before = statistics(s, vm)
  t.match(before.id, /^kvm-\d+$/)
  s.slot(7, 0x4000_0000n, 4096, s.host.mmap(4096))
  t.ok(statistics(s, vm).values['remote_tlb_flush']! > before.values['remote_tlb_flush']!)
  t.equal(
    outcome(() => s.host.pread(vcpu, 8, 0).length),
    'EINVAL',
  )
  t.equal(
    outcome(() => s.host.pread(99, 8, 0).length),
    'EBADF',
  )
  s.host.close(vcpu)
  s.host.close(s.vm)
  t.equal(statistics(s, fd).values['io_exits'], 1n, 'it keeps what it tells of')
  s.host.close()
  t.equal(s.host.memory.used, 0)
})

t.test('of a TD', async t => {
  const s = new Sample()
  const loop = new Uint8Array(16)
  loop.set([0xeb, 0xfe])
  const { vm, vcpu } = s.build(loop)
  const at = s.mapRun(vcpu)
  let ticks = 3
  s.host.signalPending = () => ticks-- === 0
  t.equal(s.run(vcpu, at).result, 'EINTR')
  t.match(statistics(s, s.host.ioctl(vcpu, abi.KVM_GET_STATS_FD)).values, { exits: 3n, signal_exits: 1n })
  t.equal(statistics(s, s.host.ioctl(vm, abi.KVM_GET_STATS_FD)).flags.length, 1)
  s.host.close()
})
