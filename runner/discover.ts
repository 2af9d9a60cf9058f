/** Finds test files, and what kselftest calls them: a collection and a name. */
import { accessSync, constants, readdirSync, type Stats, statSync } from 'node:fs'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { UsageError } from './errors.ts'
import { near, suggestion } from './filter.ts'

/** A file of tests, as a run knows it. */
export type TestFile = {
  readonly kind: 'selftest' | 'executable'
  /** Absolute. */
  readonly path: string
  /** Relative to the directory of the run, with `/`. */
  readonly file: string
  /** The path of its directory under `selftests/`; files right there form the collection `seamless`. */
  readonly collection: string
  readonly name: string
  /** An executable that is not run by its own path: the words of its command; none if it cannot be run at all. */
  readonly command?: readonly string[]
  /** What is odd about it, said before its output. */
  readonly warning?: string
}

const ROOT = 'selftests'
const TEST_FILE = /_test\.[cm]?[jt]s$/
const MODULE = /\.[cm]?[jt]s$/

/**
 * The test files that `paths` name: files as they are, of directories every `*_test.ts` below. No path means
 * `selftests/`. Sorted, each once. Throws `UsageError`.
 */
export const discover = (cwd: string, paths: readonly string[]): TestFile[] => {
  const found = new Map<string, TestFile>()
  const add = (path: string, kind: TestFile['kind']) => found.set(path, testFile(cwd, path, kind))
  for (const given of paths.length === 0 ? [ROOT] : paths) {
    const path = resolve(cwd, given)
    const stats = statSync(path, { throwIfNoEntry: false })
    if (stats === undefined) throw new UsageError(missing(given, path, paths.length === 0))
    if (!stats.isDirectory()) {
      add(path, kindOf(given, path, stats))
      continue
    }
    const files = testFilesUnder(path)
    if (files.length === 0) throw new UsageError(`${given}: holds no *_test.ts`)
    for (const file of files) add(file, 'selftest')
  }
  return [...found.values()].sort((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : 0))
}

const testFilesUnder = (directory: string): string[] =>
  readdirSync(directory, { withFileTypes: true }).flatMap(entry => {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) return /^(\.|node_modules$)/.test(entry.name) ? [] : testFilesUnder(path)
    return TEST_FILE.test(entry.name) ? [path] : []
  })

const kindOf = (given: string, path: string, stats: Stats): TestFile['kind'] => {
  if (!stats.isFile()) throw new UsageError(`${given}: neither a file nor a directory`)
  if (MODULE.test(path)) return 'selftest'
  try {
    accessSync(path, constants.X_OK)
    return 'executable'
  } catch {
    throw new UsageError(`${given}: neither a test module (.ts, .js) nor an executable`)
  }
}

const missing = (given: string, path: string, isDefault: boolean): string => {
  if (isDefault) return `no ${ROOT}/ here: name the test files or directories to run`
  let siblings: string[] = []
  try {
    siblings = readdirSync(dirname(path))
  } catch {
    // The directory is missing too: nothing resembles.
  }
  const prefix = given.slice(0, given.length - basename(given).length)
  return `${given}: no such file or directory${suggestion(near(basename(path), siblings).map(name => prefix + name))}`
}

/** The run's view of a file: named relative to `cwd`, its collection from the path under the last `selftests/`. */
export const testFile = (cwd: string, path: string, kind: TestFile['kind']): TestFile => {
  const file = relative(cwd, path).split(sep).join('/') || basename(path)
  const parts = dirname(path).split(sep)
  const root = parts.lastIndexOf(ROOT)
  const below = root < 0 ? parts.slice(-1) : parts.slice(root + 1)
  return { kind, path, file, collection: below.join('/') || 'seamless', name: basename(path) }
}
