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
  CR4_PSE,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  PF,
  PTE,
  VECTOR_PF,
} from '#abi'
import { type Gpa, type Hpa, hpa, ones, type Size } from '#bits'
import type { Cpu } from './cpu.ts'
import { Fault } from './fault.ts'
import { KEY_SMAP, KEY_USER, TLB_DELTA_WORD, TLB_ENTRIES, TLB_ENTRY_WORDS, TLB_WORD } from './tlb.ts'
import { type Access, EPT_QUALIFICATION } from './vmx.ts'

const { P, RW, US, A, D, PS, XD } = PTE
const ACCESS_QUALIFICATION: Record<Access, bigint> = {
  read: EPT_QUALIFICATION.READ,
  write: EPT_QUALIFICATION.WRITE,
  fetch: EPT_QUALIFICATION.FETCH,
}

/** A 64-bit number taken apart without making a bigint. */
const whole = new BigUint64Array(1)
const half = new Uint32Array(whole.buffer)

/** The frame of a paging-structure entry, as the second stage gives it; it is read, and written for A and D. */
const tableFrame = (cpu: Cpu, entry: bigint, write: boolean, linear: bigint): Hpa => {
  const frame = cpu.stage.frame((entry & ~0xfffn) as Gpa, write ? 'write' : 'read')
  if (frame !== -1) return frame
  const kind = write ? EPT_QUALIFICATION.READ | EPT_QUALIFICATION.WRITE : EPT_QUALIFICATION.READ
  return cpu.leaveEpt(kind | EPT_QUALIFICATION.GLA_VALID, linear, entry)
}

const readEntry = (cpu: Cpu, entry: bigint, size: 4 | 8, linear: bigint): bigint =>
  cpu.memory.read(tableFrame(cpu, entry, false, linear) + Number(entry & 0xfffn), size)

/** Sets bits of an entry that was read as `seen`; a locked read-modify-write, as nothing else runs in between. */
const mark = (cpu: Cpu, entry: bigint, size: 4 | 8, seen: bigint, set: bigint, linear: bigint): void => {
  if ((seen & set) === set) return
  const at = tableFrame(cpu, entry, true, linear) + Number(entry & 0xfffn)
  cpu.memory.write(at, size, cpu.memory.read(at, size) | set)
}

/** Address bits of an entry that the machine does not have. */
const beyond = (cpu: Cpu): bigint => ones(52) & ~ones(cpu.stage.width)

/** The format of a paging mode: levels from the root down, index width, entry size. */
type Paging = { readonly levels: number; readonly indexBits: number; readonly entrySize: 4 | 8 }
const PAGING32: Paging = { levels: 2, indexBits: 10, entrySize: 4 }
/** The page-directory-pointer table is in registers. */
const PAE: Paging = { levels: 2, indexBits: 9, entrySize: 8 }
const LEVEL4: Paging = { levels: 4, indexBits: 9, entrySize: 8 }
const LEVEL5: Paging = { levels: 5, indexBits: 9, entrySize: 8 }

/** `undefined` where paging is off. */
const pagingOf = (cpu: Cpu): Paging | undefined => {
  if ((cpu.cr0 & CR0_PG) === 0n) return undefined
  if ((cpu.efer & EFER_LMA) !== 0n) return (cpu.cr4 & CR4_LA57) === 0n ? LEVEL4 : LEVEL5
  return (cpu.cr4 & CR4_PAE) === 0n ? PAGING32 : PAE
}

/** Reserved bits of an entry at `level` (1 is the page table). */
const reserved = (cpu: Cpu, paging: Paging, level: number, entry: bigint): bigint => {
  if (paging === PAGING32) {
    if (level === 1 || (entry & PS) === 0n || (cpu.cr4 & CR4_PSE) === 0n) return 0n
    // Bits 20:13 hold address bits 39:32 of a 4 MiB page (PSE-36).
    const high = Math.max(0, Math.min(40, cpu.stage.width) - 32)
    return (1n << 21n) | ((ones(8) & ~ones(high)) << 13n)
  }
  let bits = beyond(cpu)
  if ((cpu.efer & EFER_NXE) === 0n) bits |= XD
  if (paging === PAE) bits |= ones(11) << 52n
  if (level > 1 && (entry & PS) !== 0n) {
    if (level === 2) bits |= ones(8) << 13n
    else if (level === 3 && cpu.features.pdpe1gb) bits |= ones(17) << 13n
    else bits |= PS
  }
  return bits
}

