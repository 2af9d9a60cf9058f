import t from 'tap'
import { PTE } from '#abi'
import { gpa, gva } from '#bits'
import { bootMappings, buildGuest, buildPageTables, FIRST_GPA, layOut, symbolAt, walk } from './index.ts'
import { SHARED } from './testdata/machine.ts'

const options = (levels: 4 | 5) => {
  let next = 0x10_0000n
  return {
    levels,
    sharedBit: SHARED,
    allocate: () => {
      next += 0x1000n
      return gpa(next)
    },
  }
}

for (const levels of [4, 5] as const)
  t.test(`${levels} levels map what they are told, with the shared bit where it belongs`, async t => {
    const tables = buildPageTables(
      [
        { gva: gva(0x1ff000n), gpa: gpa(0x8000n), size: 0x3000, executable: false },
        { gva: gva(0x8000_0000n), gpa: gpa(0xa000n), size: 0x1000, shared: true, writable: false },
        { gva: gva(0xffff_8000_0000_0000n), gpa: gpa(0xb000n), size: 0x1000, user: true },
      ],
      options(levels),
    )
    t.equal(walk(tables, levels, gva(0x20_0123n))?.gpa, 0x9123n, 'across a table boundary')
    t.equal(walk(tables, levels, gva(0x1f_e000n)), undefined)
    const entry = (at: bigint) => walk(tables, levels, gva(at))?.entry ?? 0n
    t.equal(entry(0x1ff000n), PTE.XD | PTE.RW | PTE.P | 0x8000n)
    t.equal(entry(0x8000_0000n), SHARED | PTE.P | 0xa000n)
    t.equal(entry(0xffff_8000_0000_0000n), PTE.US | PTE.RW | PTE.P | 0xb000n)
    t.equal(tables.pages[0]?.gpa, tables.root)
  })

t.test('what cannot be mapped is refused by address', async t => {
  const map = (at: bigint, size = 0x1000) => [{ gva: gva(at), gpa: gpa(0x8000n), size }]
  const refused = (mappings: ReturnType<typeof map>, message: RegExp) =>
    t.throws(() => buildPageTables(mappings, options(4)), { message })
  refused(map(0x123n), /mapping 0x123 to 0x8000, 4096 bytes: not in whole pages/)
  refused(map(0x8000_0000_0000n), /mapping 0x8000_0000_0000: not canonical with 4 levels/)
  refused([...map(0x1000n, 0x2000), ...map(0x2000n)], /mapping 0x2000: mapped twice/)
})

t.test('an image is laid out from GPA 0x2000 up, tables before what is shared', async t => {
  const image = buildGuest(g => g.done(), { vcpus: 2, sharedBit: SHARED })
  const layout = layOut(image, { levels: 4, sharedBit: SHARED, extra: bootMappings(2) })
  t.equal(layout.segments[0]?.gpa, FIRST_GPA)
  const pages = new Set<bigint>()
  for (const s of layout.segments) for (let at = 0n; at < BigInt(s.size); at += 4096n) pages.add(s.gpa + at)
  for (const p of layout.tables.pages) pages.add(p.gpa)
  t.equal(BigInt(pages.size) * 4096n, layout.end - FIRST_GPA, 'every page once and none left out')
  for (const s of layout.segments) t.equal(walk(layout.tables, 4, s.gva)?.gpa, s.gpa | (s.shared ? SHARED : 0n), s.name)
  t.equal(walk(layout.tables, 4, gva(0xffff_fff0n))?.gpa, 0xffff_fff0n)
  t.equal((walk(layout.tables, 4, image.ucall.pool)?.entry ?? 0n) & SHARED, SHARED)
  t.equal(image.ucall.capacity, 7, 'two for each vCPU and what the last page still holds')
  t.same(symbolAt(image.symbols, image.entries[0]!), { name: 'guest', offset: 0 })
})
