import { readFileSync } from 'node:fs'
import t from 'tap'
import { allGaps, gapsOf, page } from './not-modelled.ts'

t.test('a gap is read from a comment, over its lines, and from nowhere else', async t => {
  const source = `/**
 * A thing. Not modelled: half of it,
 * and the other half.
 *
 * More.
 */
const text = 'Not modelled: no comment'
// Not modelled: a line.
`
  t.same(gapsOf('a.ts', source), [
    { file: 'a.ts', line: 2, text: 'half of it, and the other half.' },
    { file: 'a.ts', line: 8, text: 'a line.' },
  ])
})

t.test('docs/not-modelled.md says what the sources say (else: make not-modelled)', async t => {
  t.equal(readFileSync(new URL('../docs/not-modelled.md', import.meta.url), 'utf8'), page(allGaps()))
})
