import t from 'tap'
import { decode } from './decode.ts'
import type { Mode } from './insn.ts'
import { type Row, table } from './table.ts'

const PP: Partial<Record<Row['prefix'], number>> = { '66': 1, F3: 2, F2: 3 }

/** The shortest thing that a row can look like: its prefixes, opcode and ModRM, and zeros for all that follows. */
const example = (row: Row, mode: Mode): Uint8Array => {
  const size = row.force64 || row.default64 ? 0 : row.operandSize
  const bytes: number[] = []
  // A gather's destination is register 3, its index 2 and its mask 1; it has no 16-bit addresses.
  const vsib = row.forms.some(form => form.vsib !== 0)
  if (row.addressSize === 0 ? vsib && mode === 16 : row.addressSize * 8 !== mode) bytes.push(0x67)
  const vvvv = vsib ? 1 : 0
  if (!row.vex) {
    if (row.prefix === '66' || (size === 2 && mode !== 16) || (size === 4 && mode === 16)) bytes.push(0x66)
    if (row.prefix === 'F3') bytes.push(0xf3)
    if (row.prefix === 'F2') bytes.push(0xf2)
    if (row.w === 1) bytes.push(0x48)
    if (row.map > 0) bytes.push(0x0f)
    if (row.map > 1) bytes.push(row.map === 2 ? 0x38 : 0x3a)
  } else {
    const usesVvvv = row.forms.some(form => form.place === 'vvvv')
    const rest = ((~(usesVvvv ? vvvv : 0) & 15) << 3) | (row.l === 1 ? 4 : 0) | (PP[row.prefix] ?? 0)
    bytes.push(0xc4, 0xe0 | row.map, (row.w === 1 ? 0x80 : 0) | rest)
  }
  // 90 and 90+r differ in the register only.
  bytes.push(row.plus && row.byte === 0x90 ? 0x91 : row.byte)
  if (row.fixed >= 0) bytes.push(row.fixed)
  else if (row.modrm) {
    const isMemory = row.mod === 'mem'
    bytes.push((isMemory ? 0 : 0xc0) | ((row.digit < 0 ? 3 : row.digit) << 3) | (vsib ? 4 : 0))
    if (vsib) bytes.push(2 << 3)
  }
  return Uint8Array.from([...bytes, ...new Array<number>(15 - bytes.length).fill(0)])
}

t.test('every row can be decoded, in every mode that it is for', async t => {
  const hidden: string[] = []
  for (const row of table) {
    if (row.encodeOnly) continue
    for (const mode of [64, 32, 16] as const) {
      if (!(mode === 64 ? row.valid64 : row.valid32)) continue
      const decoded = decode(example(row, mode), 0, mode)
      if (typeof decoded === 'string' || decoded.row !== row)
        hidden.push(
          `${mode}: ${row.mnemonic} ${row.opcode} ${row.operands} is ${typeof decoded === 'string' ? decoded : `${decoded.row.mnemonic} ${decoded.row.opcode} ${decoded.row.operands}`}`,
        )
    }
  }
  t.same(hidden, [])
})

t.test('rows say what the other parts of the room rely on', async t => {
  for (const row of table) {
    if (row.rep && !row.operands.some(operand => operand.includes('@'))) t.fail(`${row.mnemonic} repeats nothing`)
    if (row.lock && (row.forms[0]?.mem ?? -1) < 0)
      t.fail(`${row.mnemonic} ${row.operands}: LOCK needs a memory destination`)
    if (!/^[a-z][a-z0-9]*$/.test(row.semantics)) t.fail(`${row.mnemonic}: ${row.semantics} is no name`)
    if (row.forms.filter(form => form.place === 'rm').length > 1) t.fail(`${row.mnemonic} has two r/m operands`)
  }
  t.ok(table.length > 2000)
})
