/**
 * The command as the image has it: two files of JavaScript for its sixty sources, so that it loads in a fraction of the time;
 * the first is what starts a worker. What it seldom needs stays as it is: packages with what loads them, and what loads the
 * rooms that run guests.
 */
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { BuildOptions, Plugin } from 'esbuild'
import { ROOT } from './image.ts'

/** What seamless.js reads before it loads anything; see there. */
export type Front = {
  /** The two files, beside this one's. */
  readonly first: string
  readonly main: string
  /** Each source → the time of its inode in milliseconds, which any write changes. */
  readonly sources: Readonly<Record<string, number>>
  /** What must not be set in the environment. */
  readonly unless: readonly string[]
}

/** What Node does besides may be to do with the sources. What is for workers and their harness is nothing to the command. */
const UNLESS = ['NODE_OPTIONS', 'NODE_V8_COVERAGE']

/** Imported as the sources they are: what they load would be loaded by all. */
const APART = /\/(words|mrtd|runelf|runflat|runmultiboot|vectors)\.ts$/
/** In the first file. */
const FIRST = /\/(guests|image|processes|start)\.ts$/

const outside = (first: string): Plugin => ({
  name: 'outside',
  setup(build) {
    build.onResolve({ filter: APART }, ({ path, resolveDir }) => ({
      path: new URL(path, pathToFileURL(`${resolveDir}/`)).href,
      external: true,
    }))
    build.onResolve({ filter: FIRST }, () => ({ path: `./${first}`, external: true }))
  },
})

/** Bundles the command into `directory`, in files whose names have `id`. Throws if a source is written meanwhile. */
export const bundleCommand = async (common: BuildOptions, directory: string, id: string): Promise<Front> => {
  const began = Date.now()
  const esbuild = await import('esbuild')
  const bundle = async (entry: string, file: string, more: readonly Plugin[]): Promise<string[]> => {
    const { metafile, outputFiles } = await esbuild.build({
      ...common,
      format: 'esm',
      packages: 'external',
      entryPoints: [entry],
      outfile: join(directory, file),
      plugins: [...more, ...(common.plugins ?? [])],
      write: false,
      metafile: true,
    })
    for (const { path, contents } of outputFiles) writeFileSync(path, contents)
    return Object.keys(metafile.inputs)
  }
  const first = `first-${id}.mjs`
  const main = `command-${id}.mjs`
  const inputs = [
    ...(await bundle('runner/first.ts', first, [])),
    ...(await bundle('runner/seamless.ts', main, [outside(first)])),
  ]
  const sources = inputs.map(path => [path, statSync(ROOT + path).ctimeMs] as const)
  const late = sources.find(([, time]) => time >= began)
  if (late !== undefined) throw new Error(`${late[0]} was written meanwhile`)
  return { first, main, sources: Object.fromEntries(sources), unless: UNLESS }
}
