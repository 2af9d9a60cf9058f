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

/**
 * Gives every segment a GPA from `first` upward, then the page tables that map them and `extra` (the boot regions,
 * test memory). Segments do not overlap and everything private lies before the shared segments.
 */
export const layOut = (
  image: Pick<GuestImage, 'segments'>,
  {
    first = FIRST_GPA,
    levels,
    sharedBit,
    extra = [],
  }: { first?: Gpa; levels: PagingLevels; sharedBit: bigint; extra?: readonly Mapping[] },
): Layout => {
  let at: bigint = first
  const take = (size: number): Gpa => {
    const here = gpa(at)
    at += BigInt(size)
    return here
  }
  const give = (segment: Segment): Placed => ({ ...segment, gpa: take(segment.size) })
  const own = image.segments.filter(s => !s.shared).map(give)
  // A shared segment's GPA is needed for the tables, the tables' number is not yet known: count them first.
  const shared = image.segments.filter(s => s.shared)
  const count = countTables([...image.segments, ...extra], levels)
  const tablesAt = take(count * PAGE_SIZE)
  const segments = [...own, ...shared.map(give)]
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
  return { segments, tables, end: gpa(at) }
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
