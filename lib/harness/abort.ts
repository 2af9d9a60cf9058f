/** A guest's failed assertion and its printed text, made from the numbers it sent and the sites the host keeps. */
import { EXCEPTIONS, VECTOR_PF } from '#abi'
import { hex } from '#bits'
import {
  COPY_WORDS,
  format,
  type GuestImage,
  type Site as GuestSite,
  readAs,
  sourceOf,
  symbolAt,
  type TypeName,
  textOf,
} from '#guest'
import type { Failure as FailureData } from '#reports'
import { pageFaultText } from './chain.ts'
import type { Ucall } from './exits.ts'
import { showBytes, showRows } from './show.ts'
import { siteOf } from './where.ts'

/** A value as its type reads: signed in decimal, unsigned in hex. */
const valueText = (value: bigint, type: TypeName = 'u64'): string => {
  const read = readAs(value, type)
  return type.startsWith('i') ? String(read) : hex(read)
}

/** UCALL_ABORT as the failure it is. What the guest and the host were doing is added by the vCPU. */
export const abortFailure = (
  image: GuestImage,
  { args, values, text }: Ucall,
  read: (address: bigint, length: number) => Uint8Array | undefined,
): Omit<FailureData, 'steps'> => {
  const base = { kind: 'assertion', side: 'guest' } as const
  // KVM's macros send pointers into the guest for their strings; the formatted text is all a host can read of a TD.
  if (image.convention === 'upstream') {
    const said = text === '' ? 'GUEST_ASSERT failed' : text.trimEnd()
    return { ...base, message: `${said} (line ${args[2] ?? 0n})` }
  }
  const site = image.sites[Number(args[0] ?? -1n)]
  if (site === undefined) return { ...base, message: `the guest aborted at site ${args[0]}, which the image has not` }
  const where = site.file === '' ? base : { ...base, site: placed(site) }
  // A message with values: they follow the two that an assertion compares.
  const said =
    site.format === undefined
      ? site.message
      : format(site.format, values.slice(2), stringsOf(image, site, values.slice(2)))
  switch (site.kind) {
    case 'assert':
    case 'expect': {
      const source = sourceOf(site)
      if (site.bytes !== undefined) {
        const seen = read(args[1] ?? 0n, site.bytes.length)
        const value = seen === undefined ? `differs at offset ${args[2]}` : showBytes(seen)
        const comparison = {
          op: 'bytes',
          seen: { source: source?.seen ?? '', value },
          want: { source: source?.want ?? '', value: showBytes(site.bytes) },
        }
        return { ...where, message: said ?? '', comparison }
      }
      if (site.fields !== undefined) {
        const { fields, types = [] } = site
        const side = (from: number): string =>
          showRows(fields.map((name, n) => [name, valueText(values[from + n] ?? 0n, types[from + n])]))
        const comparison = {
          op: 'match',
          seen: { source: source?.seen ?? '', value: side(0) },
          want: { source: source?.want ?? '', value: side(fields.length) },
        }
        return { ...where, message: said ?? '', comparison }
      }
      // C's GUEST_ASSERT has a condition and no relation.
      if (site.relation === undefined) {
        const seen = { source: source?.seen ?? '', value: 'false' }
        const want = { source: 'true', value: 'true' }
        return { ...where, message: said ?? '', comparison: { op: 'eq', seen, want } }
      }
      const [seenType, wantType] = site.types ?? []
      return {
        ...where,
        message: said ?? '',
        comparison: {
          op: site.relation,
          seen: { source: source?.seen ?? '', value: valueText(args[1] ?? 0n, seenType) },
          want: { source: source?.want ?? '', value: valueText(args[2] ?? 0n, wantType ?? seenType) },
        },
      }
    }
    case 'fail':
      return { ...where, message: said ?? 'the guest failed' }
    case 'end':
      return { ...where, message: site.message ?? 'the guest ran off its end' }
    case 'sync':
    case 'printf':
    case 'done':
      return { ...where, message: `the guest aborted at a site that is a ${site.kind}` }
  }
}

const placed = (site: GuestSite) => {
  const { file, line, column } = site
  return siteOf({ path: file, line, column })
}

/** Reads what a `%s` points to: a constant of the image, else the copy that the guest has made of it. */
const stringsOf = (
  image: GuestImage,
  { copies = [] }: GuestSite,
  values: readonly bigint[],
): ((p: bigint) => string) => {
  const from = values.length - copies.length * COPY_WORDS
  const copied = new Map(
    copies.map((value, n) => [values[value] ?? 0n, values.slice(from + n * COPY_WORDS, from + (n + 1) * COPY_WORDS)]),
  )
  return pointer => {
    const words = copied.get(pointer)
    return (
      constantAt(image, pointer, words !== undefined) ?? (words ? textOf(words) : `<no constant at ${hex(pointer)}>`)
    )
  }
}

/** The string that the image has at `pointer`; of memory that may have been written since only where nothing better is known. */
const constantAt = (image: GuestImage, pointer: bigint, isCopied: boolean): string | undefined => {
  const segment = image.segments.find(({ gva, bytes }) => pointer >= gva && pointer < gva + BigInt(bytes.length))
  if (segment === undefined || (segment.writable && isCopied)) return undefined
  const bytes = segment.bytes.subarray(Number(pointer - segment.gva))
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
}

/** What a guest printed: its site's format with the values it sent, or UCALL_PRINTF's `buffer`. */
export const printfText = (
  image: GuestImage,
  site: GuestSite | undefined,
  values: readonly bigint[],
  buffer: string,
): string => {
  if (site?.format === undefined) return buffer
  return format(site.format, values, stringsOf(image, site, values), site.strings)
}

/** UCALL_UNHANDLED: vector, error code, RIP, CR2, RSP, RFLAGS, as the guest's runtime sends them. */
export const unhandledText = (image: GuestImage, { args }: Ucall): string => {
  const [vector = 0n, code = 0n, rip = 0n, cr2 = 0n] = args
  const known = EXCEPTIONS[Number(vector)]
  const what = known === undefined ? `exception ${vector}` : `${known.mnemonic} (${known.name})`
  const symbol = symbolAt(image.symbols, rip)
  const where = `RIP ${hex(rip)}${symbol === undefined ? '' : ` ${symbol.name}+${hex(symbol.offset)}`}`
  const parts = [where]
  if (known?.errorCode === true) parts.push(`error code ${hex(code)}`)
  if (Number(vector) === VECTOR_PF) parts.push(`${pageFaultText(Number(code))} ${hex(cr2)}`)
  return `the guest does not handle ${what} at ${parts.join(', ')}`
}
