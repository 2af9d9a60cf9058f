import fc from 'fast-check'
import t from 'tap'
import { type Hva, hpa, hva, PAGE_SIZE, type Size, struct, u8, u64 } from '#bits'
import { PhysicalMemory } from '#x86'
import { AddressSpace } from './addressspace.ts'
import { Errno } from './errno.ts'
import type { OpenFile } from './file.ts'

const MIB = 2 ** 20

const errno = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    if (error instanceof Errno) return error.code
    throw error
  }
  return 'no error'
}

t.test('a page gets its frame on first touch and gives it back on munmap', async t => {
  const memory = new PhysicalMemory(64 * MIB)
  const space = new AddressSpace(memory)
  const at = space.mmap(2 ** 40)
  t.equal(memory.used, 0)
  space.store(hva(at + 0x12_3456_7000n), 8, 0x1122_3344_5566_7788n)
  t.equal(memory.used, 1)
  t.equal(space.load(hva(at + 0x12_3456_7000n), 4), 0x5566_7788n)
  space.munmap(at, 2 ** 40)
  t.equal(memory.used, 0)
  t.equal(
    errno(() => space.load(at, 1)),
    'EFAULT',
  )
})

t.test('addresses are the lowest that fit, so that they do not depend on what came before', async t => {
  const space = new AddressSpace(new PhysicalMemory(64 * MIB))
  const first = space.mmap(3 * PAGE_SIZE)
  const second = space.mmap(1)
  t.ok(second > first + BigInt(3 * PAGE_SIZE), 'an unmapped page lies between')
  space.munmap(first, 3 * PAGE_SIZE)
  t.equal(space.mmap(2 * PAGE_SIZE), first)
  t.equal(
    errno(() => space.mmap(0)),
    'EINVAL',
  )
})

t.test('accesses may cross pages, and what is beyond the mapping is EFAULT', async t => {
  const space = new AddressSpace(new PhysicalMemory(64 * MIB))
  const at = space.mmap(3 * PAGE_SIZE)
  const sizes = fc.constantFrom<Size>(1, 2, 4, 8)
  fc.assert(
    fc.property(fc.nat(3 * PAGE_SIZE - 8), sizes, fc.bigInt(0n, 2n ** 64n - 1n), (offset, size, value) => {
      const where = hva(at + BigInt(offset))
      space.store(where, size, value)
      t.equal(space.load(where, size), BigInt.asUintN(size * 8, value))
      const bytes = space.read(where, size)
      t.equal(bytes[0], Number(value & 0xffn))
    }),
    { numRuns: 60 },
  )
  const layout = struct('pair', { a: u8, b: u64 })
  const edge = hva(at + BigInt(PAGE_SIZE - 4))
  space.set(layout, edge, { a: 7, b: 9n })
  space.set(layout, edge, { a: 8 })
  t.same(space.get(layout, edge), { a: 8, b: 9n })
  t.equal(
    errno(() => space.load(hva(at + BigInt(3 * PAGE_SIZE - 4)), 8)),
    'EFAULT',
  )
})

t.test('unmapping a part keeps the rest, and is announced first', async t => {
  const memory = new PhysicalMemory(64 * MIB)
  const space = new AddressSpace(memory)
  const at = space.mmap(4 * PAGE_SIZE)
  const page = (n: number): Hva => hva(at + BigInt(n * PAGE_SIZE))
  for (let n = 0; n < 4; n++) space.store(page(n), 1, BigInt(n))
  const told: [number, number][] = []
  space.onUnmap = (start, end) => {
    told.push([start, end])
    t.equal(memory.used, 4, 'the frames are still there')
  }
  space.munmap(page(1), 2 * PAGE_SIZE)
  space.onUnmap = () => {}
  t.same(told, [[Number(page(1)) / PAGE_SIZE, Number(page(3)) / PAGE_SIZE]])
  t.equal(space.load(page(0), 1), 0n)
  t.equal(space.load(page(3), 1), 3n)
  t.equal(
    errno(() => space.load(page(2), 1)),
    'EFAULT',
  )
  t.ok(space.isMapped(page(3), 1))
  t.notOk(space.isMapped(page(0), 2 * PAGE_SIZE))
  space.unmapAll()
  t.equal(memory.used, 0)
})

t.test("a file's mapping holds the file until the last of it is gone", async t => {
  const memory = new PhysicalMemory(64 * MIB)
  const space = new AddressSpace(memory)
  let released = false
  const file: OpenFile = {
    kind: 'vcpu',
    references: 0,
    release: () => {
      released = true
    },
  }
  const frames = [memory.allocate(), memory.allocate(), memory.allocate()]
  const at = space.mapFile(file, frames)
  t.equal(space.hpa(hva(at + 0x1008n)), hpa(frames[1]! + 8))
  space.munmap(hva(at + 0x1000n), PAGE_SIZE)
  t.equal(file.references, 2, 'two pieces are left')
  space.munmap(at, PAGE_SIZE)
  t.notOk(released)
  space.munmap(hva(at + 0x2000n), PAGE_SIZE)
  t.ok(released)
  t.equal(memory.used, 3, "the frames are the file's, not the address space's")
})
