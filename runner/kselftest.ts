/** `seamless run_kselftest`: run_kselftest.sh over an installed kselftest tree, option for option. */
import {
  accessSync,
  appendFileSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { COMPATS, type Compat, closing, EVENTS_VERSION, type Event, isOk, kselftestReport, type Write } from '#reports'
import type { TestFile } from './discover.ts'
import { EXIT_INTERRUPTED, messageOf, UsageError } from './errors.ts'
import { testEnvironment } from './executable.ts'
import { Pool } from './pool.ts'
import { run } from './run.ts'
import { DEFAULT_SEED } from './seed.ts'

const USAGE = `Usage: run_kselftest [OPTIONS]
  -s | --summary                Print summary with detailed log in output.log
  -p | --per-test-log [DIR]     Print test log in /tmp or DIR with each test name
  -t | --test COLLECTION:TEST   Run TEST from COLLECTION
  -S | --skip COLLECTION:TEST   Skip TEST from COLLECTION
  -c | --collection COLLECTION  Run all tests from COLLECTION
  -l | --list                   List the available collection:test entries
  -d | --dry-run                Don't actually run any tests
  -f | --no-error-on-fail       Don't exit with an error just because tests failed
  -n | --netns                  Run each test in namespace
  -o | --override-timeout N     Number of seconds after which we timeout
  -h | --help                   Show this usage
  --root DIR                    The installed tree [.]
  --compat ${COMPATS.join('|')}       Print what that release's script prints [the tree's own]
  --jobs N                      Tests of a collection at a time [1; with -n one per core]
`

type Entry = { readonly collection: string; readonly name: string }

type Asked = {
  root: string
  compat: Compat
  jobs: number | undefined
  log: 'none' | 'summary' | { directory: string }
  tests: string[]
  skips: string[]
  collections: string[]
  list: boolean
  dry: boolean
  lenient: boolean
  netns: boolean
  /** Seconds. */
  timeout: number | undefined
}

export const runKselftest = async (argv: readonly string[]): Promise<number> => {
  const asked = read(argv)
  if (asked === undefined) {
    process.stdout.write(USAGE)
    return 0
  }
  const available = readList(asked.root)
  if (asked.list) {
    process.stdout.write(available.map(line => `${line}\n`).join(''))
    return 0
  }
  const entries = inRunOrder(choose(available, asked))
  if (asked.dry) {
    process.stdout.write(dryRun(entries, asked))
    return 0
  }
  return await start(entries, asked)
}

/** From 7.1 on the script prints plan and totals all the same, and comes back from each directory. */
const dryRun = (entries: readonly Entry[], { compat, root }: Asked): string => {
  let text = ''
  const write: Write = more => {
    text += more
  }
  const { event } = kselftestReport(write, { compat, plans: new Map() })
  const files = entries.map(({ collection, name }) => `${collection}/${name}`)
  event({ type: 'run', version: EVENTS_VERSION, seed: DEFAULT_SEED, files, time: 0 })
  for (const [collection, tests] of byCollection(entries)) {
    write(`cd ${collection}\nrun_many ${tests.map(test => test.name).join(' ')}\n`)
    if (compat === '7.1') write(`cd ${root}\n`)
  }
  event({ type: 'run-end', interrupted: false, duration: 0, time: 0 })
  return text
}

/** Reads the command line; undefined asks for the usage. Throws `UsageError`. */
const read = (argv: readonly string[]): Asked | undefined => {
  const asked: Asked = {
    root: '.',
    compat: '7.1',
    jobs: undefined,
    log: 'none',
    tests: [],
    skips: [],
    collections: [],
    list: false,
    dry: false,
    lenient: false,
    netns: false,
    timeout: undefined,
  }
  let compat: Compat | undefined
  for (let i = 0; i < argv.length; i++) {
    const option = argv[i]!
    const value = (): string => {
      const text = argv[++i]
      if (text === undefined) throw new UsageError(`run_kselftest: option ${option} needs a value`)
      return text
    }
    const number = (): number => {
      const text = value()
      if (!/^\d+$/.test(text)) throw new UsageError(`run_kselftest: ${option} ${text}: not a number`)
      return Number(text)
    }
    if (option === '-s' || option === '--summary') asked.log = 'summary'
    else if (option === '-p' || option === '--per-test-log') {
      const next = argv[i + 1]
      asked.log = { directory: next === undefined || next.startsWith('-') ? '/tmp' : value() }
    } else if (option === '-t' || option === '--test') asked.tests.push(value())
    else if (option === '-S' || option === '--skip') asked.skips.push(value())
    else if (option === '-c' || option === '--collection') asked.collections.push(value())
    else if (option === '-l' || option === '--list') asked.list = true
    else if (option === '-d' || option === '--dry-run') asked.dry = true
    else if (option === '-f' || option === '--no-error-on-fail') asked.lenient = true
    else if (option === '-n' || option === '--netns') asked.netns = true
    else if (option === '-o' || option === '--override-timeout') asked.timeout = number()
    else if (option === '--root') asked.root = value()
    else if (option === '--jobs') asked.jobs = Math.max(1, number())
    else if (option === '--compat') compat = compatOf(value())
    else if (option === '-h' || option === '--help') return undefined
    else throw new UsageError(`run_kselftest: unknown option ${option}\n${USAGE.trimEnd()}`, 1)
  }
  asked.root = resolve(asked.root)
  asked.compat = compat ?? ownCompat(asked.root)
  return asked
}

/**
 * What the tree's own scripts would print: the newest, unless they are older. 6.12's own, whose exit status is 0 whatever
 * fails, has to be asked for.
 */
const ownCompat = (root: string): Compat => {
  try {
    return readFileSync(join(root, 'kselftest/runner.sh'), 'utf8').includes('ktap_') ? '7.1' : '6.19'
  } catch {
    return '7.1'
  }
}

const compatOf = (text: string): Compat => {
  const compat = COMPATS.find(compat => compat === text)
  if (compat === undefined) throw new UsageError(`run_kselftest: --compat ${text}: not one of ${COMPATS.join(', ')}`)
  return compat
}

const readList = (root: string): string[] => {
  try {
    const lines = readFileSync(join(root, 'kselftest-list.txt'), 'utf8').split('\n')
    return lines.filter(line => line.trim() !== '')
  } catch (error) {
    throw new UsageError(`run_kselftest: no list of tests: ${messageOf(error)}`, 1)
  }
}

/** A basic regular expression of grep(1) as JavaScript's: there `+ ? | ( ) { }` mean themselves unless escaped. */
export const basic = (pattern: string): RegExp => {
  const swapped = pattern.replace(/\[\^?\]?[^\]]*\]|\\(.)|[+?|(){}]/g, (all, escaped?: string) => {
    if (all.startsWith('[')) return all.replace(/\\/g, '\\\\')
    if (escaped === undefined) return `\\${all}`
    return /[+?|(){}]/.test(escaped) ? escaped : all
  })
  try {
    return new RegExp(swapped)
  } catch (error) {
    throw new UsageError(`run_kselftest: ${messageOf(error)}`)
  }
}

