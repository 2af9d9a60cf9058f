/**
 * CPUID of a TD: the values made at MNG.INIT from platform, TD_PARAMS and the module's table, and what executing it does.
 * intel/tdx-module, tdh_mng_init.c (read_and_set_cpuid_configurations), vm_exits/td_cpuid.c.
 * Leaves 0xB and 0x1F of a TD that has switched topology enumeration on: topology.ts.
 */
import {
  CPUID_CONFIGURABLE,
  CPUID_LOOKUP,
  CPUID_MAX_BASIC_LEAF,
  CPUID_MAX_EXTENDED_LEAF,
  CPUID_SUBLEAF_NA,
  CPUID_XFAM_MASKS,
  type CpuidMasks,
  type CpuidRow,
  CR4_OSXSAVE,
  CR4_PKE,
  TD_CTLS_ENUM_TOPOLOGY,
  TDX_ATTR_MIGRATABLE,
  TDX_ATTR_PERFMON,
  TDX_ATTR_PKS,
  TDX_INCORRECT_MSR_VALUE,
  TDX_OPERAND_INVALID,
  XFAM_AMX,
  XFAM_LBR,
  XFAM_PT,
  XFAM_XCR0_MASK,
} from '#abi'
import type { Cpu } from '#x86'
import { nativeCpuid, type Platform, type Registers4 } from '../platform.ts'
import { check } from '../status.ts'
import type { Td } from '../td.ts'
import type { Vcpu } from '../vcpu.ts'
import { topologyOf } from './topology.ts'

/** What the values mean for the rest of the module. cpuid_flags. */
export type CpuidFlags = {
  monitorMwait: boolean
  dca: boolean
  tscDeadline: boolean
  tsx: boolean
  waitpkg: boolean
  tme: boolean
  la57: boolean
  mktme: boolean
  xfd: boolean
}

export class TdCpuid {
  /** Four registers for each row of CPUID_LOOKUP. */
  readonly values = new Uint32Array(4 * CPUID_LOOKUP.length)
  readonly flags: CpuidFlags = {
    monitorMwait: false,
    dca: false,
    tscDeadline: false,
    tsx: false,
    waitpkg: false,
    tme: false,
    la57: false,
    mktme: false,
    xfd: false,
  }

  /** The values of a leaf, for what the CPU itself derives from them; `undefined` where the TD has no such leaf. */
  lookup(leaf: number, subleaf: number): Registers4 | undefined {
    const row = cpuidRow(leaf, subleaf)
    if (row < 0) return undefined
    const v = this.values
    // SYSCALL is enumerated in 64-bit mode only; that the CPU has it does not depend on the mode.
    const edx = leaf === 0x8000_0001 ? v[4 * row + 3]! | (1 << 11) : v[4 * row + 3]!
    return [v[4 * row]!, v[4 * row + 1]!, v[4 * row + 2]!, edx]
  }
}

const [EAX, EBX, ECX, EDX] = [0, 1, 2, 3] as const
const ROWS = new Map<number, number[]>()
for (const [i, { leaf }] of CPUID_LOOKUP.entries()) ROWS.set(leaf, [...(ROWS.get(leaf) ?? []), i])

/** Index of the row of a leaf and sub-leaf, or -1. get_cpuid_lookup_entry. */
export const cpuidRow = (leaf: number, subleaf: number): number => {
  for (const index of ROWS.get(leaf) ?? []) {
    const row = CPUID_LOOKUP[index]!
    if (row.subleaf === subleaf || row.subleaf === CPUID_SUBLEAF_NA) return index
  }
  return -1
}

const CONFIG_INDEX: readonly number[] = CPUID_LOOKUP.map(row =>
  CPUID_CONFIGURABLE.findIndex(([leaf, subleaf]) => leaf === row.leaf && subleaf === row.subleaf),
)

/** Native value with the fixed bits in place: what the module keeps from SYS.INIT. */
const baseValue = (platform: Platform, row: CpuidRow, register: 0 | 1 | 2 | 3): number => {
  const native = nativeCpuid(platform, row.leaf, row.subleaf === CPUID_SUBLEAF_NA ? 0 : row.subleaf)
  return ((native[register] & ~row.fixed0OrDynamic[register]) | row.fixed1[register]) >>> 0
}

/** The bits of a configurable leaf that TD_PARAMS may set on this platform. */
export const configurableBits = (platform: Platform, leaf: number, subleaf: number): Registers4 => {
  const row = CPUID_LOOKUP.find(entry => entry.leaf === leaf && entry.subleaf === subleaf)!
  const bits = (r: 0 | 1 | 2 | 3) => (row.direct[r] | (row.allow[r] & baseValue(platform, row, r))) >>> 0
  return [bits(EAX), bits(EBX), bits(ECX), bits(EDX)]
}

