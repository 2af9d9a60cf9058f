/** The vectors as a worklist: `vectors.main.ts [FILE...] [--filter REGEX] [--strict] [--all]`. With `--strict` one failure is exit status 1. */
import { existsSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { stats as cold } from './cold/stats.ts'
import { stats, type TierName } from './compile/runtime.ts'
import { missing } from './interpret.ts'
import { runVectors, type VectorResult } from './vectors.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    filter: { type: 'string' },
    strict: { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
    keep: { type: 'string', default: '2' },
    tier: { type: 'string', default: 'interpret' },
  },
})

/** Where the files are unless they are named: `SEAMLESS_VECTORS`, or beside the repository. */
const folder = process.env['SEAMLESS_VECTORS'] ?? join(import.meta.dirname, '../../../shared/vectors')
const found = (): string[] =>
  existsSync(folder)
    ? readdirSync(folder)
        .filter(name => name.endsWith('.jsonl.gz'))
        .map(name => join(folder, name))
    : []
const files =
  positionals.length === 0 ? found() : positionals.map(f => (existsSync(f) ? f : join(folder, `${f}.jsonl.gz`)))
if (files.length === 0) {
  console.log('vectors: skipped, there are none (set SEAMLESS_VECTORS to the folder that holds them)')
  process.exit(0)
}

const percent = ({ passed, total }: { passed: number; total: number }): string =>
  total === 0 ? '-' : `${((100 * passed) / total).toFixed(2)} %`

const show = (result: VectorResult): void => {
  console.log(`\n${basename(result.file, '.jsonl.gz')}: ${result.passed}/${result.total} (${percent(result)})`)
  const rows = [...result.mnemonics].filter(([, m]) => values.all || m.passed < m.total)
  rows.sort(([, a], [, b]) => a.passed - a.total - (b.passed - b.total))
  for (const [name, m] of rows) console.log(`  ${name.padEnd(20)} ${m.passed}/${m.total}`)
  for (const f of result.failures) {
    console.log(`  ${f.id}  ${f.bytes}`)
    for (const d of f.differences) console.log(`    ${d.field}: ${d.seen}, should be ${d.want}`)
  }
}

const results: VectorResult[] = []
for (const file of files) {
  const result = await runVectors(file, {
    keep: Number(values.keep),
    tier: values.tier as TierName,
    ...(values.filter === undefined ? {} : { filter: new RegExp(values.filter) }),
  })
  show(result)
  results.push(result)
}
console.log('\nfile             passed   total')
for (const r of results)
  console.log(
    `${basename(r.file, '.jsonl.gz').padEnd(14)} ${String(r.passed).padStart(8)} ${String(r.total).padStart(7)}  ${percent(r)}`,
  )
if (values.tier !== 'interpret') console.log(`\n${JSON.stringify(values.tier.startsWith('cold') ? cold : stats)}`)
const gaps = missing()
console.log(`\n${gaps.length} meanings are not there yet: ${gaps.join(' ')}`)
if (values.strict && results.some(r => r.passed < r.total)) process.exitCode = 1
