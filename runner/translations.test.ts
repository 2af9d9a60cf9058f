/** Files of compiled code: what was put is what is got, or nothing, and there are not too many. */
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { translationsIn } from './translations.ts'

const place = mkdtempSync(join(tmpdir(), 'seamless-translations-'))
t.teardown(() => rmSync(place, { recursive: true }))

t.test('what is put is got', async t => {
  const keeper = translationsIn(join(place, 'new'))
  t.equal(keeper.get('a'), undefined)
  keeper.put('a', Buffer.from('first'))
  t.equal(Buffer.from(keeper.get('a')!).toString(), 'first')
  keeper.put('a', Buffer.from('second'))
  t.equal(Buffer.from(translationsIn(join(place, 'new')).get('a')!).toString(), 'second')
  t.same(readdirSync(join(place, 'new')), ['a'], 'nothing else is left')
})

t.test('a file that is not whole is none', async t => {
  const keeper = translationsIn(join(place, 'torn'))
  keeper.put('a', Buffer.from('something'))
  for (const bytes of ['', 'abc', 'abcd', 'abcdefgh']) {
    writeFileSync(join(place, 'torn/a'), bytes)
    t.equal(keeper.get('a'), undefined, `"${bytes}"`)
  }
})

t.test('the oldest go where there are too many', async t => {
  const keeper = translationsIn(join(place, 'many'), 2000)
  for (const [n, name] of ['a', 'b', 'c'].entries()) {
    keeper.put(name, Buffer.alloc(800))
    utimesSync(join(place, 'many', name), n, n)
  }
  keeper.put('d', Buffer.alloc(800))
  t.same(readdirSync(join(place, 'many')).sort(), ['c', 'd'])
})

t.test('where nothing can be written, nothing is', async t => {
  writeFileSync(join(place, 'file'), '')
  const keeper = translationsIn(join(place, 'file/below'))
  keeper.put('a', Buffer.from('something'))
  t.equal(keeper.get('a'), undefined)
})