const choose = (available: readonly string[], { tests, skips, collections }: Asked): Entry[] => {
  const chosen: string[] = []
  for (const test of tests) {
    const found = available.filter(line => basic(`^${test}$`).test(line))
    if (found.length === 0) throw new UsageError(`No such test '${test}'`, 1)
    chosen.push(...found)
  }
  for (const collection of collections) {
    const found = available.filter(line => basic(`^${collection}:`).test(line))
    if (found.length === 0) throw new UsageError(`No such collection '${collection}'`, 1)
    chosen.push(...found)
  }
  const wanted = collections.length + tests.length === 0 ? available : chosen
  const skip = skips.map(pattern => basic(`^${pattern}$`))
  return wanted
    .filter(line => !skip.some(one => one.test(line)))
    .map(line => {
      const colon = line.indexOf(':')
      return { collection: line.slice(0, colon), name: line.slice(colon + 1).split(':', 1)[0] ?? '' }
    })
}

const byCollection = (entries: readonly Entry[]): Map<string, Entry[]> => {
  const collections = new Map<string, Entry[]>()
  for (const entry of entries) {
    const tests = collections.get(entry.collection)
    if (tests === undefined) collections.set(entry.collection, [entry])
    else tests.push(entry)
  }
  return collections
}

/** Collections as sort(1) has them, tests in the order of the list. */
const inRunOrder = (entries: readonly Entry[]): Entry[] =>
  [...byCollection(entries)].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, tests]) => tests)

