/** Sites: the places in a test's source that a guest can report, so that the guest needs a number and no strings. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { TypeName } from './types.ts'

/** The comparing words of an assertion. */
export type Relation = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge'

/**
 * What a site's ucall carries, `args[0]` being the site's number:
 * - `assert`, `expect` (UCALL_ABORT): args[1] = seen, args[2] = want. After `expect` the guest goes on.
 * - `fail` (UCALL_ABORT): nothing more.   - `end` (UCALL_ABORT): the guest ran off its end without saying done.
 * - `sync` (UCALL_SYNC), `printf` (UCALL_PRINTF): args[1..] = the values.   - `done` (UCALL_DONE): nothing more.
 */
export type SiteKind = 'assert' | 'expect' | 'fail' | 'end' | 'sync' | 'printf' | 'done'

export type Site = {
  readonly number: number
  readonly kind: SiteKind
  /** Absolute path, as the compiler or Node has it. */
  readonly file: string
  readonly line: number
  /** 1-based column of the called word, 0 where unknown (C). */
  readonly column: number
  readonly function?: string
  readonly relation?: Relation
  /** Types of the values that travel, in order; u64 where not said. */
  readonly types?: readonly TypeName[]
  readonly message?: string
  /** Format of a `printf` (and of an assertion's message with values). */
  readonly format?: string
  /** The word that was called, where it compares more than two values: its sides are parts of the call's arguments. */
  readonly word?: 'bits' | 'inRange' | 'bytes' | 'match'
  /** The fields that `match` compares; what travels are the values of all of them, then those that are wanted. */
  readonly fields?: readonly string[]
  /** What `bytes` wants; args[1] = address, args[2] = offset of the first byte that differs. */
  readonly bytes?: Uint8Array
  /** Where among the values a string begins, and how many values its bytes take. */
  readonly strings?: Readonly<Record<number, number>>
  /** Values of the format that are pointers to strings: copies of these follow all values, `COPY_WORDS` values each. */
  readonly copies?: readonly number[]
  /** Source text of both sides where it was recorded (C); for TypeScript see `sourceOf`. */
  readonly source?: { readonly seen: string; readonly want: string }
}

/** Values that the copy of a string takes: eight bytes each. */
export const COPY_WORDS = 8

export type Place = Pick<Site, 'file' | 'line' | 'column' | 'function'>

const paths = new Map<string, string>()
const pathOf = (name: string): string => {
  let path = paths.get(name)
  if (path === undefined) {
    path = name.startsWith('file:') ? fileURLToPath(name) : name
    paths.set(name, path)
  }
  return path
}

/** Is the file one of the rooms' own, whose frames no reader of a test wants? */
const isRooms = (path: string): boolean => path.startsWith(ROOMS) && !/\.test\.ts$|\/testdata\//.test(path)
const ROOMS = fileURLToPath(new URL('../', import.meta.url))

/** The innermost place outside of the rooms. Costs microseconds more than `placeOf`. */
export const placeOutside = (): Place => {
  const { prepareStackTrace, stackTraceLimit } = Error
  const holder: { stack?: unknown } = {}
  let place: Place = { file: '', line: 0, column: 0 }
  Error.stackTraceLimit = 30
  Error.prepareStackTrace = (_, frames) => {
    const frame = frames.find(f => {
      const name = f.getFileName()
      return name != null && !name.startsWith('node:') && !isRooms(pathOf(name.replace(/\?.*$/, '')))
    })
    if (frame === undefined) return
    place = {
      file: pathOf((frame.getFileName() ?? '').replace(/\?.*$/, '')),
      line: frame.getLineNumber() ?? 0,
      column: frame.getColumnNumber() ?? 0,
    }
  }
  Error.captureStackTrace(holder, placeOutside)
  void holder.stack
  Error.prepareStackTrace = prepareStackTrace
  Error.stackTraceLimit = stackTraceLimit
  return place
}

