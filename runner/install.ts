/**
 * `make install` and `make emit_tests`: an installed kselftest tree of our selftests, and all that runs them, for a machine
 * that has only Node, or not even that. `node runner/install.ts [--emit] [--to DIR] [--target T]... [--skip T]...`
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { discover, type TestFile } from './discover.ts'
import { messageOf, UsageError } from './errors.ts'
import { near, suggestion } from './filter.ts'

const SOURCE = fileURLToPath(new URL('..', import.meta.url))

/** What the bundle is made of: name → where it begins. */
const ENTRIES = { main: 'runner/early.ts', worker: 'runner/worker.ts', harness: 'lib/harness/index.ts' }

const { values: options } = parseArgs({
  options: {
    emit: { type: 'boolean' },
    to: { type: 'string' },
    target: { type: 'string', multiple: true },
    skip: { type: 'string', multiple: true },
    force: { type: 'boolean' },
    node: { type: 'boolean' },
  },
})

/** The files of the targets, by collection. Throws `UsageError` for a target that is not there. */
const targets = (): Map<string, TestFile[]> => {
  const collections = Map.groupBy(discover(SOURCE, []), file => file.collection)
  const known = [...collections.keys()]
  for (const target of options.target ?? [])
    if (!known.includes(target))
      throw new UsageError(`TARGETS: no such target '${target}'${suggestion(near(target, known))}`)
  const wanted = (name: string) => options.target?.includes(name) !== false && !options.skip?.includes(name)
  const chosen = new Map([...collections].filter(([name]) => wanted(name)))
  if (chosen.size === 0) throw new UsageError(`no target left; there are ${known.join(', ')}`)
  return chosen
}

/** What a test file is called when it is installed: without its type, as other selftests' programs are. */
const installedName = ({ name }: TestFile): string => name.replace(/\.[cm]?[jt]s$/, '.js')

const entries = (chosen: ReadonlyMap<string, readonly TestFile[]>): string =>
  [...chosen].flatMap(([collection, files]) => files.map(file => `${collection}:${installedName(file)}\n`)).join('')

const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

/** `runtime/` of the tree: the command, its workers and the harness as plain JavaScript. */
const installRuntime = (to: string): void => {
  const runtime = join(to, 'runtime')
  const lib = join(runtime, 'lib')
  rmSync(lib, { recursive: true, force: true })
  const esbuild = (...args: string[]): void => {
    const { status } = spawnSync(join(SOURCE, 'node_modules/esbuild/bin/esbuild'), args, {
      cwd: SOURCE,
      stdio: ['ignore', 2, 2],
    })
    if (status !== 0) throw new Error('esbuild failed')
  }
  const common = ['--bundle', '--platform=node', '--target=node22', '--log-level=warning', '--minify-whitespace']
  esbuild(
    ...Object.entries(ENTRIES).map(([name, file]) => `${name}=${file}`),
    ...common,
    '--format=esm',
    '--splitting',
    '--chunk-names=part-[hash]',
    `--outdir=${lib}`,
    '--external:iced-x86',
    '--alias:string-width=./runner/width.ts',
  )
  // Asked for by name, and only when a comparison of several lines fails.
  esbuild(
    join(SOURCE, 'node_modules/diff'),
    ...common,
    '--format=cjs',
    `--outfile=${runtime}/node_modules/diff/index.cjs`,
  )
  writeFileSync(join(runtime, 'node_modules/diff/package.json'), '{ "name": "diff", "main": "index.cjs" }\n')
  cpSync(join(SOURCE, 'lib/guest/include'), join(lib, 'include'), { recursive: true })
  const launcher = readFileSync(join(SOURCE, 'runner/seamless.js'), 'utf8')
  writeFileSync(join(runtime, 'seamless.js'), launcher.replace("'./early.ts'", "'./lib/main.js'"))
  const { name, version, license, engines } = JSON.parse(readFileSync(join(SOURCE, 'package.json'), 'utf8'))
  const imports = { '#harness': './lib/harness.js' }
  const about = { name, version, license, type: 'module', bin: { seamless: 'seamless' }, engines, imports }
  writeFileSync(join(runtime, 'package.json'), `${JSON.stringify(about, null, 2)}\n`)
  program(
    join(runtime, 'seamless'),
    `#!/bin/sh
# Starts seamless with the Node that this tree carries, or else the one on PATH.
here=$(dirname "$(readlink -f "$0")")
[ -x "$here/node" ] && exec "$here/node" "$here/seamless.js" "$@"
exec node "$here/seamless.js" "$@"
`,
  )
  if (options.node) {
    copyFileSync(process.execPath, join(runtime, 'node'))
    chmodSync(join(runtime, 'node'), 0o755)
  }
}

const program = (path: string, text: string): void => {
  writeFileSync(path, text)
  chmodSync(path, 0o755)
}

/** A test file as a program: its first line is for the shell, its second for both; types are blanks, so lines stay. */
const installTest = (file: TestFile, directory: string, up: string): void => {
  const source = readFileSync(file.path, 'utf8').replace(/^#!.*\n/, '')
  const text = /\.[cm]?ts$/.test(file.name) ? stripTypeScriptTypes(source) : source
  program(
    join(directory, installedName(file)),
    `#!/bin/sh\n':' //; exec "$(dirname "$0")/${up}/runtime/seamless" direct "$0" "$@"\n${text}`,
  )
}

const install = (to: string): number => {
  const chosen = targets()
  mkdirSync(join(to, 'runtime'), { recursive: true })
  installRuntime(to)
  const installed = new Map<string, readonly TestFile[]>()
  for (const [collection, files] of chosen) {
    const directory = join(to, collection)
    const up = collection.replace(/[^/]+/g, '..')
    try {
      mkdirSync(directory, { recursive: true })
      for (const file of files) installTest(file, directory, up)
      // What lies beside the tests goes with them: settings, sources of guests, modules they share.
      const names = new Set(files.map(file => file.name))
      for (const entry of readdirSync(dirname(files[0]!.path), { withFileTypes: true }))
        if (entry.isFile() && !names.has(entry.name))
          copyFileSync(join(dirname(files[0]!.path), entry.name), join(directory, entry.name))
      installed.set(collection, files)
    } catch (error) {
      say(`${collection}: not installed: ${messageOf(error)}`)
      if (options.force) return 1
    }
  }
  const scope = { private: true, type: 'module', imports: { '#harness': './runtime/lib/harness.js' } }
  writeFileSync(join(to, 'package.json'), `${JSON.stringify(scope, null, 2)}\n`)
  writeFileSync(join(to, 'kselftest-list.txt'), entries(installed))
  copyFileSync(join(SOURCE, 'runner/run_kselftest.sh'), join(to, 'run_kselftest.sh'))
  chmodSync(join(to, 'run_kselftest.sh'), 0o755)
  const { stdout, status } = spawnSync('git', ['describe', '--always'], { cwd: SOURCE, encoding: 'utf8' })
  if (status === 0) writeFileSync(join(to, 'VERSION'), stdout)
  say(`Kselftest installation is complete: ${to}`)
  return installed.size === 0 ? 1 : 0
}

try {
  if (options.emit) process.stdout.write(entries(targets()))
  else if (options.to === undefined) throw new UsageError('install: --to DIR says where')
  else process.exitCode = install(resolve(options.to))
} catch (error) {
  if (!(error instanceof UsageError)) throw error
  say(`install: ${error.message}`)
  process.exitCode = error.code
}
