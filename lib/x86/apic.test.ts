import t from 'tap'
import { Apic } from './apic.ts'
import { type Command, deliver } from './apicdeliver.ts'
import { APIC, DELIVERY } from './apicregisters.ts'

const BASE = 0xfee0_0000n
const [EN, EXTD] = [1n << 11n, 1n << 10n]

/** `count` APICs on one bus, software-enabled, and a clock that tests move. */
const machine = (count = 1) => {
  const clock = { now: 0 }
  const happened: string[] = []
  const apics: Apic[] = []
  for (let id = 0; id < count; id++)
    apics.push(
      new Apic(id, {
        now: () => clock.now,
        tsc: () => BigInt(clock.now),
        send: (command: Command, from: Apic) => deliver(apics, command, from),
        changed: () => {},
        nmi: () => happened.push(`${id} nmi`),
        init: () => happened.push(`${id} init`),
        startup: vector => happened.push(`${id} startup ${vector.toString(16)}`),
      }),
    )
  for (const apic of apics) apic.writePage(APIC.SVR, 0x1ff)
  return { apics, apic: apics[0]!, clock, happened }
}
const toX2 = (apic: Apic) => apic.writeBase(apic.base | EXTD, 46, true)

t.test('after reset: software-disabled, every LVT entry masked, version 14h with six entries', async t => {
  const apic = new Apic(3, {
    now: () => 0,
    tsc: () => 0n,
    send: () => {},
    changed: () => {},
    nmi: () => {},
    init: () => {},
    startup: () => {},
  })
  t.equal(apic.base, BASE | EN)
  t.equal(apic.page, BASE)
  t.same(
    [APIC.ID, APIC.VERSION, APIC.SVR, APIC.LVT_TIMER, APIC.DFR].map(at => apic.readPage(at)),
    [0x0300_0000, 0x0005_0014, 0xff, 0x1_0000, 0xffff_ffff],
  )
  apic.accept(0x40)
  t.notOk(apic.ready(), 'nothing is accepted while it is disabled')
})

t.test('the highest class wins, what is served holds back its class, EOI ends it', async t => {
  const { apic } = machine()
  for (const vector of [0x41, 0x52, 0x45]) apic.accept(vector)
  t.equal(apic.take(), 0x52)
  t.equal(apic.ppr, 0x50)
  t.notOk(apic.ready())
  apic.accept(0x61)
  t.ok(apic.ready(), 'a higher class interrupts')
  t.equal(apic.take(), 0x61)
  apic.writePage(APIC.EOI, 0)
  t.notOk(apic.ready())
  apic.writePage(APIC.EOI, 0)
  t.same([apic.take(), apic.ready()], [0x45, false])
  apic.writePage(APIC.EOI, 0)
  t.equal(apic.take(), 0x41)
  t.equal(apic.readPage(APIC.ISR + 0x20), 2, 'bit 41h of ISR')
})

t.test('the task priority holds back its class and what is below', async t => {
  const { apic } = machine()
  apic.writePage(APIC.TPR, 0x50)
  apic.accept(0x5f)
  t.notOk(apic.ready())
  apic.tpr = 0x4f
  t.ok(apic.ready())
  apic.tpr = 0xf0
  t.equal(apic.take(), 0xff, 'the spurious vector where nothing is ready any more')
})

t.test('vectors below 16 are errors, latched by a write to ESR', async t => {
  const { apic } = machine()
  apic.writePage(APIC.LVT_ERROR, 0x70)
  apic.accept(5)
  apic.writePage(APIC.ICR, 0x4_0003)
  t.equal(apic.readPage(APIC.ESR), 0)
  apic.writePage(APIC.ESR, 0)
  t.equal(apic.readPage(APIC.ESR), 0x60)
  t.equal(apic.take(), 0x70)
})

t.test('found so: an error entry whose own vector is illegal is one more error, and no interrupt', async t => {
  const { apic } = machine()
  apic.writePage(APIC.LVT_ERROR, 5)
  apic.writePage(APIC.ICR, 0x4_0003)
  apic.writePage(APIC.ESR, 0)
  t.equal(apic.readPage(APIC.ESR), 0x60)
  t.notOk(apic.ready())
})

t.test('an end of service is told, and whether it was a level', async t => {
  const ends: unknown[] = []
  const nothing = () => {}
  const apic = new Apic(0, {
    now: () => 0,
    tsc: () => 0n,
    send: nothing,
    changed: nothing,
    nmi: nothing,
    init: nothing,
    startup: nothing,
    eoi: (vector, isLevel) => ends.push([vector, isLevel]),
  })
  apic.writePage(APIC.SVR, 0x1ff)
  const command = { vector: 0x33, delivery: DELIVERY.FIXED, logical: false, level: true, shorthand: 0, destination: 0 }
  t.equal(deliver([apic], { ...command, isLevel: true }, undefined), 1)
  t.equal(deliver([apic], { ...command, vector: 0x55 }, undefined), 1)
  t.equal(deliver([apic], { ...command, destination: 9 }, undefined), undefined, 'nobody is named')
  for (let n = 0; n < 2; n++) {
    apic.take()
    apic.writePage(APIC.EOI, 0)
  }
  apic.writePage(APIC.EOI, 0)
  t.same(ends, [
    [0x55, false],
    [0x33, true],
  ])
  apic.writePage(APIC.SVR, 0xff)
  t.equal(deliver([apic], command, undefined), 0, 'disabled')
})

