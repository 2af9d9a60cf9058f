/** Metadata ids: finding the field one names, and walking from one to the next. metadata_handlers/metadata_generic.c. */
import {
  MD_FIELD_ID_NA,
  type MetadataField,
  TDX_ATTR_DEBUG,
  TDX_METADATA_FIELD_ID_INCORRECT,
  TDX_METADATA_FIELD_NOT_READABLE,
  TDX_METADATA_FIELD_NOT_WRITABLE,
  TDX_METADATA_FIELD_VALUE_NOT_VALID,
} from '#abi'
import { check, fail } from '../status.ts'

/** Who asks. */
export type Reader = 'host' | 'debugger' | 'guest'

/** One element: its field's row, and where it is in it, counted over all fields and elements of the row. */
export type Element = { readonly row: MetadataField; readonly index: number }

export const fieldCode = (id: bigint): bigint => id & 0xff_ffffn
export const classCode = (id: bigint): bigint => (id >> 56n) & 0x3fn
/** Bytes of an element. */
export const elementSize = (id: bigint): 1 | 2 | 4 | 8 => (1 << Number((id >> 32n) & 3n)) as 1 | 2 | 4 | 8
/** Code of an element's size. */
export const sizeCode = (id: bigint): bigint => (id >> 32n) & 3n
/** By an element's size. */
const MASKS: readonly bigint[] = Array.from({ length: 9 }, (_, size) => (1n << BigInt(8 * size)) - 1n)
/** Bits of an element. */
export const sizeMask = (id: bigint): bigint => MASKS[elementSize(id)]!

/** Reserved bits, last element in field, last field in sequence: zero where one element is meant. Size and context are ignored. */
const NOT_SINGLE = (0xffn << 24n) | (0xfn << 34n) | (0x1ffn << 38n) | (7n << 47n) | (1n << 55n) | (1n << 62n)

/** Bit 50: codes of the field go up by two. */
export const stride = (row: MetadataField): bigint => ((row.id >> 50n) & 1n) + 1n

const count = (row: MetadataField): number => row.fields * row.elements

/** The rows of a context, found by class and code. */
export class FieldTable {
  readonly rows: readonly MetadataField[]
  readonly #byClass = new Map<bigint, MetadataField[]>()

  constructor(rows: readonly MetadataField[]) {
    this.rows = rows
    for (const row of rows) {
      const list = this.#byClass.get(classCode(row.id))
      if (list === undefined) this.#byClass.set(classCode(row.id), [row])
      else list.push(row)
    }
  }

  find(id: bigint): Element {
    check((id & NOT_SINGLE) === 0n, TDX_METADATA_FIELD_ID_INCORRECT)
    return this.at(id) ?? fail(TDX_METADATA_FIELD_ID_INCORRECT)
  }

  /** The element whose class and code these are, whatever else the id says. */
  at(id: bigint): Element | undefined {
    const code = fieldCode(id)
    for (const row of this.#byClass.get(classCode(id)) ?? []) {
      const first = fieldCode(row.id)
      const step = stride(row)
      if (code >= first && code < first + BigInt(count(row)) * step)
        return { row, index: Number((code - first) / step) }
    }
    return undefined
  }

  /** Id of an element. */
  id({ row, index }: Element): bigint {
    return row.id + BigInt(index) * stride(row)
  }

  /** Id of the first element that `isReadable`, after `from` or from the start; -1 where there is none. */
  next(from: Element | undefined, isReadable: (row: MetadataField) => boolean): bigint {
    if (from !== undefined && from.index + 1 < count(from.row)) return this.id({ row: from.row, index: from.index + 1 })
    const start = from === undefined ? 0 : this.rows.indexOf(from.row) + 1
    for (const row of this.rows.slice(start)) if (isReadable(row)) return row.id
    return MD_FIELD_ID_NA
  }
}

/** The host of a debug TD is its debugger. */
export const seenBy = ({ attributes }: { readonly attributes: bigint }, reader: Reader): Reader =>
  reader === 'host' && (attributes & TDX_ATTR_DEBUG) !== 0n ? 'debugger' : reader

export const readMask = (row: MetadataField, reader: Reader): bigint =>
  reader === 'host' ? row.hostRd : reader === 'debugger' ? row.debugRd : row.guestRd
export const writeMask = (row: MetadataField, reader: Reader): bigint =>
  (reader === 'host' ? row.hostWr : reader === 'debugger' ? row.debugWr : row.guestWr) & sizeMask(row.id)

export const checkReadable = ({ row }: Element, reader: Reader): bigint => {
  const mask = readMask(row, reader)
  check(mask !== 0n, TDX_METADATA_FIELD_NOT_READABLE)
  return mask
}

/** Is there anything under the mask that may be written? */
export const checkWritable = (row: MetadataField, reader: Reader, mask: bigint): void =>
  check((writeMask(row, reader) & mask) !== 0n, TDX_METADATA_FIELD_NOT_WRITABLE)

/**
 * The value that a write with a mask makes of `old`. Bits that the mask asks for and that may not be written must not
 * change. md_vp_write_element.
 */
export const combine = (row: MetadataField, reader: Reader, old: bigint, value: bigint, mask: bigint): bigint => {
  const writable = writeMask(row, reader)
  const combined = writable & mask
  check(((old ^ value) & mask & ~writable & sizeMask(row.id)) === 0n, TDX_METADATA_FIELD_VALUE_NOT_VALID)
  return (old & ~combined) | (value & combined)
}
