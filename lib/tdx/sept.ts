/**
 * Secure EPT: real tables in the frames that SEPT.ADD was given, walked by leaves and by the CPU's misses alike.
 * Entry bits and states: intel/tdx-module, src/common/x86_defs/x86_defs.h (ia32e_sept_t), sept_manager.h.
 */
import * as abi from '#abi'
import { type Hpa, hpa } from '#bits'
import type { PhysicalMemory } from '#x86'

const RWX = 7n
const MT_WB = 6n << 3n
const SUPPRESS_VE = 1n << 63n
const ADDRESS = 0xf_ffff_ffff_f000n

/** The state's seven bits as one number: bit 9 (D), 53 exported, 54 blocked for write, 55 blocked, 56 pending, 6, 7 (leaf). */
export type Encoding = number

/** Encodings, by the public number of the state. (sept_manager.h, SEPT_STATE_*) */
const ENCODINGS: readonly (readonly [state: number, encoding: Encoding])[] = [
  [abi.SEPT_FREE, 0x0e],
  [abi.SEPT_BLOCKED, 0x68],
  [abi.SEPT_PENDING, 0x70],
  [abi.SEPT_PENDING_BLOCKED, 0x78],
  [abi.SEPT_MAPPED, 0x60],
  [abi.SEPT_REMOVED, 0x0c],
  [abi.SEPT_BLOCKEDW, 0x64],
  [abi.SEPT_EXPORTED_BLOCKEDW, 0x66],
  [abi.SEPT_EXPORTED_DIRTY, 0x63],
  [abi.SEPT_EXPORTED_DIRTY_BLOCKEDW, 0x67],
  [abi.SEPT_PENDING_BLOCKEDW, 0x74],
  [abi.SEPT_PENDING_EXPORTED_BLOCKEDW, 0x76],
  [abi.SEPT_PENDING_EXPORTED_DIRTY, 0x73],
  [abi.SEPT_PENDING_EXPORTED_DIRTY_BLOCKEDW, 0x77],
  [abi.SEPT_NL_MAPPED, 0x00],
  [abi.SEPT_NL_BLOCKED, 0x08],
]
/** By encoding. */
const STATES = Array.from({ length: 128 }, () => abi.SEPT_FREE)
for (const [state, encoding] of ENCODINGS) STATES[encoding] = state

/** The state bits of an entry in place. */
const spread = (encoding: Encoding): bigint => {
  const e = BigInt(encoding)
  return ((e & 1n) << 9n) | (((e >> 1n) & 0xfn) << 53n) | (((e >> 5n) & 3n) << 6n)
}
const STATE_MASK = spread(0x7f)
/** By state. */
const ENCODED: bigint[] = []
for (const [state, encoding] of ENCODINGS) ENCODED[state] = spread(encoding)
const encoded = (state: number): bigint => ENCODED[state]!

/** An entry of a fresh table. */
export const SEPTE_FREE = encoded(abi.SEPT_FREE) | SUPPRESS_VE

const whole = new BigUint64Array(1)
const half = new Uint32Array(whole.buffer)

const stateOfHalves = (low: number, high: number): number =>
  STATES[((low >>> 9) & 1) | (((high >>> 21) & 0xf) << 1) | (((low >>> 6) & 3) << 5)]!

/** The public number of an entry's state. */
export const stateOfEntry = (entry: bigint): number => {
  whole[0] = entry
  return stateOfHalves(half[0]!, half[1]!)
}

/** Leaf entries carry PS at every level. */
export const isLeaf = (entry: bigint): boolean => (entry & 0x80n) !== 0n
export const isAccessible = (entry: bigint): boolean => (entry & RWX) !== 0n
export const addressOf = (entry: bigint): Hpa => hpa(Number(entry & ADDRESS))
export const isBlocked = (state: number): boolean =>
  state === abi.SEPT_BLOCKED || state === abi.SEPT_PENDING_BLOCKED || state === abi.SEPT_NL_BLOCKED
export const isPending = (state: number): boolean =>
  state === abi.SEPT_PENDING || state === abi.SEPT_PENDING_EXPORTED_DIRTY

/** A mapped or pending leaf for `page`. */
export const leafEntry = (page: Hpa, state: number): bigint =>
  BigInt(page) | encoded(state) | MT_WB | SUPPRESS_VE | (state === abi.SEPT_MAPPED ? RWX : 0n)

export const tableEntry = (table: Hpa): bigint => BigInt(table) | encoded(abi.SEPT_NL_MAPPED) | SUPPRESS_VE | RWX

/** What no state decides. */
const KEPT = ~(STATE_MASK | RWX | (7n << 3n))

/** The entry in another state, with that state's permissions and memory type. */
export const inState = (entry: bigint, state: number): bigint => {
  const isTable = state === abi.SEPT_NL_MAPPED || state === abi.SEPT_NL_BLOCKED
  const open = state === abi.SEPT_MAPPED || state === abi.SEPT_NL_MAPPED || state === abi.SEPT_EXPORTED_DIRTY
  const cleared = entry & KEPT
  return cleared | encoded(state) | (open ? RWX : 0n) | (isTable ? 0n : MT_WB)
}

const UNBLOCKED: Readonly<Record<number, number>> = {
  [abi.SEPT_NL_BLOCKED]: abi.SEPT_NL_MAPPED,
  [abi.SEPT_BLOCKED]: abi.SEPT_MAPPED,
  [abi.SEPT_PENDING_BLOCKED]: abi.SEPT_PENDING,
}

