import t from 'tap'
import { EXAMPLES, ours, written } from './listings.ts'

t.test('docs/listings.md has what the builder makes now', async t => {
  const page = written()
  for (const example of EXAMPLES)
    t.ok(page.includes(`\n${ours(example).join('\n')}\n`), `${example.name}: run \`make listings\``)
})
