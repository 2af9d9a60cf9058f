/** Where in a test file something was called: the place a failure points at. */
import { dirname, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Site } from '#reports'

/** A call in a file: `path` is absolute, `column` (from 1) is that of the name called. */
export type Place = {
  readonly path: string
  readonly line: number
  readonly column: number
  readonly function?: string
}

const HERE = dirname(fileURLToPath(import.meta.url))

/** Is the file one of the harness itself, whose frames a reader of a failure does not want? */
const isOurs = (path: string): boolean => dirname(path) === HERE && !path.endsWith('.test.ts')

/** Is the file one of any room below the test's? What a room throws was brought about by the test's own line. */
const isRooms = (path: string): boolean =>
  path.startsWith(`${dirname(HERE)}${sep}`) && !path.endsWith('.test.ts') && !path.includes(`${sep}testdata${sep}`)

const pathOf = (name: string): string => (name.startsWith('file:') ? fileURLToPath(name.replace(/\?.*$/, '')) : name)

/** The innermost caller outside the harness. Costs microseconds: for failures and for registering tests. */
export const caller = (): Place | undefined => innermost(structured(callSites))

/** The same of a stack that `Error.captureStackTrace` took earlier, and that nobody has looked at yet. */
export const callerIn = (holder: object): Place | undefined =>
  innermost(structured(() => (holder as { readonly stack?: readonly NodeJS.CallSite[] }).stack ?? []))

/** The same place in an error that was thrown earlier. */
export const thrower = (error: Error): Place | undefined => {
  for (const line of (error.stack ?? '').split('\n')) {
    const match = /^\s+at (?:(?:async )?(.*?) \()?((?:file:\/\/|\/|[A-Za-z]:\\).*?):(\d+):(\d+)\)?$/.exec(line)
    if (match === null) continue
    const [, name, file = '', row, column] = match
    const path = pathOf(file)
    if (isRooms(path) || path.includes('node_modules')) continue
    return {
      path,
      line: Number(row),
      column: Number(column),
      ...(name === undefined || name === '<anonymous>' ? {} : { function: name }),
    }
  }
  return undefined
}

const innermost = (frames: readonly NodeJS.CallSite[]): Place | undefined => {
  for (const frame of frames) {
    const file = frame.getFileName()
    if (file == null || file.startsWith('node:')) continue
    const path = pathOf(file)
    if (isOurs(path)) continue
    const name = frame.getFunctionName()
    return {
      path,
      line: frame.getLineNumber() ?? 0,
      column: frame.getColumnNumber() ?? 0,
      ...(name === null || name === '' ? {} : { function: name }),
    }
  }
  return undefined
}

const callSites = (): readonly NodeJS.CallSite[] => {
  const holder: { stack?: readonly NodeJS.CallSite[] } = {}
  Error.captureStackTrace(holder, caller)
  return holder.stack ?? []
}

/** Runs `read` while stacks are lists of frames rather than text. */
const structured = <T>(read: () => T): T => {
  const { prepareStackTrace, stackTraceLimit } = Error
  Error.prepareStackTrace = (_error, frames) => frames
  Error.stackTraceLimit = 30
  try {
    return read()
  } finally {
    Error.prepareStackTrace = prepareStackTrace
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** A place as reports show it: relative to the directory of the run. */
export const siteOf = (place: Place, name?: string): Site => ({
  file: relative(process.cwd(), place.path),
  line: place.line,
  column: place.column,
  ...(name === undefined ? {} : { function: name }),
})

/** `file:line` of a guest's code, the file as reports show it. */
export const placeText = ({ file: path, line }: { readonly file: string; readonly line: number }): string =>
  `${siteOf({ path, line, column: 0 }).file}:${line}`
