import {
  CPUID_CONFIGURABLE,
  MAX_TDCS_PAGES,
  MIN_TDCS_PAGES,
  OP_STATE_INITIALIZED,
  TD_CTLS_PENDING_VE_DISABLE,
  TD_PARAMS,
  TDH_MNG_INIT,
  TDX_ATTR_DEBUG,
  TDX_ATTR_MIGRATABLE,
  TDX_ATTR_PERFMON,
  TDX_ATTR_SEPT_VE_DISABLE,
  TDX_ATTRIBUTES_FIXED0,
  TDX_ATTRIBUTES_FIXED1,
  TDX_CONFIG_FLAGS_FIXED0,
  TDX_CONFIG_FLAGS_FIXED1,
  TDX_CONFIG_FLAGS_GPAW,
  TDX_OPERAND_INVALID,
  TDX_SUCCESS,
  TDX_TDCS_NOT_ALLOCATED,
  TDX_XFAM_FIXED1,
  XFAM_AMX,
  XFAM_AVX,
  XFAM_AVX512,
  XFAM_CET,
} from '#abi'
import { NotModelled } from '#bits'
import { computeCpuid, type TdCpuid } from '../guest/cpuid.ts'
import { virtualArchCapabilities } from '../guest/msr.ts'
import { checkCpuidLimit, checkTscAdjust, type HostMsrs } from '../hostmsr.ts'
import { seamcall } from '../leaf.ts'
import { Measurement } from '../measure.ts'
import { supportedXfam } from '../metadata/sys.ts'
import type { TdxModule } from '../module.ts'
import { sharedMemory } from '../operand.ts'
import { Sept } from '../sept.ts'
import { check } from '../status.ts'
import type { Td } from '../td.ts'
import { UNINITIALISED } from './op-states.ts'

const MAX_L2_VMS = 3
/** In 25 MHz units: 100 MHz to 10 GHz. */
const MIN_TSC_FREQUENCY = 4
const MAX_TSC_FREQUENCY = 400
const NONE_OR_ALL = [XFAM_AVX512, XFAM_CET, XFAM_AMX]

const isAttributes = (attributes: bigint): boolean =>
  (attributes & ~TDX_ATTRIBUTES_FIXED0) === 0n &&
  (attributes & TDX_ATTRIBUTES_FIXED1) === TDX_ATTRIBUTES_FIXED1 &&
  ((attributes & TDX_ATTR_MIGRATABLE) === 0n || (attributes & (TDX_ATTR_DEBUG | TDX_ATTR_PERFMON)) === 0n)

const isXfam = (module: TdxModule, xfam: bigint): boolean =>
  (xfam & ~supportedXfam(module.platform)) === 0n &&
  (xfam & TDX_XFAM_FIXED1) === TDX_XFAM_FIXED1 &&
  ((xfam & XFAM_AVX512) === 0n || (xfam & XFAM_AVX) !== 0n) &&
  NONE_OR_ALL.every(mask => (xfam & mask) === 0n || (xfam & mask) === mask)

/** Write-back, page-walk length − 1 of 3 or 4, nothing else. verify_and_set_td_eptp_controls. */
const isEptpControls = (module: TdxModule, eptp: bigint, gpaw: boolean): boolean => {
  const levels = Number((eptp >> 3n) & 7n)
  if ((eptp & 7n) !== 6n || eptp >> 6n !== 0n || levels < 3) return false
  if (levels > (module.platform.ept5 && module.platform.physicalAddressBits > 48 ? 4 : 3)) return false
  return !gpaw || levels === 4
}

const isZero = (view: DataView, at: number, length: number): boolean => {
  for (let i = 0; i < length; i++) if (view.getUint8(at + i) !== 0) return false
  return true
}

