/** The command line: one table of options, read quickly where it is well formed, by yargs where words are needed. */
import { UsageError } from './errors.ts'
import type { Clause, Letter } from './filter.ts'

type Group = 'Which tests' | 'How they run' | 'What you see'

export type Option = {
  readonly name: string
  readonly alias?: string
  /** Word for the value in the help; none for a switch. */
  readonly value?: string
  readonly many?: boolean
  readonly group: Group
  readonly help: string
  /** Told by `seamless help TOPIC` only: the first screen has no room for it. */
  readonly isMore?: boolean
}

const filter = (name: Letter, value: string, help: string): Option => ({
  name,
  value,
  help,
  many: true,
  group: 'Which tests',
})

/** Every option of `seamless [run]`. */
export const OPTIONS: readonly Option[] = [
  filter('t', 'TEST', 'run this test'),
  filter('T', 'TEST', 'leave this test out'),
  filter('f', 'FIXTURE', 'run the tests of this fixture'),
  filter('F', 'FIXTURE', 'leave this fixture out'),
  filter('v', 'VARIANT', 'run this variant'),
  filter('V', 'VARIANT', 'leave this variant out'),
  filter('r', 'NAME', 'run exactly fixture.variant.test'),
  {
    name: 'collection',
    alias: 'c',
    value: 'NAME',
    many: true,
    group: 'Which tests',
    help: 'run the files of this collection',
  },
  {
    name: 'expression',
    alias: 'E',
    value: 'EXPR',
    group: 'Which tests',
    help: "e.g. 'suite(tdx) & tag(slow) - test(/mmio/)'",
  },
  { name: 'rerun-failed', group: 'Which tests', help: 'run what did not pass, or was not reached, last time' },
  { name: 'last', group: 'Which tests', help: 'run what the last run ran', isMore: true },
  { name: 'shard', value: 'M/N', group: 'Which tests', help: 'run part M of N; "auto" asks the CI' },
  { name: 'list', alias: 'l', group: 'Which tests', help: 'list the tests, run none' },
  { name: 'json', group: 'Which tests', help: 'list as JSON', isMore: true },
  { name: 'timeout', value: 'SECONDS', group: 'How they run', help: 'limit of one test [30]; 0 is none' },
  { name: 'slow', value: 'TIME', group: 'How they run', help: 'say so of a test that runs longer [10s]', isMore: true },
  {
    name: 'seed',
    value: 'SEED',
    group: 'How they run',
    help: 'what all chance comes from, or "random" [0x5eed]',
  },
  {
    name: 'explore',
    value: 'N',
    group: 'How they run',
    help: 'try up to N interleavings of vCPUs, until one fails',
    isMore: true,
  },
  {
    name: 'instructions',
    value: 'N',
    group: 'How they run',
    help: 'limit of one test in guest instructions',
    isMore: true,
  },
  { name: 'jobs', alias: 'j', value: 'N', group: 'How they run', help: 'files at a time [one per core]' },
  {
    name: 'retries',
    value: 'N',
    group: 'How they run',
    help: 'run a failed test again, in a clean worker, N times',
  },
  {
    name: 'fail-on-flaky',
    group: 'How they run',
    help: 'a test that passed only when run again fails the run',
    isMore: true,
  },
  { name: 'repeat', value: 'N', group: 'How they run', help: 'run every test N times', isMore: true },
  {
    name: 'stress',
    value: 'TIME',
    group: 'How they run',
    help: 'repeat the tests for so long, e.g. 60s, 5m; one that fails is through',
    isMore: true,
  },
  { name: 'bail', group: 'How they run', help: 'stop at the first failure', isMore: true },
  { name: 'shuffle', group: 'How they run', help: 'run in an order that the seed decides', isMore: true },
  { name: 'watch', group: 'How they run', help: 'then run again what a change touches' },
  {
    name: 'expect',
    value: 'FILE',
    group: 'How they run',
    help: 'tests that have to be there, as --list prints them; a lost one fails',
    isMore: true,
  },
  {
    name: 'history',
    value: 'RECORD',
    group: 'How they run',
    help: 'balance shards by how long files took; the same for all of them',
    isMore: true,
  },
  {
    name: 'profile',
    value: 'NAME',
    group: 'How they run',
    help: 'settings of seamless.config.ts [local; in CI, ci]',
    isMore: true,
  },
  {
    name: 'report',
    value: 'FORMAT[:FILE]',
    many: true,
    group: 'What you see',
    help: 'tap, ktap, tap14, junit, html, summary, github, jsonl, harness or terminal',
  },
  {
    name: 'print-passed',
    value: 'LEVEL',
    group: 'What you see',
    help: 'the same of passed ones',
    isMore: true,
  },
  {
    name: 'print-failed',
    value: 'LEVEL',
    group: 'What you see',
    help: 'output of failed tests: full, stdout, stderr, none',
  },
  { name: 'print-skipped', value: 'LEVEL', group: 'What you see', help: 'the same of skipped ones', isMore: true },
  {
    name: 'record',
    value: 'FILE',
    group: 'What you see',
    help: 'keep the events of the run, or "none" [.seamless/]',
  },
  {
    name: 'trace',
    value: 'WHAT',
    many: true,
    group: 'What you see',
    help: 'exits, tdcalls, seamcalls, ioctls, instructions or memory=FROM-TO',
    isMore: true,
  },
  { name: 'dump', value: 'DIR', group: 'What you see', help: "ELF core files of failed tests' guests", isMore: true },
  { name: 'show-config', group: 'What you see', help: 'show every setting and where it comes from', isMore: true },
  { name: 'help', alias: 'h', group: 'What you see', help: 'show this', isMore: true },
  { name: 'version', group: 'What you see', help: 'show the version', isMore: true },
]

