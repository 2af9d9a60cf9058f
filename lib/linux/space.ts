/** The address space of a process: what is mapped where, and page tables that are filled as pages are touched. */
import { PTE } from '#abi'
import { hpa, PAGE_SIZE } from '#bits'
import type { PhysicalMemory } from '#x86'

export type Protection = { readonly read: boolean; readonly write: boolean; readonly execute: boolean }

/** A range of pages with one protection. `from` and `to` are linear addresses of whole pages. */
export type Area = Protection & {
  readonly from: bigint
  readonly to: bigint
  /** Initial content: bytes at addresses, which may reach over the area. Everything else is zero. */
  readonly parts?: readonly Part[]
}
export type Part = { readonly at: bigint; readonly bytes: Uint8Array }

const PAGE = BigInt(PAGE_SIZE)
/** The first address a process cannot have: half of 48 bits, less a page. Linux, "x86_64 memory map". */
export const SPACE_END = 0x7fff_ffff_f000n
/** Address bits below each table above the last. */
const LEVELS = [39n, 30n, 21n]
const FRAME = 0x000f_ffff_ffff_f000n

export const pageUp = (at: bigint): bigint => (at + PAGE - 1n) & ~(PAGE - 1n)
export const pageDown = (at: bigint): bigint => at & ~(PAGE - 1n)

export class AddressSpace {
  readonly memory: PhysicalMemory
  /** Root of the page tables, for CR3. */
  readonly root: number
  /** In ascending order, none over another. */
  #areas: Area[] = []
  /** Called when a translation that may have been used is gone. */
  onChange: () => void = () => {}
  /** Bytes that the table `#slot` found missing would map. */
  #span = 0n

  constructor(memory: PhysicalMemory) {
    this.memory = memory
    this.root = memory.allocate()
  }

  /** Gives back all pages, the supervisor's too, and the tables. Nothing runs on them any more. */
  close(): void {
    this.#giveBack(this.root, LEVELS.length)
  }

