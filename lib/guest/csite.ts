/** The sites that include/seamless.h records: 64-byte records in `.seamless.sites`, their strings in `.seamless.text`. */
import { struct, u32, u64 } from '#bits'
import { stringAt } from './elf.ts'
import type { Relation, Site, SiteKind } from './site.ts'
import type { TypeName } from './types.ts'

/** `struct seamless_site`. The pointers are addresses in `.seamless.text`, 0 for none. */
const record = struct('seamless_site', {
  kind: u32,
  line: u32,
  relation: u32,
  types: u32,
  file: u64,
  seen: u64,
  want: u64,
  text: u64,
  strings: u64,
  reserved1: u64,
})

// The numbers of the header's enums.
const KINDS: readonly SiteKind[] = ['assert', 'fail', 'sync', 'printf', 'done']
const RELATIONS: readonly (Relation | undefined)[] = [undefined, 'eq', 'ne', 'lt', 'le', 'gt', 'ge']
const TYPES: readonly TypeName[] = ['u64', 'u8', 'u16', 'u32', 'u64', 'i8', 'i16', 'i32', 'i64']

/** The numbers of the bits that are set. */
const bitsOf = (mask: bigint): number[] =>
  Array.from({ length: 64 }, (_, n) => n).filter(n => ((mask >> BigInt(n)) & 1n) !== 0n)

export const sitesOf = (
  records: Uint8Array,
  texts: Uint8Array,
  base: bigint,
  refuse: (why: string) => never,
): Site[] => {
  if (records.length % record.size !== 0)
    refuse(`.seamless.sites has ${records.length} bytes, not a multiple of ${record.size}`)
  const view = new DataView(records.buffer, records.byteOffset, records.byteLength)
  const word = (at: bigint): string | undefined => {
    if (at === base) return undefined
    const offset = Number(at - base)
    return offset >= 0 && offset < texts.length
      ? stringAt(texts, offset)
      : refuse(`.seamless.sites names text at ${at}, outside .seamless.text`)
  }
  return Array.from({ length: records.length / record.size }, (_, number) => {
    const r = record.read(view, number * record.size)
    const kind = KINDS[r.kind] ?? refuse(`site ${number} is of kind ${r.kind}`)
    const relation = RELATIONS[r.relation]
    const [seen, want, text] = [word(r.seen), word(r.want), word(r.text)]
    const count = r.types >> 16
    return {
      number,
      kind,
      file: word(r.file) ?? '',
      line: r.line,
      column: 0,
      ...(relation === undefined
        ? { types: Array.from({ length: count }, () => 'u64' as const) }
        : { relation, types: [TYPES[r.types & 0xff]!, TYPES[(r.types >> 8) & 0xff]!] }),
      ...(r.strings === 0n ? {} : { copies: bitsOf(r.strings) }),
      ...(seen === undefined ? {} : { source: { seen, want: want ?? 'true' } }),
      ...(text === undefined ? {} : kind === 'printf' || text.includes('%') ? { format: text } : { message: text }),
    }
  })
}
