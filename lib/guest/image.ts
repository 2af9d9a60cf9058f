/** A guest image: what a guest consists of before anybody decides where in guest physical memory it goes. */
import { type Gpa, type Gva, gpa, gva, PAGE_SIZE } from '#bits'
import { buildPageTables, countTables, type Mapping, type PageTables, type PagingLevels } from './paging.ts'
import type { Site } from './site.ts'

/** A range of guest virtual memory. `bytes` may be shorter than `size`; the rest is zero. Both ends page aligned. */
export type Segment = {
  readonly name: string
  readonly gva: Gva
  readonly bytes: Uint8Array
  readonly size: number
  readonly shared: boolean
  readonly writable: boolean
  readonly executable: boolean
  /** Reachable from ring 3. */
  readonly user?: boolean
}

/** A name for a place. `size` in bytes, 0 where unknown. */
export type Sym = { readonly name: string; readonly gva: Gva; readonly size: number }

/**
 * Code from an address on, up to the next one's. `file` is absolute where its compiler or Node says so; line 0: nobody's.
 * `isReport`: it hands something to the host that the guest has said.
 */
export type CodeLine = {
  readonly gva: bigint
  readonly file: string
  readonly line: number
  readonly isReport?: boolean
}

/** Ways in which a guest's ucall reaches the host; see `runtime.ts`. */
export type Transport = 'mmio' | 'fatal' | 'port-rdi' | 'port-index' | 'pio'

export type GuestImage = {
  readonly segments: readonly Segment[]
  /** First instruction of each vCPU. ESI is its number there. */
  readonly entries: readonly Gva[]
  /** RSP of each vCPU at its first instruction: 8 modulo 16, as after a CALL. */
  readonly stacks: readonly Gva[]
  readonly gdt: { readonly base: Gva; readonly limit: number }
  readonly idt: { readonly base: Gva; readonly limit: number }
  /** Index = site number, the first argument of every ucall that the guest room's code makes. */
  readonly sites: readonly Site[]
  /** In the order of their addresses. */
  readonly symbols: readonly Sym[]
  readonly ucall: {
    readonly transport: Transport
    /** `struct ucall_header` in shared memory; the host writes each structure's `hva` before the guest runs. */
    readonly pool: Gva
    /** Number of structures in the pool. */
    readonly capacity: number
  }
  /** Where code was written, by address; of a guest that was built with its lines. */
  readonly lines?: readonly CodeLine[]
  /** ABORT, SYNC and PRINTF ucalls carry site numbers (our guests), or what upstream's macros put there. */
  readonly convention: 'sites' | 'upstream'
}

/** A segment and the guest physical address it was given. */
export type Placed = Segment & { readonly gpa: Gpa }

export type Layout = {
  readonly segments: readonly Placed[]
  readonly tables: PageTables
  /** First GPA after everything that was placed, page aligned. */
  readonly end: Gpa
}

/** GPA from which a selftest's slot 0 is filled (the first pages stay free, as upstream leaves them). */
export const FIRST_GPA = gpa(0x2000n)

/** `size` in whole pages, in bytes. */
export const wholePages = (size: number): number => Math.ceil(size / PAGE_SIZE) * PAGE_SIZE

export type LayoutOptions = {
  readonly first?: Gpa
  readonly levels: PagingLevels
  readonly sharedBit: bigint
  readonly extra?: readonly Mapping[]
}

/** Layouts of images before: most guests of a worker have memory of the same shape, and their page tables are the same. */
type Kept = {
  readonly options: LayoutOptions
  readonly segments: readonly Segment[]
  readonly layout: Layout
}
const kept: Kept[] = []
const MOST_KEPT = 16

const isSameMapping = (a: Mapping | Segment, b: Mapping | Segment): boolean =>
  a.gva === b.gva &&
  a.size === b.size &&
  (a.shared ?? false) === (b.shared ?? false) &&
  (a.writable ?? true) === (b.writable ?? true) &&
  (a.executable ?? true) === (b.executable ?? true) &&
  (a.user ?? false) === (b.user ?? false)

