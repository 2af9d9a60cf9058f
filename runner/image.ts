/**
 * The workers' image: a V8 startup snapshot with the harness loaded, so that a worker begins with it and need not load
 * some four hundred sources. The guests' image is another one, with the commands that run code outside of a test. Both are made
 * by `make all`, or beside a run that missed them; one that is not of these very sources, by their sizes and times, is
 * never used.
 */
import { spawn } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** One for each Node: a snapshot is of the V8 that made it. */
export const IMAGE = join(ROOT, '.seamless/image', `${process.version}-${process.arch}`)
export const MANIFEST = join(IMAGE, 'manifest.json')
/** What seamless.js begins with: image.command.ts. */
export const FRONT = join(IMAGE, 'command.json')

/** What the image calls its own script: beside the harness, whose frames a reader of a failure does not want. */
export const SCRIPT = join(ROOT, 'lib/harness/(image).js')

/**
 * What a file was when it was read: any write, and any other file in its place, changes the time of its inode. So does a
 * link to it, as package managers make them to what they have installed.
 */
export const stamp = (path: string): string => {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats === undefined) return ''
  const isInstalled = path === process.execPath || path.includes('/node_modules/')
  return `${stats.size} ${stats.mtimeMs}${isInstalled ? '' : ` ${stats.ctimeMs}`}`
}

export type Manifest = {
  /** The snapshot's file, beside the manifest. A new image has a new name: who reads one manifest gets its image. */
  readonly blob: string
  /** The same for the guests' image. */
  readonly guests: string
  /** Its bytes: nobody is there to take over from an image that does not start. */
  readonly guestsSize: number
  /** Path → stamp of everything it was made from: sources, and the Node it is for. */
  readonly stamps: Readonly<Record<string, string>>
}

/** Tells a worker its image's file. */
export const IN_USE = 'SEAMLESS_IMAGE_FILE'

/**
 * Has glibc ask for huge pages: an image is read, copied and taken apart, and a fifth of a worker's start was for small ones.
 * Other libraries do not know it. What a test starts does not see it: image.entry.ts takes it away.
 */
export const HUGE_PAGES = ['GLIBC_TUNABLES', 'glibc.malloc.hugetlb=1'] as const

/** What changes the sources' meaning, or V8's, and is not in the image. */
const FORBIDDEN = ['NODE_OPTIONS', 'NODE_V8_COVERAGE', 'SEAMLESS_COVERAGE', 'SEAMLESS_HARNESS']

/** Whether workers may begin with an image at all: from sources, with a plain Node. SEAMLESS_IMAGE=none says no. */
const mayBe = (): boolean =>
  import.meta.url.endsWith('.ts') &&
  process.env['SEAMLESS_IMAGE'] !== 'none' &&
  FORBIDDEN.every(name => !process.env[name])

const manifest = (): Manifest | undefined => {
  try {
    const { blob, guests, guestsSize, stamps }: Partial<Manifest> = JSON.parse(readFileSync(MANIFEST, 'utf8'))
    // One that an older version of this file has written is none.
    if (blob === undefined || guests === undefined || guestsSize === undefined || stamps === undefined) return undefined
    return { blob, guests, guestsSize, stamps }
  } catch {
    return undefined
  }
}

/** A snapshot to begin with, and whether it is of the sources as they are now, which takes a moment to see. */
export type Image = {
  readonly blob: string
  readonly guests: string
  readonly guestsSize: number
  isCurrent(): boolean
  /** A file that is not what it was. */
  changed(): string | undefined
}

/** The image, if there is one. */
export const imageOf = (): Image | undefined => {
  const found = mayBe() ? manifest() : undefined
  if (found === undefined) return undefined
  let isCurrent: boolean | undefined
  const changed = () => Object.entries(found.stamps).find(([path, was]) => stamp(path) !== was)?.[0]
  return {
    blob: join(IMAGE, found.blob),
    guests: join(IMAGE, found.guests),
    guestsSize: found.guestsSize,
    isCurrent() {
      isCurrent ??= changed() === undefined
      return isCurrent
    },
    changed,
  }
}

/** While sources are being written, an image is old before it is used. Milliseconds. */
const SETTLED = 60_000

/** Makes a new image beside the run, for the next one, once the sources have settled; in CI there is none. */
export const renew = (): void => {
  if (!mayBe() || !['', '0', 'false', undefined].includes(process.env['CI'])) return
  const times = Object.keys(manifest()?.stamps ?? {}).map(
    path => statSync(path, { throwIfNoEntry: false })?.ctimeMs ?? 0,
  )
  if (times.some(time => Date.now() - time < SETTLED)) return
  spawn(process.execPath, [fileURLToPath(new URL('image.main.ts', import.meta.url)), '--quiet'], {
    detached: true,
    stdio: 'ignore',
    // Where nothing is made of it, it is no harm.
  })
    .on('error', () => {})
    .unref()
}

/** The map of the image that is in use. */
const mapOf = (): string => `${process.env[IN_USE] ?? join(IMAGE, manifest()?.blob ?? '')}.map`

type Entry = { originalSource?: string; originalLine?: number; originalColumn?: number }
type Finder = { findEntry(line: number, column: number): Entry }
let finder: Finder | undefined

/** A position of the image's script (from 1) as one of the sources: `file://…:line:column`. */
export const original = (line: number, column: number): string | undefined => {
  if (finder === undefined) {
    // Only a failure that has a stack pays for the map.
    const { SourceMap } = createRequire(import.meta.url)('node:module') as typeof import('node:module')
    finder = new SourceMap(JSON.parse(readFileSync(mapOf(), 'utf8')))
  }
  const { originalSource, originalLine, originalColumn } = finder.findEntry(line - 1, column - 1)
  if (originalSource === undefined || originalLine === undefined || originalColumn === undefined) return undefined
  return `${new URL(originalSource, pathToFileURL(mapOf()))}:${originalLine + 1}:${originalColumn + 1}`
}

/** A text with every position of the image's script put as one of the sources. */
export const withOriginals = (text: string): string =>
  text
    .split(SCRIPT)
    .map((part, at) => {
      const [whole = '', line, column] = /^:(\d+):(\d+)/.exec(part) ?? []
      if (at === 0 || line === undefined) return at === 0 ? part : `${SCRIPT}${part}`
      return `${original(Number(line), Number(column)) ?? `${SCRIPT}${whole}`}${part.slice(whole.length)}`
    })
    .join('')
