/**
 * Images that a boot loader of the Multiboot Specification, version 0.6.96, starts: where they go in memory, and what
 * they are told. Sections named below are that document's.
 */
import { ElfError, hex, readElf } from '#bits'
import { BadImage } from './bad.ts'

const MAGIC = 0x1bad_b002
/** In EAX when the image starts. "Machine state". */
export const BOOT_MAGIC = 0x2bad_b002
/** The header lies in the first 8192 bytes. "The layout of Multiboot header". */
const SEARCH = 8192
const FLAG = { ALIGN: 1, MEMORY: 2, VIDEO: 4, ADDRESSES: 1 << 16 } as const
/** Features below bit 16 that a loader must know or refuse. */
const KNOWN = FLAG.ALIGN | FLAG.MEMORY

/** Bytes at a physical address, zeroes behind them up to `size`. */
export type Piece = { readonly at: number; readonly bytes: Uint8Array; readonly size: number }
export type Image = {
  readonly entry: number
  readonly pieces: readonly Piece[] /** Behind the last byte. */
  readonly end: number
}

/** Where the header is; -1 where there is none. */
const headerAt = (view: DataView): number => {
  const last = Math.min(view.byteLength, SEARCH) - 12
  for (let at = 0; at <= last; at += 4) if (view.getUint32(at, true) === MAGIC) return at
  return -1
}

const elfPieces = (file: Uint8Array): Omit<Image, 'end'> => {
  try {
    const elf = readElf(file, 32)
    if (elf.interpreted) throw new BadImage('is dynamically linked (PT_INTERP)')
    const pieces = elf.segments.map(({ physical, bytes, size }) => ({
      at: Number(physical),
      bytes,
      size: Number(size),
    }))
    return { entry: Number(elf.entry), pieces }
  } catch (error) {
    if (error instanceof ElfError) throw new BadImage(error.message)
    throw error
  }
}

/** Address fields of the header: a file that is no ELF. "The address fields of Multiboot header". */
const flatPieces = (file: Uint8Array, view: DataView, header: number): Omit<Image, 'end'> => {
  if (header + 32 > file.length)
    throw new BadImage(`the header at ${hex(header)} is cut off: its address fields end behind the file`)
  const [at = 0, load = 0, loadEnd = 0, bssEnd = 0, entry = 0] = [12, 16, 20, 24, 28].map(n =>
    view.getUint32(header + n, true),
  )
  if (at < load) throw new BadImage(`header address ${hex(at)} is below the load address ${hex(load)}`)
  const from = header - (at - load)
  if (from < 0) throw new BadImage(`load address ${hex(load)} lies before the file begins`)
  const length = loadEnd === 0 ? file.length - from : loadEnd - load
  if (length < 0) throw new BadImage(`the image ends at ${hex(loadEnd)}, before its load address ${hex(load)}`)
  if (from + length > file.length)
    throw new BadImage(`the image takes ${length} bytes from offset ${hex(from)}, the file has ${file.length}`)
  if (bssEnd !== 0 && bssEnd < load + length) throw new BadImage(`bss ends at ${hex(bssEnd)}, before the image does`)
  const size = bssEnd === 0 ? length : bssEnd - load
  if (entry < load || entry >= load + size) throw new BadImage(`the entry point ${hex(entry)} lies outside the image`)
  return { entry, pieces: [{ at: load, bytes: file.subarray(from, from + length), size }] }
}

/** Reads an image. Throws `BadImage`, whatever the bytes are. */
export const readImage = (file: Uint8Array): Image => {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const header = headerAt(view)
  if (header < 0) throw new BadImage(`no Multiboot header (${hex(MAGIC)}) in the first ${SEARCH} bytes`)
  const [flags, sum] = [view.getUint32(header + 4, true), view.getUint32(header + 8, true)]
  if ((MAGIC + flags + sum) >>> 0 !== 0)
    throw new BadImage(`the Multiboot header's checksum is ${hex(sum)}, should be ${hex(-(MAGIC + flags) >>> 0)}`)
  const unknown = flags & 0xffff & ~KNOWN
  if (unknown !== 0) throw new BadImage(`the Multiboot header asks for features ${hex(unknown)}, which there are not`)
  const isElf = view.getUint32(0) === 0x7f45_4c46
  if (!isElf && (flags & FLAG.ADDRESSES) === 0)
    throw new BadImage('is no ELF file, and its Multiboot header has no address fields')
  const image = (flags & FLAG.ADDRESSES) !== 0 ? flatPieces(file, view, header) : elfPieces(file)
  const pieces = image.pieces.toSorted((a, b) => a.at - b.at)
  for (const [n, piece] of pieces.entries()) {
    const next = pieces[n + 1]
    if (next !== undefined && piece.at + piece.size > next.at)
      throw new BadImage(`segments overlap at physical address ${hex(next.at)}`)
  }
  return { ...image, pieces, end: Math.max(...pieces.map(({ at, size }) => at + size)) }
}

/** What the image is told of the machine and of its command line. */
export type BootInfo = { readonly memory: number; readonly commandLine: string; readonly modules: readonly Module[] }
export type Module = { readonly start: number; readonly end: number; readonly name: string }

/** Low memory ends here; what follows belongs to firmware and devices. */
export const LOW_END = 0x9_fc00
const HIGH = 0x10_0000
const INFO = { MEMORY: 1, COMMAND_LINE: 4, MODULES: 8, MAP: 1 << 6, LOADER: 1 << 9 } as const
const INFO_SIZE = 120
const [AVAILABLE, RESERVED] = [1, 2]

/** The information structure and what it points to, as bytes for physical address `at`. "Boot information format". */
export const bootInformation = (at: number, { memory, commandLine, modules }: BootInfo): Uint8Array => {
  const text = new TextEncoder()
  const parts: { readonly at: number; readonly bytes: Uint8Array }[] = []
  let end = at + INFO_SIZE
  const put = (bytes: Uint8Array): number => {
    const place = end
    parts.push({ at: place, bytes })
    end = (end + bytes.length + 7) & ~7
    return place
  }
  const string = (value: string) => put(text.encode(`${value}\0`))
  const words = (values: readonly number[]) => new Uint8Array(Uint32Array.from(values).buffer)
  // Each entry: its size without this field, base, length, type.
  const map = put(
    words([
      ...[20, 0, 0, LOW_END, 0, AVAILABLE],
      ...[20, LOW_END, 0, HIGH - LOW_END, 0, RESERVED],
      ...[20, HIGH, 0, memory - HIGH, 0, AVAILABLE],
    ]),
  )
  const names = modules.map(({ name }) => string(name))
  const list = put(words(modules.flatMap(({ start, end }, n) => [start, end, names[n]!, 0])))
  const [line, loader] = [string(commandLine), string('seamless')]
  const bytes = new Uint8Array(end - at)
  const view = new DataView(bytes.buffer)
  const set = (offset: number, value: number) => view.setUint32(offset, value, true)
  set(0, INFO.MEMORY | INFO.COMMAND_LINE | INFO.MODULES | INFO.MAP | INFO.LOADER)
  set(4, LOW_END >> 10)
  set(8, (memory - HIGH) / 1024)
  set(16, line)
  set(20, modules.length)
  set(24, list)
  set(44, 72)
  set(48, map)
  set(64, loader)
  for (const part of parts) bytes.set(part.bytes, part.at - at)
  return bytes
}
