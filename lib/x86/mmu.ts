/**
 * Linear addresses to host physical ones: the guest's page tables, each access to them through the second stage.
 * SDM Vol. 3A, "Paging"; Vol. 3C, "VMX Support for Address Translation".
 */
import {
  CR0_PG,
  CR0_WP,
  CR4_LA57,
  CR4_PAE,
  CR4_PKE,
  CR4_PKS,
  CR4_PSE,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  PF,
  VECTOR_PF,
} from '#abi'
import { type Gpa, type Hpa, hpa, type Size } from '#bits'
import type { Cpu } from './cpu.ts'
import { Fault, Leave } from './fault.ts'
import { KEY_SMAP, KEY_SUPERVISOR, KEY_USER, TLB_DELTA_WORD, TLB_ENTRY_WORDS, TLB_WORD } from './tlb.ts'
import { type Access, EPT_QUALIFICATION } from './vmx.ts'

const ACCESS_QUALIFICATION: Record<Access, bigint> = {
  read: EPT_QUALIFICATION.READ,
  write: EPT_QUALIFICATION.WRITE,
  fetch: EPT_QUALIFICATION.FETCH,
}

/** Bits of control registers, as numbers: see `Cpu.paging`. */
const CR0 = { PG: Number(CR0_PG), WP: Number(CR0_WP) }
const CR4 = {
  PSE: Number(CR4_PSE),
  PAE: Number(CR4_PAE),
  LA57: Number(CR4_LA57),
  SMEP: Number(CR4_SMEP),
  PKE: Number(CR4_PKE),
  PKS: Number(CR4_PKS),
}
const EFER = { LMA: Number(EFER_LMA), NXE: Number(EFER_NXE) }

/** A 64-bit number taken apart without making a bigint. */
const whole = new BigUint64Array(1)
const half = new Uint32Array(whole.buffer)

/** Bits of the low half of an entry. */
const [P, RW, US, A, D, PS] = [1, 2, 4, 0x20, 0x40, 0x80]
const TWO_32 = 2 ** 32

/**
 * Where the second stage has the pages that paging structures are in. A walk asks for the same few again and again, so
 * what it was told is kept until the stage takes something back. Guest physical addresses are numbers here: they have
 * at most 52 bits.
 */
export class TableFrames {
  readonly #read = new Map<number, Hpa>()
  readonly #write = new Map<number, Hpa>()

  clear(): void {
    this.#read.clear()
    this.#write.clear()
  }

