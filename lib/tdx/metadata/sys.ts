/** Global metadata: what TDH.SYS.RD tells of module and platform. metadata_handlers/metadata_sys.c. */
import {
  CPUID_CONFIGURABLE,
  CPUID_SUBLEAF_NA,
  MAX_TDMRS,
  MIN_TDCS_PAGES,
  MIN_TDVPS_PAGES,
  PAMT_ENTRY_SIZE,
  SYS_FIELDS,
  TDMR_MAX_RESERVED,
  TDX_ATTRIBUTES_FIXED0,
  TDX_ATTRIBUTES_FIXED1,
  TDX_CONFIG_FLAGS_FIXED0,
  TDX_CONFIG_FLAGS_FIXED1,
  TDX_FEATURES0_1_5_01,
  TDX_FEATURES0_TOPOLOGY_ENUM,
  TDX_XFAM_FIXED0,
  TDX_XFAM_FIXED1,
} from '#abi'
import { configurableBits } from '../guest/cpuid.ts'
import type { TdxModule } from '../module.ts'
import { type Cmr, nativeCpuid, type Platform } from '../platform.ts'
import { checkReadable, type Element, FieldTable, type Reader, readMask } from './field.ts'
import { type Dump, dumpList } from './list.ts'

/** The module we behave like. */
export const VERSION = {
  attributes: 0,
  build_date: 20_230_314,
  build_num: 0x1a2,
  minor_version: 5,
  major_version: 1,
} as const
const UPDATE_VERSION = 1n
const INTERNAL_VERSION = 0n
/** A TD with L2 VMs takes this many more pages. td_control_structures.h, tdx_tdvps.h. */
const PAGES_PER_L2_VM = { tdcs: 1, tdvps: 3 }

/**
 * What does not depend on the platform, and what the module says of features that stop a test by name when they are used:
 * it does not hide them. td_control_structures.h, migration.h, service_td.h, tdx_tdvps.h; versions: proj_defs.mk.
 */
const CONSTANTS: Readonly<Record<string, bigint>> = {
  SYS_ATTRIBUTES: 0n,
  NUM_DISALLOWED_FMS: 0n,
  DISALLOWED_FMS: 0n,
  MODULE_HV: 0n,
  MIN_UPDATE_HV: 0n,
  NO_DOWNGRADE: 0n,
  HANDOFF_DATA_HV: 0n,
  MIG_ATTRIBUTES: 0n,
  MIN_EXPORT_VERSION: 0n,
  MAX_EXPORT_VERSION: 0n,
  MIN_IMPORT_VERSION: 0n,
  MAX_IMPORT_VERSION: 0n,
  MAX_MIGS: 512n,
  NUM_IMMUTABLE_STATE_PAGES: 3n,
  NUM_TD_STATE_PAGES: 2n,
  NUM_VP_STATE_PAGES: 5n,
  MAX_SERV_TDS: 1n,
  SERVTD_ATTR_FIXED0: 0x7ff_0000_0001n,
  SERVTD_ATTR_FIXED1: 0n,
  GUEST_L2_GPA_ATTR_MASK: 0x807fn,
  VM_CTLS_FIXED0: 1n,
  VM_CTLS_FIXED1: 0n,
  VPCU_L2_CTLS_FIXED0: 3n,
  VCPU_L2_CTLS_FIXED1: 0n,
  VPCU_L2_DEBUG_CTLS_FIXED0: 7n,
  VCPU_L2_DEBUG_CTLS_FIXED1: 0n,
}

const table = new FieldTable(SYS_FIELDS)

/** Convertible memory: all there is, unless the platform says otherwise. */
export const cmrsOf = ({ platform, memory }: TdxModule): readonly Cmr[] =>
  platform.cmrs.length > 0 ? platform.cmrs : [{ base: 0, size: memory.u8.length }]

export const supportedXfam = (platform: Platform): bigint => TDX_XFAM_FIXED0 & (platform.xcr0 | platform.xss)

/** A configurable leaf in CPUID_CONFIG_LEAVES: leaf in the low half, sub-leaf in the high. */
const configLeaf = (index: number): bigint => {
  const row = CPUID_CONFIGURABLE[index]
  return row === undefined ? 0n : BigInt(row[0]) | (BigInt(row[1] === CPUID_SUBLEAF_NA ? 0xffff_ffff : row[1]) << 32n)
}

/** EAX and EBX (even) or ECX and EDX (odd) of CPUID_CONFIG_VALUES. */
const configValue = (platform: Platform, index: number): bigint => {
  const row = CPUID_CONFIGURABLE[index >> 1]
  if (row === undefined) return 0n
  const bits = configurableBits(platform, row[0], row[1])
  const [low, high] = (index & 1) === 0 ? [bits[0], bits[1]] : [bits[2], bits[3]]
  return BigInt(low) | (BigInt(high) << 32n)
}

