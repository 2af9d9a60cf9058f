import t from 'tap'
import { around, buildGuest, disassemble, flat, type GuestImage, layOut, nameOfAddress, u64 } from './index.ts'
import { Machine, run, SHARED } from './testdata/machine.ts'

const options = { vcpus: 1, sharedBit: SHARED }

t.test('memory that has no room nearby goes further away', async t => {
  const machine = new Machine(g => {
    const large = g.memory('large', 3 << 20)
    const window = g.memory('window', 1 << 20, { shared: true })
    const near = g.memory('near', 8)
    g.ptr(large, u64).set((3n << 17n) - 1n, 7n)
    g.store(window + 0xf_fff8n, 8, 8n)
    g.store(near, 8, 9n)
    g.done()
  })
  t.teardown(() => machine.close())
  t.same(
    machine.all().map(s => s.name),
    ['UCALL_DONE'],
  )
  const at = (name: string) => machine.image.symbols.find(s => s.name === name)!.gva
  t.same([at('large'), at('window')], [0x1000_0000n, 0x2000_0000n])
  t.equal(machine.read(at('large') + (3n << 20n) - 8n, 8), 7n)
  t.equal(machine.read(at('window') + 0xf_fff8n, 8), 8n)
  t.equal(machine.read(at('near'), 8), 9n)
  t.ok(at('near') < 0x58_0000n, 'what is small still goes near')
  t.throws(() => buildGuest(g => g.memory('huge', 2 ** 29), options), {
    message: 'data: 536870912 more bytes do not fit',
  })
})

t.test('a stack that runs over faults in the page below it', async t => {
  const machine = new Machine(g => {
    const deep = g.function('deep', [u64], u64, n => g.return(deep(n.add(1n)).add(n)))
    g.sync(deep(0n))
  })
  t.teardown(() => machine.close())
  t.throws(() => machine.all(), { message: /^exit 2 / }, '#PF, #DF and no stack for either: a triple fault')
})

t.test('plain bytes are a guest', async t => {
  const image = buildGuest(flat(Uint8Array.of(0xf4)), options)
  t.equal(image.entries[0], 0x40_1000n)
  t.equal(image.convention, 'upstream')
  // call bare; then a ucall of nothing but DONE.
  const call = (from: number, to: number) => [0xe8, ...new Uint8Array(Int32Array.of(to - from - 5).buffer)]
  const code = [...call(0x40_1000, 0x5f_f010), 0x6a, 4, ...call(0x40_1007, 0x5f_f000)]
  t.same(
    run(flat(Uint8Array.from(code))).map(s => s.name),
    ['bare', 'UCALL_DONE'],
  )
  t.throws(() => flat(new Uint8Array(1), { at: 0x123n }), {
    message: 'flat guest at 0x123: not at the beginning of a page',
  })
  t.throws(() => flat(new Uint8Array(1), { entry: 1 }), { message: 'entry 1: the flat guest has 1 bytes' })
  t.throws(() => buildGuest(flat(new Uint8Array(1), { at: 0x5f_f000n }), options), {
    message: /segment (flat|runtime) ends at .* in (flat|runtime)/,
  })
})

t.test('code is shown around an address, by name', async t => {
  const image = buildGuest(g => {
    const x = g.load(0x50_0000n, u64)
    g.assert.eq(x, 5n)
    g.done()
  }, options)
  const code = image.segments.find(s => s.name === 'code')!
  const lines = disassemble(code.bytes, code.gva, code.gva, 3, image.symbols)
  t.same(
    lines.map(l => [l.where, l.text]),
    [
      ['guest', 'mov rax, qword ptr [0x500000]'],
      ['guest+0x8', 'cmp rax, 0x5'],
      ['guest+0xc', 'jne 0x401030'],
    ],
  )
  t.same(around(code.bytes, code.gva, code.gva + 0xcn, 2, image.symbols), lines)
  t.same(
    around(code.bytes, code.gva, code.gva + 0xcn, 1, []).map(l => l.text),
    ['cmp rax, 0x5', 'jne 0x401030'],
  )
  t.equal(disassemble(Uint8Array.of(6), 0n, 0n, 1)[0]?.text, '(bad)')
  t.equal(nameOfAddress(image.symbols, 0x5f_f020n), 'seamless_report')
  t.equal(layOut(image, { levels: 4, sharedBit: SHARED }).segments.length, image.segments.length)
})

t.test('a guest that is built again is not put together again', async t => {
  const build = (value: bigint, bytes: readonly number[]) =>
    buildGuest(
      g => {
        const at = g.memory('words', Uint8Array.from(bytes))
        g.assert.eq(g.load(at, 8), value)
        g.done()
      },
      { vcpus: 1, sharedBit: SHARED },
    )
  // The first time leaves nothing behind, the second time does.
  build(1n, [1, 2, 3])
  const second = build(1n, [1, 2, 3])
  const third = build(1n, [1, 2, 3])
  t.equal(third.segments, second.segments)
  t.equal(third.sites.length, second.sites.length)
  t.not(third.sites, second.sites, 'the places are those of the guest that was run')
  const layout = { levels: 4, sharedBit: SHARED } as const
  t.equal(layOut(third, layout), layOut(second, layout))

  t.not(build(2n, [1, 2, 3]).segments, third.segments, 'another constant')
  t.not(build(1n, [1, 2, 4]).segments, third.segments, 'other bytes')
  const data = (image: GuestImage) => image.segments.find(s => s.name === 'data')!.bytes
  t.notSame(data(build(1n, [1, 2, 4])), data(third))
  t.same(data(build(1n, [1, 2, 3])), data(third))
})

t.test('a layout of the same shape has the same page tables, with another content', async t => {
  const [one, two] = [1n, 2n].map(value => buildGuest(g => g.sync(value), { vcpus: 1, sharedBit: SHARED }))
  const layout = { levels: 4, sharedBit: SHARED } as const
  const [a, b] = [layOut(one!, layout), layOut(two!, layout)]
  t.equal(b.tables, a.tables)
  t.same(
    b.segments.map(s => s.gpa),
    a.segments.map(s => s.gpa),
  )
  t.notSame(b.segments, a.segments)
  t.not(layOut(two!, { ...layout, levels: 5 }).tables, a.tables)
  t.not(layOut(two!, { ...layout, sharedBit: 1n << 51n }).tables, a.tables)
})
