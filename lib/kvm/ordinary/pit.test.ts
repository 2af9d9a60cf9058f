import t from 'tap'
import * as abi from '#abi'
import { hva } from '#bits'
import { outcome, Sample } from '../sample.ts'
import { Pit } from './pit.ts'
import { OrdinarySample } from './sample.ts'

/** Nanoseconds of a count, and the time and edges of a PIT that is looked at alone. */
const NS = 1_000_000_000 / 1_193_182
const made = (hasSpeaker = true) => {
  const world = { now: 0, edges: 0, result: 1 }
  const pit = new Pit(
    {
      now: () => Math.floor(world.now),
      edge: () => {
        world.edges++
        return world.result
      },
    },
    hasSpeaker,
  )
  /** A control word, then bytes of the count. */
  const program = (control: number, ...bytes: number[]): void => {
    pit.write(0x43, control)
    for (const byte of bytes) pit.write(0x40 + (control >> 6), byte)
  }
  const pass = (counts: number): void => {
    world.now += counts * NS
    pit.tick()
  }
  return { pit, world, program, pass }
}

t.test('mode 2 ticks each time the count has gone by, mode 0 once', async t => {
  const { pit, world, program, pass } = made()
  t.equal(pit.untilDue, undefined, 'nobody has programmed it')
  program(0x34, 0xe8, 3)
  t.equal(pit.untilDue, Math.floor(1000 * NS))
  pass(999)
  t.equal(world.edges, 0)
  pass(2)
  t.equal(world.edges, 1)
  pit.served()
  pass(1000)
  t.equal(world.edges, 2)
  program(0x30, 0xff, 0)
  pit.served()
  pass(300)
  t.equal(world.edges, 3)
  t.equal(pit.untilDue, undefined)
})

t.test('a period is no shorter than 200 us, its first tick is', async t => {
  const { pit, world, program, pass } = made()
  program(0x34, 10, 0)
  pass(11)
  t.equal(world.edges, 1)
  pit.served()
  t.ok(pit.untilDue! > 180_000)
})

t.test('ticks that come before the one before is served are made up, unless userspace says otherwise', async t => {
  const { pit, world, program, pass } = made()
  program(0x34, 0xe8, 3)
  pass(3500)
  t.equal(world.edges, 1)
  t.notOk(pit.isHeard)
  for (let n = 0; n < 5; n++) pit.served()
  t.equal(world.edges, 3, 'each of three once')
  pass(2000)
  pit.unmasked()
  pit.served()
  t.equal(world.edges, 4, 'what was lost behind a mask is not')
  pit.reinjects = false
  pass(3000)
  t.equal(world.edges, 5)
  pit.served()
  t.equal(world.edges, 5)
  world.result = 0
  pass(1000)
  t.equal(world.edges, 6)
  t.notOk(pit.isHeard, 'one with an earlier one')
})

t.test('counters: byte and word access, latches, status', async t => {
  const { pit, program, pass } = made()
  program(0xb0, 0x34, 0x12)
  pass(0x34 + 0.1)
  t.same([pit.read(0x42), pit.read(0x42)], [0, 0x12])
  pit.write(0x43, 0x80)
  pass(0x100)
  t.same([pit.read(0x42), pit.read(0x42)], [0, 0x12], 'as it was latched')
  t.same([pit.read(0x42), pit.read(0x42)], [0, 0x11])
  pit.write(0x43, 0xe8)
  t.equal(pit.read(0x42), 0x30, 'status of counter 2: OUT low, word, mode 0')
  pass(0x1234 + 0.1)
  pit.write(0x43, 0xc8)
  t.equal(pit.read(0x42) & 0x80, 0x80, 'the status comes first: OUT is high')
  t.equal(pit.read(0x42) | (pit.read(0x42) << 8), 0xffff & (0x1234 - 0x1368))
  program(0x54, 0x80)
  pass(1.5)
  t.equal(pit.read(0x41), 0x7f)
  program(0x64, 0x80)
  pass(0x101 + 0.5)
  t.equal(pit.read(0x41), 0x7e)
  t.equal(pit.read(0x43), 0)
  program(0x7e, 0, 0)
  pass(1.5)
  t.same([pit.read(0x41), pit.read(0x41)], [0xfe, 0xff], 'mode 7 is mode 3, which counts by two; 0 is 65536')
})