const fault = (cpu: Cpu, linear: bigint, access: Access, user: boolean, code: number): never => {
  let errorCode = code
  if (access === 'write') errorCode |= PF.WRITE
  if (user) errorCode |= PF.USER
  // I/D is set only where fetches can be told from reads.
  if (access === 'fetch') {
    const nxe = (cpu.efer & EFER_NXE) !== 0n && (cpu.cr4 & CR4_PAE) !== 0n
    if (nxe || (cpu.cr4 & CR4_SMEP) !== 0n) errorCode |= PF.FETCH
  }
  throw new Fault(VECTOR_PF, errorCode, linear)
}

/** Does the protection key of a user page deny this data access? SDM Vol. 3A, "Protection Keys". */
const keyDenies = (cpu: Cpu, leaf: bigint, access: Access, user: boolean): boolean => {
  const rights = (cpu.pkru >>> (Number((leaf >> 59n) & 15n) * 2)) & 3
  if ((rights & 1) !== 0) return true
  return (rights & 2) !== 0 && access === 'write' && (user || (cpu.cr0 & CR0_WP) !== 0n)
}

/** Protection of a page whose entries have `rights` (RW, US) in common; an error code without W, U and I, or 0. */
const denied = (cpu: Cpu, rights: bigint, xd: bigint, leaf: bigint, access: Access, key: number, keys: boolean) => {
  const user = key === KEY_USER
  const userPage = (rights & US) !== 0n
  let denies = false
  if (user) denies = !userPage || (access === 'write' && (rights & RW) === 0n)
  else {
    if (access === 'write' && (rights & RW) === 0n && (cpu.cr0 & CR0_WP) !== 0n) denies = true
    if (userPage && access === 'fetch' && (cpu.cr4 & CR4_SMEP) !== 0n) denies = true
    if (userPage && access !== 'fetch' && key === KEY_SMAP) denies = true
  }
  if (access === 'fetch' && xd !== 0n) denies = true
  let code = denies ? PF.P : 0
  if (keys && userPage && access !== 'fetch' && keyDenies(cpu, leaf, access, user)) code |= PF.P | PF.PK
  return code
}

/** Walks the guest's page tables. Sets accessed and dirty bits from the root down once the access is allowed. */
const walk = (cpu: Cpu, paging: Paging, linear: bigint, access: Access, key: number): bigint => {
  const user = key === KEY_USER
  const { indexBits, entrySize } = paging
  const entries: bigint[] = []
  const values: bigint[] = []
  let table: bigint
  let rights = RW | US
  let xd = 0n
  if (paging === PAE) {
    const pointer = cpu.pdptes[Number((linear >> 30n) & 3n)]!
    if ((pointer & P) === 0n) return fault(cpu, linear, access, user, 0)
    table = pointer & ones(52) & ~0xfffn
  } else table = paging === PAGING32 ? cpu.cr3 & 0xffff_f000n : cpu.cr3 & ones(52) & ~0xfffn

  for (let level = paging.levels; ; level--) {
    const shift = BigInt(12 + indexBits * (level - 1))
    const at = table + ((linear >> shift) & ones(indexBits)) * BigInt(entrySize)
    const value = readEntry(cpu, at, entrySize, linear)
    if ((value & P) === 0n) return fault(cpu, linear, access, user, 0)
    if ((value & reserved(cpu, paging, level, value)) !== 0n) return fault(cpu, linear, access, user, PF.P | PF.RSVD)
    entries.push(at)
    values.push(value)
    rights &= value
    xd |= value & XD
    const large = level > 1 && (value & PS) !== 0n && (paging !== PAGING32 || (cpu.cr4 & CR4_PSE) !== 0n)
    if (level > 1 && !large) {
      table = value & (paging === PAGING32 ? 0xffff_f000n : ones(52) & ~0xfffn)
      continue
    }
    const keys = paging.levels >= 4 && (cpu.cr4 & CR4_PKE) !== 0n
    const code = denied(cpu, rights, paging === PAGING32 ? 0n : xd, value, access, key, keys)
    if (code !== 0) return fault(cpu, linear, access, user, code)
    for (let n = 0; n < entries.length; n++) {
      const leaf = n === entries.length - 1
      mark(cpu, entries[n]!, entrySize, values[n]!, leaf && access === 'write' ? A | D : A, linear)
    }
    const inPage = ones(Number(shift))
    let page = value & ones(52) & ~inPage
    if (paging === PAGING32) {
      page = value & 0xffff_ffffn & ~inPage
      if (large) page |= ((value >> 13n) & 0xffn) << 32n
    }
    return page | (linear & inPage)
  }
}

/** Guest physical address behind `linear`. Throws #PF, or leaves with an EPT violation of a page-table access. */
export const toGpa = (cpu: Cpu, linear: bigint, access: Access, key: number): bigint => {
  const paging = pagingOf(cpu)
  return paging === undefined ? linear : walk(cpu, paging, linear, access, key)
}