/** The fields of TD_PARAMS in the module's order. read_and_set_td_configurations. */
const configure = (module: TdxModule, td: Td, at: number, msrs: HostMsrs): void => {
  const { view } = module.memory
  const { offset } = TD_PARAMS
  const reserved = (name: 'reserved_0' | 'reserved_1' | 'reserved_2') =>
    check(isZero(view, at + offset[name], TD_PARAMS.fields[name].size), TDX_OPERAND_INVALID, 'RDX')

  const attributes = TD_PARAMS.get(view, at, 'attributes')
  check(isAttributes(attributes), TDX_OPERAND_INVALID, 'ATTRIBUTES')
  const xfam = TD_PARAMS.get(view, at, 'xfam')
  check(isXfam(module, xfam), TDX_OPERAND_INVALID, 'XFAM')
  const maxVcpus = TD_PARAMS.get(view, at, 'max_vcpus')
  check(maxVcpus > 0 && maxVcpus <= module.platform.maxVcpusPerTd, TDX_OPERAND_INVALID, 'MAX_VCPUS')
  const l2Vms = TD_PARAMS.get(view, at, 'num_l2_vms')
  check(l2Vms <= MAX_L2_VMS, TDX_OPERAND_INVALID, 'NUM_L2_VMS')
  check(td.tdcx.length >= Math.min(MIN_TDCS_PAGES + l2Vms, MAX_TDCS_PAGES), TDX_TDCS_NOT_ALLOCATED)
  reserved('reserved_0')
  const configFlags = TD_PARAMS.get(view, at, 'config_flags')
  check(
    (configFlags & ~TDX_CONFIG_FLAGS_FIXED0) === 0n &&
      (configFlags & TDX_CONFIG_FLAGS_FIXED1) === TDX_CONFIG_FLAGS_FIXED1,
    TDX_OPERAND_INVALID,
    'EXEC_CONTROLS',
  )
  const eptp = TD_PARAMS.get(view, at, 'eptp_controls')
  const gpaw = (configFlags & TDX_CONFIG_FLAGS_GPAW) !== 0n
  check(isEptpControls(module, eptp, gpaw), TDX_OPERAND_INVALID, 'EPTP_CONTROLS')
  const tscFrequency = TD_PARAMS.get(view, at, 'tsc_frequency')
  check(tscFrequency >= MIN_TSC_FREQUENCY && tscFrequency <= MAX_TSC_FREQUENCY, TDX_OPERAND_INVALID, 'TSC_FREQUENCY')
  checkTscAdjust(msrs)
  reserved('reserved_1')
  const msrConfig = TD_PARAMS.get(view, at, 'msr_config_ctls')
  check(msrConfig <= 1, TDX_OPERAND_INVALID, 'RDX')
  reserved('reserved_2')
  if (l2Vms > 0) throw new NotModelled('TD partitioning (TD_PARAMS.NUM_L2_VMS > 0)')

  td.attributes = attributes
  td.tdCtls = (attributes & TDX_ATTR_SEPT_VE_DISABLE) !== 0n ? TD_CTLS_PENDING_VE_DISABLE : 0n
  td.xfam = xfam
  td.maxVcpus = maxVcpus
  td.numL2Vms = l2Vms
  td.configFlags = configFlags
  td.sharedBit = gpaw ? 1n << 51n : 1n << 47n
  td.privateEnd = gpaw ? 2 ** 51 : 2 ** 47
  td.eptp = eptp | BigInt(td.septRoot)
  td.tscFrequency = tscFrequency
  td.tscMultiplier = (BigInt(tscFrequency) << 48n) / BigInt(module.platform.tscFrequency)
  td.mrConfigId = TD_PARAMS.get(view, at, 'mr_config_id')
  td.mrOwner = TD_PARAMS.get(view, at, 'mr_owner')
  td.mrOwnerConfig = TD_PARAMS.get(view, at, 'mr_owner_config')
}

/** The CPUID of the last TD, and what it follows from. */
type Last = Pick<Td, 'attributes' | 'xfam' | 'tscFrequency'> & { readonly bytes: Uint8Array; readonly cpuid: TdCpuid }
const lasts = new WeakMap<TdxModule, Last>()

/** TDs that are configured alike have the same CPUID: it is computed once. */
const cpuidOf = (module: TdxModule, td: Td, config: number, regs: { rcx: bigint }): TdCpuid => {
  const { u8 } = module.memory
  const bytes = u8.subarray(config, config + 16 * CPUID_CONFIGURABLE.length)
  const last = lasts.get(module)
  if (
    last !== undefined &&
    last.attributes === td.attributes &&
    last.xfam === td.xfam &&
    last.tscFrequency === td.tscFrequency &&
    Buffer.compare(last.bytes, bytes) === 0
  )
    return last.cpuid
  const { attributes, xfam, tscFrequency } = td
  const cpuid = foundOrComputed(module, td, config, bytes, regs)
  lasts.set(module, { attributes, xfam, tscFrequency, bytes: bytes.slice(), cpuid })
  return cpuid
}

const foundOrComputed = (
  module: TdxModule,
  td: Td,
  config: number,
  bytes: Uint8Array,
  regs: { rcx: bigint },
): TdCpuid => {
  const { view } = module.memory
  const key = `${td.attributes} ${td.xfam} ${td.tscFrequency} ${Buffer.from(bytes).toString('latin1')}`
  let cpuid = module.cpuids.get(key)
  if (cpuid === undefined) {
    cpuid = computeCpuid(module.platform, td, view, config, regs)
    module.cpuids.set(key, cpuid)
  }
  return cpuid
}

/**
 * TDH.MNG.INIT: what the TD is to be, from TD_PARAMS. tdh_mng_init.c.
 * A call that fails leaves the TD uninitialised; what it had written to TDCS by then is written again by the next.
 */
export const mngInit = seamcall(TDH_MNG_INIT, (module, regs, { msrs = {} }) => {
  const { rcx, rdx } = regs
  regs.rcx = 0n
  checkCpuidLimit(msrs)
  const td = module.td(rcx, 'RCX')
  td.checkState(UNINITIALISED)
  const at = sharedMemory(module, rdx, TD_PARAMS.size, TD_PARAMS.size, 'RDX')
  // What is private reads as zeroes with the host's key: the first field that may not be zero is XFAM.
  check(!module.isPrivate(at), TDX_OPERAND_INVALID, 'XFAM')
  configure(module, td, at, msrs)
  const { view } = module.memory
  const cpuid = cpuidOf(module, td, at + TD_PARAMS.offset.cpuid_config, regs)
  const used = 16 * CPUID_CONFIGURABLE.length
  check(
    isZero(view, at + TD_PARAMS.offset.cpuid_config + used, TD_PARAMS.fields.cpuid_config.size - used),
    TDX_OPERAND_INVALID,
    'RDX',
  )
  const archCapabilities = virtualArchCapabilities(
    module.platform,
    cpuid,
    TD_PARAMS.get(view, at, 'msr_config_ctls') === 1,
    TD_PARAMS.get(view, at, 'ia32_arch_capabilities_config'),
  )

  td.cpuid = cpuid
  td.archCapabilities = archCapabilities
  td.sept = new Sept(module.memory, td.septRoot, Number((td.eptp >> 3n) & 7n))
  td.measurement = new Measurement()
  td.opState = OP_STATE_INITIALIZED
  return TDX_SUCCESS
})
