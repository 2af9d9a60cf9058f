/** Makes the workers' image and the guests', if they are not there already: `node runner/image.main.ts`. */
import { spawnSync } from 'node:child_process'
import { globSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { constants, setPriority } from 'node:os'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { BuildOptions, PluginBuild } from 'esbuild'
import { messageOf } from './errors.ts'
import { bundleCommand, type Front } from './image.command.ts'
import { FRONT, IMAGE, imageOf, MANIFEST, type Manifest, ROOT, SCRIPT, stamp } from './image.ts'

/** What makes an image is part of what it is made of. */
const OWN = ['package.json', 'runner/image.main.ts', 'runner/image.command.ts']

/** An image: its first source, and how V8 makes it. */
type Kind = { readonly name: 'worker' | 'guests'; readonly entry: string; readonly flags: readonly string[] }

/** That Node's own compiled code is in them, six of thirteen megabytes, is the price of ours: an image without the one has not the other. */
const KINDS: readonly Kind[] = [
  // Code that ran once, to fill tables, is not carried along.
  { name: 'worker', entry: 'runner/image.entry.ts', flags: ['--stress-flush-code'] },
  // All of it as bytecode: the compiler is wanted at once. Machine code would not survive.
  {
    name: 'guests',
    entry: 'runner/guests.entry.ts',
    flags: ['--no-lazy', '--no-flush-bytecode', '--no-sparkplug', '--no-maglev', '--no-opt'],
  },
]

/** Each source keeps the URL it has: what lies beside it is found from there. */
const withOwnUrl = (source: string, path: string): string =>
  source.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href))

/** No warnings of what an image does on purpose. */
const FLAGS = ['--disable-warning=ExperimentalWarning']

/** Runs the bundle as if it stood beside the harness, and lets it import what tests are made of. */
const BUILDER = `
const { readFileSync } = require('node:fs')
const { constants, Script } = require('node:vm')
const text = '(require => {\\n' + readFileSync(process.env.IMAGE_BUNDLE, 'utf8') + '\\n})'
const importModuleDynamically = constants.USE_MAIN_CONTEXT_DEFAULT_LOADER
new Script(text, { filename: ${JSON.stringify(SCRIPT)}, lineOffset: -1, importModuleDynamically }).runInThisContext()(require)
`

/** Makes the snapshots and the command's files in `into`; what they were made from. */
const build = async (into: string, id: string): Promise<{ stamps: Manifest['stamps']; front: Front }> => {
  // Before the sources are read: one that is written meanwhile makes an image that is never used.
  const stamps = new Map(
    globSync(['{lib,runner,reports}/**/*.ts', 'package.json'], { cwd: ROOT }).map(path => [path, stamp(ROOT + path)]),
  )
  const inputs = new Set<string>(OWN)
  for (const kind of KINDS) for (const path of await buildOne(kind, into)) inputs.add(path)
  const front = await bundleCommand({ ...COMMON, plugins: [urls('', [])] }, into, id)
  for (const path of Object.keys(front.sources)) inputs.add(path)
  const stamped: Record<string, string> = { [process.execPath]: stamp(process.execPath) }
  for (const path of inputs) stamped[ROOT + path] = stamps.get(path) ?? stamp(ROOT + path)
  return { stamps: stamped, front }
}

const COMMON = {
  absWorkingDir: ROOT,
  bundle: true,
  platform: 'node',
  target: `node${process.versions.node}`,
  minifyWhitespace: true,
  sourcemap: 'external',
  logLevel: 'silent',
} as const satisfies BuildOptions

/** Sources with the URLs they have, and `entry` with the list of all of them. */
const urls = (entry: string, paths: readonly string[]) => ({
  name: 'urls',
  setup: (build: PluginBuild) =>
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const text = withOwnUrl(readFileSync(path, 'utf8'), path)
      const list = path === ROOT + entry ? `const IMAGE_SOURCES = ${JSON.stringify(paths)};` : ''
      return { contents: list + text.replace('declare const IMAGE_SOURCES: readonly string[]', ''), loader: 'ts' }
    }),
})

