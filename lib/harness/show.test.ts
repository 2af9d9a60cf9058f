import t from 'tap'
import { show, showFields } from './show.ts'

t.test('numbers are decimal, bigints hex, strings quoted unless they have lines', async t => {
  t.equal(show(50), '50')
  t.equal(show(0xffff_ffff_8000_0000n), '0xffff_ffff_8000_0000')
  t.equal(show(-2n), '-0x2')
  t.equal(show('in'), "'in'")
  t.equal(show(`it's "so"`), `'it\\'s "so"'`)
  t.equal(show('a\nb'), 'a\nb')
  t.equal(show(undefined), 'undefined')
})

t.test('bytes are a line up to sixteen, then a dump', async t => {
  t.equal(show(Uint8Array.of(1, 0xab)), '01 ab')
  t.equal(show(new Uint8Array(18).fill(0x11)), `0000  ${Array.from({ length: 16 }, () => '11').join(' ')}\n0010  11 11`)
})

t.test('structures go on one line where they fit, functions are left out', async t => {
  t.equal(show({ port: 50, data: 0xabn, answer: () => {} }), '{ port: 50, data: 0xab }')
  t.equal(show([1n, 2n]), '[0x1, 0x2]')
  const long = { name: 'x'.repeat(40), other: 'y'.repeat(40) }
  t.equal(show(long), `{\n  name:  '${'x'.repeat(40)}'\n  other: '${'y'.repeat(40)}'\n}`)
  t.equal(showFields({ port: 50, size: 2 }), '{\n  port: 50\n  size: 2\n}')
})

t.test('what refers to itself ends', async t => {
  const loop: Record<string, unknown> = {}
  loop['self'] = loop
  t.match(show(loop), /\.\.\./)
})