  #giveBack(table: number, above: number): void {
    for (let at = table; at < table + PAGE_SIZE; at += 8) {
      const entry = this.memory.read(at, 8)
      if (entry === 0n) continue
      const next = Number(entry & FRAME)
      if (above === 0) this.memory.free(hpa(next))
      else this.#giveBack(next, above - 1)
    }
    this.memory.free(hpa(table))
  }

  get areas(): readonly Area[] {
    return this.#areas
  }

  /** Maps an area, in place of what was there. */
  map(area: Area): void {
    this.unmap(area.from, area.to)
    const next = this.#areas.findIndex(other => other.from > area.from)
    this.#areas.splice(next < 0 ? this.#areas.length : next, 0, area)
  }

  /** Takes away what is mapped in the range, and its pages. */
  unmap(from: bigint, to: bigint): void {
    this.#areas = this.#areas.flatMap(area => [
      ...(area.from < from && area.to > from ? [{ ...area, to: from }] : []),
      ...(area.to <= from || area.from >= to ? [area] : []),
      ...(area.to > to && area.from < to ? [{ ...area, from: to }] : []),
    ])
    this.#pages(from, to, (slot, entry) => {
      this.memory.write(slot, 8, 0n)
      this.memory.free(hpa(Number(entry & FRAME)))
    })
    this.#areas.sort((a, b) => (a.from < b.from ? -1 : 1))
  }

  /** Gives the range another protection. False where some of it is not mapped. */
  protect(from: bigint, to: bigint, protection: Protection): boolean {
    let at = from
    for (const area of this.#areas) if (area.from <= at && area.to > at) at = area.to
    if (at < to) return false
    this.#areas = this.#areas.flatMap(area => {
      const [low, high] = [area.from > from ? area.from : from, area.to < to ? area.to : to]
      if (low >= high) return [area]
      return [
        ...(area.from < low ? [{ ...area, to: low }] : []),
        { ...area, ...protection, from: low, to: high },
        ...(area.to > high ? [{ ...area, from: high }] : []),
      ]
    })
    this.#pages(from, to, (slot, entry) => this.memory.write(slot, 8, (entry & FRAME) | rightsOf(protection)))
    return true
  }

  areaAt(linear: bigint): Area | undefined {
    return this.#areas.find(area => linear >= area.from && linear < area.to)
  }

  /** The highest free range of `size` bytes below `limit`. */
  free(size: bigint, limit: bigint): bigint | undefined {
    let end = limit
    for (const area of this.#areas.toReversed()) {
      if (area.from >= end) continue
      if (area.to + size <= end) return end - size
      end = area.from
    }
    return end - size >= 0x1_0000n ? end - size : undefined
  }

  isFree(from: bigint, to: bigint): boolean {
    return this.#areas.every(area => area.to <= from || area.from >= to)
  }

  /**
   * Brings in the page at `linear` where its area allows the access. True where it is there afterwards.
   * Throws `OutOfMemory` when the machine has no frame left.
   */
  touch(linear: bigint, access: 'read' | 'write' | 'execute'): boolean {
    const area = this.areaAt(linear)
    if (area === undefined || !area[access]) return false
    const slot = this.#slot(linear, true)
    if (slot === undefined) return false
    if ((this.memory.read(slot, 8) & PTE.P) !== 0n) return true
    const frame = this.memory.allocate()
    const page = pageDown(linear)
    for (const { at, bytes } of area.parts ?? []) {
      const begin = page > at ? page : at
      const end = page + PAGE < at + BigInt(bytes.length) ? page + PAGE : at + BigInt(bytes.length)
      if (begin < end)
        this.memory.set(frame + Number(begin - page), bytes.subarray(Number(begin - at), Number(end - at)))
    }
    this.memory.write(slot, 8, BigInt(frame) | rightsOf(area))
    return true
  }

  /** Enters a supervisor page that the process cannot see. */
  mapKernel(linear: bigint, frame: number): void {
    const slot = this.#slot(linear, true)
    if (slot !== undefined) this.memory.write(slot, 8, BigInt(frame) | PTE.P | PTE.RW)
  }

  /** The bytes at `linear`, as the kernel reads them; undefined where some are not the process's to read. */
  read(linear: bigint, length: number): Uint8Array | undefined {
    const out = new Uint8Array(length)
    const whole = this.#walk(linear, length, 'read', (host, at, n) =>
      out.set(this.memory.u8.subarray(host, host + n), at),
    )
    return whole ? out : undefined
  }

  /** Writes bytes as the kernel does; false where some are not the process's to write. */
  write(linear: bigint, bytes: Uint8Array): boolean {
    return this.#walk(linear, bytes.length, 'write', (host, at, n) => this.memory.set(host, bytes.subarray(at, at + n)))
  }

  #walk(
    linear: bigint,
    length: number,
    access: 'read' | 'write',
    act: (host: number, at: number, n: number) => void,
  ): boolean {
    for (let at = 0; at < length; ) {
      const place = linear + BigInt(at)
      if (place < 0n || !this.touch(place, access)) return false
      const offset = Number(place & (PAGE - 1n))
      const n = Math.min(length - at, PAGE_SIZE - offset)
      const entry = this.memory.read(this.#slot(place, false)!, 8)
      act(Number(entry & FRAME) + offset, at, n)
      at += n
    }
    return true
  }

  /** Where the page-table entry of an address is; its tables are made if asked for. */
  #slot(linear: bigint, make: boolean): number | undefined {
    let table = this.root
    for (const shift of LEVELS) {
      const at = table + Number((linear >> shift) & 0x1ffn) * 8
      const entry = this.memory.read(at, 8)
      if (entry !== 0n) table = Number(entry & FRAME)
      else if (!make) {
        this.#span = 1n << shift
        return undefined
      } else {
        table = this.memory.allocate()
        this.memory.write(at, 8, BigInt(table) | PTE.P | PTE.RW | PTE.US)
      }
    }
    return table + Number((linear >> 12n) & 0x1ffn) * 8
  }

  /** Every page that is present in the range. Ranges without tables are skipped whole. */
  #pages(from: bigint, to: bigint, act: (slot: number, entry: bigint) => void): void {
    let changed = false
    for (let at = from; at < to; ) {
      const slot = this.#slot(at, false)
      if (slot === undefined) {
        at = (at | (this.#span - 1n)) + 1n
        continue
      }
      const entry = this.memory.read(slot, 8)
      if ((entry & PTE.P) !== 0n) {
        act(slot, entry)
        changed = true
      }
      at += PAGE
    }
    if (changed) this.onChange()
  }
}

const rightsOf = ({ read, write, execute }: Protection): bigint =>
  // x86 has no pages that can be executed or written and not read; PROT_NONE keeps its content.
  read || write || execute ? PTE.P | PTE.US | (write ? PTE.RW : 0n) | (execute ? 0n : PTE.XD) : PTE.P | PTE.XD
