import t from 'tap'
import { KVM_IOCTL_NAMES, KVM_MEMORY_ENCRYPT_OP } from '#abi'
import { hva } from '#bits'
import { Skip } from './failure.ts'
import { Machine } from './machine.ts'
import { Td } from './td.ts'
import { Trial } from './trial.ts'
import { Vm } from './vm.ts'

const TDX_COMMANDS = [
  'KVM_TDX_CAPABILITIES',
  'KVM_TDX_INIT_VM',
  'KVM_TDX_INIT_VCPU',
  'KVM_TDX_INIT_MEM_REGION',
  'KVM_TDX_FINALIZE_VM',
  'KVM_TDX_GET_CPUID',
]

const trial = () =>
  new Trial(
    {
      file: 'x',
      name: 'x',
      group: { fixture: 'x', variants: {}, tests: [], setup: undefined, teardown: undefined },
      test: { name: 'x', place: { path: '', line: 0, column: 0 }, options: {}, body: () => {} },
      variant: undefined,
      xfail: undefined,
    },
    { seed: 1n, timeout: 0, deadline: () => false, emit: () => {} },
  )

t.test('a host without TDs skips the test, and says what KVM said', async t => {
  const machine = new Machine({ tdx: false }, () => false)
  try {
    new Vm(machine, {})
    t.fail('a TD was made')
  } catch (error) {
    if (!(error instanceof Skip)) throw error
    t.match(error.message, /^KVM has no TDs: KVM_CAP_VM_TYPES is 0x[0-9a-f]+, without bit 5$/)
  }
  machine.close()
})

t.test("ioctls come in the order of the selftests' library, and nothing is left afterwards", async t => {
  const made = trial()
  const { machine } = made
  const { host } = machine
  const calls: string[] = []
  const ioctl = host.ioctl.bind(host)
  host.ioctl = (fd, request, arg = 0) => {
    const name = KVM_IOCTL_NAMES.get(request) ?? String(request)
    calls.push(request === KVM_MEMORY_ENCRYPT_OP ? (TDX_COMMANDS[Number(host.load(hva(BigInt(arg)), 4))] ?? '?') : name)
    return ioctl(fd, request, arg)
  }
  const td = new Td(made, 'TD 0', { guest: g => g.done(), vcpus: 2 })
  const slot = ['KVM_CREATE_GUEST_MEMFD', 'KVM_SET_USER_MEMORY_REGION2']
  const vcpu = ['KVM_CREATE_VCPU', 'KVM_TDX_GET_CPUID', 'KVM_SET_CPUID2', 'KVM_TDX_INIT_VCPU']
  const region = ['KVM_SET_MEMORY_ATTRIBUTES', 'KVM_TDX_INIT_MEM_REGION']
  t.same(
    calls.filter(name => name !== 'KVM_GET_VCPU_MMAP_SIZE'),
    [
      'KVM_CHECK_EXTENSION',
      'KVM_CREATE_VM',
      'KVM_ENABLE_CAP',
      'KVM_GET_SUPPORTED_CPUID',
      'KVM_TDX_CAPABILITIES',
      'KVM_TDX_INIT_VM',
      ...[...slot, ...slot, ...slot],
      ...[...vcpu, ...vcpu],
      ...[...region, ...region, ...region],
      'KVM_TDX_FINALIZE_VM',
    ],
  )
  t.same(
    td.vm.slots.map(({ id, gpa, runs }) => [id, gpa, runs.length]),
    [
      [0, 0n, 1],
      [20, 0xffff_f000n, 1],
      [21, 0xffff_0000n, 1],
    ],
  )
  calls.length = 0
  await td.vcpu.until('UCALL_DONE')
  t.same(calls, ['KVM_RUN', 'KVM_RUN'], 'one for the guest, one to complete the I/O')
  made.end()
  t.equal(host.framesInUse, 0)
})