const start = async (entries: readonly Entry[], asked: Asked): Promise<number> => {
  const plans = new Map([...byCollection(entries)].map(([collection, tests]) => [collection, tests.length]))
  const toOutput: Write = text => {
    process.stdout.write(text)
  }
  const logs = new Logs(asked)
  const report = kselftestReport(toOutput, { compat: asked.compat, plans, ...(logs.open && { log: logs.open }) })
  const stop = new AbortController()
  const onSignal = () => stop.abort('interrupted')
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  const seen = new Map<string, number>()
  const parts = entries.map(entry => ({ file: fileOf(asked, entry, seen) }))
  let failed = false
  let collection = ''
  await run(
    new Pool(asked.jobs ?? (asked.netns ? 4 : 1)),
    parts,
    {
      seed: DEFAULT_SEED,
      timeout: 0,
      grace: 2000,
      slow: 0,
      retries: 0,
      repeat: 1,
      jobs: 1,
      again: [],
      executable: {
        grace: 2000,
        xfail: asked.compat === '7.1',
        environment: testEnvironment(process.env),
        saysLimit: true,
        netns: asked.netns,
        ...(asked.timeout === undefined ? {} : { timeout: asked.timeout * 1000 }),
      },
    },
    closing((event: Event) => {
      if (event.type === 'file' && event.collection !== collection) {
        collection = event.collection
        announce(collection)
      }
      if (event.type === 'file-end' && !isOk(event.status)) failed = true
      report.event(event)
    }),
    stop.signal,
  )
  logs.close()
  if (stop.signal.aborted) return EXIT_INTERRUPTED
  return failed && !asked.lenient && asked.compat !== '6.12' ? 1 : 0
}

/** The kernel's log says which collection ran when something happened. */
const announce = (collection: string): void => {
  try {
    accessSync('/dev/kmsg', constants.W_OK)
    appendFileSync('/dev/kmsg', `kselftest: Running tests in ${collection}\n`)
  } catch {
    // Nobody but root may.
  }
}

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** How a test of the list is run: itself, by its collection's ksft_runner.sh, or by the interpreter of its first line. */
const fileOf = ({ root }: Asked, { collection, name }: Entry, seen: Map<string, number>): TestFile => {
  const directory = join(root, collection)
  const path = join(directory, name)
  const key = `${collection}/${name}`
  const times = (seen.get(key) ?? 0) + 1
  seen.set(key, times)
  const file: TestFile = {
    kind: 'executable',
    path,
    file: times === 1 ? key : `${key} (${times})`,
    collection,
    name: name.slice(name.lastIndexOf('/') + 1),
  }
  if (isExecutable(path)) return file
  let head: string
  try {
    head = readFileSync(path, { encoding: 'latin1' }).slice(0, 4096)
  } catch {
    return { ...file, warning: `Warning: file ${name} is missing!`, command: [] }
  }
  if (isExecutable(join(directory, 'ksft_runner.sh')))
    return { ...file, command: ['./ksft_runner.sh', `./${file.name}`] }
  const warning = `Warning: file ${name} is not executable`
  const interpreter = /^#!\s*(.*)/.exec(head)?.[1]?.trim().split(/\s+/)
  return { ...file, warning, command: interpreter === undefined ? [] : [...interpreter, `./${file.name}`] }
}

/** Where output goes with -s and -p. */
class Logs {
  readonly open: ((test: Entry) => Write) | undefined
  readonly #fds: number[] = []

  constructor({ root, log }: Asked) {
    if (log === 'none') return
    if (log === 'summary') {
      const path = join(root, 'output.log')
      const fd = this.#create(path)
      this.open = () => text => appendFileSync(fd, text)
      return
    }
    const { directory } = log
    if (directory !== '/tmp') mkdirSync(directory, { recursive: true })
    // Two collections may have a test of one name: upstream's second log is written over the first.
    const owners = new Map<string, string>()
    this.open = ({ collection, name }) => {
      const owner = owners.get(name) ?? collection
      owners.set(name, owner)
      const path = join(directory, owner === collection ? name : `${name}.${collection.replaceAll('/', '-')}`)
      writeFileSync(path, '')
      return text => appendFileSync(path, text)
    }
  }

  close(): void {
    for (const fd of this.#fds) closeSync(fd)
  }

  #create(path: string): number {
    try {
      const fd = openSync(path, 'w')
      this.#fds.push(fd)
      return fd
    } catch (error) {
      throw new UsageError(`run_kselftest: ${messageOf(error)}`)
    }
  }
}
