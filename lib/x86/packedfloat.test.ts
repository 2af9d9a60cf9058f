import fc from 'fast-check'
import t from 'tap'
import { Lanes } from './packed.ts'
import { packedFloat } from './packedfloat.ts'
import type { Control } from './softfloat.ts'

const control: Control = {
  rounding: 0,
  masks: 0x3f,
  flushToZero: false,
  denormalsAreZero: false,
  precision: 0,
  raised: 0,
  roundedUp: false,
}
const bits = new DataView(new ArrayBuffer(4))
const of = (name: 'rcpss' | 'rsqrtss', value: number): number => {
  const [d, a, b] = [new Lanes(), new Lanes(), new Lanes()]
  b.u32[0] = value
  packedFloat[name]?.(d, a, b, 0, 16, control, a)
  return d.u32[0]!
}
const toFloat = (value: number): number => {
  bits.setUint32(0, value)
  return bits.getFloat32(0)
}

t.test('RCP and RSQRT: what is published of them, and the special values', async t => {
  const rows = [
    ['rcpss', 0x3f80_0000, 0x3f7f_f000],
    ['rcpss', 0x8000_0000, 0xff80_0000],
    ['rcpss', 0x0000_0001, 0x7f80_0000],
    ['rcpss', 0xff80_0000, 0x8000_0000],
    ['rcpss', 0x7f7f_ffff, 0],
    ['rcpss', 0x7f80_0001, 0x7fc0_0001],
    ['rsqrtss', 0x4120_0000, 0x3ea1_e000],
    ['rsqrtss', 0x8000_0000, 0xff80_0000],
    ['rsqrtss', 0xbf80_0000, 0xffc0_0000],
    ['rsqrtss', 0x7f80_0000, 0],
  ] as const
  for (const [name, value, want] of rows) t.equal(of(name, value).toString(16), want.toString(16), `${name} ${value}`)
  t.equal(control.raised, 0, 'no exceptions')
})

t.test('the relative error is at most 1.5 * 2^-12', async t => {
  fc.assert(
    fc.property(fc.integer({ min: 0x0080_0000, max: 0x7e00_0000 }), value => {
      const x = toFloat(value)
      const error = (name: 'rcpss' | 'rsqrtss', exact: number) => Math.abs(toFloat(of(name, value)) / exact - 1)
      return error('rcpss', 1 / x) <= 1.5 / 4096 && error('rsqrtss', 1 / Math.sqrt(x)) <= 1.5 / 4096
    }),
    { seed: 1, numRuns: 2000 },
  )
  t.pass('2000 numbers')
})