const isSameShape = (kept: Kept, segments: readonly Segment[], options: LayoutOptions): boolean => {
  const { first = FIRST_GPA, levels, sharedBit, extra = [] } = options
  const { first: wasFirst = FIRST_GPA, extra: wasExtra = [] } = kept.options
  return (
    first === wasFirst &&
    levels === kept.options.levels &&
    sharedBit === kept.options.sharedBit &&
    segments.length === kept.segments.length &&
    extra.length === wasExtra.length &&
    (segments === kept.segments || segments.every((s, n) => isSameMapping(s, kept.segments[n]!))) &&
    extra.every((m, n) => isSameMapping(m, wasExtra[n]!) && m.gpa === wasExtra[n]!.gpa)
  )
}

/**
 * Gives every segment a GPA from `first` upward, then the page tables that map them and `extra` (the boot regions,
 * test memory). Segments do not overlap and everything private lies before the shared segments.
 */
export const layOut = ({ segments }: Pick<GuestImage, 'segments'>, options: LayoutOptions): Layout => {
  const known = kept.findIndex(one => isSameShape(one, segments, options))
  if (known >= 0) {
    const before = kept[known]!
    if (before.segments === segments) return before.layout
    const { first = FIRST_GPA } = options
    const { tables, end } = before.layout
    const layout = { segments: place(segments, first, tables.pages.length * PAGE_SIZE).segments, tables, end }
    kept[known] = { ...before, segments, layout }
    return layout
  }
  const layout = layOutAnew(segments, options)
  kept.unshift({ options: { ...options, extra: [...(options.extra ?? [])] }, segments, layout })
  if (kept.length > MOST_KEPT) kept.length = MOST_KEPT
  return layout
}

/** GPAs for the segments, and for tables of so many bytes between the private and the shared ones. */
const place = (
  segments: readonly Segment[],
  first: Gpa,
  tableBytes: number,
): { readonly segments: readonly Placed[]; readonly tablesAt: Gpa; readonly end: Gpa } => {
  let at: bigint = first
  const take = (size: number): Gpa => {
    const here = gpa(at)
    at += BigInt(size)
    return here
  }
  const give = (segment: Segment): Placed => ({ ...segment, gpa: take(segment.size) })
  const own = segments.filter(s => !s.shared).map(give)
  const tablesAt = take(tableBytes)
  const shared = segments.filter(s => s.shared).map(give)
  return { segments: [...own, ...shared], tablesAt, end: gpa(at) }
}

const layOutAnew = (
  from: readonly Segment[],
  { first = FIRST_GPA, levels, sharedBit, extra = [] }: LayoutOptions,
): Layout => {
  // A shared segment's GPA is needed for the tables, the tables' number is not yet known: count them first.
  const count = countTables([...from, ...extra], levels)
  const { segments, tablesAt, end } = place(from, first, count * PAGE_SIZE)
  let next: bigint = tablesAt
  const tables = buildPageTables([...segments, ...extra], {
    levels,
    sharedBit,
    count,
    allocate: () => {
      const here = gpa(next)
      next += BigInt(PAGE_SIZE)
      return here
    },
  })
  return { segments, tables, end }
}

/** The symbol that `at` lies in, and how far in. */
export const symbolAt = (symbols: readonly Sym[], at: bigint): { name: string; offset: number } | undefined => {
  let best: Sym | undefined
  for (const symbol of symbols) {
    if (symbol.gva > at) break
    if (symbol.size === 0 || at < symbol.gva + BigInt(symbol.size)) best = symbol
  }
  return best === undefined ? undefined : { name: best.name, offset: Number(at - best.gva) }
}

/** The line that `at` was written in. `lines` are in the order of their addresses. */
export const lineOf = (lines: readonly CodeLine[], at: bigint): CodeLine | undefined => {
  let [low, high] = [0, lines.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (lines[middle]!.gva <= at) low = middle + 1
    else high = middle
  }
  const found = lines[low - 1]
  return found === undefined || found.line === 0 ? undefined : found
}

/** The address of a symbol. Throws where there is none of that name. */
export const addressOf = (symbols: readonly Sym[], name: string): Gva => {
  const found = symbols.find(s => s.name === name)
  if (found === undefined) throw new RangeError(`the image has no symbol ${name}`)
  return gva(found.gva)
}
