import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runVectors } from './vectors.ts'

const folder = process.env['SEAMLESS_VECTORS'] ?? join(import.meta.dirname, '../../../shared/vectors')
const pathOf = (name: string): string => join(folder, `${name}.jsonl.gz`)
const skip = existsSync(pathOf('int64')) ? false : 'no vector files'

const FILES = 'int64 int32 fault64 sse x87 opt-bmi opt-avx opt-crypto decode64 decode32'.split(' ')

for (const name of FILES)
  t.test(`${name}: every case comes out as on a processor`, { skip }, async t => {
    const { passed, total, failures } = await runVectors(pathOf(name))
    t.same(failures, [])
    t.equal(passed, total)
    t.ok(total > 500)
  })

t.test('a filter chooses cases by name', { skip }, async t => {
  const { total, mnemonics } = await runVectors(pathOf('int64'), { filter: /^Add_rm8_r8#/ })
  t.equal(total, 54)
  t.same([...mnemonics.keys()], ['Add'])
})
