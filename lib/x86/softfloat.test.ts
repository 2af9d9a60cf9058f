import fc from 'fast-check'
import t from 'tap'
import {
  addSigned,
  type Control,
  convert,
  DOUBLE,
  divide,
  EXTENDED,
  fuse,
  INEXACT,
  multiply,
  SINGLE,
  squareRoot,
  unpack,
} from './softfloat.ts'

const view = new DataView(new ArrayBuffer(8))
const bitsOf = (x: number): bigint => {
  view.setFloat64(0, x)
  return view.getBigUint64(0)
}
const numberOf = (bits: bigint): number => {
  view.setBigUint64(0, bits)
  return view.getFloat64(0)
}
const control = (): Control => ({
  rounding: 0,
  masks: 0x3f,
  flushToZero: false,
  denormalsAreZero: false,
  precision: 0,
  raised: 0,
  roundedUp: false,
})
/** JavaScript's own arithmetic is IEEE double precision, rounded to nearest. */
const number = fc.double({ noNaN: true })

t.test('double precision agrees with the host', async () => {
  fc.assert(
    fc.property(number, number, (x, y) => {
      const [a, b] = [unpack(DOUBLE, bitsOf(x)), unpack(DOUBLE, bitsOf(y))]
      const same = (bits: bigint, want: number) => Number.isNaN(want) || Object.is(numberOf(bits), want)
      return (
        same(addSigned(DOUBLE, a, b, false, control()), x + y) &&
        same(addSigned(DOUBLE, a, b, true, control()), x - y) &&
        same(multiply(DOUBLE, a, b, control()), x * y) &&
        same(divide(DOUBLE, a, b, control()), x / y) &&
        same(squareRoot(DOUBLE, a, control()), Math.sqrt(x))
      )
    }),
    { numRuns: 2000 },
  )
})

t.test('single precision agrees with Math.fround, and double extended holds every double', async () => {
  fc.assert(
    fc.property(number, x => {
      const v = unpack(DOUBLE, bitsOf(x))
      const single = unpack(SINGLE, convert(SINGLE, v, DOUBLE, control()))
      const wide = unpack(EXTENDED, convert(EXTENDED, v, DOUBLE, control()))
      return (
        Object.is(numberOf(convert(DOUBLE, single, SINGLE, control())), Math.fround(x)) &&
        convert(DOUBLE, wide, EXTENDED, control()) === bitsOf(x)
      )
    }),
    { numRuns: 2000 },
  )
})

t.test('a fused multiply-add rounds once', async t => {
  const x = 1 + 2 ** -52
  const v = unpack(DOUBLE, bitsOf(x))
  const c = control()
  const minus = unpack(DOUBLE, bitsOf(-(x * x)))
  t.equal(numberOf(fuse(DOUBLE, v, v, minus, c)), 2 ** -104)
  t.equal(c.raised, 0)
  multiply(DOUBLE, v, v, c)
  t.equal(c.raised, INEXACT)
})
