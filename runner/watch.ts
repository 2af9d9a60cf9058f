/** `--watch`: runs, then runs again what a change touches: a test file, or any source it imports. */
import { spawn } from 'node:child_process'
import { existsSync, type FSWatcher, readFileSync, watch as watchDirectory } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { discover, type TestFile } from './discover.ts'
import { CONFIG_FILES, type CommandLine, OPTIONS } from './options.ts'

const IMPORT = /(?:^|[\s;}])(?:import|export)\b(?:[^'"`;]*?\bfrom)?\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/g

/** Changes come in flocks: an editor writes several files, or one in several steps. */
const SETTLING = 100

/** `imports` of the package that `directory` is in, and where that is. */
const packageOf = (directory: string): { root: string; imports: Readonly<Record<string, unknown>> } => {
  for (let root = directory; ; root = dirname(root)) {
    const path = join(root, 'package.json')
    if (existsSync(path)) return { root, imports: JSON.parse(readFileSync(path, 'utf8')).imports ?? {} }
    if (dirname(root) === root) return { root, imports: {} }
  }
}

/** What `file` imports of ours, as paths. Node's modules and packages do not change while one works. */
const importsOf = (file: string): string[] => {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return []
  }
  return [...text.matchAll(IMPORT)].flatMap(([, first, second]) => {
    const name = first ?? second ?? ''
    if (name.startsWith('.')) return [resolve(dirname(file), name)]
    if (!name.startsWith('#')) return []
    const { root, imports } = packageOf(dirname(file))
    const target = imports[name]
    return typeof target === 'string' ? [resolve(root, target)] : []
  })
}

/** A file and all that it imports, directly or through others. */
export const reach = (file: string, imports = importsOf): Set<string> => {
  const found = new Set([file])
  for (const one of found) for (const next of imports(one)) found.add(next)
  return found
}

/** An importsOf that reads each file once. */
const remembering = (): typeof importsOf => {
  const known = new Map<string, string[]>()
  return file => {
    const imports = known.get(file) ?? importsOf(file)
    known.set(file, imports)
    return imports
  }
}

/** The test files that a change of `changed` touches; all, if the configuration changed. */
export const touched = (files: readonly TestFile[], changed: ReadonlySet<string>, cwd: string): readonly TestFile[] => {
  const settings = [...CONFIG_FILES, 'package.json'].map(name => join(cwd, name))
  if (settings.some(path => changed.has(path))) return files
  const imports = remembering()
  return files.filter(({ path }) => [...reach(path, imports)].some(one => changed.has(one)))
}

/** The command line's options again, without files, and without this one. */
const optionsOf = (line: CommandLine): string[] =>
  line.given.flatMap(({ name, value, from }) => {
    if (from !== undefined || name === 'watch') return []
    const flag = name.length === 1 ? `-${name}` : `--${name}`
    return OPTIONS.find(option => option.name === name)?.value === undefined ? [flag] : [flag, value]
  })

const say = (text: string): void => {
  process.stderr.write(`seamless: ${text}\n`)
}

/** Runs until it is interrupted. */
export const watch = async (line: CommandLine): Promise<never> => {
  const cwd = process.cwd()
  const watchers = new Map<string, FSWatcher>()
  const changed = new Set<string>()
  let wake = (): void => {}
  const look = (files: readonly TestFile[]): void => {
    const imports = remembering()
    const paths = files.flatMap(({ path }) => [...reach(path, imports)])
    for (const directory of new Set([cwd, ...paths.map(path => dirname(path))])) {
      if (watchers.has(directory) || !existsSync(directory)) continue
      const watcher = watchDirectory(directory, (_event, name) => {
        if (name === null || name.startsWith('.')) return
        changed.add(join(directory, name))
        wake()
      })
      watcher.on('error', () => watchers.delete(directory))
      watchers.set(directory, watcher)
    }
  }
  const run = (files: readonly string[]): Promise<void> =>
    new Promise(resolve => {
      const self = process.argv[1] ?? ''
      const args = [self, 'run', ...optionsOf(line), ...(files.length > 0 ? ['--', ...files] : [])]
      spawn(process.execPath, args, { stdio: 'inherit' }).on('close', () => resolve())
    })

  look(discover(cwd, line.files))
  await run(line.files)
  say('watching; ctrl-C ends')
  for (;;) {
    if (changed.size === 0)
      await new Promise<void>(resolve => {
        wake = resolve
      })
    await new Promise(resolve => setTimeout(resolve, SETTLING))
    const now = new Set(changed)
    changed.clear()
    const files = discover(cwd, line.files)
    const again = touched(files, now, cwd)
    look(files)
    if (again.length === 0) continue
    say(`changed: ${[...now].map(path => relative(cwd, path)).join(', ')}: ${again.length} of ${files.length} files`)
    await run(again.map(({ file }) => file))
  }
}
