import t from 'tap'
import type { ApicCommand } from '#x86'
import { IoApic } from './ioapic.ts'

const [LEVEL, MASKED, LOGICAL, REMOTE_IRR] = [1 << 15, 1 << 16, 1 << 11, 1 << 14]
const [SELECT, WINDOW] = [0xfec0_0000, 0xfec0_0010]

/** An I/O APIC and what it has sent. `taken`: what the local APICs say to it. */
const made = (taken: number | undefined = 1, sampled: readonly number[] = []) => {
  const sent: ApicCommand[] = []
  const masks: string[] = []
  const answer = { taken }
  const chip = new IoApic({
    send(command) {
      sent.push(command)
      return answer.taken
    },
    resample: pin => sampled.includes(pin),
    masked: (pin, isMasked) => masks.push(`${pin} ${isMasked}`),
  })
  const get = (register: number): number => {
    chip.write(SELECT, register)
    return chip.read(WINDOW) >>> 0
  }
  const put = (register: number, value: number): void => {
    chip.write(SELECT, register)
    chip.write(WINDOW, value)
  }
  const entry = (pin: number, low: number, high = 0): void => {
    put(0x11 + 2 * pin, high)
    put(0x10 + 2 * pin, low)
  }
  return { chip, sent, masks, answer, get, put, entry, low: (pin: number) => get(0x10 + 2 * pin) }
}

t.test('registers: ID, version with 24 entries, all masked; what is read-only stays', async t => {
  const { chip, get, put, entry, low } = made()
  t.same([get(0), get(1), get(2)], [0, 0x17_0011, 0])
  put(0, 0xffff_ffff)
  put(1, 0)
  t.same([get(0), get(1), get(2)], [0x0f00_0000, 0x17_0011, 0x0f00_0000], 'four bits of an ID')
  for (let pin = 0; pin < 24; pin++) t.equal(low(pin), MASKED)
  entry(3, 0xffff_ffff, 0xffff_ffff)
  t.equal(low(3), 0xffff_afff, 'delivery status and remote IRR are not written; reserved bits are kept')
  t.equal(get(0x17), 0xffff_ffff)
  t.equal(get(0x40), 0xffff_ffff, 'behind the last entry')
  t.equal(chip.read(SELECT), 0x40)
  t.equal(chip.read(SELECT + 4), 0)
  t.same([chip.has(0xfebf_ffff), chip.has(SELECT), chip.has(0xfec0_0100)], [false, true, false])
})

t.test('an edge is sent once, until the line has fallen', async t => {
  const { chip, sent, entry, low } = made()
  entry(4, 0x31)
  t.equal(chip.set(4, true), 1)
  t.equal(chip.set(4, true), 0, 'one with the first')
  t.equal(chip.set(4, false), 1)
  t.equal(sent.length, 1, 'falling is nothing')
  t.equal(chip.set(4, true), 1)
  t.same(sent.length, 2)
  t.equal(low(4) & REMOTE_IRR, 0)
  chip.eoi(4)
  t.equal(sent.length, 3, 'the EOI of a level with its vector sends it again, as in KVM, while it is asserted')
})

t.test('a level is sent again after each EOI while it lasts; remote IRR holds others back', async t => {
  const { chip, sent, entry, low } = made()
  entry(5, LEVEL | 0x42)
  t.equal(chip.set(5, true), 1)
  t.equal(low(5) & REMOTE_IRR, REMOTE_IRR)
  t.equal(chip.set(5, true), -1, 'in service')
  t.equal(sent.length, 1)
  t.same(chip.pinsOf(0x42), [5])
  chip.eoi(5)
  t.equal(sent.length, 2)
  t.equal(low(5) & REMOTE_IRR, REMOTE_IRR)
  chip.set(5, false)
  chip.eoi(5)
  t.equal(sent.length, 2)
  t.equal(low(5) & REMOTE_IRR, 0)
  t.ok(sent.every(({ isLevel, vector }) => isLevel === true && vector === 0x42))
})

t.test('a local APIC that takes nothing leaves remote IRR clear', async t => {
  const { chip, answer, entry, low } = made(0)
  entry(5, LEVEL | 0x42)
  t.equal(chip.set(5, true), 0)
  t.equal(low(5) & REMOTE_IRR, 0)
  answer.taken = 1
  t.equal(chip.set(5, true), 1, 'the line is looked at again')
})