const BY_FLAG = new Map<string, Option>(
  OPTIONS.flatMap(option => {
    const short = option.alias ?? (option.name.length === 1 ? option.name : undefined)
    return [
      ...(option.name.length > 1 ? [[`--${option.name}`, option] as const] : []),
      ...(short === undefined ? [] : [[`-${short}`, option] as const]),
    ]
  }),
)

/** Where settings may stand; the first there is counts. */
export const CONFIG_FILES = ['seamless.config.ts', 'seamless.config.json']

/** A command line taken apart: files, and options in the order given. */
export type CommandLine = {
  readonly files: readonly string[]
  readonly given: readonly Given[]
}

/** An option that is given, and where unless on the command line. */
export type Given = { readonly name: string; readonly value: string; readonly from?: string }

/** Reads a well-formed command line. Undefined if there is anything to say about it: then yargs says it. */
export const read = (argv: readonly string[]): CommandLine | undefined => {
  const files: string[] = []
  const given: { name: string; value: string }[] = []
  const once = new Set<string>()
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!
    if (word === '--') {
      files.push(...argv.slice(i + 1))
      break
    }
    if (word === '-' || !word.startsWith('-')) {
      files.push(word)
      continue
    }
    const equals = word.startsWith('--') ? word.indexOf('=') : -1
    const option = BY_FLAG.get(equals < 0 ? word : word.slice(0, equals))
    if (option === undefined || option.name === 'help') return undefined
    if (option.value !== undefined && !option.many && once.has(option.name)) return undefined
    once.add(option.name)
    if (option.value === undefined) {
      if (equals >= 0) return undefined
      given.push({ name: option.name, value: '' })
      continue
    }
    const value = equals < 0 ? argv[++i] : word.slice(equals + 1)
    if (value === undefined || (equals < 0 && /^-./.test(value))) return undefined
    given.push({ name: option.name, value })
  }
  return { files, given }
}

export const has = (line: CommandLine, name: string): boolean => line.given.some(option => option.name === name)

export const last = (line: CommandLine, name: string): string | undefined =>
  line.given.findLast(option => option.name === name)?.value

export const all = (line: CommandLine, name: string): string[] =>
  line.given.filter(option => option.name === name).map(option => option.value)

/** kselftest_harness.h's letters, in the order given: the first that matches a test decides. */
export const clauses = (line: CommandLine): Clause[] =>
  line.given
    .filter(option => /^[tTfFvVr]$/.test(option.name))
    .map(({ name, value }) => ({ letter: name as Letter, value }))

const TIMES: Readonly<Record<string, number>> = { '': 1000, ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** `60s`, `5m`, `250ms`, or seconds, as milliseconds. Throws `UsageError`. */
export const timeOf = (line: CommandLine, name: string): number | undefined => {
  const text = last(line, name)
  if (text === undefined) return undefined
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)(ms|s|m|h|)$/.exec(text) ?? []
  if (number === undefined) throw new UsageError(`--${name} ${text}: not a time such as 60s, 5m or 1h`)
  return Number(number) * TIMES[unit]!
}

/** A number of an option. Throws `UsageError`. */
export const numberOf = (line: CommandLine, name: string, least: number): number | undefined => {
  const text = last(line, name)
  if (text === undefined) return undefined
  const number = Number(text)
  if (!/^\d+(\.\d+)?$/.test(text) || number < least)
    throw new UsageError(`--${name} ${text}: not a number${least > 0 ? ` of at least ${least}` : ''}`)
  return number
}