const value = (module: TdxModule, { row, index }: Element): bigint => {
  const { platform } = module
  const cmrs = cmrsOf(module)
  switch (row.name) {
    case 'NUM_PKGS':
      return BigInt(platform.packages)
    case 'PKG_FMS':
    case 'ALLOWED_FMS':
      return index < platform.packages ? BigInt(nativeCpuid(platform, 1, 0)[0]) : 0n
    case 'NUM_ALLOWED_FMS':
      return 1n
    case 'VENDOR_ID':
      return 0x8086n
    case 'BUILD_DATE':
      return BigInt(VERSION.build_date)
    case 'BUILD_NUM':
      return BigInt(VERSION.build_num)
    case 'MINOR_VERSION':
      return BigInt(VERSION.minor_version)
    case 'MAJOR_VERSION':
      return BigInt(VERSION.major_version)
    case 'UPDATE_VERSION':
      return UPDATE_VERSION
    case 'INTERNAL_VERSION':
      return INTERNAL_VERSION
    case 'NUM_TDX_FEATURES':
      return 1n
    case 'TDX_FEATURES0':
      // KVM will not use a module without TOPOLOGY_ENUM. Linux arch/x86/kvm/vmx/tdx.c.
      return TDX_FEATURES0_1_5_01 | TDX_FEATURES0_TOPOLOGY_ENUM
    case 'NUM_CMRS':
      return BigInt(cmrs.length)
    case 'CMR_BASE':
      return BigInt(cmrs[index]?.base ?? 0)
    case 'CMR_SIZE':
      return BigInt(cmrs[index]?.size ?? 0)
    case 'MAX_TDMRS':
      return BigInt(MAX_TDMRS)
    case 'MAX_RESERVED_PER_TDMR':
      return BigInt(TDMR_MAX_RESERVED)
    case 'PAMT_4K_ENTRY_SIZE':
    case 'PAMT_2M_ENTRY_SIZE':
    case 'PAMT_1G_ENTRY_SIZE':
      return BigInt(PAMT_ENTRY_SIZE)
    case 'TDR_BASE_SIZE':
      return 4096n
    case 'TDCS_BASE_SIZE':
      return BigInt(4096 * MIN_TDCS_PAGES)
    case 'TDCS_SIZE_PER_L2_VM':
      return BigInt(4096 * PAGES_PER_L2_VM.tdcs)
    case 'TDVPS_BASE_SIZE':
      return BigInt(4096 * MIN_TDVPS_PAGES)
    case 'TDVPS_SIZE_PER_L2_VM':
      return BigInt(4096 * PAGES_PER_L2_VM.tdvps)
    case 'ATTRIBUTES_FIXED0':
      return TDX_ATTRIBUTES_FIXED0
    case 'ATTRIBUTES_FIXED1':
      return TDX_ATTRIBUTES_FIXED1
    case 'XFAM_FIXED0':
      return supportedXfam(platform)
    case 'XFAM_FIXED1':
      return TDX_XFAM_FIXED1
    case 'MAX_VCPUS_PER_TD':
      return BigInt(platform.maxVcpusPerTd)
    case 'NUM_CPUID_CONFIG':
      return BigInt(CPUID_CONFIGURABLE.length)
    case 'CONFIG_FLAGS_FIXED0':
      return TDX_CONFIG_FLAGS_FIXED0
    case 'CONFIG_FLAGS_FIXED1':
      return TDX_CONFIG_FLAGS_FIXED1
    case 'CPUID_CONFIG_LEAVES':
      return configLeaf(index)
    case 'CPUID_CONFIG_VALUES':
      return configValue(platform, index)
    case 'IA32_ARCH_CAPABILITIES_CONFIG_MASK':
      return platform.msr.archCapabilitiesConfigMask
    case 'HANDOFF_DATA_VALID':
    case 'HANDOFF_DATA_SIZE':
    case 'NUM_HANDOFF_PAGES':
      return 0n
    default: {
      const constant = CONSTANTS[row.name]
      if (constant === undefined) throw new Error(`no value for the metadata field ${row.name}`)
      return constant
    }
  }
}

export const findSysField = (id: bigint): Element => table.find(id)

export const readSysField = (module: TdxModule, element: Element, reader: Reader): bigint =>
  checkReadable(element, reader) & value(module, element)

/** The readable fields from `id` on as a metadata list. */
export const dumpSysFields = (module: TdxModule, id: bigint, reader: Reader, view: DataView, at: number): Dump =>
  dumpList(
    table,
    id,
    row => readMask(row, reader) !== 0n,
    element => readSysField(module, element, reader),
    view,
    at,
  )

export const firstSysField = (_module: TdxModule, reader: Reader): bigint =>
  table.next(undefined, row => readMask(row, reader) !== 0n)

export const nextSysField = (_module: TdxModule, from: Element, reader: Reader): bigint =>
  table.next(from, row => readMask(row, reader) !== 0n)