t.test('masked: a level waits, an edge is lost', async t => {
  const { chip, sent, entry } = made()
  entry(6, MASKED | LEVEL | 0x50)
  entry(7, MASKED | 0x51)
  t.same([chip.set(6, true), chip.set(7, true)], [-1, -1])
  entry(6, LEVEL | 0x50)
  entry(7, 0x51)
  t.same(
    sent.map(({ vector }) => vector),
    [0x50],
  )
  entry(6, MASKED | LEVEL | 0x50)
  chip.eoi(6)
  t.equal(sent.length, 1, 'not while it is masked')
  entry(6, LEVEL | 0x50)
  t.equal(sent.length, 2)
})

t.test('an entry made edge-triggered loses its remote IRR', async t => {
  const { chip, entry, low } = made()
  entry(5, LEVEL | 0x42)
  chip.set(5, true)
  entry(5, MASKED | 0x42)
  entry(5, MASKED | LEVEL | 0x42)
  t.equal(low(5), MASKED | LEVEL | 0x42)
})

t.test('destination and delivery mode are the entry’s', async t => {
  const { chip, sent, entry } = made()
  entry(0, 0x20, 3 << 24)
  entry(1, LOGICAL | 0x100 | 0x21, 0x81 << 24)
  entry(2, 0x400, 0xff << 24)
  for (const pin of [0, 1, 2]) chip.set(pin, true)
  t.match(sent, [
    { vector: 0x20, delivery: 0, logical: false, destination: 3, shorthand: 0 },
    { vector: 0x21, delivery: 1, logical: true, destination: 0x81 },
    { vector: 0, delivery: 4, logical: false, destination: 0xff },
  ])
})

t.test('saved and loaded: the entries, and what was asserted and not sent', async t => {
  const from = made()
  from.entry(5, LEVEL | 0x42, 7 << 24)
  from.entry(6, MASKED | LEVEL | 0x43)
  from.entry(7, 0x44)
  from.put(0, 0x0500_0000)
  for (const pin of [5, 6, 7]) from.chip.set(pin, true)
  const to = made()
  to.chip.load(from.chip.save())
  t.same(
    [to.get(0), to.low(5), to.get(0x1b), to.low(6)],
    [0x0500_0000, LEVEL | REMOTE_IRR | 0x42, 7 << 24, MASKED | LEVEL | 0x43],
  )
  t.equal(to.sent.length, 0, 'pin 5 is in service, pin 6 masked, the edge of pin 7 has been sent')
  to.entry(6, LEVEL | 0x43)
  to.chip.eoi(5)
  t.same(
    to.sent.map(({ vector }) => vector),
    [0x43, 0x42],
  )
})

t.test('the real-time clock: one with the first until its service has ended, for who asks', async t => {
  const { chip, sent, entry } = made(2)
  entry(8, 0x60)
  const pulse = (asksServed: boolean): number => {
    const result = chip.set(8, true, asksServed)
    chip.set(8, false)
    return result
  }
  t.equal(pulse(true), 2)
  t.equal(pulse(true), 0)
  chip.pinsOf(0x61)
  chip.pinsOf(0x60)
  t.equal(pulse(true), 0, 'one of two local APICs has served it')
  chip.pinsOf(0x60)
  t.equal(pulse(true), 2)
  t.equal(pulse(false), 2, 'KVM_IRQ_LINE does not ask')
  t.equal(sent.length, 3)
})

t.test('a level that comes out of its mask is sampled again where somebody does, and told of', async t => {
  const { chip, sent, entry, masks } = made(1, [6])
  for (const pin of [5, 6]) {
    entry(pin, MASKED | LEVEL | 0x50)
    chip.set(pin, true)
    entry(pin, LEVEL | 0x50)
  }
  t.equal(sent.length, 1, 'pin 5 alone is sent; pin 6 waits for its sampler')
  t.same(masks, ['5 false', '6 false'])
  entry(6, LEVEL | 0x51)
  t.equal(sent.length, 1)
  chip.set(6, true)
  t.equal(sent.length, 2)
})

t.test('where userspace says that it is elsewhere it answers nowhere', async t => {
  const { chip } = made()
  const state = chip.save()
  new DataView(state.buffer).setBigUint64(0, 0xfec0_1000n, true)
  chip.load(state)
  t.same([chip.has(SELECT), chip.has(0xfec0_1000)], [false, false])
})
