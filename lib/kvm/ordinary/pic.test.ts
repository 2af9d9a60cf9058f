import t from 'tap'
import { Pic } from './pic.ts'

/** Both PICs as a PC's firmware sets them up: vectors 0x20 and 0x28, nothing masked. `icw4`: beside 8086 mode. */
const made = (icw4 = 0, isTaken = true) => {
  const ended: number[] = []
  let changes = 0
  const masks: string[] = []
  const pic = new Pic({
    changed: () => {
      changes++
    },
    ended: irq => ended.push(irq),
    masked: (irq, isMasked) => masks.push(`${irq} ${isMasked}`),
    isTaken: () => isTaken,
  })
  for (const [port, base, cascade] of [
    [0x20, 0x20, 4],
    [0xa0, 0x28, 2],
  ] as const) {
    pic.write(port, 0x11)
    for (const value of [base, cascade, 1 | icw4, 0]) pic.write(port + 1, value)
  }
  return { pic, ended, masks, changes: () => changes }
}
const EOI = 0x20

t.test('vectors, priorities and EOI; what is in service holds back its own and lower priorities', async t => {
  const { pic, ended, changes } = made()
  t.equal(pic.output, false)
  const before = changes()
  t.equal(pic.set(3, true), 1)
  t.ok(pic.output && changes() > before)
  t.equal(pic.set(1, true), 1)
  t.equal(pic.acknowledge(), 0x21, 'the lower number first')
  t.equal(pic.output, false, 'IRQ 3 waits for its end')
  pic.set(0, true)
  t.equal(pic.acknowledge(), 0x20, 'a higher priority does not wait')
  pic.write(0x20, EOI)
  t.equal(pic.output, false, 'IRQ 1 is still in service')
  pic.write(0x20, EOI)
  t.same(ended, [0, 1])
  t.equal(pic.acknowledge(), 0x23)
  pic.write(0x20, 0x60 | 3)
  t.same(ended, [0, 1, 3], 'a specific EOI')
  t.equal(pic.output, false)
})

t.test('an edge is latched once; a level asks while it lasts', async t => {
  const { pic } = made()
  t.equal(pic.set(4, true), 1)
  t.equal(pic.set(4, true), 0, 'one with the first')
  pic.acknowledge()
  pic.write(0x20, EOI)
  t.equal(pic.output, false, 'the line has not risen again')
  pic.set(4, false)
  pic.set(4, true)
  t.equal(pic.acknowledge(), 0x24)
  pic.write(0x20, EOI)
  pic.write(0x4d0, 0xff)
  t.equal(pic.read(0x4d0), 0xf8, 'IRQ 0 to 2 cannot be levels')
  pic.set(5, true)
  for (let n = 0; n < 2; n++) {
    t.equal(pic.acknowledge(), 0x25)
    pic.write(0x20, EOI)
  }
  pic.set(5, false)
  t.equal(pic.output, false)
})

t.test('the slave comes through IRQ 2; spurious interrupts', async t => {
  const { pic, ended } = made()
  pic.set(12, true)
  t.equal(pic.acknowledge(), 0x2c)
  pic.write(0x20, 0x0b)
  pic.write(0xa0, 0x0b)
  t.same([pic.read(0x20), pic.read(0xa0)], [4, 0x10], 'OCW3: the in-service registers')
  pic.write(0xa0, EOI)
  pic.write(0x20, EOI)
  t.same(ended, [12, 2])
  pic.write(0x4d1, 0x02)
  pic.set(9, true)
  pic.set(9, false)
  t.equal(pic.acknowledge(), 0x2f, 'the slave has none any more')
  pic.write(0x20, EOI)
  t.equal(pic.acknowledge(), 0x27, 'nor has the master')
})

t.test('the mask, and the request register', async t => {
  const { pic } = made()
  pic.write(0x21, 0xfd)
  t.equal(pic.read(0x21), 0xfd)
  t.equal(pic.set(6, true), -1)
  t.equal(pic.output, false)
  pic.write(0x20, 0x0a)
  t.equal(pic.read(0x20), 0x40, 'it is latched')
  pic.write(0x21, 0)
  t.equal(pic.acknowledge(), 0x26)
})