const miss = (cpu: Cpu, linear: bigint, access: Access, key: number): number => {
  cpu.followStage()
  const gpa = toGpa(cpu, linear, access, key)
  const frame = cpu.stage.frame((gpa & ~0xfffn) as Gpa, access)
  if (frame === -1) {
    const how = EPT_QUALIFICATION.GLA_VALID | EPT_QUALIFICATION.TRANSLATED
    return cpu.leaveEpt(ACCESS_QUALIFICATION[access] | how, linear, gpa)
  }
  // What the walk did may itself have changed translations.
  cpu.followStage()
  whole[0] = linear
  cpu.tlb.enter(half[0]!, half[1]!, access, key, frame)
  return frame + Number(linear & 0xfffn)
}

/** Host physical address of the byte at `linear`, through the TLB. */
export const lookup = (cpu: Cpu, linear: bigint, access: Access, key: number): Hpa => {
  whole[0] = linear
  const low = half[0]!
  const { words } = cpu.tlb
  const at = ((low >>> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_WORDS
  const tag = at + TLB_WORD[access]
  if (words[tag] === ((low & ~0xfff) | key) >>> 0 && words[tag + 1] === half[1]!) {
    return hpa((low + words[at + TLB_DELTA_WORD]!) >>> 0)
  }
  return hpa(miss(cpu, linear, access, key))
}

/** The address `count` bytes on, which outside 64-bit mode wraps at 4 GiB. */
const onwards = (cpu: Cpu, linear: bigint, count: number): bigint =>
  BigInt.asUintN(cpu.mode === 64 ? 64 : 32, linear + BigInt(count))

const crosses = (linear: bigint, size: number): boolean => Number(linear & 0xfffn) + size > 4096

/** Reads `size` bytes under `key`; both pages of an access that crosses into another are settled first. */
export const readLinear = (cpu: Cpu, linear: bigint, size: Size, key: number): bigint => {
  const at = lookup(cpu, linear, 'read', key)
  if (!crosses(linear, size)) return cpu.memory.read(at, size)
  const inFirst = 4096 - Number(linear & 0xfffn)
  const rest = lookup(cpu, onwards(cpu, linear, inFirst), 'read', key)
  let value = 0n
  for (let n = size - 1; n >= 0; n--) {
    value = (value << 8n) | cpu.memory.read(n < inFirst ? at + n : rest + n - inFirst, 1)
  }
  return value
}

/** Writes `size` bytes under `key`, all of them or none. */
export const writeLinear = (cpu: Cpu, linear: bigint, size: Size, value: bigint, key: number): void => {
  const at = lookup(cpu, linear, 'write', key)
  if (!crosses(linear, size)) {
    cpu.memory.write(at, size, value)
    return
  }
  const inFirst = 4096 - Number(linear & 0xfffn)
  const rest = lookup(cpu, onwards(cpu, linear, inFirst), 'write', key)
  for (let n = 0; n < size; n++) {
    cpu.memory.write(n < inFirst ? at + n : rest + n - inFirst, 1, (value >> BigInt(8 * n)) & 0xffn)
  }
}

/** Faults or leaves now where an access of `size` bytes would. */
export const settle = (cpu: Cpu, linear: bigint, size: number, access: Access, key: number): void => {
  for (let from = 0; from < size; ) {
    const here = onwards(cpu, linear, from)
    lookup(cpu, here, access, key)
    from += 4096 - Number(here & 0xfffn)
  }
}

/** The pieces of `linear … linear + length` that lie in one page each: host address, offset in the range, length. */
const pieces = (cpu: Cpu, linear: bigint, length: number, access: Access, key: number) => {
  const found: { at: number; from: number; size: number }[] = []
  for (let from = 0; from < length; ) {
    const here = onwards(cpu, linear, from)
    const size = Math.min(length - from, 4096 - Number(here & 0xfffn))
    found.push({ at: lookup(cpu, here, access, key), from, size })
    from += size
  }
  return found
}

export const readBytes = (cpu: Cpu, linear: bigint, length: number, key: number): Uint8Array => {
  const out = new Uint8Array(length)
  for (const { at, from, size } of pieces(cpu, linear, length, 'read', key)) {
    out.set(cpu.memory.u8.subarray(at, at + size), from)
  }
  return out
}

export const writeBytes = (cpu: Cpu, linear: bigint, bytes: Uint8Array, key: number): void => {
  for (const { at, from, size } of pieces(cpu, linear, bytes.length, 'write', key)) {
    cpu.memory.set(at, bytes.subarray(from, from + size))
  }
}