t.test('port 61h: the gate of counter 2, the speaker, OUT', async t => {
  const { pit, world, program, pass } = made()
  program(0xb2, 100, 0)
  pass(50)
  t.equal(pit.read(0x61) & 0x21, 0x20, 'mode 1 is high while it counts')
  pass(60)
  t.equal(pit.read(0x61) & 0x20, 0)
  pit.write(0x61, 3)
  t.equal(pit.read(0x61) & 0x23, 0x23, 'the gate has risen: it counts again')
  t.equal(pit.flags, abi.KVM_PIT_FLAGS_SPEAKER_DATA_ON)
  world.now = 2 ** 14
  t.equal(pit.read(0x61) & 0x10, 0x10)
  t.same([pit.has(0x61, 1), made(false).pit.has(0x61, 1)], [true, false])
  t.same([pit.has(0x40, 4), pit.has(0x43, 2), pit.has(0x3f, 1)], [true, false, false])
})

t.test('outputs of each mode', async t => {
  const { pit, program, pass } = made()
  const out = (): boolean => {
    pit.write(0x43, 0xe8)
    return (pit.read(0x42) & 0x80) !== 0
  }
  for (const [mode, want] of [
    [0, [false, false, true, true]],
    [1, [true, true, false, false]],
    [2, [false, false, true, false]],
    [3, [true, false, true, false]],
    [4, [false, false, true, false]],
    [5, [false, false, true, false]],
  ] as const) {
    program(0xb0 | (mode << 1), 100, 0)
    const seen: boolean[] = []
    for (const counts of [25.5, 50, 25, 75]) {
      pass(counts)
      seen.push(out())
    }
    t.same(seen, want, `mode ${mode}`)
  }
})

const guest = (text: string, t: { teardown(run: () => void): void }, flags = 0) => {
  const s = new OrdinarySample({}, ({ host, vm, scratch }) => {
    host.ioctl(vm, abi.KVM_CREATE_IRQCHIP)
    host.write(scratch, abi.kvm_pit_config.encode({ flags }))
    host.ioctl(vm, abi.KVM_CREATE_PIT2, scratch)
  })
  t.teardown(() => s.host.close())
  const { handler = 0n } = s.code(text)
  s.gate(0x20, handler)
  const vcpu = s.vcpu()
  return { s, vcpu, at: s.mapRun(vcpu) }
}

const ICW = [0x11, 0x20, 4, 1].map((value, n) => `mov al, ${value}\nout ${n === 0 ? 0x20 : 0x21}, al`).join('\n')
/** 100 Hz: a count of 11932. */
const TICKS = `${ICW}
  mov al, 0xfe
  out 0x21, al
  mov al, 0x34
  out 0x43, al
  mov al, 0x9c
  out 0x40, al
  mov al, 0x2e
  out 0x40, al
  sti
again: hlt
  jmp again
handler:
  push rax
  rdtsc
  shl rdx, 32
  or rax, rdx
  mov rdi, rax
  mov al, 0x20
  out 0x20, al
  out 0x80, al
  pop rax
  iretq`

t.test('a guest that sleeps is woken a hundred times a second', async t => {
  const { s, vcpu, at } = guest(TICKS, t)
  const times: bigint[] = []
  for (let n = 0; n < 4; n++) {
    t.match(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_IO })
    times.push(s.regs(vcpu).rdi)
  }
  const wanted = Math.round((11932 / 1_193_182) * s.host.platform.tscFrequency * 25_000_000)
  for (let n = 1; n < 4; n++) {
    const ticks = Number(times[n]! - times[n - 1]!)
    t.ok(Math.abs(ticks - wanted) < wanted / 1000, `${ticks} ticks of ${wanted}`)
  }
})

