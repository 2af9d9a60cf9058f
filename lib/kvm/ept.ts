/**
 * The EPT of a TD's shared memory: real tables in frames, which the TDX module walks for GPAs with the shared bit.
 * SDM Vol. 3C, "The Extended Page Table Mechanism (EPT)"; entries as KVM makes them for TDX.
 */
import { type Hpa, hpa, PAGE_SIZE } from '#bits'
import type { PhysicalMemory } from '#x86'

/** Read, write, execute; in a leaf also write-back memory type and "ignore PAT". */
const TABLE = 0x7
const LEAF = 0x37 | 0x40
/** Low half of an entry, then high half: 32-bit stores make no bigint. */
const WRITABLE = 0x2
const ENTRIES = 512
/** A table nobody has looked at: suppress-#VE in every entry. */
const UNTOUCHED = new Uint8Array(new BigUint64Array(ENTRIES).fill(1n << 63n).buffer)

/**
 * Every entry starts with suppress-#VE (bit 63) set, so that the first access is a TD exit. Where KVM then finds no memslot it
 * clears the bit (an "MMIO entry"): from then on the guest gets a #VE and is expected to ask with #VE.RequestMMIO.
 */
export class SharedEpt {
  /** HPA of the root table; its level is 4 or 5. */
  readonly root: Hpa
  readonly #memory: PhysicalMemory
  readonly #levels: 4 | 5
  /** Bit of a page number that the shared bit of the GPA is. */
  readonly #sharedPage: number
  readonly #tables: Hpa[] = []
  /** Where the leaf entry of a guest frame number is, for entries that are not in their first state. */
  readonly #leaves = new Map<number, Hpa>()

  constructor(memory: PhysicalMemory, levels: 4 | 5, sharedBit: number) {
    this.#memory = memory
    this.#levels = levels
    this.#sharedPage = 2 ** (sharedBit - 12)
    this.root = this.#table()
  }

  #table(): Hpa {
    const table = this.#memory.allocate()
    this.#tables.push(table)
    this.#memory.u8.set(UNTOUCHED, table)
    return table
  }

  /** The leaf entry of a guest page, with the tables on the way made as needed. */
  #leaf(gfn: number): Hpa {
    const { view } = this.#memory
    const page = gfn + this.#sharedPage
    let table: number = this.root
    for (let level = this.#levels - 1; level > 0; level--) {
      const at = table + (Math.floor(page / ENTRIES ** level) % ENTRIES) * 8
      if ((view.getUint32(at, true) & TABLE) === 0) {
        const child = this.#table()
        view.setUint32(at, ((child % 2 ** 32) | TABLE) >>> 0, true)
        view.setUint32(at + 4, Math.floor(child / 2 ** 32), true)
      }
      const low = view.getUint32(at, true)
      table = (view.getUint32(at + 4, true) & 0xf_ffff) * 2 ** 32 + (low - (low % PAGE_SIZE))
    }
    return hpa(table + (page % ENTRIES) * 8)
  }

  /** Maps the guest page to a frame. */
  map(gfn: number, frame: Hpa, writable: boolean): void {
    const at = this.#leaf(gfn)
    const rights = writable ? LEAF : LEAF & ~WRITABLE
    this.#memory.view.setUint32(at, ((frame % 2 ** 32) | rights) >>> 0, true)
    // Suppress-#VE here too: what the entry does not allow is a TD exit.
    this.#memory.view.setUint32(at + 4, (Math.floor(frame / 2 ** 32) | 0x8000_0000) >>> 0, true)
    this.#leaves.set(gfn, at)
  }

  /** Nothing is there: the guest's access becomes a #VE instead of a TD exit. */
  markMmio(gfn: number): void {
    const at = this.#leaf(gfn)
    this.#memory.view.setBigUint64(at, 0n, true)
    this.#leaves.set(gfn, at)
  }

  /** Is the page mapped to a frame or marked as MMIO? */
  has(gfn: number): boolean {
    return this.#leaves.has(gfn)
  }

  /** Forgets pages [gfn, gfn + pages): the next access is a TD exit. True where something was there. */
  zap(gfn: number, pages: number): boolean {
    if (pages > this.#leaves.size) {
      let any = false
      for (const known of [...this.#leaves.keys()]) {
        if (known >= gfn && known < gfn + pages) any = this.#zapOne(known) || any
      }
      return any
    }
    let any = false
    for (let page = gfn; page < gfn + pages; page++) any = this.#zapOne(page) || any
    return any
  }

  #zapOne(gfn: number): boolean {
    const at = this.#leaves.get(gfn)
    if (at === undefined) return false
    this.#memory.view.setUint32(at, 0, true)
    this.#memory.view.setUint32(at + 4, 0x8000_0000, true)
    return this.#leaves.delete(gfn)
  }

  /** Gives the tables back. */
  free(): void {
    for (const table of this.#tables) this.#memory.free(table)
    this.#tables.length = 0
    this.#leaves.clear()
  }
}