/** The entry as it was before RANGE.BLOCK; one that is not blocked stays as it is. sept_unblock. */
export const unblocked = (entry: bigint): bigint => {
  const state = UNBLOCKED[stateOfEntry(entry)]
  return state === undefined ? entry : inState(entry, state)
}

/** Pages of a pending 2 MiB page that TDG.MEM.PAGE.ACCEPT has got through before it was interrupted: ACCEPT_COUNTER. */
const ACCEPT_COUNTER = 0x1f_f000n
export const acceptCounter = (entry: bigint): number => Number((entry & ACCEPT_COUNTER) >> 12n)
export const withAcceptCounter = (entry: bigint, pages: number): bigint =>
  (entry & ~ACCEPT_COUNTER) | (BigInt(pages) << 12n)

/** The entry without what TDG.MEM.PAGE.ACCEPT has left in it. sept_cleanup_if_pending. */
export const withoutCounter = (entry: bigint, level: number): bigint =>
  level === 1 && isPending(stateOfEntry(entry)) ? entry & ~ACCEPT_COUNTER : entry

/** The entry with another page or table behind it. */
export const withAddress = (entry: bigint, to: Hpa): bigint => (entry & ~ADDRESS) | BigInt(to)

/** What the host may know of an entry: of a leaf its permissions, memory type, address and #VE bit, of a table RWX and PS. */
export const architectural = (entry: bigint): bigint =>
  isLeaf(entry) ? entry & (RWX | (7n << 3n) | 0xc0n | ADDRESS | SUPPRESS_VE) : entry & (RWX | 0x80n)

/** The tree of one TD. */
export class Sept {
  readonly root: Hpa
  /** Level of the root's entries: 3 for four levels, 4 for five. */
  readonly top: number
  readonly #memory: PhysicalMemory
  /** Where the last walk stopped: the entry's address and level. */
  at = 0
  level = 0

  constructor(memory: PhysicalMemory, root: Hpa, top: number) {
    this.#memory = memory
    this.root = root
    this.top = top
  }

  /**
   * Walks towards the entry of `gpa` at `level` and returns the entry where it stopped: there, or at a leaf or an entry
   * that cannot be followed, above it. `at` and `level` say where that is.
   */
  walk(gpa: number, level: number): bigint {
    const { view } = this.#memory
    let table: number = this.root
    let now = this.top
    for (;;) {
      const at = table + (Math.floor(gpa / 2 ** (12 + 9 * now)) & 511) * 8
      const low = view.getUint32(at, true)
      if (now === level || (low & 7) === 0 || (low & 0x80) !== 0) {
        this.at = at
        this.level = now
        return view.getBigUint64(at, true)
      }
      table = (view.getUint32(at + 4, true) & 0xf_ffff) * 2 ** 32 + ((low & 0xffff_f000) >>> 0)
      now--
    }
  }

  /** The 4 KiB page that `mapped` found last, and where it is; good until an entry of the tree is written. */
  #page = -1
  #frame = 0

  /** Where the byte at `gpa` is, if its page is mapped (SEPT_MAPPED) and may be used; else -1. Nothing allocated. */
  mapped(gpa: number): number {
    const inPage = gpa % 4096
    if (gpa - inPage === this.#page) return this.#frame + inPage
    const found = this.#mapped(gpa)
    if (found >= 0) {
      this.#page = gpa - inPage
      this.#frame = found - inPage
    }
    return found
  }

  #mapped(gpa: number): number {
    const { view } = this.#memory
    let table: number = this.root
    for (let now = this.top; ; now--) {
      const size = 2 ** (12 + 9 * now)
      const at = table + (Math.floor(gpa / size) & 511) * 8
      const low = view.getUint32(at, true)
      if ((low & 7) === 0) return -1
      const high = view.getUint32(at + 4, true)
      const address = (high & 0xf_ffff) * 2 ** 32 + ((low & 0xffff_f000) >>> 0)
      if ((low & 0x80) !== 0) return stateOfHalves(low, high) === abi.SEPT_MAPPED ? address + (gpa % size) : -1
      if (now === 0) return -1
      table = address
    }
  }

  /** The frame that backs `gpa` for this access (RWX bits), or -1. The CPU's walk: no bigint, nothing allocated. */
  frame(gpa: number, rights: number): Hpa | -1 {
    const { view } = this.#memory
    let table: number = this.root
    for (let now = this.top; ; now--) {
      const at = table + (Math.floor(gpa / 2 ** (12 + 9 * now)) & 511) * 8
      const low = view.getUint32(at, true)
      if ((low & rights) !== rights) return -1
      const address = (view.getUint32(at + 4, true) & 0xf_ffff) * 2 ** 32 + ((low & 0xffff_f000) >>> 0)
      if ((low & 0x80) !== 0) return hpa(address + (gpa % 2 ** (12 + 9 * now)) - (gpa % 4096))
      table = address
    }
  }

  write(entry: bigint): void {
    this.#page = -1
    this.#memory.view.setBigUint64(this.at, entry, true)
  }
}

/** The 512 entries of a table, in place. */
export const entriesOf = (memory: PhysicalMemory, table: Hpa): BigUint64Array =>
  new BigUint64Array(memory.memory.buffer, table, 512)

/** Makes a frame an empty table. */
export const initTable = (memory: PhysicalMemory, table: Hpa): void => {
  entriesOf(memory, table).fill(SEPTE_FREE)
}

/** Is every entry of the table free? */
export const isTableFree = (memory: PhysicalMemory, table: Hpa): boolean =>
  entriesOf(memory, table).every(entry => entry === SEPTE_FREE)