/** Makes one of them; its sources. */
const buildOne = async ({ name, entry, flags }: Kind, into: string): Promise<readonly string[]> => {
  const esbuild = await import('esbuild')
  const options = {
    ...COMMON,
    format: 'cjs',
    external: ['iced-x86'],
    write: false,
    metafile: true,
    outfile: join(IMAGE, `${name}.js`),
  } as const satisfies BuildOptions
  // Once to see which sources there are, then with their list.
  const { metafile } = await esbuild.build({ ...options, entryPoints: [entry], plugins: [urls(entry, [])] })
  const inputs = Object.keys(metafile.inputs)
  const { outputFiles } = await esbuild.build({ ...options, entryPoints: [entry], plugins: [urls(entry, inputs)] })
  for (const { path, contents } of outputFiles) writeFileSync(join(into, relative(IMAGE, path)), contents)
  const builder = join(into, 'builder.js')
  writeFileSync(builder, BUILDER)
  const { status, stderr } = spawnSync(
    process.execPath,
    [...FLAGS, ...flags, '--snapshot-blob', join(into, `${name}.blob`), '--build-snapshot', builder],
    {
      env: { ...process.env, IMAGE_BUNDLE: join(into, `${name}.js`), SEAMLESS_TIER: 'auto' },
      encoding: 'utf8',
    },
  )
  if (status !== 0) throw new Error(stderr)
  return inputs
}

const frontNow = (): Front | undefined => {
  try {
    return JSON.parse(readFileSync(FRONT, 'utf8'))
  } catch {
    return undefined
  }
}

/** Puts what was made where it is looked for; the manifest last, since that names the rest. */
const publish = (from: string, id: string, { stamps, front }: Awaited<ReturnType<typeof build>>): void => {
  mkdirSync(IMAGE, { recursive: true })
  const kept = [id, /-(\w+)\.mjs$/.exec(frontNow()?.main ?? '')?.[1]]
  const named = ({ name }: Kind): string => `${name}-${id}.blob`
  for (const file of [front.first, front.main])
    for (const name of [file, `${file}.map`]) renameSync(join(from, name), join(IMAGE, name))
  writeFileSync(join(from, 'command.json'), JSON.stringify(front))
  renameSync(join(from, 'command.json'), FRONT)
  for (const kind of KINDS) {
    renameSync(join(from, `${kind.name}.js.map`), join(IMAGE, `${named(kind)}.map`))
    renameSync(join(from, `${kind.name}.blob`), join(IMAGE, named(kind)))
  }
  const [blob = '', guests = ''] = KINDS.map(named)
  const guestsSize = statSync(join(IMAGE, guests)).size
  writeFileSync(join(from, 'manifest.json'), JSON.stringify({ blob, guests, guestsSize, stamps } satisfies Manifest))
  renameSync(join(from, 'manifest.json'), MANIFEST)
  // Somebody may be about to load what was there until now.
  for (const name of readdirSync(IMAGE)) {
    const [, of] = /-(\w+)\./.exec(name) ?? []
    if (of !== undefined && !kept.includes(of)) rmSync(join(IMAGE, name), { recursive: true, force: true })
  }
}

/** One process at a time makes an image, in a directory that it has made. What a kill left is in nobody's way for long. */
const lock = (directory: string): boolean => {
  mkdirSync(join(directory, '..'), { recursive: true })
  const age = Date.now() - (statSync(directory, { throwIfNoEntry: false })?.ctimeMs ?? Date.now())
  if (age > 60_000) rmSync(directory, { recursive: true, force: true })
  try {
    mkdirSync(directory)
    return true
  } catch {
    return false
  }
}

const say = (text: string): void => {
  if (!process.argv.includes('--quiet')) process.stderr.write(`image: ${text}\n`)
}

const make = async (): Promise<void> => {
  const into = `${IMAGE}.new`
  if (!lock(into)) return say('another process makes it')
  try {
    // Beside a run it is in nobody's way; who asks for it waits for it.
    if (process.argv.includes('--quiet')) setPriority(constants.priority.PRIORITY_LOW)
    const id = crypto.randomUUID().slice(0, 8)
    publish(into, id, await build(into, id))
    say(`made in ${IMAGE}`)
  } catch (error) {
    // Workers load the sources then.
    say(`not made: ${messageOf(error)}`)
  } finally {
    rmSync(into, { recursive: true, force: true })
  }
}

const old = imageOf()
const changed = old?.changed()
if (changed !== undefined) say(`${changed} has changed`)
if (old === undefined || changed !== undefined) await make()
