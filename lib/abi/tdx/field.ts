/** A row of the metadata tables. include/tdx_api_defs.h of intel/tdx-module, md_field_id_t and the *_fields_lookup.c. */

export type MetadataField = {
  readonly name: string
  /** Id of the first element of the first field. */
  readonly id: bigint
  readonly fields: number
  readonly elements: number
  /** Readable and writable bits: by the host, by the host of a debug TD, by the guest. */
  readonly hostRd: bigint
  readonly hostWr: bigint
  readonly debugRd: bigint
  readonly debugWr: bigint
  readonly guestRd: bigint
  readonly guestWr: bigint
}

/** Every bit, and none. */
export const ALL = 0xffff_ffff_ffff_ffffn
export const NONE = 0n

export const field = (
  name: string,
  id: bigint,
  fields: number,
  elements: number,
  hostRd: bigint,
  hostWr: bigint,
  debugRd: bigint,
  debugWr: bigint,
  guestRd: bigint,
  guestWr: bigint,
): MetadataField => ({ name, id, fields, elements, hostRd, hostWr, debugRd, debugWr, guestRd, guestWr })
