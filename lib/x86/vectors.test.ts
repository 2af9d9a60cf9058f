import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runVectors } from './vectors.ts'

const folder = process.env['SEAMLESS_VECTORS'] ?? join(import.meta.dirname, '../../../shared/vectors')

for (const name of ['int64', 'int32', 'opt-bmi', 'x87', 'decode32']) {
  const path = join(folder, `${name}.jsonl.gz`)
  t.test(
    `${name}: every case comes out as on a processor`,
    { skip: existsSync(path) ? false : 'no vector files' },
    async t => {
      const { passed, total, failures } = await runVectors(path)
      t.same(failures, [])
      t.equal(passed, total)
      t.ok(total > 1000)
    },
  )
}

t.test(
  'a filter chooses cases by name',
  { skip: existsSync(join(folder, 'int64.jsonl.gz')) ? false : 'no vector files' },
  async t => {
    const { total, mnemonics } = await runVectors(join(folder, 'int64.jsonl.gz'), { filter: /^Add_rm8_r8#/ })
    t.equal(total, 54)
    t.same([...mnemonics.keys()], ['Add'])
  },
)