t.test('a guest that nothing can wake ends KVM_RUN, whatever the PIT does', async t => {
  const { s, vcpu, at } = guest(TICKS.replace('sti\n', 'cli\n'), t)
  s.host.onBlock = () => false
  t.equal(s.run(vcpu, at).result, 'EINTR')
  const masked = guest(TICKS.replace('0xfe', '0xff'), t)
  masked.s.host.onBlock = () => false
  t.equal(masked.s.run(masked.vcpu, masked.at).result, 'EINTR')
})

t.test('KVM_GET_PIT2, KVM_SET_PIT2 and their older kin', async t => {
  const { s, vcpu, at } = guest(
    'mov al, 0x36\nout 0x43, al\nmov al, 7\nout 0x40, al\nout 0x40, al\nout 0x61, al\nhlt',
    t,
  )
  t.match(s.run(vcpu, at), { result: 0, reason: abi.KVM_EXIT_IO }, 'without its flag port 61h is userspace’s')
  const { host, vm, scratch } = s
  host.ioctl(vm, abi.KVM_GET_PIT2, scratch)
  const state = host.get(abi.kvm_pit_state2, scratch)
  const channel = (n: number) =>
    abi.kvm_pit_channel_state.read(new DataView(state.channels.buffer, state.channels.byteOffset), 24 * n)
  t.match(channel(0), { count: 0x707, rw_mode: 3, mode: 3, gate: 1, bcd: 0 })
  t.match(channel(2), { count: 0x1_0000, mode: 0xff, gate: 0 })
  t.equal(host.ioctl(vm, abi.KVM_SET_PIT2, scratch), 0)
  t.equal(host.ioctl(vm, abi.KVM_GET_PIT, scratch), 0)
  t.match(host.get(abi.kvm_pit_state, scratch).channels.slice(0, 24), state.channels.slice(0, 24))
  t.equal(host.ioctl(vm, abi.KVM_SET_PIT, scratch), 0)
  const flags = abi.KVM_PIT_FLAGS_HPET_LEGACY
  t.equal(s.call(vm, abi.KVM_SET_PIT2, abi.kvm_pit_state2, { channels: state.channels, flags }), 0)
  host.ioctl(vm, abi.KVM_GET_PIT2, scratch)
  t.equal(host.get(abi.kvm_pit_state2, scratch).flags, flags)
  t.equal(s.call(vm, abi.KVM_REINJECT_CONTROL, abi.kvm_reinject_control, { pit_reinject: 0 }), 0)
})

t.test('the HPET in its place: GSI 0 has no timer until that is over', async t => {
  const { pit, world, program, pass } = made()
  program(0x34, 0xe8, 3)
  pit.load(pit.save(), abi.KVM_PIT_FLAGS_HPET_LEGACY)
  t.equal(pit.untilDue, undefined)
  program(0x34, 0xe8, 3)
  pass(2000)
  t.equal(world.edges, 0)
  pit.load(pit.save(), 0)
  pass(1001)
  t.equal(world.edges, 1)
})

t.test('who may have a PIT', async t => {
  const s = new OrdinarySample()
  const td = new Sample()
  t.teardown(() => {
    s.host.close()
    td.host.close()
  })
  const create = (request: number, sample: Sample, vm: number) =>
    outcome(() => sample.call(vm, request, abi.kvm_pit_config, {}))
  const requests = [abi.KVM_CREATE_PIT, abi.KVM_CREATE_PIT2]
  const states = [abi.KVM_GET_PIT, abi.KVM_SET_PIT, abi.KVM_GET_PIT2, abi.KVM_SET_PIT2, abi.KVM_REINJECT_CONTROL]
  for (const request of requests) t.equal(create(request, s, s.vm), 'ENOENT')
  for (const request of states) t.equal(create(request, s, s.vm), 'ENXIO')
  const vm = td.createVm()
  for (const request of requests) t.equal(create(request, td, vm), 'ENOTTY')
  s.host.ioctl(s.vm, abi.KVM_CREATE_IRQCHIP)
  t.equal(create(abi.KVM_CREATE_PIT, s, s.vm), 0)
  for (const request of requests) t.equal(create(request, s, s.vm), 'EEXIST')
  t.equal(s.host.load(hva(s.memory), 8), 0n)
})
