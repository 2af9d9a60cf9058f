/** Executable ELF files: the header and what is to be loaded, every field of them checked against the file. */
import { hex } from './int.ts'

/** The file cannot be run; the message names the field, its value and what would do. */
export class ElfError extends Error {
  override readonly name = 'ElfError'
}

/** One PT_LOAD segment with a size. */
export type ElfSegment = {
  /** Its number among the program headers. */
  readonly number: number
  /** Where in the file it begins. */
  readonly offset: bigint
  readonly virtual: bigint
  readonly physical: bigint
  /** What is in the file; the rest up to `size` is zero. */
  readonly bytes: Uint8Array
  readonly size: bigint
  readonly readable: boolean
  readonly writable: boolean
  readonly executable: boolean
}

export type ElfFile = {
  readonly type: 'exec' | 'dyn'
  readonly entry: bigint
  /** In ascending order of virtual addresses, none over another. */
  readonly segments: readonly ElfSegment[]
  /** Program headers as the file has them: offset, number, size of one. */
  readonly headers: { readonly offset: bigint; readonly count: number; readonly size: number }
  /** The program asks for a dynamic linker. */
  readonly interpreted: boolean
  readonly dynamic: boolean
}

// System V ABI, "ELF Header" and "Program Header"; machine numbers of its processor supplements.
const [ET_EXEC, ET_DYN] = [2, 3]
const [PT_LOAD, PT_DYNAMIC, PT_INTERP] = [1, 2, 3]
const [PF_X, PF_W, PF_R] = [1, 2, 4]
const MACHINES: Record<number, string> = { 3: 'i386', 62: 'x86-64', 40: 'ARM', 183: 'AArch64', 243: 'RISC-V' }
/** Which machine the files of a class must be for, and how their fields lie. */
const CLASSES = {
  32: { mark: 1, machine: 3, header: 52, programHeader: 32 },
  64: { mark: 2, machine: 62, header: 64, programHeader: 56 },
} as const

/** Reads an executable for i386 (`bits` 32) or x86-64 (64). Throws `ElfError`, whatever the bytes are. */
export const readElf = (bytes: Uint8Array, bits: 32 | 64): ElfFile => {
  const refuse = (why: string): never => {
    throw new ElfError(why)
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const { mark, machine, header, programHeader } = CLASSES[bits]
  const wide = bits === 64
  if (bytes.length < header) refuse(`the file has ${bytes.length} bytes, an ELF header has ${header}`)
  const magic = view.getUint32(0)
  if (magic !== 0x7f45_4c46) refuse(`begins with ${hex(magic)}, not with 7f 'ELF'`)
  if (bytes[4] !== mark) refuse(`ELF class ${bytes[4]}, not ${mark} (${bits}-bit)`)
  if (bytes[5] !== 1) refuse(`ELF data encoding ${bytes[5]}, not 1 (little endian)`)
  const half = (at: number) => view.getUint16(at, true)
  const word = (at: number) => view.getUint32(at, true)
  const address = (at: number) => (wide ? view.getBigUint64(at, true) : BigInt(word(at)))
  const forMachine = half(18)
  if (forMachine !== machine)
    refuse(
      `machine ${forMachine}${MACHINES[forMachine] === undefined ? '' : ` (${MACHINES[forMachine]})`}, not ${machine} (${MACHINES[machine]})`,
    )
  const type = half(16)
  if (type !== ET_EXEC && type !== ET_DYN) refuse(`ELF type ${type}, not ${ET_EXEC} (executable)`)
  const entry = address(24)
  const offset = address(wide ? 32 : 28)
  const [size, count] = wide ? [half(54), half(56)] : [half(42), half(44)]
  if (count === 0) refuse('has no program headers')
  if (size !== programHeader) refuse(`program headers of ${size} bytes, not ${programHeader}`)
  if (offset + BigInt(count * size) > BigInt(bytes.length))
    refuse(`${count} program headers at offset ${hex(offset)}: the file has ${bytes.length} bytes`)

  const segments: ElfSegment[] = []
  let [interpreted, dynamic] = [false, false]
  for (let number = 0; number < count; number++) {
    const at = Number(offset) + number * size
    const kind = word(at)
    if (kind === PT_INTERP) interpreted = true
    if (kind === PT_DYNAMIC) dynamic = true
    if (kind !== PT_LOAD) continue
    const flags = word(at + (wide ? 4 : 24))
    const [from, virtual, physical, inFile, inMemory] = wide
      ? [address(at + 8), address(at + 16), address(at + 24), address(at + 32), address(at + 40)]
      : [address(at + 4), address(at + 8), address(at + 12), address(at + 16), address(at + 20)]
    if (inMemory === 0n) continue
    const what = `segment ${number}`
    if (inFile > inMemory) refuse(`${what}: ${inFile} bytes in the file, ${inMemory} in memory`)
    if (from + inFile > BigInt(bytes.length))
      refuse(`${what}: ${inFile} bytes at offset ${hex(from)}, the file has ${bytes.length}`)
    if (virtual + inMemory > 1n << BigInt(bits)) refuse(`${what} at ${hex(virtual)} wraps around the address space`)
    segments.push({
      number,
      offset: from,
      virtual,
      physical,
      bytes: bytes.subarray(Number(from), Number(from + inFile)),
      size: inMemory,
      readable: (flags & PF_R) !== 0,
      writable: (flags & PF_W) !== 0,
      executable: (flags & PF_X) !== 0,
    })
  }
  if (segments.length === 0) refuse('has no segment to load (PT_LOAD)')
  segments.sort((a, b) => (a.virtual < b.virtual ? -1 : a.virtual > b.virtual ? 1 : 0))
  for (const [n, segment] of segments.entries()) {
    const next = segments[n + 1]
    if (next !== undefined && segment.virtual + segment.size > next.virtual)
      refuse(`segments ${segment.number} and ${next.number} overlap at ${hex(next.virtual)}`)
  }
  const isInside = (s: ElfSegment) => entry >= s.virtual && entry < s.virtual + s.size
  if (!segments.some(isInside)) refuse(`the entry point ${hex(entry)} lies in no segment`)
  return {
    type: type === ET_EXEC ? 'exec' : 'dyn',
    entry,
    segments,
    headers: { offset, count, size },
    interpreted,
    dynamic,
  }
}