/** Where `called` was called from. */
export const placeOf = (called: (...args: never[]) => unknown): Place => {
  const { prepareStackTrace, stackTraceLimit } = Error
  const holder: { stack?: unknown } = {}
  let place: Place = { file: '', line: 0, column: 0 }
  Error.stackTraceLimit = 1
  Error.prepareStackTrace = (_, frames) => {
    const frame = frames[0]
    const name = frame?.getFunctionName()
    place = {
      file: pathOf(frame?.getFileName() ?? ''),
      line: frame?.getLineNumber() ?? 0,
      column: frame?.getColumnNumber() ?? 0,
      ...(name ? { function: name } : {}),
    }
  }
  Error.captureStackTrace(holder, called)
  void holder.stack
  Error.prepareStackTrace = prepareStackTrace
  Error.stackTraceLimit = stackTraceLimit
  return place
}

const texts = new Map<string, readonly string[] | undefined>()
const linesOf = (file: string): readonly string[] | undefined => {
  if (!texts.has(file)) {
    let lines: readonly string[] | undefined
    try {
      lines = readFileSync(file, 'utf8').split('\n')
    } catch {
      // The source is a help to the reader, not needed: it may be gone by now.
    }
    texts.set(file, lines)
  }
  return texts.get(file)
}

const CLOSER: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' }

/** Index after the string, template or comment that begins at `at`, or `at` where none does. */
const skip = (text: string, at: number): number => {
  const c = text[at]
  if (c === '/' && text[at + 1] === '/') return indexAfter(text, '\n', at)
  if (c === '/' && text[at + 1] === '*') return indexAfter(text, '*/', at + 2)
  if (c !== "'" && c !== '"' && c !== '`') return at
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === '\\') i++
    else if (text[i] === c) return i + 1
    else if (c === '`' && text[i] === '$' && text[i + 1] === '{') i = matching(text, i + 1)
  }
  return text.length
}
const indexAfter = (text: string, what: string, from: number): number => {
  const at = text.indexOf(what, from)
  return at < 0 ? text.length : at + what.length
}

/** Index of the bracket that closes the one at `open`. */
const matching = (text: string, open: number): number => {
  const close = CLOSER[text[open]!]
  for (let i = open + 1; i < text.length; ) {
    const next = skip(text, i)
    if (next !== i) i = next
    else if (text[i] === close) return i
    else if (CLOSER[text[i]!] !== undefined) i = matching(text, i) + 1
    else i++
  }
  return text.length
}

/** The texts of the arguments of the call whose `(` is the first one in `text`, white space made single. */
export const argumentsOf = (text: string): string[] => {
  const open = text.indexOf('(')
  if (open < 0) return []
  const end = matching(text, open)
  const found: string[] = []
  let from = open + 1
  for (let i = from; i < end; ) {
    const next = skip(text, i)
    if (next !== i && text[i] === '/') {
      // Of a comment nothing is kept.
      return argumentsOf(text.slice(0, i) + text.slice(next))
    }
    if (next !== i) i = next
    else if (CLOSER[text[i]!] !== undefined) i = matching(text, i) + 1
    else if (text[i] === ',') {
      found.push(text.slice(from, i))
      from = ++i
    } else i++
  }
  if (text.slice(from, end).trim() !== '') found.push(text.slice(from, end))
  return found.map(arg => arg.replace(/\s+/g, ' ').trim())
}

/** Lines of a call that are looked at for its arguments. */
const LONGEST_CALL = 60

/** The texts of the arguments of the call at `site`, as the test's file has them. Undefined where it cannot be read. */
export const writtenAt = (site: Pick<Site, 'file' | 'line' | 'column'>): string[] | undefined => {
  const lines = linesOf(site.file)
  const first = lines?.[site.line - 1]
  if (lines === undefined || first === undefined) return undefined
  const rest = lines.slice(site.line, site.line + LONGEST_CALL)
  return argumentsOf([first.slice(Math.max(0, site.column - 1)), ...rest].join('\n'))
}

/**
 * The source text of both sides of the assertion at `site`: what C recorded, or what the test's file says at the
 * place of the call. Undefined where the source cannot be read.
 */
export const sourceOf = (site: Site): { seen: string; want: string } | undefined => {
  if (site.source !== undefined) return site.source
  const [seen, want, third] = writtenAt(site) ?? []
  if (site.word === 'bits') return { seen: `${seen} & ${want}`, want: third ?? '' }
  if (site.word === 'inRange' && site.relation === 'le') return { seen: seen ?? '', want: third ?? '' }
  return seen === undefined ? undefined : { seen, want: want ?? 'true' }
}
