/** Which tests run: kselftest_harness.h's letters. */

export type Letter = 't' | 'T' | 'f' | 'F' | 'v' | 'V' | 'r'

/** One `-t name`: a lower-case letter includes, an upper-case letter excludes. */
export type Clause = { readonly letter: Letter; readonly value: string }

/** What a filter sees of a test. `name` is `fixture[.variant].test`. */
export type Named = {
  readonly name: string
  readonly fixture: string
  readonly variant?: string
  readonly test: string
}

const part = (letter: Letter, { name, fixture, variant = '', test }: Named): string =>
  ({ t: test, f: fixture, v: variant, r: name })[letter.toLowerCase() as 't' | 'f' | 'v' | 'r']

const includes = (letter: Letter): boolean => letter === letter.toLowerCase()

/** The first clause that names the test decides; with exclusions only, the rest is included. */
export const selects = (clauses: readonly Clause[], test: Named): boolean => {
  const first = clauses.find(({ letter, value }) => part(letter, test) === value)
  return first === undefined ? !clauses.some(({ letter }) => includes(letter)) : includes(first.letter)
}

/** A clause that names nothing there is, with the nearest names that exist. */
export type Miss = Clause & { readonly near: readonly string[] }

/** Including clauses that name no test at all: misspelt, or gone. */
export const misses = (clauses: readonly Clause[], tests: readonly Named[]): Miss[] =>
  clauses
    .filter(({ letter }) => includes(letter))
    .map(clause => ({ ...clause, names: [...new Set(tests.map(test => part(clause.letter, test)))] }))
    .filter(({ value, names }) => !names.includes(value))
    .map(({ letter, value, names }) => ({ letter, value, near: near(value, names) }))

/** Up to three of `names` that resemble `value`: those it is part of, or begins like, or few letters away. */
export const near = (value: string, names: readonly string[]): string[] => {
  const far = Math.max(2, Math.floor(value.length / 3))
  return names
    .filter(name => name !== '')
    .map(name => ({
      name,
      steps: (value.length > 3 && name.includes(value)) || beginsLike(value, name) ? 0 : distance(value, name),
    }))
    .filter(({ steps }) => steps <= far)
    .sort((a, b) => a.steps - b.steps || (a.name < b.name ? -1 : 1))
    .slice(0, 3)
    .map(({ name }) => name)
}

const beginsLike = (value: string, name: string): boolean =>
  value.length > 4 && name.startsWith(value.slice(0, Math.ceil((value.length * 2) / 3)))

/** Levenshtein's edit distance. */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    row = next
  }
  return row[b.length]!
}

/** ` (did you mean a, b?)`, or nothing. */
export const suggestion = (names: readonly string[]): string =>
  names.length === 0 ? '' : ` (did you mean ${names.join(', ')}?)`