/** Bytes of the standard-format XSAVE area for these components. CPUID leaf 0xD. */
const xsaveSize = (platform: Platform, components: bigint): number => {
  let size = 576
  for (const [n, [bytes, offset]] of platform.subleaves.get(0xd) ?? [])
    if (n >= 2 && ((components >> BigInt(n)) & 1n) === 1n) size = Math.max(size, offset + bytes)
  return size
}

/** Where each component lies in the compacted area, and its size: one follows the other, at 64 bytes where ECX bit 1 says so. */
export const compactedLayout = (platform: Platform, components: bigint): { size: number; offsets: number[] } => {
  let size = 576
  const offsets: number[] = []
  for (const [n, [bytes, , ecx]] of platform.subleaves.get(0xd) ?? []) {
    if (n < 2 || ((components >> BigInt(n)) & 1n) === 0n) continue
    if ((ecx & 2) !== 0) size = Math.ceil(size / 64) * 64
    offsets[n] = size
    size += bytes
  }
  return { size, offsets }
}

const compactedSize = (platform: Platform, components: bigint): number => compactedLayout(platform, components).size

const maskOut = (v: Uint32Array, at: number, masks: CpuidMasks): void => {
  for (let r = 0; r < 4; r++) v[at + r] = v[at + r]! & ~masks[r]!
}

const applyXfamMasks = (v: Uint32Array, at: number, row: CpuidRow, xfam: bigint): void => {
  for (const [leaf, subleaf, bit, masks] of CPUID_XFAM_MASKS)
    if (leaf === row.leaf && subleaf === row.subleaf && ((xfam >> BigInt(bit)) & 1n) === 0n) maskOut(v, at, masks)
}

/** What is special about a leaf, after the table's masks. */
const adjust = (platform: Platform, td: Td, { flags }: TdCpuid, v: Uint32Array, at: number, row: CpuidRow): void => {
  const { xfam, attributes } = td
  const is = (value: number, bit: number) => ((value >>> bit) & 1) === 1
  const hide = () => v.fill(0, at, at + 4)
  applyXfamMasks(v, at, row, xfam)
  switch (row.leaf) {
    case 0x1: {
      const fms = nativeCpuid(platform, 1, 0)[EAX]
      if (v[at] === 0) v[at] = fms
      // A migratable TD may be given another platform's family, model and stepping: one of a list that we do not have.
      check(v[at] === fms || (attributes & TDX_ATTR_MIGRATABLE) !== 0n, TDX_OPERAND_INVALID, 'CPUID_CONFIG')
      const ecx = v[at + ECX]!
      flags.monitorMwait = is(ecx, 3)
      flags.dca = is(ecx, 18)
      flags.tscDeadline = is(ecx, 24)
      break
    }
    case 0x5:
      if (!flags.monitorMwait) hide()
      break
    case 0x7:
      if (row.subleaf !== 0) break
      check(is(v[at + EBX]!, 4) === is(v[at + EBX]!, 11), TDX_OPERAND_INVALID, 'CPUID_CONFIG')
      flags.tsx = is(v[at + EBX]!, 4)
      check(!flags.tsx || ((platform.msr.archCapabilities >> 7n) & 1n) === 1n, TDX_INCORRECT_MSR_VALUE, 0x10a)
      // PKS and Key Locker are the TD's attributes. SYS.INIT demands #DB for bus locks of the platform; nothing raises it here.
      v[at + ECX] = v[at + ECX]! & ~(1 << 31) & ~(1 << 24) & ~(1 << 23)
      if ((attributes & TDX_ATTR_PKS) !== 0n) v[at + ECX] = v[at + ECX]! | (1 << 31)
      flags.waitpkg = is(v[at + ECX]!, 5)
      flags.tme = is(v[at + ECX]!, 13)
      flags.la57 = is(v[at + ECX]!, 16)
      flags.mktme = is(v[at + EDX]!, 18)
      break
    case 0xa:
      if ((attributes & TDX_ATTR_PERFMON) === 0n) hide()
      break
    case 0xd:
      if (row.subleaf === 0) v[at + ECX] = xsaveSize(platform, xfam & XFAM_XCR0_MASK)
      else if (row.subleaf === 1) {
        if ((xfam & XFAM_AMX) === 0n) v[at] = v[at]! & ~(1 << 4)
        flags.xfd = is(v[at]!, 4)
      } else if (((xfam >> BigInt(row.subleaf)) & 1n) === 0n) hide()
      break
    case 0x14:
      if ((xfam & XFAM_PT) === 0n) hide()
      break
    case 0x15:
      v[at + EBX] = td.tscFrequency
      break
    case 0x19:
      hide()
      break
    case 0x1c:
      if ((xfam & XFAM_LBR) === 0n) hide()
      break
    case 0x1d:
      if ((xfam & XFAM_AMX) !== XFAM_AMX) hide()
      break
    case 0x8000_0008:
      v[at] = (v[at]! & ~0xff00) | ((flags.la57 ? 57 : 48) << 8)
      break
  }
}

