/** Lines of compiled code: the line number programs in `.debug_line`. DWARF 5, "Line Number Information"; versions 2 to 5. */
import { join } from 'node:path'
import type { CodeLine } from './image.ts'

/** The sections that are read; those of strings may be missing. */
export type DebugSections = {
  readonly line: Uint8Array
  readonly strings?: Uint8Array
  readonly lineStrings?: Uint8Array
}

// DW_LNS_*, DW_LNE_*, DW_LNCT_*, DW_FORM_*: DWARF 5, "Encodings".
const LNS = { copy: 1, advancePc: 2, advanceLine: 3, setFile: 4, constAddPc: 8, fixedAdvancePc: 9 } as const
const LNE = { endSequence: 1, setAddress: 2 } as const
const LNCT = { path: 1, directory: 2 } as const
const FORM = {
  block: 0x09,
  data1: 0x0b,
  data2: 0x05,
  data4: 0x06,
  data8: 0x07,
  data16: 0x1e,
  string: 0x08,
  strp: 0x0e,
  lineStrp: 0x1f,
  udata: 0x0f,
} as const

const decoder = new TextDecoder()
const textAt = (bytes: Uint8Array, at: number): string => {
  const end = bytes.indexOf(0, at)
  return decoder.decode(bytes.subarray(at, end < 0 ? bytes.length : end))
}

class Reader {
  readonly bytes: Uint8Array
  readonly #view: DataView
  at: number
  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.at = at
  }
  u8(): number {
    return this.#view.getUint8(this.at++)
  }
  i8(): number {
    return this.#view.getInt8(this.at++)
  }
  u16(): number {
    this.at += 2
    return this.#view.getUint16(this.at - 2, true)
  }
  u32(): number {
    this.at += 4
    return this.#view.getUint32(this.at - 4, true)
  }
  u64(): bigint {
    this.at += 8
    return this.#view.getBigUint64(this.at - 8, true)
  }
  leb(): number {
    let [value, scale] = [0, 1]
    for (;;) {
      const byte = this.u8()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
      scale *= 128
    }
  }
  signedLeb(): number {
    let [value, scale] = [0, 1]
    for (;;) {
      const byte = this.u8()
      value += (byte & 0x7f) * scale
      scale *= 128
      if (byte < 0x80) return byte & 0x40 ? value - scale : value
    }
  }
  text(): string {
    const text = textAt(this.bytes, this.at)
    this.at = this.bytes.indexOf(0, this.at) + 1
    return text
  }
}

/** The value of a form, as text or number; undefined where nobody asks for it. */
const formValue = (r: Reader, form: number, sections: DebugSections): string | number | undefined => {
  switch (form) {
    case FORM.string:
      return r.text()
    case FORM.lineStrp:
      return textAt(sections.lineStrings ?? new Uint8Array(0), r.u32())
    case FORM.strp:
      return textAt(sections.strings ?? new Uint8Array(0), r.u32())
    case FORM.udata:
      return r.leb()
    case FORM.data1:
      return r.u8()
    case FORM.data2:
      return r.u16()
    case FORM.data4:
      return r.u32()
    case FORM.data8:
      return Number(r.u64())
    case FORM.data16:
      r.at += 16
      return undefined
    case FORM.block:
      r.at += r.leb()
      return undefined
    default:
      throw new RangeError(`.debug_line: form ${form} of a file's entry`)
  }
}

/** Directories or files of a version 5 header. */
const entriesOf = (r: Reader, sections: DebugSections): { path: string; directory: number }[] => {
  const formats = Array.from({ length: r.u8() }, () => [r.leb(), r.leb()] as const)
  return Array.from({ length: r.leb() }, () => {
    let [path, directory] = ['', 0]
    for (const [content, form] of formats) {
      const value = formValue(r, form, sections)
      if (content === LNCT.path) path = String(value)
      if (content === LNCT.directory) directory = Number(value)
    }
    return { path, directory }
  })
}

/** File names by the numbers that the program uses. */
const filesOf = (r: Reader, version: number, sections: DebugSections): string[] => {
  if (version >= 5) {
    const directories = entriesOf(r, sections).map(({ path }) => path)
    return entriesOf(r, sections).map(({ path, directory }) => resolved(directories[directory] ?? '', path))
  }
  const directories = ['']
  for (let text = r.text(); text !== ''; text = r.text()) directories.push(text)
  const files = ['']
  for (let text = r.text(); text !== ''; text = r.text()) {
    files.push(resolved(directories[r.leb()] ?? '', text))
    r.leb()
    r.leb()
  }
  return files
}
const resolved = (directory: string, path: string): string => (path.startsWith('/') ? path : join(directory, path))

/** One unit's program, run. */
const unitOf = (r: Reader, end: number, sections: DebugSections, lines: CodeLine[]): void => {
  const version = r.u16()
  if (version < 2 || version > 5) return
  if (version >= 5) r.at += 2
  const length = r.u32()
  const program = r.at + length
  const unit = r.u8()
  if (version >= 4) r.u8()
  r.u8()
  const [base, range, first] = [r.i8(), r.u8(), r.u8()]
  const counts = Array.from({ length: first - 1 }, () => r.u8())
  const files = filesOf(r, version, sections)
  r.at = program
  let state = { address: 0n, file: 1, line: 1 }
  const row = (): void => {
    lines.push({ gva: state.address, file: files[state.file] ?? '', line: state.line })
  }
  while (r.at < end) {
    const code = r.u8()
    if (code >= first) {
      const adjusted = code - first
      state.address += BigInt(Math.floor(adjusted / range) * unit)
      state.line += base + (adjusted % range)
      row()
    } else if (code === 0) {
      const size = r.leb()
      const next = r.at + size
      const extended = r.u8()
      if (extended === LNE.setAddress) state.address = r.u64()
      if (extended === LNE.endSequence) {
        lines.push({ gva: state.address, file: '', line: 0 })
        state = { address: 0n, file: 1, line: 1 }
      }
      r.at = next
    } else if (code === LNS.copy) row()
    else if (code === LNS.advancePc) state.address += BigInt(r.leb() * unit)
    else if (code === LNS.advanceLine) state.line += r.signedLeb()
    else if (code === LNS.setFile) state.file = r.leb()
    else if (code === LNS.constAddPc) state.address += BigInt(Math.floor((255 - first) / range) * unit)
    else if (code === LNS.fixedAdvancePc) state.address += BigInt(r.u16())
    else for (let n = counts[code - 1] ?? 0; n > 0; n--) r.leb()
  }
}

/**
 * The lines of all units, in the order of their addresses; line 0 ends a sequence. Help for a reader and no more: a unit
 * that cannot be read has none.
 * Not modelled: 64-bit DWARF.
 */
export const dwarfLines = (sections: DebugSections): CodeLine[] => {
  const lines: CodeLine[] = []
  const r = new Reader(sections.line)
  while (r.at + 4 <= sections.line.length) {
    const length = r.u32()
    const end = r.at + length
    if (length >= 0xffff_fff0 || end > sections.line.length) break
    try {
      unitOf(r, end, sections, lines)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
    }
    r.at = end
  }
  // Where one sequence ends and another begins, what begins counts.
  const at = (line: CodeLine): number => (line.line === 0 ? 0 : 1)
  return lines.sort((a, b) => (a.gva === b.gva ? at(a) - at(b) : a.gva < b.gva ? -1 : 1))
}
