/** Metadata fields by the names that the TDX module's table has for them. */
import type { MetadataField } from '#abi'

/** Throws where the table has no such field. */
export const fieldNamed = (fields: readonly MetadataField[], name: string): MetadataField => {
  const field = fields.find(candidate => candidate.name === name)
  if (field === undefined) throw new Error(`there is no metadata field ${name}`)
  return field
}