/** All values of a new TD. `config`: address of TD_PARAMS.CPUID_CONFIG. On an error RCX is leaf and sub-leaf. */
export const computeCpuid = (
  platform: Platform,
  td: Td,
  view: DataView,
  config: number,
  regs: { rcx: bigint },
): TdCpuid => {
  const made = new TdCpuid()
  const v = made.values
  for (const [i, row] of CPUID_LOOKUP.entries()) {
    const at = 4 * i
    const index = CONFIG_INDEX[i]!
    const native = nativeCpuid(platform, row.leaf, row.subleaf === CPUID_SUBLEAF_NA ? 0 : row.subleaf)
    regs.rcx = BigInt(row.leaf) | (BigInt(row.subleaf) << 32n)
    for (let r = 0; r < 4; r++) {
      let value = (native[r]! & ~row.fixed0OrDynamic[r]!) | row.fixed1[r]!
      if (index >= 0) {
        const given = view.getUint32(config + 16 * index + 4 * r, true)
        const [direct, allow] = [row.direct[r]!, row.allow[r]!]
        check((given & ~(direct | allow)) === 0, TDX_OPERAND_INVALID, 'CPUID_CONFIG')
        value = ((value & ~direct) | (given & direct)) & (given | ~allow)
      }
      v[at + r] = value
    }
    adjust(platform, td, made, v, at, row)
  }
  regs.rcx = 0n
  return made
}

const RESERVED_START = 0x4000_0000
const RESERVED_END = 0x4fff_ffff

/** The guest executed CPUID: registers are set and `true`, or `false` where it is a #VE. */
export const emulateCpuid = (platform: Platform, vcpu: Vcpu, cpu: Cpu, values: TdCpuid): boolean => {
  const { gpr } = cpu
  let leaf = Number(gpr[0]! & 0xffff_ffffn)
  const subleaf = Number(gpr[1]! & 0xffff_ffffn)
  const isReserved = leaf >= RESERVED_START && leaf <= RESERVED_END
  const isBeyond = leaf > CPUID_MAX_EXTENDED_LEAF || (leaf > CPUID_MAX_BASIC_LEAF && leaf < 0x8000_0000)
  if (!isReserved && isBeyond) leaf = CPUID_MAX_BASIC_LEAF
  if ((leaf === 0xb || leaf === 0x1f) && (vcpu.td.tdCtls & TD_CTLS_ENUM_TOPOLOGY) !== 0n) {
    const topology = topologyOf(vcpu, subleaf)
    gpr[0] = BigInt(topology[EAX])
    gpr[3] = BigInt(topology[EBX])
    gpr[1] = BigInt(topology[ECX])
    gpr[2] = BigInt(topology[EDX])
    return true
  }
  const row = cpuidRow(leaf, subleaf)
  if (row < 0 || CPUID_LOOKUP[row]!.faulting) return false
  const control = vcpu.cpuidControl?.[row] ?? 0
  if (cpu.cpl === 0 ? vcpu.cpuidSupervisorVe || (control & 1) !== 0 : vcpu.cpuidUserVe || (control & 2) !== 0)
    return false

  const at = 4 * row
  const eax = values.values[at + EAX]!
  let ebx = values.values[at + EBX]!
  let ecx = values.values[at + ECX]!
  let edx = values.values[at + EDX]!
  if (leaf === 1) {
    ebx = ((ebx & 0xff_ffff) | ((vcpu.x2apicId & 0xff) << 24)) >>> 0
    ecx = ((ecx & ~(1 << 27)) | ((cpu.cr4 & CR4_OSXSAVE) !== 0n ? 1 << 27 : 0)) >>> 0
  } else if (leaf === 7 && subleaf === 0) {
    ecx = ((ecx & ~(1 << 4)) | ((cpu.cr4 & CR4_PKE) !== 0n ? 1 << 4 : 0)) >>> 0
    // IA32_TSX_CTRL.TSX_CPUID_CLEAR
    if (values.flags.tsx && ((vcpu.msrs.get(0x122) ?? 0n) & 2n) !== 0n) ebx = (ebx & ~((1 << 4) | (1 << 11))) >>> 0
  } else if (leaf === 0xd && subleaf === 0) {
    ebx = xsaveSize(platform, cpu.xcr0)
  } else if (leaf === 0xd && subleaf === 1) {
    ebx = compactedSize(platform, cpu.xcr0 | vcpu.xss)
  } else if (leaf === 0x8000_0001) {
    edx = ((edx & ~(1 << 11)) | (cpu.mode === 64 ? 1 << 11 : 0)) >>> 0
  }
  gpr[0] = BigInt(eax)
  gpr[3] = BigInt(ebx)
  gpr[1] = BigInt(ecx)
  gpr[2] = BigInt(edx)
  return true
}
