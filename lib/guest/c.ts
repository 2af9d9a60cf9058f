/** Guests in C: compiled by the machine's own compiler, once for each content. */
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { accessSync, constants, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, delimiter, dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { placeOf } from './site.ts'

export type CGuest = {
  readonly kind: 'c'
  readonly name: string
  /** A file, or the text itself. */
  readonly source: { readonly file: string } | { readonly text: string }
  readonly flags: readonly string[]
}

/** The compiler refused the source: its own words. */
export class CompileError extends Error {
  override readonly name = 'CompileError'
}

/**
 * A guest in C: a file's path (relative to the working directory), or the source as a template. It includes
 * "seamless.h" and begins at `void guest_code(void)`. Compiled when the guest is built.
 */
export const c = (source: string | TemplateStringsArray, ...rest: readonly unknown[]): CGuest => {
  if (typeof source === 'string')
    return { kind: 'c', name: basename(source), source: { file: resolve(source) }, flags: rest.map(String) }
  // Lines of the text are lines of the file it is written in, for the compiler's messages and for sites.
  const { file, line } = placeOf(c)
  const text = `#line ${line} ${JSON.stringify(file)}\n${String.raw({ raw: source.raw }, ...rest)}`
  return { kind: 'c', name: `${basename(file)}:${line}`, source: { text }, flags: [] }
}

const INCLUDE = fileURLToPath(new URL('include', import.meta.url))
const SCRIPT = join(INCLUDE, 'guest.ld')
const FLAGS = [
  '-std=gnu11',
  '-O2',
  '-g',
  '-Wall',
  '-ffreestanding',
  '-fno-pie',
  '-no-pie',
  '-static',
  '-nostdlib',
  '-mno-sse',
  '-mno-mmx',
  '-mno-80387',
  // Exceptions come in on the same stack.
  '-mno-red-zone',
  '-fno-stack-protector',
  '-fcf-protection=none',
  '-fno-asynchronous-unwind-tables',
  '-ffunction-sections',
  '-Wl,--gc-sections',
  '-Wl,--build-id=none',
  '-Wl,-z,noexecstack',
]

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** The C compiler: `$CC`, else gcc or cc of `$PATH`; undefined where there is none. */
export const compiler = (): string | undefined => {
  const wanted = process.env['CC'] ? [process.env['CC']] : ['gcc', 'cc']
  for (const name of wanted) {
    if (isAbsolute(name)) {
      if (isExecutable(name)) return name
      continue
    }
    for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
      const path = join(folder, name)
      if (folder !== '' && isExecutable(path)) return path
    }
  }
  return undefined
}

/** Why guests in C cannot run here, for a skip; undefined where they can. */
export const whyNoC = (): string | undefined => {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `C guests need an x86-64 Linux compiler, this is ${process.platform} ${process.arch}`
  if (compiler() === undefined) return `no C compiler: ${process.env['CC'] ?? 'gcc, cc'} not found`
  return undefined
}

const hash = (...parts: (string | Uint8Array)[]): string => {
  const h = createHash('sha256')
  for (const part of parts) h.update(`${part.length}:`).update(part)
  return h.digest('hex')
}

/** `.seamless/cache` of the working directory, or a folder of the system's temporary ones where that is read-only. */
const cacheFolder = (): string => {
  for (const folder of [resolve('.seamless/cache'), join(tmpdir(), `seamless-${process.getuid?.() ?? 0}`)]) {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      accessSync(folder, constants.W_OK)
      return folder
    } catch {
      // The next one, then.
    }
  }
  throw new CompileError(
    'no folder for compiled guests: neither .seamless/cache nor the temporary folder can be written',
  )
}

const read = (path: string): Uint8Array | undefined => {
  try {
    return readFileSync(path)
  } catch {
    return undefined
  }
}

/** What was compiled is known by its source, and holds as long as every file it included is the same. */
type Manifest = { readonly elf: string; readonly included: Readonly<Record<string, string>> }

const remembered = (path: string, folder: string): Uint8Array | undefined => {
  const text = read(path)
  if (text === undefined) return undefined
  let manifest: Manifest
  try {
    manifest = JSON.parse(Buffer.from(text).toString())
  } catch {
    return undefined
  }
  for (const [file, known] of Object.entries(manifest.included)) {
    const content = read(file)
    if (content === undefined || hash(content) !== known) return undefined
  }
  return read(join(folder, manifest.elf))
}

/** Writes so that a reader sees all or nothing. */
const put = (path: string, content: string | Uint8Array): void => {
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  writeFileSync(draft, content)
  renameSync(draft, path)
}

/** What the compiler is asked: `draft`.elf and, of what it includes, `draft`.d. The text of an inline guest is its input. */
export const compilerArguments = ({ source, flags }: CGuest, draft: string): string[] => {
  const include = ['-I', INCLUDE, ...('file' in source ? ['-I', dirname(source.file)] : [])]
  const input = 'file' in source ? [source.file] : ['-x', 'c', '-']
  const out = ['-MD', '-MF', `${draft}.d`, '-o', `${draft}.elf`, '-T', SCRIPT]
  return [...FLAGS, ...flags, ...include, ...out, ...input]
}

/** The ELF of a guest in C. Throws `CompileError` with the compiler's words. */
export const compile = (guest: CGuest): Uint8Array => {
  const cc = compiler()
  if (cc === undefined) throw new CompileError(`${guest.name}: ${whyNoC()}`)
  const { source } = guest
  const content = 'file' in source ? read(source.file) : Buffer.from(source.text)
  if (content === undefined)
    throw new CompileError(`${guest.name}: there is no file ${'file' in source ? source.file : ''}`)
  const folder = cacheFolder()
  const where = 'file' in source ? source.file : guest.name
  const key = hash(cc, FLAGS.join(' '), guest.flags.join(' '), where, content, readFileSync(SCRIPT))
  const manifest = join(folder, `${key}.json`)
  const known = remembered(manifest, folder)
  if (known !== undefined) return known

  const draft = join(folder, `${key}.${randomBytes(6).toString('hex')}`)
  try {
    const done = spawnSync(cc, compilerArguments(guest, draft), {
      input: 'file' in source ? '' : source.text,
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
    })
    if (done.error !== undefined) throw new CompileError(`${cc}: ${done.error.message}`)
    if (done.status !== 0) throw new CompileError(`${guest.name}: ${basename(cc)} refused it\n${done.stderr.trimEnd()}`)
    if (/cannot find entry symbol/.test(done.stderr)) throw new CompileError(`${guest.name}: has no guest_code(void)`)
    const elf = readFileSync(`${draft}.elf`)
    const included: Record<string, string> = {}
    for (const file of filesIn(readFileSync(`${draft}.d`, 'utf8'))) {
      const text = read(file)
      if (text !== undefined) included[resolve(file)] = hash(text)
    }
    put(join(folder, `${key}.elf`), elf)
    put(manifest, JSON.stringify({ elf: `${key}.elf`, included } satisfies Manifest))
    return elf
  } finally {
    rmSync(`${draft}.d`, { force: true })
    rmSync(`${draft}.elf`, { force: true })
  }
}

/** Prerequisites of a make rule: words with escaped spaces. */
const filesIn = (rule: string): string[] =>
  rule
    .slice(rule.indexOf(':') + 1)
    .replace(/\\\n/g, ' ')
    .split(/(?<!\\)\s+/)
    .filter(word => word !== '' && word !== '-')
    .map(word => word.replace(/\\ /g, ' '))
