/**
 * Which answers of the TDX module, of GHCI and of KVM have code and are met by a test, and by which: docs/coverage-abi.md.
 * Runs the unit tests of tdx, kvm and harness and all selftests with SEAMLESS_COVERAGE, and joins what they met with the
 * tables in lib/abi. `--from DIR` takes what an earlier run left there instead.
 */
import { spawnSync } from 'node:child_process'
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as abi from './abi/index.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What was met: by name, then by answer, the files that met it. */
export type Met = ReadonlyMap<string, ReadonlyMap<string, ReadonlySet<string>>>

export const parse = (lines: readonly string[]): Met => {
  const met = new Map<string, Map<string, Set<string>>>()
  for (const line of lines) {
    const [by, what, answer] = line.split('\t')
    // A worker that began with an image has no name before its first test.
    if (by === undefined || by === '' || what === undefined || answer === undefined) continue
    const answers = met.get(what) ?? new Map<string, Set<string>>()
    met.set(what, answers)
    const files = answers.get(answer) ?? new Set<string>()
    answers.set(answer, files)
    files.add(by)
  }
  return met
}

/** A row of the page: an answer that the interface has, whether there is code for it, and the tests that meet it. */
export type Row = {
  readonly what: string
  readonly answer: string
  /** Why there is no code, where there is none. */
  readonly gap: string | undefined
  readonly by: readonly string[]
}

const sources = (pattern: string): string =>
  globSync(pattern, { cwd: root })
    .filter(file => !file.endsWith('.test.ts') && !file.includes('testdata'))
    .map(file => readFileSync(join(root, file), 'utf8'))
    .join('\n')

/** Statuses of what no TD here has, by leaf and status: why there is none to meet. */
const ABSENT: readonly (readonly [RegExp, string])[] = [
  [/L2_|PAGE_ATTR_INVALID|GLA_NOT_CANONICAL|TD_EXIT_|PENDING_INTERRUPT|vm_id|^TDG\.VP\.(INVVPID|ENTER)/, 'L2 VMs'],
  [/SERVTD|TARGET_UUID|CROSS_TD/, 'service TDs'],
  [/^TDH\.MEM\.SEPT\.ADD TDX_INTERRUPTED/, 'L2 VMs: between their tables only'],
  [/CORRUPTED_MD/, 'a TDR whose SEAMDB nonce is not as the module wrote it, which a host cannot bring about'],
  [/^TDH\.(MEM\.RD|MEM\.WR|MR\.EXTEND) TDX_EPT_WALK_FAILED/, 'the module makes it TDX_EPT_ENTRY_NOT_PRESENT'],
  [/^TDH\.VP\.ENTER TDX_NON_RECOVERABLE_TD$/, 'a CPU that will not enter a TD which no debugger has touched'],
]

const absence = (text: string): string | undefined => ABSENT.find(([word]) => word.test(text))?.[1]

const leafName = (constant: string): string => constant.replaceAll('_', '.')
const nameOfFile = (constant: string): string => constant.toLowerCase().replaceAll('_', '.')

const matches = (answer: string, status: string, operand: string | undefined): boolean => {
  if (operand === undefined) return answer === status || answer.startsWith(`${status} |`)
  if (operand in abi.OPERAND_ID) return answer === `${status} | ${operand}`
  return answer.startsWith(status)
}

const metBy = (met: Met, what: string, isIt: (answer: string) => boolean): string[] => {
  const files = new Set<string>()
  for (const [answer, by] of met.get(what) ?? []) if (isIt(answer)) for (const file of by) files.add(file)
  return [...files].sort()
}

