/** `test` and `fixture`: how a selftest file says what it holds, in kselftest's vocabulary. */
import type { Context } from './context.ts'
import { caller, type Place } from './where.ts'

export type TestOptions = {
  /** Milliseconds; 0 is no limit. The run's own limit if absent. */
  readonly timeout?: number
  readonly tags?: readonly string[]
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

export type Fixture<S, V> = {
  /** A test that runs once for each variant, as `fixture.variant.name`. */
  test(name: string, body: (t: Context, self: Awaited<S>, variant: VariantOf<V>) => Result): void
  test(name: string, options: TestOptions, body: (t: Context, self: Awaited<S>, variant: VariantOf<V>) => Result): void
}

/** A test as declared: one of a group (a fixture), not yet multiplied by the variants. */
export type Declared = {
  readonly name: string
  readonly place: Place
  readonly options: TestOptions
  readonly body: (t: Context, self: unknown, variant: unknown) => Result
}

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

const declare = (group: Group, name: string, options: TestOptions, body: Declared['body']): void => {
  const where = group.fixture === GLOBAL ? 'test' : `test of ${group.fixture}`
  checkName(where, name)
  groups(where)
  if (group.tests.some(test => test.name === name)) throw new Error(`${where} '${name}': declared twice`)
  const xfail = typeof options.xfail === 'object' ? Object.keys(options.xfail) : []
  for (const variant of xfail)
    if (!Object.hasOwn(group.variants, variant))
      throw new Error(`${where} '${name}': xfail names no variant '${variant}'`)
  const place = caller() ?? { path: '', line: 0, column: 0 }
  group.tests.push({ name, place, options, body })
}

const withOptions = <B>(options: TestOptions | B, body: B | undefined): [TestOptions, B] =>
  // The overloads say so: with two arguments the second is the body.
  body === undefined ? [{}, options as B] : [options as TestOptions, body]

type Body = (t: Context) => Result

/** Declares a test: `test(name, body)` or `test(name, options, body)`. A name is a claim in snake_case. */
export function test(name: string, body: Body): void
export function test(name: string, options: TestOptions, body: Body): void
export function test(name: string, second: TestOptions | Body, third?: Body): void {
  const all = groups('test')
  let group = all.find(({ fixture }) => fixture === GLOBAL)
  if (group === undefined) {
    group = { fixture: GLOBAL, variants: {}, tests: [], setup: undefined, teardown: undefined }
    all.push(group)
  }
  declare(group, name, ...withOptions(second, third))
}

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
  type OfTest = (t: Context, self: Awaited<S>, variant: VariantOf<V>) => Result
  return {
    test(testName: string, second: TestOptions | OfTest, third?: OfTest) {
      const [testOptions, body] = withOptions(second, third)
      declare(group, testName, testOptions, body as Declared['body'])
    },
  }
}
