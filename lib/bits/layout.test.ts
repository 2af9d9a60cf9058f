import fc from 'fast-check'
import t from 'tap'
import {
  array,
  bitFields,
  bytes,
  hex,
  nested,
  packed,
  readUint,
  type Size,
  signExtend,
  struct,
  u8,
  u16,
  u32,
  u64,
  u64s,
  wrap,
  writeUint,
} from './index.ts'

t.test("a structure has C's natural alignment and is padded to its widest field", async t => {
  const s = struct('s', { a: u8, b: u32, c: u16, d: u64, e: u8 })
  t.same(s.offset, { a: 0, b: 4, c: 8, d: 16, e: 24 })
  t.equal(s.size, 32)
})

t.test('packed fields and byte arrays stand where they are put', async t => {
  const s = struct('pseudo_descriptor', { limit: u16, base: packed(u32), tail: bytes(3) })
  t.same(s.offset, { limit: 0, base: 2, tail: 6 })
  t.equal(s.size, 10)
  t.throws(() => s.encode({ tail: new Uint8Array(2) }), { message: 'a field of 3 bytes cannot hold 2' })
})

t.test('what is written is read back, and the rest keeps its bytes', async t => {
  const s = struct('s', { a: u8, b: u64, c: u64s(2) })
  fc.assert(
    fc.property(fc.nat(255), fc.bigInt(0n, 2n ** 64n - 1n), fc.bigInt(0n, 2n ** 64n - 1n), (a, b, c) => {
      const view = new DataView(s.encode({ a, b, c: [c, b] }).buffer)
      t.same(s.read(view, 0), { a, b, c: [c, b] })
      s.write(view, 0, { b: 1n })
      t.same(s.read(view, 0), { a, b: 1n, c: [c, b] })
    }),
    { numRuns: 50 },
  )
})

t.test('integers of every size travel through memory', async t => {
  const view = new DataView(new ArrayBuffer(16))
  fc.assert(
    fc.property(fc.constantFrom<Size>(1, 2, 4, 8), fc.bigInt(0n, 2n ** 64n - 1n), fc.nat(8), (size, value, at) => {
      writeUint(view, at, size, value)
      t.equal(readUint(view, at, size), wrap(value, size))
    }),
    { numRuns: 100 },
  )
})

t.test('sign extension and hex', async t => {
  t.equal(signExtend(0x80n, 1, 4), 0xffff_ff80n)
  t.equal(signExtend(0x7fn, 1, 8), 0x7fn)
  t.equal(hex(0x1234n), '0x1234')
  t.equal(hex(0xffff_ffff_8000_0000n), '0xffff_ffff_8000_0000')
  t.equal(hex(0x1_0000_0000n), '0x1_0000_0000')
})

t.test('arrays, bit fields and structures inside structures', async t => {
  const inner = struct('inner', { tag: u8, value: u32 })
  const s = struct('s', {
    bits: bitFields(u16, { low: 0, middle: [11, 4], high: [15, 12] }),
    list: array(u32, 3),
    pair: array(nested(inner), 2),
    last: nested(inner),
  })
  t.same(s.offset, { bits: 0, list: 4, pair: 16, last: 32 })
  t.equal(s.size, 40)
  t.equal(s.align, 4)
  const values = {
    bits: { low: 1n, middle: 0xabn, high: 5n },
    list: [1, 2, 3],
    pair: [
      { tag: 1, value: 2 },
      { tag: 3, value: 4 },
    ],
    last: { tag: 5, value: 6 },
  }
  const bytes = s.encode(values)
  t.equal(new DataView(bytes.buffer).getUint16(0, true), 0x5ab1)
  t.same(s.read(new DataView(bytes.buffer), 0), values)
  t.throws(() => s.encode({ bits: { low: 2n, middle: 0n, high: 0n } }), { message: 'low: 2 does not fit in its bits' })
  t.throws(() => s.encode({ list: [1, 2, 3, 4] }), { message: 'an array of 3 cannot hold 4' })
  t.throws(() => bitFields(u8, { wide: [8, 0] }), { message: 'bits 8:0 of wide do not lie in 1 bytes' })
})
