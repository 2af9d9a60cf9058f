/** The one place that turns a failure into text: what, where, with which values, what led there, how to see it again. */
import { type DiffLine, differenceOf, markLine } from './diff.ts'
import type { Failure, Site, Step } from './events.ts'
import { quoted } from './text.ts'

/** What it takes to repeat the test: its file, its name, the run's seed, and options that change what a test does. */
export type Again = {
  readonly file: string
  readonly test?: string
  readonly seed: string
  readonly options?: readonly string[]
  /** Where the test stands, for a failure that has no place of its own. */
  readonly site?: Site | undefined
}

const SIGNS: Readonly<Record<string, string>> = {
  eq: '==',
  ne: '!=',
  lt: '<',
  le: '<=',
  gt: '>',
  ge: '>=',
  bytes: '==',
  inRange: 'in',
  match: 'matches',
}

/** Colours, for a report whose reader has them. */
export type Paint = (style: 'red' | 'green' | 'inverse', text: string) => string

/**
 * A failure as lines without prefix, as kselftest_harness.h words it (`file:line:test:Expected 1 (1) == a (2)`) with
 * the guest's and the host's side beneath. `test` names the function where the site does not.
 */
export const failureLines = (failure: Failure, again: Again, paint?: Paint): string[] => {
  const out = [...headline(failure, again, paint)]
  const { guest, host, steps } = failure
  if (guest !== undefined) {
    const count = `${guest.instructions} instruction${guest.instructions === 1 ? '' : 's'} in`
    out.push(`  guest  vCPU ${guest.vcpu}, RIP ${guest.rip}, ${count}`)
    out.push(...guest.notes.map(note => `         ${note}`))
  } else if (steps.length > 0) out.push('  guest')
  out.push(...stepLines(steps).map(line => `         ${line}`))
  if (host !== undefined) {
    const where = [host.site && place(host.site), host.waiting && `waiting for ${host.waiting}`]
    const said = where.filter(part => part !== undefined && part !== '')
    if (said.length > 0) out.push(`  host   ${said.join(', ')}`)
  }
  for (const line of failure.stack?.split('\n') ?? []) if (line.trim() !== '') out.push(`  stack  ${line.trim()}`)
  out.push(`  again  ${againCommand(failure.seed === undefined ? again : { ...again, seed: failure.seed })}`)
  return out
}

/** The command that repeats a test exactly. */
export const againCommand = ({ file, test, seed, options = [] }: Again): string =>
  ['seamless', file, ...(test === undefined ? [] : ['-r', test]), '--seed', seed, ...options].map(quoted).join(' ')

const place = (site: Site): string => `${site.file}:${site.line}`

const headline = (failure: Failure, { test, site: testSite }: Again, paint?: Paint): string[] => {
  const { site = testSite, comparison } = failure
  const name = site?.function ?? test?.slice(test.lastIndexOf('.') + 1)
  const at = [site && place(site), name].filter(part => part !== undefined && part !== '').join(':')
  const first = at === '' ? '' : `${at}:`
  if (comparison === undefined) return `${first}${failure.message}`.split('\n')
  const { op, seen, want } = comparison
  const message = failure.message === '' ? [] : failure.message.split('\n').map(line => `  ${line}`)
  if (seen.value.includes('\n') || want.value.includes('\n'))
    return [`${first}Expected ${sides(op, seen.source, want.source)}`, ...message, ...diffLines(want, seen, paint)]
  // kselftest's order is (expected, seen); an ordering reads as it was asserted: seen < limit.
  const [left, right] = ASSERTED.has(op) ? [seen, want] : [want, seen]
  return [`${first}Expected ${valued(left)} ${SIGNS[op] ?? op} ${valued(right)}`, ...message]
}

const sides = (op: string, seen: string, want: string): string =>
  ASSERTED.has(op) ? `${seen} ${SIGNS[op] ?? op} ${want}` : `${want} ${SIGNS[op] ?? op} ${seen}`

const valued = ({ source, value }: { source: string; value: string }): string =>
  source === value || source === '' ? value : `${source} (${value})`

/** Words that read in the order (seen, want). */
const ASSERTED = new Set(['lt', 'le', 'gt', 'ge', 'inRange', 'match'])

type Side = { readonly source: string; readonly value: string }

const diffLines = (want: Side, seen: Side, paint?: Paint): string[] => {
  const out = [`  - ${want.source}`, `  + ${seen.source}`]
  for (const line of differenceOf(want.value, seen.value)) {
    out.push(paint === undefined ? `  ${line.sign} ${line.text}`.trimEnd() : painted(line, paint))
    if (paint === undefined && line.sign === '+' && line.marks.length > 0) out.push(`    ${markLine(line)}`)
  }
  return out
}

const painted = ({ sign, text, marks }: DiffLine, paint: Paint): string => {
  if (sign === ' ') return `    ${text}`
  let out = ''
  let at = 0
  for (const [from, to] of marks) {
    out += text.slice(at, from) + paint('inverse', text.slice(from, to))
    at = to
  }
  return paint(sign === '-' ? 'red' : 'green', `  ${sign} ${out}${text.slice(at)}`)
}

/** The exits that led there in columns, oldest first: `KVM_EXIT_IO  out  port 0x32  2 bytes  0xabcd`. */
const stepLines = (steps: readonly Step[]): string[] => {
  const several = new Set(steps.map(step => step.vcpu)).size > 1
  const rows = steps.map(step => [
    ...(several ? [`vCPU ${step.vcpu}`] : []),
    step.name,
    ...Object.entries(step.fields).map(([key, value]) => cell(key, value)),
  ])
  const widths: number[] = []
  for (const row of rows)
    row.forEach((text, i) => {
      widths[i] = Math.max(widths[i] ?? 0, text.length)
    })
  return rows.map(row =>
    row
      .map((text, i) => text.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

/** Fields whose value says enough alone. */
const BARE = new Set(['direction', 'data', 'name', 'text'])

const cell = (key: string, value: string | number): string => {
  if (BARE.has(key)) return String(value)
  if (key === 'size' || key === 'length') return `${value} byte${Number(value) === 1 ? '' : 's'}`
  return `${key} ${value}`
}
