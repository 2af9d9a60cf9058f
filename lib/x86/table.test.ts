import t from 'tap'
import { decode } from './decode.ts'
import { table } from './table.ts'
import { bytesOf } from './testdata/rowbytes.ts'

t.test('every row can be decoded, in every mode that it is for', async t => {
  const hidden: string[] = []
  for (const row of table) {
    if (row.encodeOnly) continue
    for (const mode of [64, 32, 16] as const) {
      if (!(mode === 64 ? row.valid64 : row.valid32)) continue
      const decoded = decode(bytesOf(row, mode), 0, mode)
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
