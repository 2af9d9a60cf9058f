/** `test` and `fixture`: how a selftest file says what it holds, in kselftest's vocabulary. */
import type { Context } from './context.ts'
import { caller, type Place } from './where.ts'

export type TestOptions = {
  /** Milliseconds; 0 is no limit. The run's own limit if absent. */
  readonly timeout?: number
  /** Guest instructions of all the test's vCPUs together: a limit that ends a test at the same place on any machine. */
  readonly instructions?: number
  readonly tags?: readonly string[]
  /** The test changes something outside of it, and is not run a second time to tell more about how its guest failed. */
  readonly once?: boolean
  /** Why the test is known to fail, kselftest's XFAIL_ADD: for every variant, or by variant. */
  readonly xfail?: string | Readonly<Record<string, string>>
}

type Result = void | Promise<void>
/** Variants by name; each is what setup and tests get as their last argument. */
export type Variants = Readonly<Record<string, object>>
export type VariantOf<V> = [keyof V] extends [never] ? undefined : V[keyof V]

export type FixtureOptions<S, V> = {
  readonly variants?: V
  /** Before each test; what it returns is the test's second argument. Where it fails, test and teardown do not run. */
  setup?(t: Context, variant: VariantOf<V>): S | Promise<S>
  /** After each test, whether it passed or not. What `t` made (TDs, memory) goes by itself. */
  teardown?(t: Context, self: Awaited<S>, variant: VariantOf<V>): Result
}

type Words<B> = {
  (name: string, body: B): void
  (name: string, options: TestOptions, body: B): void
  /** While writing: of the file only such tests run, the others are skipped. Refused in CI. */
  only(name: string, body: B): void
  only(name: string, options: TestOptions, body: B): void
  /** A test yet to be written: skipped. Refused in CI. */
  todo(name: string): void
}

export type Fixture<S, V> = {
  /** A test that runs once for each variant, as `fixture.variant.name`. */
  readonly test: Words<(t: Context, self: Awaited<S>, variant: VariantOf<V>) => Result>
}

/** A test as declared: one of a group (a fixture), not yet multiplied by the variants. */
export type Declared = {
  readonly name: string
  readonly place: Place
  readonly options: TestOptions
  readonly body: (t: Context, self: unknown, variant: unknown) => Result
  /** `left out`: of a file with an `only`, what is none. */
  readonly mark?: Mark | 'left out'
}

type Mark = 'only' | 'todo'

export type Group = {
  readonly fixture: string
  readonly variants: Variants
  readonly tests: Declared[]
  readonly setup: ((t: Context, variant: unknown) => unknown) | undefined
  readonly teardown: ((t: Context, self: unknown, variant: unknown) => Result) | undefined
}

/** kselftest's name for the fixture of a plain TEST. */
const GLOBAL = 'global'

let declaring: Group[] | undefined

/** Runs `load` and returns what the file it loads declares. One at a time. */
export const declared = async (load: () => Promise<unknown>): Promise<readonly Group[]> => {
  if (declaring !== undefined) throw new Error('collect: another file is being collected')
  const groups: Group[] = []
  declaring = groups
  try {
    await load()
  } finally {
    declaring = undefined
  }
  return groups
}

const groups = (what: string): Group[] => {
  if (declaring === undefined)
    throw new Error(`${what}: tests are declared at the top of a test file, not while one runs`)
  return declaring
}

const checkName = (what: string, name: string): void => {
  // kselftest joins the parts with dots, and TAP readers stop at '#' and blanks.
  if (!/^\w[\w-]*$/.test(name)) throw new Error(`${what} '${name}': a name has letters, digits, '_' and '-' only`)
}

const declare = (group: Group, name: string, options: TestOptions, body: Declared['body'], mark?: Mark): void => {
  const where = group.fixture === GLOBAL ? 'test' : `test of ${group.fixture}`
  checkName(where, name)
  groups(where)
  if (mark !== undefined && isCi())
    throw new Error(`${where} '${name}': test.${mark} is for one's own machine; CI is set, and runs everything`)
  if (group.tests.some(test => test.name === name)) throw new Error(`${where} '${name}': declared twice`)
  const xfail = typeof options.xfail === 'object' ? Object.keys(options.xfail) : []
  for (const variant of xfail)
    if (!Object.hasOwn(group.variants, variant))
      throw new Error(`${where} '${name}': xfail names no variant '${variant}'`)
  const place = caller() ?? { path: '', line: 0, column: 0 }
  group.tests.push({ name, place, options, body, ...(mark === undefined ? {} : { mark }) })
}

const withOptions = <B>(options: TestOptions | B, body: B | undefined): [TestOptions, B] =>
  // The overloads say so: with two arguments the second is the body.
  body === undefined ? [{}, options as B] : [options as TestOptions, body]

/** As CI services and most tools have it: set, and neither empty nor off. */
const isCi = (): boolean => !['', '0', 'false', undefined].includes(process.env['CI'])

/** `test` and its relatives for one group; the group is looked up when one is declared. */
const wordsOf = <B extends (t: Context, self: never, variant: never) => Result>(group: () => Group): Words<B> => {
  const say = (mark?: Mark) => (name: string, second: TestOptions | B, third?: B) => {
    const [options, body] = withOptions(second, third)
    // A fixture's values are handed through unread: FixtureOptions has checked that they fit together.
    declare(group(), name, options, body as unknown as Declared['body'], mark)
  }
  const todo = (name: string) => declare(group(), name, {}, () => {}, 'todo')
  return Object.assign(say(), { only: say('only'), todo })
}

/** Declares a test: `test(name, body)` or `test(name, options, body)`. A name is a claim in snake_case. */
export const test: Words<(t: Context) => Result> = wordsOf(() => {
  const all = groups('test')
  let group = all.find(({ fixture }) => fixture === GLOBAL)
  if (group === undefined) {
    group = { fixture: GLOBAL, variants: {}, tests: [], setup: undefined, teardown: undefined }
    all.push(group)
  }
  return group
})

/** Declares a fixture: what several tests start from, once for each variant. */
export const fixture = <S = undefined, const V extends Variants = Record<never, never>>(
  name: string,
  options: FixtureOptions<S, V>,
): Fixture<S, V> => {
  checkName('fixture', name)
  const all = groups('fixture')
  if (name === GLOBAL || all.some(group => group.fixture === name)) throw new Error(`fixture '${name}': declared twice`)
  const variants: Variants = options.variants ?? {}
  for (const variant of Object.keys(variants)) checkName(`variant of ${name}`, variant)
  // From here on a fixture's values are handed through unread: FixtureOptions has checked that they fit together.
  const group = { fixture: name, variants, tests: [], setup: options.setup, teardown: options.teardown } as Group
  all.push(group)
  return { test: wordsOf(() => group) }
}