t.test('automatic EOI, rotation, poll; special mask mode is kept and changes nothing', async t => {
  const auto = made(2)
  auto.pic.set(3, true)
  auto.pic.acknowledge()
  t.same(auto.ended, [3])
  const { pic } = made()
  pic.set(3, true)
  pic.acknowledge()
  pic.write(0x20, 0xa0)
  pic.set(2, true)
  pic.set(5, true)
  t.equal(pic.acknowledge(), 0x25, 'after the rotation IRQ 4 is the first and IRQ 3 the last')
  pic.write(0x20, EOI)
  pic.write(0x20, 0xc0 | 7)
  pic.set(2, false)
  const special = made().pic
  special.set(1, true)
  special.acknowledge()
  special.set(6, true)
  t.equal(special.output, false)
  special.write(0x21, 0x02)
  special.write(0x20, 0x68)
  t.equal(special.output, false, 'what is in service holds others back, as in KVM')
  t.equal(special.save(true)[8], 1)
  const polled = made().pic
  polled.write(0x20, 0x0c)
  t.equal(polled.read(0x20), 7, 'none')
  polled.set(4, true)
  polled.write(0x20, 0x0c)
  t.equal(polled.read(0x20), 0x84)
  t.equal(polled.output, false)
  polled.write(0x20, 0x0b)
  t.equal(polled.read(0x20), 0, 'acknowledged and ended at once')
  polled.set(11, true)
  t.equal(polled.output, true)
  polled.write(0xa0, 0x0c)
  t.equal(polled.read(0xa0), 0x83)
  t.equal(polled.output, false, 'the master is asked for nothing any more')
})

t.test('ICW1: the mask and the edges go; what is in service stays, where no edge waits', async t => {
  for (const isTaken of [true, false]) {
    const { pic, ended } = made(0, isTaken)
    for (const irq of [1, 5]) pic.set(irq, true)
    t.equal(pic.acknowledge(), 0x21)
    pic.set(1, false)
    pic.set(1, true)
    pic.write(0x20, 0x11)
    for (const value of [0x40, 4, 1]) pic.write(0x21, value)
    pic.write(0x20, 0x0b)
    t.equal(pic.read(0x20), isTaken ? 0 : 2)
    t.same(ended, isTaken ? [1, 5] : [], 'the edges that waited are over')
    pic.write(0x20, 0x0a)
    t.equal(pic.read(0x20), 0)
  }
})

t.test('the output follows the mask, EOIs and lines; a mask that changes is told', async t => {
  const { pic, masks } = made()
  pic.set(3, true)
  pic.write(0x20, 0x13)
  t.equal(pic.output, true, 'ICW1 takes the request away, and nobody looks')
  t.equal(pic.acknowledge(), 0x27, 'spurious')
  t.equal(pic.output, false)
  for (const value of [0x20, 4, 1]) pic.write(0x21, value)
  pic.write(0x21, 0x81)
  pic.write(0xa1, 0x01)
  pic.write(0x21, 0x80)
  t.same(masks, ['0 true', '7 true', '8 true', '0 false'])
})

t.test('accesses of two ports at once are the PIC’s where both are', async t => {
  const { pic } = made()
  t.same([pic.has(0x20, 2), pic.has(0x21, 2), pic.has(0xa1, 1), pic.has(0x4d0, 4)], [true, false, true, false])
})

t.test('special fully nested mode: a higher input of the slave interrupts a lower one', async t => {
  for (const [icw4, again] of [
    [0, false],
    [0x10, true],
  ] as const) {
    const { pic } = made(icw4)
    pic.set(14, true)
    t.equal(pic.acknowledge(), 0x2e)
    pic.set(8, true)
    t.equal(pic.output, again)
    if (again) t.equal(pic.acknowledge(), 0x28)
  }
  const { pic } = made(0x10)
  pic.set(10, true)
  t.equal(pic.acknowledge(), 0x2a)
  pic.set(11, true)
  t.equal(pic.output, false, 'the slave has nothing behind its own IRQ 2')
})

t.test('saved and loaded', async t => {
  const from = made().pic
  from.write(0xa1, 0x55)
  from.set(13, true)
  from.set(1, true)
  const { pic } = made()
  const slave = from.save(false)
  slave[15] = 0xff
  pic.load(true, from.save(true))
  pic.load(false, slave)
  t.equal(pic.read(0xa1), 0x55)
  pic.write(0x4d1, 0xff)
  t.equal(pic.read(0x4d1), 0xff, 'which inputs may be levels is userspace’s to say, too')
  t.equal(pic.acknowledge(), 0x21)
  pic.write(0x20, EOI)
  t.equal(pic.acknowledge(), 0x2d)
})
