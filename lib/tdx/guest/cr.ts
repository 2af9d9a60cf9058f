/** Control registers of a TD: which bits the module owns, and what a MOV that changes one does. helpers.c, td_other_exits.c. */
import {
  CR0_CD,
  CR0_NE,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR0_WP,
  CR4_CET,
  CR4_KL,
  CR4_MCE,
  CR4_PKE,
  CR4_PKS,
  CR4_SMXE,
  CR4_UINTR,
  CR4_VMXE,
  TDX_ATTR_PKS,
  XFAM_CET,
  XFAM_PKRU,
  XFAM_UINTR,
} from '#abi'
import { NotModelled } from '#bits'
import { type Cpu, completeCr, Fault } from '#x86'
import type { Platform } from '../platform.ts'
import type { Td } from '../td.ts'
import type { Vcpu } from '../vcpu.ts'

const U64 = 0xffff_ffff_ffff_ffffn
/** Reserved bits of CR0 that writes leave as they are: 28:19, 17, 15:6. CR0_IGNORED_MASK. */
const CR0_IGNORED = 0x1ffa_ffc0n
const CR0_DEFINED = 0xe005_003fn

export const CR0_MASK = CR0_PE | CR0_NE | CR0_NW | CR0_CD | (U64 & ~CR0_DEFINED)
export const CR0_SHADOW = CR0_PE | CR0_NE
export const CR4_SHADOW = CR4_MCE

const CR4_FIXED = CR4_MCE | CR4_VMXE | CR4_SMXE | (1n << 15n) | (U64 & ~0x3ff_ffffn) | CR4_KL

/** Bits of CR4 that this TD may not change by itself. */
export const cr4Mask = (td: Td): bigint => {
  let mask = CR4_FIXED
  if ((td.xfam & XFAM_PKRU) === 0n) mask |= CR4_PKE
  if ((td.xfam & XFAM_CET) === 0n) mask |= CR4_CET
  if ((td.xfam & XFAM_UINTR) === 0n) mask |= CR4_UINTR
  if ((td.attributes & TDX_ATTR_PKS) === 0n) mask |= CR4_PKS
  return mask
}

export type CrOutcome = 'done' | 'gp' | 've'

const writeCr0 = (platform: Platform, cpu: Cpu, value: bigint): CrOutcome => {
  const mustBeOne = platform.msr.cr0Fixed0 & ~CR0_PE & ~CR0_PG
  if ((~value & mustBeOne) !== 0n || (value & ~platform.msr.cr0Fixed1) !== 0n) return 'gp'
  if ((value & CR0_PE) === 0n && (value & CR0_PG) !== 0n) return 'gp'
  if ((cpu.cr4 & CR4_CET) !== 0n && (value & CR0_WP) === 0n) return 'gp'
  if ((value & CR0_PE) === 0n || (value & (CR0_NW | CR0_CD)) !== 0n) return 've'
  return complete(cpu, (value & ~CR0_IGNORED) | (cpu.cr0 & CR0_IGNORED))
}

/** The MOV itself, with what follows from a change of paging. */
const complete = (cpu: Cpu, value: bigint): CrOutcome => {
  try {
    completeCr(cpu, 0, value)
    return 'done'
  } catch (error) {
    if (error instanceof Fault) return 'gp'
    throw error
  }
}

const isAllowedCr4 = (td: Td, value: bigint): boolean =>
  ((value & CR4_PKE) === 0n || (td.xfam & XFAM_PKRU) !== 0n) &&
  ((value & CR4_CET) === 0n || (td.xfam & XFAM_CET) === XFAM_CET) &&
  ((value & CR4_UINTR) === 0n || (td.xfam & XFAM_UINTR) !== 0n) &&
  (value & CR4_KL) === 0n &&
  ((value & CR4_PKS) === 0n || (td.attributes & TDX_ATTR_PKS) !== 0n)

const writeCr4 = (platform: Platform, td: Td, cpu: Cpu, value: bigint): CrOutcome => {
  const mustBeOne = platform.msr.cr4Fixed0 & ~CR4_VMXE
  if ((~value & mustBeOne) !== 0n || (value & ~platform.msr.cr4Fixed1) !== 0n) return 'gp'
  if (!isAllowedCr4(td, value)) return 'gp'
  if ((value & CR4_CET) !== 0n && (cpu.cr0 & CR0_WP) === 0n) return 'gp'
  return 've'
}

const LMSW_BITS = 0xen
const [MOV_TO_CR, LMSW] = [0, 3]

/** A CR-access exit. SDM Vol. 3C, "Exit Qualification for Control-Register Accesses". */
export const accessCr = (platform: Platform, vcpu: Vcpu, cpu: Cpu, qualification: bigint): CrOutcome => {
  const type = Number((qualification >> 4n) & 3n)
  const cr = Number(qualification & 0xfn)
  if (type === MOV_TO_CR && (cr === 0 || cr === 4)) {
    const raw = cpu.gpr[Number((qualification >> 8n) & 0xfn)]!
    const value = cpu.mode === 64 ? raw : raw & 0xffff_ffffn
    return cr === 0 ? writeCr0(platform, cpu, value) : writeCr4(platform, vcpu.td, cpu, value)
  }
  if (type === LMSW) {
    cpu.cr0 = (cpu.cr0 & ~LMSW_BITS) | ((qualification >> 16n) & LMSW_BITS)
    return 'done'
  }
  throw new NotModelled(`a control-register exit of type ${type} for CR${cr}`)
}
