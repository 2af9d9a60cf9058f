/** Checks of SEAMCALL operands that many leaves share. intel/tdx-module, src/common/helpers/helpers.c. */
import {
  type OperandName,
  PT_NDA,
  TDX_EPT_ENTRY_STATE_INCORRECT,
  TDX_EPT_WALK_FAILED,
  TDX_INTERRUPTED_RESTARTABLE,
  TDX_OPERAND_ADDR_RANGE_ERROR,
  TDX_OPERAND_INVALID,
  TDX_PAGE_METADATA_INCORRECT,
} from '#abi'
import { type Hpa, hpa } from '#bits'
import type { SeamcallRegs } from './leaf.ts'
import type { TdxModule } from './module.ts'
import { LEVEL_SIZE } from './pamt.ts'
import { architectural, stateOfEntry, withoutCounter } from './sept.ts'
import { about, check, TdxStatus } from './status.ts'
import type { Td } from './td.ts'

const whole = new BigUint64Array(1)
const half = new Uint32Array(whole.buffer)

/** A register's content as a number: exact below 2^53, above that not less. */
export const numberOf = (register: bigint): number => {
  whole[0] = register
  return half[1]! * 2 ** 32 + half[0]!
}

/** A page address with nothing in its key id bits. */
export const isPlainAddress = (module: TdxModule, address: bigint): boolean => numberOf(address) < module.plainEnd

/** A 4 KiB page operand that must be of `type`. check_and_lock_explicit_4k_private_hpa. */
export const page = (module: TdxModule, address: bigint, type: number, operand: OperandName): Hpa => {
  const at = hpa(numberOf(address))
  check(at < module.plainEnd && (at & 0xfff) === 0, TDX_OPERAND_INVALID, operand)
  const { pamt } = module
  const entry = pamt.find(at)
  check(entry !== 0, TDX_OPERAND_ADDR_RANGE_ERROR, operand)
  check(pamt.level === 0 && pamt.type(entry) === type, TDX_PAGE_METADATA_INCORRECT, operand)
  return at
}

/** A free page operand of 4 KiB or, at level 1, 2 MiB. check_and_lock_free_range_hpa. */
export const freePage = (module: TdxModule, address: bigint, operand: OperandName, level: 0 | 1 = 0): Hpa => {
  if (level === 0) return page(module, address, PT_NDA, operand)
  const { pamt } = module
  check(address % BigInt(LEVEL_SIZE[1]) === 0n && isPlainAddress(module, address), TDX_OPERAND_INVALID, operand)
  const at = hpa(Number(address))
  check(pamt.find(at) !== 0, TDX_OPERAND_ADDR_RANGE_ERROR, operand)
  check(pamt.level === 0 && pamt.is2MFree(at), TDX_PAGE_METADATA_INCORRECT, operand)
  return at
}

/** Host memory that a leaf reads or writes with the host's own key, aligned to a power of two. shared_hpa_check_with_pwr_2_alignment. */
export const sharedMemory = (
  module: TdxModule,
  address: bigint,
  size: number,
  align: number,
  operand: OperandName,
): Hpa => {
  const whole = numberOf(address)
  check((half[0]! & (align - 1)) === 0, TDX_OPERAND_INVALID, operand)
  const { plainEnd } = module
  check(whole < plainEnd * module.platform.firstPrivateHkid, TDX_OPERAND_INVALID, operand)
  const at = whole % plainEnd
  // Memory the machine does not have: real hardware answers such a read with ones, which no structure here allows.
  check(at + size <= module.memory.u8.length, TDX_OPERAND_INVALID, operand)
  return hpa(at)
}

/** A GPA and SEPT level operand ("gpa+lvl"), checked by `gpaAndLevel`. */
export type GpaAndLevel = { at: number; level: number }

const mapping: GpaAndLevel = { at: 0, level: 0 }

/**
 * GPA in bits 51:12, level in 2:0, the rest zero; aligned to the level's size. verify_page_info_input.
 * The result is good until the next call.
 */
export const pageInfo = (value: bigint, min: number, max: number): GpaAndLevel => {
  whole[0] = value
  const low = half[0]!
  const high = half[1]!
  const level = low & 7
  check((high & 0xfff0_0000) === 0 && (low & 0xff8) === 0 && level >= min && level <= max, TDX_OPERAND_INVALID, 'RCX')
  const at = high * 2 ** 32 + low - level
  check(at % LEVEL_SIZE[level as 0] === 0, TDX_OPERAND_INVALID, 'RCX')
  mapping.at = at
  mapping.level = level
  return mapping
}

/** Is the address one the TD can have, and private? check_gpa_validity. */
export const isPrivateGpa = (td: Td, gpa: bigint): boolean => numberOf(gpa) < td.privateEnd

/** RCX and RDX of an SEPT error: the entry as the host may see it, its level and state. set_arch_septe_details_in_vmm_regs. */
export const setSeptDetails = (regs: SeamcallRegs, entry: bigint, level: number): void => {
  regs.rcx = architectural(withoutCounter(entry, level))
  regs.rdx = BigInt(level | (stateOfEntry(entry) << 8))
}

/** Completes with a status about RCX that tells of an SEPT entry. */
export const failSept = (regs: SeamcallRegs, code: bigint, entry: bigint, level: number): never => {
  setSeptDetails(regs, entry, level)
  throw new TdxStatus(about(code, 'RCX'))
}

/**
 * Checks a GPA operand and walks to its entry: EPT_WALK_FAILED where the tree does not reach the level.
 * lock_sept_check_and_walk_private_gpa. The tree's `at` is the entry's place afterwards.
 */
export const walkTo = (td: Td, regs: SeamcallRegs, { at, level }: GpaAndLevel): bigint => {
  check(at < td.privateEnd, TDX_OPERAND_INVALID, 'RCX')
  const { tree } = td
  const entry = tree.walk(at, level)
  if (tree.level !== level) failSept(regs, TDX_EPT_WALK_FAILED, entry, tree.level)
  return entry
}

/** The entry's state must be one of those the leaf allows. */
export const checkEntryState = (
  regs: SeamcallRegs,
  entry: bigint,
  level: number,
  allowed: readonly number[],
): number => {
  const state = stateOfEntry(entry)
  if (!allowed.includes(state)) failSept(regs, TDX_EPT_ENTRY_STATE_INCORRECT, entry, level)
  return state
}

/** An event of the host's came before anything was done: RCX and RDX are as they were, the call starts over. */
export const interrupted = (regs: SeamcallRegs, rcx: bigint, rdx: bigint): bigint => {
  regs.rcx = rcx
  regs.rdx = rdx
  return TDX_INTERRUPTED_RESTARTABLE
}
