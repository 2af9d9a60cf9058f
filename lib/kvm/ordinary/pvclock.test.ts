/** KVM's clock of an ordinary VM: what the guest finds where it asked for it. */
import t from 'tap'
import * as abi from '#abi'
import { hva, type Values } from '#bits'
import { outcome, Sample } from '../sample.ts'
import { timeScale } from './pvclock.ts'
import { OrdinarySample } from './sample.ts'

const [WALL, SYSTEM, OLD_WALL, OLD_SYSTEM] = [0x4b56_4d00, 0x4b56_4d01, 0x11, 0x12]
const AT = 0x8000n
const STOPPED = 2
const HZ = 2_500_000_000n

/** WRMSR, then HLT, over and over. */
const guest = (s: OrdinarySample) => {
  s.code(`wrmsr
  again:
    hlt
    jmp again`)
  const vcpu = s.vcpu()
  const run = s.mapRun(vcpu)
  const at = (gpa: bigint) => hva(s.memory + gpa)
  return {
    vcpu,
    go: (msr: number, value: bigint) => {
      s.setRegs(vcpu, { rip: 0x1000n, rcx: BigInt(msr), rax: value & 0xffff_ffffn, rdx: value >> 32n })
      t.same(s.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_HLT })
    },
    enter: () => t.same(s.run(vcpu, run), { result: 0, reason: abi.KVM_EXIT_HLT }),
    time: (gpa = AT): Values<typeof abi.pvclock_vcpu_time_info.fields> =>
      s.host.get(abi.pvclock_vcpu_time_info, at(gpa)),
    wall: (gpa = AT): Values<typeof abi.pvclock_wall_clock.fields> => s.host.get(abi.pvclock_wall_clock, at(gpa)),
    at,
  }
}

const scale = (s: OrdinarySample) => {
  const { shift, multiplier } = timeScale(BigInt(s.host.platform.tscFrequency) * 25_000_000n)
  return { tsc_to_system_mul: multiplier, tsc_shift: shift & 0xff }
}

t.test('a TSC as nanoseconds', t => {
  for (const hz of [25_000_000n, 1_000_000_000n, 2_500_000_000n, 5_000_000_000n]) {
    const { shift, multiplier } = timeScale(hz)
    t.ok(multiplier > 2 ** 30 && multiplier < 2 ** 32, 'nothing is lost')
    // Linux pvclock_scale_delta.
    const shifted = shift < 0 ? hz >> BigInt(-shift) : hz << BigInt(shift)
    const second = (shifted * BigInt(multiplier)) >> 32n
    t.ok(second <= 1_000_000_000n && second >= 999_999_998n, `a second of ${hz} Hz: ${second}`)
  }
  t.same(timeScale(HZ), { shift: -1, multiplier: 0xcccc_cccc }, 'as 2.5 GHz hosts have it')
  t.end()
})

t.test('where the guest asks for it', t => {
  for (const msr of [SYSTEM, OLD_SYSTEM]) {
    const s = new OrdinarySample()
    const g = guest(s)
    g.go(msr, AT | 1n)
    const first = g.time()
    t.match(first, { version: 2, flags: 0, ...scale(s) }, 'at once')
    t.ok(first.tsc_timestamp > 0n)
    g.enter()
    t.same(g.time(), first, 'and it holds')
    t.equal(s.call(s.vm, abi.KVM_SET_CLOCK, abi.kvm_clock_data, { clock: 10n ** 12n }), 0)
    g.enter()
    const second = g.time()
    t.equal(second.version, 4)
    t.ok(second.system_time >= 10n ** 12n && second.system_time < 10n ** 12n + 10n ** 6n, 'until the clock is set')
    t.ok(second.tsc_timestamp > first.tsc_timestamp)
    s.host.set(abi.pvclock_vcpu_time_info, g.at(AT), { version: 7 })
    s.call(s.vm, abi.KVM_SET_CLOCK, abi.kvm_clock_data, { clock: 5n })
    g.enter()
    t.equal(g.time().version, 10, 'even, and more than what the guest had')
    g.go(msr, AT)
    s.host.set(abi.pvclock_vcpu_time_info, g.at(AT), { version: 1 })
    s.call(s.vm, abi.KVM_SET_CLOCK, abi.kvm_clock_data, { clock: 5n })
    g.enter()
    t.equal(g.time().version, 1, 'no more, once it is off')
    s.host.close()
  }
  t.end()
})