  /** Host address of the entry at `entry`; a write (of A and D) is a read as well. */
  at(cpu: Cpu, entry: number, write: boolean, linear: bigint): number {
    const offset = entry % 4096
    const page = entry - offset
    const known = (write ? this.#write : this.#read).get(page)
    if (known !== undefined) return known + offset
    const frame = cpu.stage.frame(BigInt(page) as Gpa, write ? 'write' : 'read')
    if (frame === -1) {
      const kind = write ? EPT_QUALIFICATION.READ | EPT_QUALIFICATION.WRITE : EPT_QUALIFICATION.READ
      return cpu.leaveEpt(kind | EPT_QUALIFICATION.GLA_VALID, linear, BigInt(entry))
    }
    ;(write ? this.#write : this.#read).set(page, frame)
    return frame + offset
  }
}

/** The format of a paging mode: levels of tables in memory, index width, entry size. */
type Paging = { readonly levels: number; readonly entrySize: 4 | 8 }
const PAGING32: Paging = { levels: 2, entrySize: 4 }
/** The page-directory-pointer table is in registers. */
const PAE: Paging = { levels: 2, entrySize: 8 }
const LEVEL4: Paging = { levels: 4, entrySize: 8 }
const LEVEL5: Paging = { levels: 5, entrySize: 8 }

/** `undefined` where paging is off. */
const pagingOf = (cpu: Cpu): Paging | undefined => {
  if ((cpu.paging.cr0 & CR0.PG) === 0) return undefined
  if ((cpu.paging.efer & EFER.LMA) !== 0) return (cpu.paging.cr4 & CR4.LA57) === 0 ? LEVEL4 : LEVEL5
  return (cpu.paging.cr4 & CR4.PAE) === 0 ? PAGING32 : PAE
}

/** Byte offset of the entry for `high:low` in its table at `level` (1 is the page table). */
const entryOffset = (paging: Paging, level: number, low: number, high: number): number => {
  if (paging === PAGING32) return level === 1 ? ((low >>> 12) & 0x3ff) * 4 : (low >>> 22) * 4
  switch (level) {
    case 1:
      return ((low >>> 12) & 0x1ff) * 8
    case 2:
      return ((low >>> 21) & 0x1ff) * 8
    case 3:
      return (((low >>> 30) | (high << 2)) & 0x1ff) * 8
    case 4:
      return ((high >>> 7) & 0x1ff) * 8
    default:
      return ((high >>> 16) & 0x1ff) * 8
  }
}

/** Does an entry that maps a page, or a table, have a reserved bit set? */
const hasReserved = (cpu: Cpu, paging: Paging, level: number, low: number, high: number): boolean => {
  const { width } = cpu.stage
  const isLarge = level > 1 && (low & PS) !== 0
  if (paging === PAGING32) {
    if (!isLarge || (cpu.paging.cr4 & CR4.PSE) === 0) return false
    // Bits 20:13 hold address bits 39:32 of a 4 MiB page (PSE-36); bit 21 is reserved.
    const known = width >= 40 ? 0xff : (1 << Math.max(0, width - 32)) - 1
    return (low & 0x20_0000) !== 0 || ((low >>> 13) & 0xff & ~known) !== 0
  }
  let reserved = width >= 52 ? 0 : 0xf_ffff & ~((1 << (width - 32)) - 1)
  if (paging === PAE) reserved |= 0x7ff0_0000
  if ((cpu.paging.efer & EFER.NXE) === 0) reserved |= XD
  if ((high & reserved) !== 0) return true
  if (!isLarge) return false
  if (level === 2) return (low & 0x1f_e000) !== 0
  return level !== 3 || !cpu.features.pdpe1gb || (low & 0x3fff_e000) !== 0
}
/** Bit 63 in the high half. */
const XD = 0x8000_0000 | 0

const fault = (cpu: Cpu, linear: bigint, access: Access, key: number, code: number): never => {
  let errorCode = code
  if (access === 'write') errorCode |= PF.WRITE
  if (key === KEY_USER) errorCode |= PF.USER
  // I/D is set only where fetches can be told from reads.
  if (access === 'fetch') {
    const nxe = (cpu.paging.efer & EFER.NXE) !== 0 && (cpu.paging.cr4 & CR4.PAE) !== 0
    if (nxe || (cpu.paging.cr4 & CR4.SMEP) !== 0) errorCode |= PF.FETCH
  }
  throw new Fault(VECTOR_PF, errorCode, linear)
}

/**
 * Does the protection key of a page deny this data access? PKRU speaks for user pages, IA32_PKRS for supervisor pages,
 * each only where CR4 says so. SDM Vol. 3A, "Protection Keys".
 */
const keyDenies = (cpu: Cpu, protectionKey: number, userPage: boolean, access: Access, user: boolean): boolean => {
  if ((cpu.paging.cr4 & (userPage ? CR4.PKE : CR4.PKS)) === 0) return false
  const rights = ((userPage ? cpu.pkru : cpu.msrs.pkrs) >>> (protectionKey * 2)) & 3
  if ((rights & 1) !== 0) return true
  return (rights & 2) !== 0 && access === 'write' && (user || (cpu.paging.cr0 & CR0.WP) !== 0)
}

/**
 * What a page whose entries have `rights` (RW, US) in common denies: P, and PK where its protection key does, or 0.
 * `protectionKey` is -1 where there are no keys.
 */
const denied = (cpu: Cpu, rights: number, xd: boolean, protectionKey: number, access: Access, key: number): number => {
  const user = key === KEY_USER
  const userPage = (rights & US) !== 0
  let denies = access === 'fetch' && xd
  if (user) denies ||= !userPage || (access === 'write' && (rights & RW) === 0)
  else {
    if (access === 'write' && (rights & RW) === 0 && (cpu.paging.cr0 & CR0.WP) !== 0) denies = true
    if (userPage && access === 'fetch' && (cpu.paging.cr4 & CR4.SMEP) !== 0) denies = true
    if (userPage && access !== 'fetch' && key === KEY_SMAP) denies = true
  }
  const code = denies ? PF.P : 0
  const isKeyed = protectionKey >= 0 && access !== 'fetch' && (userPage || !user)
  const byKey = isKeyed && keyDenies(cpu, protectionKey, userPage, access, user)
  return byKey ? code | PF.P | PF.PK : code
}

// The entries that a walk has passed: guest physical address and low half, from the root down.
const passed = [0, 0, 0, 0, 0]
const seen = [0, 0, 0, 0, 0]

/** Sets A on the way and D at the leaf of a write, from the root down; locked, as nothing else runs in between. */
const mark = (cpu: Cpu, count: number, access: Access, linear: bigint): void => {
  const { memory, tables } = cpu
  for (let n = 0; n < count; n++) {
    const set = access === 'write' && n === count - 1 ? A | D : A
    if ((seen[n]! & set) === set) continue
    const at = tables.at(cpu, passed[n]!, true, linear)
    memory.view.setUint32(at, memory.view.getUint32(at, true) | set, true)
    memory.wrote(at)
  }
}

/** Walks the guest's page tables and gives the guest physical address. A and D are set once the access is allowed. */
const walk = (cpu: Cpu, paging: Paging, linear: bigint, access: Access, key: number): number => {
  const { memory, tables } = cpu
  whole[0] = linear
  const linearLow = half[0]!
  const linearHigh = half[1]!
  let table: number
  if (paging === PAE) {
    const pointer = cpu.pdptes[linearLow >>> 30]!
    if ((pointer & 1n) === 0n) return fault(cpu, linear, access, key, 0)
    table = Number(pointer & 0xf_ffff_ffff_f000n)
  } else table = paging === PAGING32 ? cpu.paging.root % TWO_32 : cpu.paging.root
  let rights = RW | US
  let xd = 0
  let count = 0
  for (let level = paging.levels; ; level--) {
    const entry = table + entryOffset(paging, level, linearLow, linearHigh)
    const at = tables.at(cpu, entry, false, linear)
    const low = memory.view.getUint32(at, true)
    const high = paging.entrySize === 8 ? memory.view.getUint32(at + 4, true) : 0
    if ((low & P) === 0) return fault(cpu, linear, access, key, 0)
    if (hasReserved(cpu, paging, level, low, high)) return fault(cpu, linear, access, key, PF.P | PF.RSVD)
    passed[count] = entry
    seen[count++] = low
    rights &= low
    xd |= high & XD
    const isLarge = level > 1 && (low & PS) !== 0 && (paging !== PAGING32 || (cpu.paging.cr4 & CR4.PSE) !== 0)
    if (level > 1 && !isLarge) {
      table = (high & 0xf_ffff) * TWO_32 + ((low & 0xffff_f000) >>> 0)
      continue
    }
    const keyed = paging.levels >= 4 && (cpu.paging.cr4 & (CR4.PKE | CR4.PKS)) !== 0
    const code = denied(cpu, rights, xd !== 0, keyed ? (high >>> 27) & 15 : -1, access, key)
    if (code !== 0) return fault(cpu, linear, access, key, code)
    mark(cpu, count, access, linear)
    const inPage = level === 1 ? 0xfff : paging === PAGING32 ? 0x3f_ffff : level === 2 ? 0x1f_ffff : 0x3fff_ffff
    const upper = paging === PAGING32 && isLarge ? (low >>> 13) & 0xff : high & 0xf_ffff
    return upper * TWO_32 + (((low & ~inPage) | (linearLow & inPage)) >>> 0)
  }
}

/**
 * Guest physical address behind `linear`, by the guest's page tables. Throws #PF, or leaves with an EPT violation of an
 * access to them.
 */
export const toGpa = (cpu: Cpu, linear: bigint, access: Access, key: number): number => {
  const paging = pagingOf(cpu)
  return paging === undefined ? Number(linear) : walk(cpu, paging, linear, access, key)
}

/** Guest physical address of the last data access that `lookup` answered with OUTSIDE. */
let outsideAt = 0
const OUTSIDE = hpa(-1)
/** Where an access would leave with an EPT violation, for who only asks. */
const NOWHERE = hpa(-2)

const miss = (cpu: Cpu, linear: bigint, access: Access, key: number, asks: boolean): number => {
  cpu.followStage()
  if (cpu.tlb.missed(key)) cpu.tlbMoved()
  const gpa = toGpa(cpu, linear, access, key)
  const offset = gpa % 4096
  const frame = cpu.stage.frame(BigInt(gpa - offset) as Gpa, access)
  if (frame === -1) {
    if (cpu.outside !== undefined && access !== 'fetch') {
      outsideAt = gpa
      return OUTSIDE
    }
    if (asks) return NOWHERE
    const how = EPT_QUALIFICATION.GLA_VALID | EPT_QUALIFICATION.TRANSLATED
    return cpu.leaveEpt(ACCESS_QUALIFICATION[access] | how, linear, BigInt(gpa))
  }
  // What the second stage did may itself have taken translations back.
  cpu.followStage()
  whole[0] = linear
  // Writes to what code was made from are looked at one by one.
  const watched = access === 'write' && cpu.memory.holdsCode[frame >>> 12] !== 0
  if (!watched) cpu.tlb.enter(half[0]!, half[1]!, access, key, frame)
  return frame + offset
}

/**
 * Host physical address of the byte at `linear`, through the TLB; OUTSIDE where the CPU's `outside` has to answer. Who only
 * asks gets NOWHERE instead of an EPT violation's exit, which costs microseconds to throw.
 */
export const lookup = (cpu: Cpu, linear: bigint, access: Access, key: number, asks = false): Hpa => {
  whole[0] = linear
  const low = half[0]!
  const { words, mask } = cpu.tlb.table(key)
  const at = ((low >>> 12) & mask) * TLB_ENTRY_WORDS
  const tag = at + TLB_WORD[access]
  if (words[tag] === (low & ~0xfff) >>> 0 && words[tag + 1] === half[1]!) {
    return hpa((low + words[at + TLB_DELTA_WORD]!) >>> 0)
  }
  return hpa(miss(cpu, linear, access, key, asks))
}

/** The address `count` bytes on, which outside 64-bit mode wraps at 4 GiB. */
const onwards = (cpu: Cpu, linear: bigint, count: number): bigint =>
  BigInt.asUintN(cpu.mode === 64 ? 64 : 32, linear + BigInt(count))

const crosses = (linear: bigint, size: number): boolean => Number(linear & 0xfffn) + size > 4096

/** A part of an access that lies in one page: `at` as `lookup` gave it, `gpa` where that is OUTSIDE. */
const readPart = (cpu: Cpu, at: number, gpa: number, size: number): bigint => {
  if (at < 0) return cpu.outside!.read(gpa, size)
  let value = 0n
  for (let n = size - 1; n >= 0; n--) value = (value << 8n) | BigInt(cpu.memory.u8[at + n]!)
  return value
}
const writePart = (cpu: Cpu, at: number, gpa: number, size: number, value: bigint): void => {
  if (at < 0) cpu.outside!.write(gpa, size, value)
  else for (let n = 0; n < size; n++) cpu.memory.write(at + n, 1, (value >> BigInt(8 * n)) & 0xffn)
}

/** Reads `size` bytes under `key`; both pages of an access that crosses into another are settled first. */
export const readLinear = (cpu: Cpu, linear: bigint, size: Size, key: number): bigint => {
  const at = lookup(cpu, linear, 'read', key)
  const gpa = outsideAt
  if (!crosses(linear, size)) return at < 0 ? cpu.outside!.read(gpa, size) : cpu.memory.read(at, size)
  const inFirst = 4096 - Number(linear & 0xfffn)
  const rest = lookup(cpu, onwards(cpu, linear, inFirst), 'read', key)
  const low = readPart(cpu, at, gpa, inFirst)
  return low | (readPart(cpu, rest, outsideAt, size - inFirst) << BigInt(8 * inFirst))
}

/** Writes `size` bytes under `key`, all of them or none. */
export const writeLinear = (cpu: Cpu, linear: bigint, size: Size, value: bigint, key: number): void => {
  const at = lookup(cpu, linear, 'write', key)
  const gpa = outsideAt
  if (!crosses(linear, size)) {
    if (at < 0) cpu.outside!.write(gpa, size, value)
    else cpu.memory.write(at, size, value)
    return
  }
  const inFirst = 4096 - Number(linear & 0xfffn)
  const rest = lookup(cpu, onwards(cpu, linear, inFirst), 'write', key)
  const restGpa = outsideAt
  // What may leave comes first.
  if (rest < 0) writePart(cpu, rest, restGpa, size - inFirst, value >> BigInt(8 * inFirst))
  writePart(cpu, at, gpa, inFirst, BigInt.asUintN(8 * inFirst, value))
  if (rest >= 0) writePart(cpu, rest, restGpa, size - inFirst, value >> BigInt(8 * inFirst))
}

/** Faults or leaves now where an access of `size` bytes would. */
export const settle = (cpu: Cpu, linear: bigint, size: number, access: Access, key: number): void => {
  for (let from = 0; from < size; ) {
    const here = onwards(cpu, linear, from)
    lookup(cpu, here, access, key)
    from += 4096 - Number(here & 0xfffn)
  }
}

type Piece = { readonly at: number; readonly gpa: number; readonly from: number; readonly size: number }
/** The pieces of `linear … linear + length` that lie in one page each: host address, offset in the range, length. */
const pieces = (cpu: Cpu, linear: bigint, length: number, access: Access, key: number): Piece[] => {
  const found: Piece[] = []
  for (let from = 0; from < length; ) {
    const here = onwards(cpu, linear, from)
    const size = Math.min(length - from, 4096 - Number(here & 0xfffn))
    const at = lookup(cpu, here, access, key)
    found.push({ at, gpa: outsideAt, from, size })
    from += size
  }
  return found
}

/** The 8-byte parts of a piece that `outside` answers for. */
const outsideParts = ({ gpa, from, size }: Piece, part: (gpa: number, from: number, size: number) => void): void => {
  for (let n = 0; n < size; n += 8) part(gpa + n, from + n, Math.min(8, size - n))
}

export const readBytes = (cpu: Cpu, linear: bigint, length: number, key: number): Uint8Array => {
  const out = new Uint8Array(length)
  for (const piece of pieces(cpu, linear, length, 'read', key)) {
    const { at, from, size } = piece
    if (at >= 0) out.set(cpu.memory.u8.subarray(at, at + size), from)
    else {
      outsideParts(piece, (gpa, first, count) => {
        const value = cpu.outside!.read(gpa, count)
        for (let n = 0; n < count; n++) out[first + n] = Number((value >> BigInt(8 * n)) & 0xffn)
      })
    }
  }
  return out
}

export const writeBytes = (cpu: Cpu, linear: bigint, bytes: Uint8Array, key: number): void => {
  const found = pieces(cpu, linear, bytes.length, 'write', key)
  for (const piece of found) {
    if (piece.at >= 0) continue
    outsideParts(piece, (gpa, first, count) => {
      let value = 0n
      for (let n = count - 1; n >= 0; n--) value = (value << 8n) | BigInt(bytes[first + n]!)
      cpu.outside!.write(gpa, count, value)
    })
  }
  for (const { at, from, size } of found) if (at >= 0) cpu.memory.set(at, bytes.subarray(from, from + size))
}

/** Guest physical address behind `linear` for a supervisor's read, undefined where there is none. Marks the tables as a read does. */
export const translate = (cpu: Cpu, linear: bigint): bigint | undefined => {
  try {
    return BigInt(toGpa(cpu, linear, 'read', KEY_SUPERVISOR))
  } catch (thrown) {
    if (thrown instanceof Fault || thrown instanceof Leave) return undefined
    throw thrown
  }
}
