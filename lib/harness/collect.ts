/** The tests of a file: imports it and multiplies fixtures, variants and tests, in source order. */
import { relative, resolve, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Event, Site, Status } from '#reports'
import { type Declared, declared, type Group } from './test.ts'
import { runTest } from './trial.ts'
import { siteOf } from './where.ts'

export type RunOptions = {
  readonly seed: bigint
  /** Milliseconds, for words; `deadline` decides. */
  readonly timeout: number
  readonly deadline: () => boolean
  /** Guest instructions a test may run that does not say. */
  readonly instructions?: number
  /** What is shown while it runs, see `TRACES`. */
  readonly trace?: readonly string[]
  /** Directory of core files. */
  readonly dump?: string
  emit(event: Event): void
}

export type Outcome = {
  readonly status: Status
  readonly reason?: string
  readonly instructions: number
  /** Another seed may give another interleaving of vCPUs. */
  readonly isInterleaved?: boolean
}

export type CollectedTest = {
  /** kselftest's form: `fixture.variant.test`, `global.test` for a plain one. */
  readonly name: string
  readonly fixture: string
  readonly variant?: string
  readonly test: string
  readonly site: Site
  readonly tags: readonly string[]
  /** Milliseconds. */
  readonly timeout?: number
  run(options: RunOptions): Promise<Outcome>
}

export type Collected = { readonly file: string; readonly tests: readonly CollectedTest[] }

/** How often each file was imported: Node keeps a module by its URL, and a run wants a fresh one. */
const imports = new Map<string, number>()

/** Imports the file and returns its tests: fixtures x variants x tests. Throws what the file throws while it loads. */
export const collect = async (file: string): Promise<Collected> => {
  const path = resolve(file)
  const count = imports.get(path) ?? 0
  imports.set(path, count + 1)
  const url = pathToFileURL(path).href
  const groups = await declared(() => import(count === 0 ? url : `${url}?${count}`))
  const name = relative(process.cwd(), path).split(sep).join('/')
  const hasOnly = groups.some(({ tests }) => tests.some(({ mark }) => mark === 'only'))
  return { file: name, tests: groups.flatMap(group => multiply(name, hasOnly ? onlyMarked(group) : group)) }
}

/** A group in a file where some tests are `only`: the others skip. */
const onlyMarked = (group: Group): Group => ({
  ...group,
  tests: group.tests.map(test => (test.mark === 'only' ? test : { ...test, mark: 'left out' as const })),
})

const skipped = (mark: 'todo' | 'left out'): Outcome => ({
  status: 'skip',
  reason: mark === 'todo' ? 'yet to be written' : 'another test is test.only',
  instructions: 0,
})

const multiply = (file: string, group: Group): CollectedTest[] => {
  const variants = Object.entries(group.variants)
  if (variants.length === 0) return group.tests.map(test => collected(file, group, test, undefined, undefined))
  return variants.flatMap(([name, value]) => group.tests.map(test => collected(file, group, test, name, value)))
}

const collected = (
  file: string,
  group: Group,
  test: Declared,
  variant: string | undefined,
  value: object | undefined,
): CollectedTest => {
  const name = [group.fixture, ...(variant === undefined ? [] : [variant]), test.name].join('.')
  const { timeout, tags = [], xfail } = test.options
  const excused = typeof xfail === 'object' ? xfail[variant ?? ''] : xfail
  return {
    name,
    fixture: group.fixture,
    ...(variant === undefined ? {} : { variant }),
    test: test.name,
    site: siteOf(test.place, test.name),
    tags,
    ...(timeout === undefined ? {} : { timeout }),
    run: async options =>
      test.mark !== undefined && test.mark !== 'only'
        ? skipped(test.mark)
        : runTest({ file, name, group, test, variant: value, xfail: excused }, options),
  }
}
