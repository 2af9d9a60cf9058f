import t from 'tap'
import { type Clause, misses, type Named, near, selects } from './filter.ts'

const named = (name: string): Named => {
  const parts = name.split('.')
  const variant = parts.length === 3 ? { variant: parts[1]! } : {}
  return { name, fixture: parts[0]!, test: parts.at(-1)!, ...variant }
}
const TESTS = ['global.boots', 'global.halts', 'port.byte.reads', 'port.byte.writes', 'port.word.reads'].map(named)
const clauses = (text: string): Clause[] =>
  text.split(' ').map(word => ({ letter: word[0] as Clause['letter'], value: word.slice(2) }))
const selected = (text: string) => TESTS.filter(test => selects(clauses(text), test)).map(test => test.name)

t.test('letters mean what they mean in kselftest_harness.h', async t => {
  t.same(selected('t:reads'), ['port.byte.reads', 'port.word.reads'])
  t.same(selected('T:reads'), ['global.boots', 'global.halts', 'port.byte.writes'], 'exclusions only: the rest runs')
  t.same(selected('f:port v:none'), ['port.byte.reads', 'port.byte.writes', 'port.word.reads'])
  t.same(selected('V:byte f:port'), ['port.word.reads'], 'the first clause that matches decides')
  t.same(selected('f:port V:byte'), ['port.byte.reads', 'port.byte.writes', 'port.word.reads'])
  t.same(selected('r:port.word.reads'), ['port.word.reads'])
  t.same(selected('v:'), ['global.boots', 'global.halts'], 'no variant')
  t.same(selected('t:boot'), [], 'whole names only')
})

t.test('an inclusion that names nothing is found, with names like it', async t => {
  t.same(misses(clauses('t:read t:boots F:nothing'), TESTS), [{ letter: 't', value: 'read', near: ['reads'] }])
  t.same(misses(clauses('r:port.wrd.reads'), TESTS)[0]?.near[0], 'port.word.reads')
  t.same(near('zzz', ['boots']), [])
})