t.test('nowhere: across pages, and where there is no memory', t => {
  const s = new OrdinarySample()
  const g = guest(s)
  for (const to of [AT + 0xfe4n, 0x1000_0000n]) g.go(SYSTEM, to | 1n)
  t.match(g.time(AT + 0xfe4n), { version: 0, tsc_to_system_mul: 0 })
  g.go(SYSTEM, (AT + 0xfe0n) | 1n)
  t.match(g.time(AT + 0xfe0n), { version: 2 }, 'the last place of a page')
  g.go(WALL, AT + 0xff8n)
  t.equal(g.wall(AT + 0xff8n).nsec, 0)
  s.host.close()
  t.end()
})

t.test('the time of the VM’s first instant', t => {
  for (const msr of [WALL, OLD_WALL]) {
    const s = new OrdinarySample()
    const g = guest(s)
    g.go(msr, AT)
    t.same(g.wall(), { version: 2, sec: 0, nsec: 0 }, '1970')
    s.host.set(abi.pvclock_wall_clock, g.at(AT), { version: 5 })
    g.go(msr, AT)
    t.equal(g.wall().version, 8)
    s.host.close()
  }
  t.end()
})

t.test('KVM_KVMCLOCK_CTRL', t => {
  const s = new OrdinarySample()
  const g = guest(s)
  const ctrl = () => outcome(() => s.host.ioctl(g.vcpu, abi.KVM_KVMCLOCK_CTRL, 0n))
  t.equal(ctrl(), 'EINVAL', 'there is no clock')
  g.go(SYSTEM, AT | 1n)
  t.equal(ctrl(), 0)
  t.equal(g.time().flags, 0)
  g.enter()
  t.equal(g.time().flags, STOPPED)
  s.call(s.vm, abi.KVM_SET_CLOCK, abi.kvm_clock_data, { clock: 5n })
  g.enter()
  t.equal(g.time().flags, STOPPED, 'until the guest has seen it')
  s.host.set(abi.pvclock_vcpu_time_info, g.at(AT), { flags: 0 })
  s.call(s.vm, abi.KVM_SET_CLOCK, abi.kvm_clock_data, { clock: 5n })
  g.enter()
  t.equal(g.time().flags, 0)
  g.go(SYSTEM, AT)
  t.equal(ctrl(), 'EINVAL', 'it is off')
  s.host.close()

  const td = new Sample()
  const vm = td.createVm()
  td.splitIrqchip(vm)
  td.initVm(vm)
  const vcpu = td.addVcpu(vm, 0)
  t.equal(
    outcome(() => td.host.ioctl(vcpu, abi.KVM_KVMCLOCK_CTRL, 0n)),
    'EINVAL',
    'a TD’s vCPU',
  )
  td.host.close()
  t.end()
})

t.test('the host reads and writes the MSRs', t => {
  const s = new OrdinarySample()
  const g = guest(s)
  const HEADER = abi.kvm_msrs.size
  const msr = (index: number, data?: bigint): bigint => {
    s.host.set(abi.kvm_msrs, s.data, { nmsrs: 1 })
    s.host.set(abi.kvm_msr_entry, hva(s.data + BigInt(HEADER)), { index, data: data ?? 0n })
    t.equal(s.host.ioctl(g.vcpu, data === undefined ? abi.KVM_GET_MSRS : abi.KVM_SET_MSRS, s.data), 1)
    return s.host.get(abi.kvm_msr_entry, hva(s.data + BigInt(HEADER))).data
  }
  msr(SYSTEM, AT | 1n)
  t.equal(msr(SYSTEM), AT | 1n)
  t.equal(msr(OLD_SYSTEM), AT | 1n, 'one register of two numbers')
  msr(OLD_WALL, 0x9000n)
  t.equal(msr(WALL), 0x9000n)
  t.equal(g.wall(0x9000n).version, 2)
  g.go(OLD_WALL, 0x9000n)
  t.equal(g.time().version, 2)
  s.host.close()
  t.end()
})
