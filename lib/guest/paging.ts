/** Page tables of a guest, 4 or 5 levels of 4 KiB pages, with the shared bit in the entries of shared pages. */
import { CR4_LA57, PTE } from '#abi'
import { type Gpa, type Gva, gva, hex, isAligned, PAGE_SIZE } from '#bits'

/** A range of guest virtual addresses and where it lies. All of `gva`, `gpa` and `size` are multiples of 4096. */
export type Mapping = {
  readonly gva: Gva
  /** Without the shared bit. */
  readonly gpa: Gpa
  readonly size: number
  readonly shared?: boolean
  readonly writable?: boolean
  /** Where false, the entry has XD set: IA32_EFER.NXE is 1 in a TD from the start. */
  readonly executable?: boolean
  /** Reachable from ring 3. */
  readonly user?: boolean
}

export type PageTables = {
  readonly root: Gpa
  /** Every table page: where it lies and its 4096 bytes. */
  readonly pages: readonly { readonly gpa: Gpa; readonly bytes: Uint8Array }[]
}

export type PagingLevels = 4 | 5

const INDEX = 0x1ffn
const ADDRESS = 0x000f_ffff_ffff_f000n
const page = BigInt(PAGE_SIZE)

class Table {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly next = new Map<number, Table>()
  readonly gpa: Gpa
  constructor(gpa: Gpa, bytes: Uint8Array) {
    this.gpa = gpa
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, PAGE_SIZE)
  }
}

/** Tables that map all of `mappings`, the root among them. */
export const countTables = (mappings: readonly Pick<Mapping, 'gva' | 'size'>[], levels: PagingLevels): number => {
  const known = new Set<number>()
  for (const { gva: at, size } of mappings) {
    if (size <= 0) continue
    const end = at + BigInt(size) - 1n
    for (let level = 1; level < levels; level++) {
      const shift = BigInt(12 + 9 * level)
      // A table's number is below 2^43; its level goes above that.
      const above = level * 2 ** 46
      const last = Number(BigInt.asUintN(64, end) >> shift)
      for (let n = Number(BigInt.asUintN(64, at) >> shift); n <= last; n++) known.add(above + n)
    }
  }
  return known.size + 1
}

/**
 * Builds tables for `mappings`. `allocate` gives the GPA of a zeroed private page for each table; `count` of them are expected.
 * Throws RangeError where a range is not page aligned, not canonical or mapped twice.
 */
export const buildPageTables = (
  mappings: readonly Mapping[],
  {
    levels,
    sharedBit,
    allocate,
    count = 0,
  }: { levels: PagingLevels; sharedBit: bigint; allocate: () => Gpa; count?: number },
): PageTables => {
  const pages: Table[] = []
  const expected = new Uint8Array(count * PAGE_SIZE)
  const table = (): Table => {
    const at = pages.length * PAGE_SIZE
    const bytes = pages.length < count ? expected.subarray(at, at + PAGE_SIZE) : new Uint8Array(PAGE_SIZE)
    const made = new Table(allocate(), bytes)
    pages.push(made)
    return made
  }
  const root = table()
  const width = levels === 5 ? 57 : 48

  /** The last-level table for `at`, made on the way down. */
  const descend = (at: bigint, user: boolean): Table => {
    let here = root
    for (let level: number = levels; level > 1; level--) {
      const index = Number((at >> BigInt(12 + 9 * (level - 1))) & INDEX)
      let below = here.next.get(index)
      if (below === undefined) {
        below = table()
        here.next.set(index, below)
        here.view.setBigUint64(index * 8, below.gpa | PTE.P | PTE.RW, true)
      }
      if (user) here.view.setBigUint64(index * 8, here.view.getBigUint64(index * 8, true) | PTE.US, true)
      here = below
    }
    return here
  }

  for (const m of mappings) {
    if (!isAligned(m.gva, page) || !isAligned(m.gpa, page) || m.size % PAGE_SIZE !== 0)
      throw new RangeError(`mapping ${hex(m.gva)} to ${hex(m.gpa)}, ${m.size} bytes: not in whole pages`)
    if (BigInt.asUintN(64, BigInt.asIntN(width, m.gva)) !== m.gva)
      throw new RangeError(`mapping ${hex(m.gva)}: not canonical with ${levels} levels`)
    let entry: bigint = PTE.P
    if (m.writable !== false) entry |= PTE.RW
    if (m.executable === false) entry |= PTE.XD
    if (m.user) entry |= PTE.US
    if (m.shared) entry |= sharedBit
    let last: Table | undefined
    for (let offset = 0n; offset < BigInt(m.size); offset += page) {
      const at = m.gva + offset
      const index = Number((at >> 12n) & INDEX)
      if (last === undefined || index === 0) last = descend(at, m.user === true)
      if (last.view.getBigUint64(index * 8, true) !== 0n) throw new RangeError(`mapping ${hex(at)}: mapped twice`)
      last.view.setBigUint64(index * 8, entry | (m.gpa + offset), true)
    }
  }
  return { root: root.gpa, pages: pages.map(({ gpa, bytes }) => ({ gpa, bytes })) }
}

/** CR4 bit that a guest with so many levels boots with. */
export const cr4OfLevels = (levels: PagingLevels): bigint => (levels === 5 ? CR4_LA57 : 0n)

/** Reads tables back: the entry that maps `at`, or undefined. For tests and for explaining a fault. */
export const walk = (tables: PageTables, levels: PagingLevels, at: Gva): { gpa: bigint; entry: bigint } | undefined => {
  const byGpa = new Map(tables.pages.map(p => [p.gpa as bigint, p.bytes]))
  let bytes = byGpa.get(tables.root)
  for (let level: number = levels; level >= 1; level--) {
    if (bytes === undefined) return undefined
    const index = Number((gva(at) >> BigInt(12 + 9 * (level - 1))) & INDEX)
    const entry = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(index * 8, true)
    if ((entry & PTE.P) === 0n) return undefined
    if (level === 1) return { gpa: (entry & ADDRESS) | (at & 0xfffn), entry }
    bytes = byGpa.get(entry & ADDRESS)
  }
  return undefined
}
