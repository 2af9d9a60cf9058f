import t from 'tap'
import { formatText } from './printf.ts'

const rows: [string, bigint[], string][] = [
  ['plain', [], 'plain'],
  ['%d%%', [-5n], '-5%'],
  ['%lx and %#llx', [0xabn, 0xabn], 'ab and 0xab'],
  ['%08x|%-4d|%4u', [0xbeefn, 7n, 7n], '0000beef|7   |   7'],
  ['%#06x', [0x1fn], '0x001f'],
  ['%+d % d', [3n, 4n], '+3  4'],
  ['%c%X%o%p', [65n, 0xabn, 8n, 0x1000n], 'AAB100x1000'],
  ['%.4d %05d', [-12n, -12n], '-0012 -0012'],
  ['%x', [-1n], 'ffffffffffffffff'],
  ['%u %u', [1n], '1 ?'],
]

t.test("printf's formats over numbers", async t => {
  for (const [format, values, want] of rows) t.equal(formatText(format, values), want, format)
})