t.test('the timer: one-shot, periodic, with a divisor', async t => {
  const { apic, clock } = machine()
  apic.writePage(APIC.DIVIDE, 0xb)
  apic.writePage(APIC.LVT_TIMER, 0x30)
  apic.writePage(APIC.INITIAL_COUNT, 100)
  clock.now = 40
  t.same([apic.readPage(APIC.CURRENT_COUNT), apic.ticksToTimer], [60, 60])
  clock.now = 100
  apic.tick()
  t.same([apic.take(), apic.ticksToTimer, apic.readPage(APIC.CURRENT_COUNT)], [0x30, undefined, 0])
  apic.writePage(APIC.EOI, 0)
  apic.writePage(APIC.LVT_TIMER, 0x2_0031)
  apic.writePage(APIC.DIVIDE, 0)
  apic.writePage(APIC.INITIAL_COUNT, 50)
  t.equal(apic.ticksToTimer, 100, 'by 2')
  clock.now = 450
  apic.tick()
  t.equal(apic.take(), 0x31)
  t.equal(apic.ticksToTimer, 50, 'missed periods are one interrupt')
  apic.writePage(APIC.LVT_TIMER, 0x3_0031)
  clock.now = 500
  apic.writePage(APIC.EOI, 0)
  apic.tick()
  t.notOk(apic.ready(), 'masked')
})

t.test('the timer: TSC deadline', async t => {
  const { apic, clock } = machine()
  apic.deadline = 10n
  t.equal(apic.deadline, 0n, 'not in this mode')
  apic.writePage(APIC.LVT_TIMER, 0x4_0032)
  apic.deadline = 1000n
  apic.writePage(APIC.INITIAL_COUNT, 5)
  t.same([apic.ticksToTimer, apic.readPage(APIC.CURRENT_COUNT)], [1000, 0])
  clock.now = 1001
  apic.tick()
  t.same([apic.take(), apic.deadline], [0x32, 0n])
})

t.test('commands: to one, to all, to all but self; fixed, NMI, INIT, startup', async t => {
  const { apics, apic, happened } = machine(3)
  const send = (low: number, destination = 0) => {
    apic.writePage(APIC.ICR_HIGH, destination << 24)
    apic.writePage(APIC.ICR, low)
  }
  const got = () => apics.map(a => (a.ready() ? a.take() : 0))
  const done = () => apics.forEach(a => void a.writePage(APIC.EOI, 0))
  send(0x4041, 2)
  t.same(got(), [0, 0, 0x41])
  done()
  send(0x8_4042)
  t.same(got(), [0x42, 0x42, 0x42])
  done()
  send(0xc_4043)
  t.same(got(), [0, 0x43, 0x43])
  done()
  send(0x4_4044)
  t.same(got(), [0x44, 0, 0])
  send(0x4500, 1)
  send(0x8500, 1)
  send(0x4608, 1)
  send(0xc_4400)
  t.same(happened, ['1 init', '1 startup 8', '1 nmi', '2 nmi'])
})

t.test('logical destinations: flat, clusters, x2APIC', async t => {
  const { apics } = machine(3)
  const named = (destination: number, fromX2 = false) =>
    apics
      .filter(a =>
        a.isNamedBy(
          { delivery: DELIVERY.FIXED, vector: 64, level: true, logical: true, shorthand: 0, destination },
          fromX2,
        ),
      )
      .map(a => a.id)
  apics.forEach((a, n) => void a.writePage(APIC.LDR, (1 << n) << 24))
  t.same([named(5), named(2), named(0xff)], [[0, 2], [1], [0, 1, 2]])
  apics.forEach((a, n) => {
    a.writePage(APIC.DFR, 0)
    a.writePage(APIC.LDR, ((n === 2 ? 0x20 : 0x10) | (1 << (n % 2))) << 24)
  })
  t.same([named(0x13), named(0x21)], [[0, 1], [2]])
  for (const a of apics) toX2(a)
  t.equal(apics[2]!.readMsr(0x80d), 4n)
  t.same([named(0x0000_0006, true), named(0x0001_0001, true)], [[1, 2], []])
})

t.test('x2APIC: the page is gone, registers are MSRs, reserved bits and missing registers are refused', async t => {
  const { apic } = machine()
  t.equal(apic.readMsr(0x802), undefined, 'not yet')
  t.ok(toX2(apic))
  t.equal(apic.page, undefined)
  t.equal(apic.readMsr(0x802), 0n)
  t.notOk(apic.writeBase(BASE | EN, 46, true), 'not straight back to xAPIC')
  t.ok(apic.writeMsr(0x808, 0x20n))
  for (const [index, value] of [
    [0x808, 0x100n],
    [0x80b, 1n],
    [0x80e, 0n],
    [0x802, 1n],
    [0x80f, 0x1000n],
    [0x828, 1n],
    [0x830, 1n << 20n],
    [0x831, 0n],
    [0x83e, 4n],
    [0x83f, 0x100n],
    [0x84f, 0n],
  ] as const)
    t.notOk(apic.writeMsr(index, value), `${index.toString(16)} ${value.toString(16)}`)
  for (const index of [0x80b, 0x80e, 0x831, 0x83f, 0x809]) t.equal(apic.readMsr(index), undefined, index.toString(16))
  apic.writeMsr(0x808, 0n)
  t.ok(apic.writeMsr(0x83f, 0x77n))
  t.equal(apic.take(), 0x77, 'a self-IPI')
  t.ok(apic.writeBase(BASE, 46, true), 'off')
  t.notOk(apic.writeBase(BASE | EN | EXTD, 46, true), 'not straight to x2APIC')
  t.notOk(apic.writeBase(BASE | EN | 1n, 46, true))
  t.notOk(apic.writeBase(BASE | EN | (1n << 50n), 46, true))
  t.ok(apic.writeBase(BASE | EN, 46, true))
  t.notOk(apic.writeBase(BASE | EN | EXTD, 46, false), 'not where CPUID has none')
})