/** Rows of one kind of leaf: success, the statuses of its source, and those of its operands. */
const leafRows = (met: Met, prefix: 'TDH_' | 'TDG_'): Row[] => {
  const shared = sources('lib/tdx/{*,metadata/*,guest/*}.ts')
  const files = sources(prefix === 'TDH_' ? 'lib/tdx/seamcall/index.ts' : 'lib/tdx/tdcall/index.ts')
  const rows: Row[] = []
  for (const constant of Object.keys(abi).filter(name => name.startsWith(prefix))) {
    const what = leafName(constant)
    const isBuilt = files.includes(`./${nameOfFile(constant)}.ts'`)
    const own = isBuilt ? sources(`lib/tdx/{seamcall,tdcall}/${nameOfFile(constant)}.ts`) : ''
    const missing = `NotModelled: ${what}`
    const add = (status: string, operand?: string) => {
      const by = metBy(met, what, answer => matches(answer, status, operand))
      const answer = operand === undefined ? status : `${status} | ${operand}`
      const has = isBuilt && (by.length > 0 || own.includes(status) || shared.includes(status))
      const gap = !isBuilt
        ? missing
        : by.length > 0
          ? undefined
          : (absence(`${what} ${answer}`) ?? (has ? undefined : 'no code'))
      rows.push({ what, answer, gap, by })
    }
    add(prefix === 'TDG_' && constant === 'TDG_VP_VMCALL' ? 'TD exit, done' : 'TDX_SUCCESS')
    for (const [status, operand] of abi.LEAF_STATUSES[constant] ?? []) add(status, operand)
    if (prefix === 'TDH_' && isBuilt && /\.checkState\(/.test(own + (constant === 'TDH_MEM_WR' ? '.checkState(' : '')))
      for (const status of abi.TD_STATE_STATUSES) add(status)
    if (prefix === 'TDH_' && isBuilt && /module\.(td|vcpu)\(|page\(|freePage\(/.test(own))
      for (const status of abi.PAGE_STATUSES) add(status)
  }
  return unique(rows)
}

const unique = (rows: readonly Row[]): Row[] => {
  const keys = new Set<string>()
  return rows.filter(({ what, answer }) => {
    const key = `${what}\t${answer}`
    return !keys.has(key) && keys.add(key)
  })
}

const GHCI = abi as unknown as Readonly<Record<string, number | bigint>>

const vmcallRows = (met: Met): Row[] =>
  Object.entries(abi.VMCALL_STATUSES).flatMap(([name, statuses]) =>
    statuses.map(status => {
      const wanted = status === 'asked' ? status : `${GHCI[`TDVMCALL_STATUS_${status}`]}`
      const by = metBy(met, `VMCALL ${GHCI[`TDVMCALL_${name}`]}`, answer => answer === wanted)
      return { what: name, answer: status === 'asked' ? 'ends the run' : status, gap: undefined, by }
    }),
  )

const ioctlRows = (met: Met): Row[] => {
  const code = sources('lib/kvm/**/*.ts')
  return Object.entries(abi.IOCTL_ERRNOS).flatMap(([what, errnos]) =>
    // Its commands are rows of their own.
    [...(what === 'KVM_MEMORY_ENCRYPT_OP' ? [] : ['done']), ...errnos].map(answer => {
      const by = metBy(met, what, seen => seen === answer)
      const isRefused = answer === 'done' && by.length === 0 && errnos.length === 1
      const gap = by.length > 0 || code.includes(what) || what.startsWith('KVM_TDX_') ? undefined : 'no code'
      return {
        what,
        answer,
        gap: isRefused ? (gap ?? (what === 'KVM_SMI' ? 'no VM has system management mode' : 'a TD is refused')) : gap,
        by,
      }
    }),
  )
}

/** The rows of all sections, by title. */
export const rowsOf = (met: Met): ReadonlyMap<string, readonly Row[]> =>
  new Map([
    ['SEAMCALL leaves, by completion status', leafRows(met, 'TDH_')],
    ['TDCALL leaves, by completion status', leafRows(met, 'TDG_')],
    ['TDG.VP.VMCALL sub-functions, by status in R10', vmcallRows(met)],
    ['ioctls, by errno', ioctlRows(met)],
  ])

const state = ({ gap, by }: Row): 'met' | 'left out' | 'not met' =>
  by.length > 0 ? 'met' : gap === undefined ? 'not met' : 'left out'

/** Two files by name, the others by their number. */
const shownBy = ({ by, gap }: Row): string => {
  if (by.length === 0) return gap === undefined ? '**no test**' : `– ${gap}`
  const first = by.slice(0, 2).map(file => `\`${file}\``)
  return by.length > 2 ? `${first.join(', ')} and ${by.length - 2} more` : first.join(', ')
}

export const page = (sections: ReadonlyMap<string, readonly Row[]>): string => {
  const out = [
    '# Coverage of the ABI',
    '',
    'Every answer that the specifications give an interface, and the tests that meet it. Made by `make coverage-abi` from a run',
    'of the unit tests and selftests; an answer without a test is bold, one that is left out says why.',
    '',
    '| | answers | met by a test | left out | no test |',
    '|---|---|---|---|---|',
    ...[...sections].map(([title, rows]) => {
      const count = (wanted: ReturnType<typeof state>) => rows.filter(row => state(row) === wanted).length
      return `| ${title} | ${rows.length} | ${count('met')} | ${count('left out')} | ${count('not met')} |`
    }),
    '',
  ]
  for (const [title, rows] of sections) {
    out.push(`## ${title}`, '', '| | answer | met by |', '|---|---|---|')
    let last = ''
    for (const row of rows) {
      const what = row.what === last ? '' : row.what
      last = row.what
      out.push(`| ${what} | ${row.answer.replaceAll('|', '\\|')} | ${shownBy(row)} |`)
    }
    out.push('')
  }
  return `${out.join('\n').trimEnd()}\n`
}

const record = (directory: string): void => {
  const env = { ...process.env, SEAMLESS_COVERAGE: directory }
  const go = (...args: string[]) => {
    const { status } = spawnSync(process.execPath, args, { cwd: root, env, stdio: ['ignore', 'ignore', 'inherit'] })
    if (status !== 0) process.stderr.write(`coverage-abi: node ${args.join(' ')}: ends with ${status}\n`)
  }
  for (const file of globSync('lib/{tdx,kvm,harness}/**/*.test.ts', { cwd: root }).sort()) go(file)
  go('runner/seamless.js', 'run', '--record', 'none')
}

const main = (): void => {
  const from = process.argv[2] === '--from' ? process.argv[3] : undefined
  const directory = from ?? mkdtempSync(join(tmpdir(), 'coverage-abi-'))
  if (from === undefined) record(directory)
  const lines = readdirSync(directory).flatMap(file => readFileSync(join(directory, file), 'utf8').split('\n'))
  if (from === undefined) rmSync(directory, { recursive: true })
  const text = page(rowsOf(parse(lines)))
  writeFileSync(join(root, 'docs/coverage-abi.md'), text)
  process.stdout.write(`${text.slice(0, text.indexOf('\n## ')).trim()}\n`)
  process.stdout.write(
    `\n${text.split('\n').filter(line => line.includes('**no test**')).length} answers without a test; docs/coverage-abi.md\n`,
  )
}

if (import.meta.main) main()
