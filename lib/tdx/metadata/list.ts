/**
 * Metadata lists: a header, then sequences of fields, each behind an id that says how many follow.
 * intel/tdx-module, metadata_generic.c (md_dump_list, md_dump_sequence), metadata_generic.h (md_list_header_t).
 */
import { MD_FIELD_ID_NA, type MetadataField, TDX_METADATA_FIELD_ID_INCORRECT } from '#abi'
import { check } from '../status.ts'
import { type Element, type FieldTable, sizeCode, stride } from './field.ts'

/** How a dump ended: the id to go on with, -1 where all is done. */
export type Dump = { readonly next: bigint }

const LIST_SIZE = 4096
const HEADER = 8

/** The row after this one that may be read. */
const following = (table: FieldTable, row: MetadataField, isReadable: (row: MetadataField) => boolean) =>
  table.rows.slice(table.rows.indexOf(row) + 1).find(isReadable)

/** The id of a sequence: its first field, elements of a field and fields less one each. */
const sequenceId = (id: bigint, elements: number, fields: number): bigint =>
  (id & 0xfffc_0003_00ff_ffffn) | (BigInt(elements - 1) << 34n) | (BigInt(fields - 1) << 38n)

/**
 * Writes whole fields from the one `id` names (-1: from the first) into 4 KiB at `at`. `read` gives an element's value,
 * eight bytes in the list whatever its size. An id that starts no field is TDX_METADATA_FIELD_ID_INCORRECT.
 */
export const dumpList = (
  table: FieldTable,
  id: bigint,
  isReadable: (row: MetadataField) => boolean,
  read: (element: Element) => bigint,
  view: DataView,
  at: number,
): Dump => {
  let row: MetadataField | undefined
  let field = 0
  if (id === MD_FIELD_ID_NA) {
    row = table.rows.find(isReadable)
  } else {
    const element = table.at(id)
    check(element !== undefined && element.index % element.row.elements === 0, TDX_METADATA_FIELD_ID_INCORRECT)
    check(sizeCode(id) === sizeCode(element.row.id), TDX_METADATA_FIELD_ID_INCORRECT)
    row = element.row
    field = element.index / row.elements
  }
  let used = HEADER
  let sequences = 0
  let header = 0
  let fields = 0
  let start = 0n
  let expected = -1n
  while (row !== undefined) {
    const current = row
    const here = current.id + BigInt(field * current.elements) * stride(current)
    const continues =
      fields > 0 &&
      here === expected &&
      sizeCode(start) === sizeCode(here) &&
      ((view.getBigUint64(header, true) >> 34n) & 0xfn) === BigInt(current.elements - 1)
    const needs = 8 * current.elements + (continues ? 0 : 8)
    if (used + needs > LIST_SIZE) break
    if (isReadable(current)) {
      if (!continues) {
        header = at + used
        used += 8
        sequences++
        start = here
        fields = 0
      }
      for (let i = 0; i < current.elements; i++) {
        view.setBigUint64(at + used, read({ row: current, index: field * current.elements + i }), true)
        used += 8
      }
      fields++
      view.setBigUint64(header, sequenceId(start, current.elements, fields), true)
      expected = here + BigInt(current.elements) * stride(current)
    }
    if (++field === current.fields) {
      field = 0
      row = following(table, current, isReadable)
    }
  }
  view.setBigUint64(at, BigInt(used) | (BigInt(sequences) << 16n), true)
  return { next: row === undefined ? MD_FIELD_ID_NA : row.id + BigInt(field * row.elements) * stride(row) }
}
