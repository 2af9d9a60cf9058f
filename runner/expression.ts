/** The filter language of `-E`: `suite(tdx) & tag(slow) - test(/mmio/)`. */
import { UsageError } from './errors.ts'
import { near, suggestion } from './filter.ts'

/** What an expression asks about: a test and the file it is in. */
export type Subject = {
  readonly file: string
  readonly collection: string
  readonly name: string
  readonly fixture: string
  readonly variant: string
  readonly test: string
  readonly tags: readonly string[]
}

export type Predicate = (subject: Subject) => boolean

/** Word → the texts it is about. `suite` is the collection; `test` is the whole name or its last part. */
const WORDS: Readonly<Record<string, (subject: Subject) => readonly string[]>> = {
  test: ({ name, test }) => [name, test],
  suite: ({ collection }) => [collection],
  file: ({ file }) => [file, file.slice(file.lastIndexOf('/') + 1)],
  fixture: ({ fixture }) => [fixture],
  variant: ({ variant }) => [variant],
  tag: ({ tags }) => tags,
}

/**
 * Compiles an expression. `a & b` both, `a | b` either, `a - b` the first without the second, `!a` not; `&` and `-`
 * bind tighter than `|`; parentheses group; `all()` and `none()` say what they say. A word takes a name (`*` stands
 * for any text), a text in quotes, or `/a regular expression/`. Throws `UsageError` that points at the character.
 */
export const compile = (source: string): Predicate => {
  let at = 0

  const fail = (message: string, where = at): never => {
    throw new UsageError(`-E: ${message} at character ${where + 1}\n  ${source}\n  ${' '.repeat(where)}^`)
  }
  const blanks = (): void => {
    while (/\s/.test(source[at] ?? '')) at++
  }
  const sees = (character: string): boolean => {
    blanks()
    if (source[at] !== character) return false
    at++
    return true
  }

  const either = (): Predicate => {
    let left = both()
    while (sees('|')) {
      const [a, b] = [left, both()]
      left = subject => a(subject) || b(subject)
    }
    return left
  }
  const both = (): Predicate => {
    let left = single()
    for (;;) {
      const a = left
      if (sees('&')) {
        const b = single()
        left = subject => a(subject) && b(subject)
      } else if (sees('-')) {
        const b = single()
        left = subject => a(subject) && !b(subject)
      } else return left
    }
  }
  const single = (): Predicate => {
    if (sees('!')) {
      const inner = single()
      return subject => !inner(subject)
    }
    if (sees('(')) {
      const open = at - 1
      const inner = either()
      if (!sees(')')) fail(at < source.length ? 'expected )' : `nothing closes the ( of character ${open + 1}`)
      return inner
    }
    return word()
  }
  const word = (): Predicate => {
    blanks()
    const begin = at
    const name = /^[a-z]+/.exec(source.slice(at))?.[0] ?? ''
    if (name === '') fail(at >= source.length ? 'expected a test' : `unexpected ${source[at]}`)
    at += name.length
    const known = [...Object.keys(WORDS), 'all', 'none']
    if (!known.includes(name)) {
      const hint = near(name, known)
      fail(`unknown word ${name}${hint.length > 0 ? suggestion(hint) : `; there are ${known.join(', ')}`}`, begin)
    }
    if (!sees('(')) fail(`expected ( after ${name}`)
    const texts = WORDS[name]
    if (texts === undefined) {
      if (!sees(')')) fail(`${name}() takes nothing`)
      return () => name === 'all'
    }
    const matches = argument()
    if (!sees(')')) fail('expected )')
    return subject => texts(subject).some(matches)
  }
  const argument = (): ((text: string) => boolean) => {
    blanks()
    const begin = at
    const quote = source[at]
    if (quote === '/' || quote === '"' || quote === "'") {
      at++
      const start = at
      while (at < source.length && source[at] !== quote) at += source[at] === '\\' ? 2 : 1
      if (at >= source.length) fail(`nothing closes the ${quote}`, begin)
      const text = source.slice(start, at++)
      return quote === '/' ? expression(text, begin) : exactly(text.replace(/\\(.)/g, '$1'))
    }
    while (at < source.length && source[at] !== ')') at++
    const text = source.slice(begin, at).trim()
    if (text === '') fail('expected a name', begin)
    if (!text.includes('*')) return exactly(text)
    const parts = text.split('*').map(part => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    return expression(`^${parts.join('.*')}$`, begin)
  }
  const exactly = (wanted: string) => (text: string) => text === wanted
  const expression = (text: string, begin: number): ((text: string) => boolean) => {
    let compiled: RegExp
    try {
      compiled = new RegExp(text, 'u')
    } catch (error) {
      return fail((error as Error).message, begin)
    }
    return text => compiled.test(text)
  }

  const predicate = either()
  blanks()
  if (at < source.length) fail(source[at] === ')' ? 'nothing opens this )' : 'expected & | - or the end')
  return predicate
}
