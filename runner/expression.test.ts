import fc from 'fast-check'
import t from 'tap'
import { compile, type Subject } from './expression.ts'

const subject = (name: string, collection: string, ...tags: string[]): Subject => {
  const parts = name.split('.')
  const variant = parts.length === 3 ? parts[1]! : ''
  return {
    file: `selftests/${collection}/x_test.ts`,
    collection,
    name,
    fixture: parts[0]!,
    variant,
    test: parts.at(-1)!,
    tags,
  }
}
const TESTS = [
  subject('global.boots', 'tdx'),
  subject('global.mmio_write', 'tdx', 'slow'),
  subject('port.byte.reads', 'kvm', 'slow', 'io'),
  subject('port.word.reads', 'kvm', 'io'),
]
const chosen = (source: string) => TESTS.filter(compile(source)).map(({ name }) => name)

t.test('words, signs and their order', async t => {
  t.same(chosen('suite(tdx) & tag(slow) - test(/mmio/)'), [])
  t.same(chosen('suite(tdx) - test(/mmio/)'), ['global.boots'])
  t.same(chosen('test(boots) | tag(slow) & suite(kvm)'), ['global.boots', 'port.byte.reads'], '& before |')
  t.same(chosen('(test(boots) | tag(slow)) & suite(kvm)'), ['port.byte.reads'])
  t.same(chosen('!tag(slow)'), ['global.boots', 'port.word.reads'])
  t.same(chosen('test(port.*.reads)'), ['port.byte.reads', 'port.word.reads'])
  t.same(chosen('test(reads) & variant("word")'), ['port.word.reads'])
  t.same(chosen('file(x_test.ts) & fixture(global)'), ['global.boots', 'global.mmio_write'])
  t.same(chosen('all() - none()').length, 4)
  t.same(chosen('test(port.byte)'), [], 'a name is whole')
})

t.test('what is wrong is said with its place', async t => {
  const says = (source: string, message: string, character: number) => {
    try {
      compile(source)
      t.fail(source)
    } catch (error) {
      const [first, shown, arrow] = (error as Error).message.split('\n')
      t.equal(first, `-E: ${message} at character ${character}`, source)
      t.equal(shown, `  ${source}`)
      t.equal(arrow?.indexOf('^'), character + 1)
    }
  }
  says('', 'expected a test', 1)
  says('test(a) &', 'expected a test', 10)
  says('tests(a)', 'unknown word tests (did you mean test?)', 1)
  says('colour(a)', 'unknown word colour; there are test, suite, file, fixture, variant, tag, all, none', 1)
  says('test a', 'expected ( after test', 6)
  says('test(/a', 'nothing closes the /', 6)
  says('test(a', 'expected )', 7)
  says('test()', 'expected a name', 6)
  says('(test(a)', 'nothing closes the ( of character 1', 9)
  says('test(a))', 'nothing opens this )', 8)
  says('test(a) test(b)', 'expected & | - or the end', 9)
  says('all(x)', 'all() takes nothing', 5)
  t.throws(() => compile('test(/(/)'), { message: /^-E: Invalid regular expression.* at character 6\n/ })
})

t.test('any text compiles or is refused in words', async () => {
  const piece = fc.constantFrom('test', '(', ')', '/', '&', '|', '-', '!', 'a', ' ', '"', '*', '\\', 'tag(io)', 'all()')
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), pieces => {
      try {
        compile(pieces.join(''))
        return true
      } catch (error) {
        return (error as Error).name === 'UsageError'
      }
    }),
  )
})
