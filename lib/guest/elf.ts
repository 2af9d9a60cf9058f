/** A guest out of a static ELF file: its segments, names and the sites that our C header recorded. */
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { type Gva, gva, hex } from '#bits'
import { sitesOf } from './csite.ts'
import { dwarfLines } from './dwarf.ts'
import { type CodeLine, type Segment, type Sym, wholePages } from './image.ts'
import type { Site } from './site.ts'

export type ElfGuest = { readonly kind: 'elf'; readonly name: string; readonly bytes: Uint8Array }

/** The file is no ELF that can run here; the message names the field, its value and what would do. */
export class ElfError extends Error {
  override readonly name = 'ElfError'
}

/** A guest from an ELF file: a path, or the file's bytes. */
export const elf = (file: string | Uint8Array, name = typeof file === 'string' ? basename(file) : 'elf'): ElfGuest => ({
  kind: 'elf',
  name,
  bytes: typeof file === 'string' ? readFileSync(file) : file,
})

// System V ABI, "ELF Header", "Sections", "Symbol Table", "Program Header".
const ET_EXEC = 2
const EM_X86_64 = 62
const [PT_LOAD, PT_DYNAMIC, PT_INTERP] = [1, 2, 3]
const [PF_X, PF_W] = [1, 2]
const [SHT_SYMTAB, SHT_NOBITS] = [2, 8]
const HEADER = 64
const [PHDR, SHDR, SYM] = [56, 64, 24]
const STT_SECTION = 3
const STT_FILE = 4
const SHN_ABS = 0xfff1

export type LoadedElf = {
  readonly entry: Gva
  readonly segments: readonly Segment[]
  readonly symbols: readonly Sym[]
  readonly sites: readonly Site[]
  readonly lines?: readonly CodeLine[]
}

type Section = {
  readonly name: string
  readonly type: number
  readonly bytes: Uint8Array
  readonly link: number
  readonly address: bigint
}

/** Reads an ELF file, with the lines of its code where `hasLines`. Throws `ElfError` where it is broken or not a static x86-64 program. */
export const loadElf = (bytes: Uint8Array, name: string, hasLines = false): LoadedElf => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const refuse = (why: string): never => {
    throw new ElfError(`${name}: ${why}`)
  }
  if (bytes.length < HEADER) refuse(`${bytes.length} bytes, an ELF header has ${HEADER}`)
  if (view.getUint32(0, false) !== 0x7f45_4c46)
    refuse(`begins with ${hex(view.getUint32(0, false))}, not with 7f 'ELF'`)
  if (bytes[4] !== 2 || bytes[5] !== 1) refuse(`class ${bytes[4]}, data ${bytes[5]}: not 64-bit little-endian`)
  if (view.getUint16(18, true) !== EM_X86_64) refuse(`machine ${view.getUint16(18, true)}, not ${EM_X86_64} (x86-64)`)
  const type = view.getUint16(16, true)
  if (type !== ET_EXEC) refuse(`type ${type}, not ${ET_EXEC} (ET_EXEC): link it with -static -no-pie`)

  /** A range of the file, or what is wrong with it. */
  const range = (what: string, offset: bigint, size: bigint): Uint8Array => {
    if (offset + size > BigInt(bytes.length))
      refuse(`${what} at offset ${hex(offset)}, ${size} bytes: the file has ${bytes.length}`)
    return bytes.subarray(Number(offset), Number(offset + size))
  }
  const u64At = (at: number): bigint => view.getBigUint64(at, true)

  const segments: Segment[] = []
  const phoff = u64At(32)
  const phnum = view.getUint16(56, true)
  if (phnum > 0 && view.getUint16(54, true) !== PHDR)
    refuse(`program headers of ${view.getUint16(54, true)} bytes, not ${PHDR}`)
  range('program headers', phoff, BigInt(phnum * PHDR))
  for (let n = 0; n < phnum; n++) {
    const at = Number(phoff) + n * PHDR
    const kind = view.getUint32(at, true)
    if (kind === PT_DYNAMIC || kind === PT_INTERP) refuse('is dynamically linked: link it with -static -no-pie')
    if (kind !== PT_LOAD || u64At(at + 40) === 0n) continue
    const [offset, address, filesz, memsz] = [u64At(at + 8), u64At(at + 16), u64At(at + 32), u64At(at + 40)]
    const what = `segment ${n}`
    if (filesz > memsz) refuse(`${what}: ${filesz} bytes in the file, ${memsz} in memory`)
    if (address + memsz > 1n << 32n) refuse(`${what} at ${hex(address)}: guests lie below 4 GiB`)
    const flags = view.getUint32(at + 4, true)
    const content = range(what, offset, filesz)
    const start = address & ~0xfffn
    const lead = Number(address - start)
    const padded = new Uint8Array(lead + content.length)
    padded.set(content, lead)
    segments.push({
      name: `${name}:${n}`,
      gva: gva(start),
      bytes: padded,
      size: wholePages(lead + Number(memsz)),
      shared: false,
      writable: (flags & PF_W) !== 0,
      executable: (flags & PF_X) !== 0,
    })
  }
  if (segments.length === 0) refuse('has no segment to load')

  const sections = sectionsOf(view, range, refuse)
  const symtab = sections.find(s => s.type === SHT_SYMTAB)
  const symbols = symtab === undefined ? [] : symbolsOf(symtab.bytes, sections[symtab.link]?.bytes ?? new Uint8Array(0))
  const loaded = symbols.filter(s => segments.some(g => s.gva >= g.gva && s.gva < g.gva + BigInt(g.size)))
  const entry = gva(u64At(24))
  if (!segments.some(s => s.executable && entry >= s.gva && entry < s.gva + BigInt(s.size)))
    refuse(`entry ${hex(entry)} lies in no executable segment`)
  const part = (wanted: string) => sections.find(s => s.name === wanted)
  const [records, texts] = [part('.seamless.sites'), part('.seamless.text')]
  const sites =
    records === undefined || texts === undefined ? [] : sitesOf(records.bytes, texts.bytes, texts.address, refuse)
  const loadable = { entry, segments: joined(segments), symbols: loaded, sites }
  const line = part('.debug_line')?.bytes
  if (!hasLines || line === undefined) return loadable
  const [strings, lineStrings] = [part('.debug_str')?.bytes, part('.debug_line_str')?.bytes]
  const debug = { line, ...(strings && { strings }), ...(lineStrings && { lineStrings }) }
  // Code that the linker removed has lines too, at address 0 and on.
  const lowest = segments.reduce((low, s) => (s.gva < low ? s.gva : low), segments[0]!.gva)
  return { ...loadable, lines: dwarfLines(debug).filter(l => l.gva >= lowest) }
}

