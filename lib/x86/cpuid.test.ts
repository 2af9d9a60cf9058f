import t from 'tap'
import { describeCpu, FEATURES, featuresOf, IMPLEMENTED, nativeCpuid } from './cpuid.ts'
import { semantics } from './semantics/index.ts'
import { table } from './table.ts'
import { longMode } from './testdata/machine.ts'

const text = (words: readonly number[]): string => {
  const bytes = new DataView(new ArrayBuffer(words.length * 4))
  words.forEach((word, n) => {
    bytes.setUint32(n * 4, word >>> 0, true)
  })
  return Buffer.from(bytes.buffer).toString('latin1').replace(/\0+$/, '')
}

t.test('vendor, family, brand', async t => {
  const [max, b, c, d] = nativeCpuid(0, 0)
  t.equal(text([b, d, c]), 'GenuineIntel')
  t.ok(max >= 0xd)
  t.equal(nativeCpuid(1, 0)[0], 0x806f8)
  const brand = [2, 3, 4].flatMap(n => [...nativeCpuid(0x8000_0000 + n, 0)])
  t.equal(text(brand), 'Seamless virtual processor')
  t.same(nativeCpuid(0x4000_0000, 0), nativeCpuid(0x16, 0), 'beyond the last leaf: the last basic one')
})

t.test('a feature is claimed only if each of its instructions has its semantics', async t => {
  const { has } = featuresOf(nativeCpuid)
  for (const row of table) {
    if (row.feature === '' || !Object.hasOwn(FEATURES, row.feature) || !has(row.feature)) continue
    if (!Object.hasOwn(semantics, row.semantics)) t.fail(`${row.feature} is claimed, ${row.mnemonic} is not there`)
  }
  for (const name of ['SSE2', 'LM', 'SYSCALL', 'SMEP', 'SMAP', 'NX', 'LA57', 'PDPE1GB', 'CX16']) t.ok(has(name), name)
  for (const name of ['VMX', 'SMX', 'SSE4A', 'FMA4', 'CET_SS']) t.notOk(has(name), name)
  t.ok(has('SWAPGS'), 'what has no bit is there')
})

t.test('every feature has a bit of its own, and the description sets exactly those it is given', async t => {
  const places = Object.values(FEATURES).map(place => place.join(' '))
  t.equal(new Set(places).size, places.length)
  const { has } = featuresOf(describeCpu(['FPU', 'AVX2']))
  t.ok(has('AVX2'))
  t.notOk(has('BMI1'))
  t.ok(IMPLEMENTED.length > 30)
})

t.test('bits that follow registers: OSXSAVE, OSPKE, SYSCALL, the XSAVE size', async t => {
  const { cpu } = longMode({ cpuid: describeCpu(['XSAVE', 'XSAVEC', 'SSE', 'AVX', 'PKU', 'SYSCALL', 'LM']) })
  const bit = (leaf: number, register: number, n: number) => (cpu.doCpuid(leaf, 0)[register]! >>> n) & 1
  t.equal(bit(1, 2, 27), 0)
  t.equal(bit(7, 2, 4), 0)
  t.equal(bit(0x8000_0001, 3, 11), 1)
  cpu.cr4 |= (1n << 18n) | (1n << 22n)
  t.equal(bit(1, 2, 27), 1)
  t.equal(bit(7, 2, 4), 1)
  t.same([cpu.doCpuid(0xd, 0)[1], cpu.doCpuid(0xd, 1)[1]], [576, 576])
  cpu.xsetbv(0, 7n)
  t.same([cpu.doCpuid(0xd, 0)[1], cpu.doCpuid(0xd, 1)[1]], [0x340, 0x340])
  cpu.xsetbv(0, 0x207n)
  t.same([cpu.doCpuid(0xd, 0)[1], cpu.doCpuid(0xd, 1)[1]], [0xa88, 0x348])
  cpu.farJump(0x18, 0n, 4)
  t.equal(bit(0x8000_0001, 3, 11), 0, 'no SYSCALL outside 64-bit mode')
})