const text = new TextDecoder()
/** The zero-terminated string at `at`. */
export const stringAt = (bytes: Uint8Array, at: number): string => {
  const end = bytes.indexOf(0, at)
  return text.decode(bytes.subarray(at, end < 0 ? bytes.length : end))
}

const sectionsOf = (
  view: DataView,
  range: (what: string, offset: bigint, size: bigint) => Uint8Array,
  refuse: (why: string) => never,
): Section[] => {
  const shoff = view.getBigUint64(40, true)
  const shnum = view.getUint16(60, true)
  if (shoff === 0n || shnum === 0) return []
  if (view.getUint16(58, true) !== SHDR) refuse(`section headers of ${view.getUint16(58, true)} bytes, not ${SHDR}`)
  range('section headers', shoff, BigInt(shnum * SHDR))
  const raw = Array.from({ length: shnum }, (_, n) => {
    const at = Number(shoff) + n * SHDR
    const type = view.getUint32(at + 4, true)
    const size = view.getBigUint64(at + 32, true)
    const bytes =
      type === SHT_NOBITS || type === 0
        ? new Uint8Array(0)
        : range(`section ${n}`, view.getBigUint64(at + 24, true), size)
    const [nameAt, address, link] = [
      view.getUint32(at, true),
      view.getBigUint64(at + 16, true),
      view.getUint32(at + 40, true),
    ]
    return { nameAt, type, bytes, address, link }
  })
  const names = raw[view.getUint16(62, true)]?.bytes ?? new Uint8Array(0)
  return raw.map(s => ({ ...s, name: stringAt(names, s.nameAt) }))
}

const symbolsOf = (bytes: Uint8Array, names: Uint8Array): Sym[] => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const found: Sym[] = []
  for (let at = SYM; at + SYM <= bytes.length; at += SYM) {
    const info = view.getUint8(at + 4) & 15
    const section = view.getUint16(at + 6, true)
    const name = stringAt(names, view.getUint32(at, true))
    if (name === '' || section === 0 || section === SHN_ABS || info === STT_SECTION || info === STT_FILE) continue
    found.push({ name, gva: gva(view.getBigUint64(at + 8, true)), size: Number(view.getBigUint64(at + 16, true)) })
  }
  return found
}

/** Segments that share a page become one, with what either allows. */
const joined = (segments: readonly Segment[]): Segment[] => {
  const out: Segment[] = []
  for (const s of segments.toSorted((a, b) => (a.gva < b.gva ? -1 : 1))) {
    const last = out.at(-1)
    if (last === undefined || s.gva >= last.gva + BigInt(last.size)) {
      out.push(s)
      continue
    }
    const lead = Number(s.gva - last.gva)
    const bytes = new Uint8Array(Math.max(last.bytes.length, lead + s.bytes.length))
    bytes.set(last.bytes)
    // Both begin at a page: where this one is zero in front, the other one's bytes stay.
    for (const [i, b] of s.bytes.entries()) if (b !== 0) bytes[lead + i] = b
    out[out.length - 1] = {
      ...last,
      bytes,
      size: Math.max(last.size, lead + s.size),
      writable: last.writable || s.writable,
      executable: last.executable || s.executable,
    }
  }
  return out
}
