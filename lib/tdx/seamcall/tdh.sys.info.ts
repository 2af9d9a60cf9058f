import {
  CPUID_CONFIGURABLE,
  MAX_CMR,
  MAX_TDMRS,
  MIN_TDCS_PAGES,
  MIN_TDVPS_PAGES,
  PAMT_ENTRY_SIZE,
  TDH_SYS_INFO,
  TDMR_MAX_RESERVED,
  TDSYSINFO,
  TDX_ATTRIBUTES_FIXED0,
  TDX_ATTRIBUTES_FIXED1,
  TDX_OPERAND_INVALID,
  TDX_SUCCESS,
  TDX_SYS_LP_INIT_NOT_DONE,
  TDX_XFAM_FIXED1,
} from '#abi'
import type { Hpa } from '#bits'
import { configurableBits } from '../guest/cpuid.ts'
import { seamcall } from '../leaf.ts'
import { cmrsOf, supportedXfam, VERSION } from '../metadata/sys.ts'
import { sharedMemory } from '../operand.ts'
import { check } from '../status.ts'

const CMR_ENTRY = 16

/** TDH.SYS.INFO: TDSYSINFO_STRUCT and the convertible memory ranges. tdh_sys_info.c. */
export const sysInfo = seamcall(
  TDH_SYS_INFO,
  (module, regs, lp) => {
    const { rcx, rdx, r8, r9 } = regs
    regs.rdx = 0n
    regs.r9 = 0n
    check(module.initialisedLps.has(lp.id), TDX_SYS_LP_INIT_NOT_DONE)
    const info = sharedMemory(module, rcx, 1024, 1024, 'RCX')
    check(rdx >= 1024n, TDX_OPERAND_INVALID, 'RDX')
    const list = sharedMemory(module, r8, MAX_CMR * CMR_ENTRY, MAX_CMR * CMR_ENTRY, 'R8')
    check(r9 >= BigInt(MAX_CMR), TDX_OPERAND_INVALID, 'R9')

    const { memory, platform } = module
    const config = new DataView(new ArrayBuffer(24 * CPUID_CONFIGURABLE.length))
    for (const [i, [leaf, subleaf]] of CPUID_CONFIGURABLE.entries()) {
      config.setUint32(24 * i, leaf, true)
      config.setUint32(24 * i + 4, subleaf, true)
      for (const [j, value] of configurableBits(platform, leaf, subleaf).entries())
        config.setUint32(24 * i + 8 + 4 * j, value, true)
    }
    const isWritable = (at: Hpa) => {
      module.hostWrote(at)
      return !module.isPrivate(at)
    }
    const bytes = TDSYSINFO.encode({
      ...VERSION,
      vendor_id: 0x8086,
      sys_rd: 1,
      max_tdmrs: MAX_TDMRS,
      max_reserved_per_tdmr: TDMR_MAX_RESERVED,
      pamt_entry_size: PAMT_ENTRY_SIZE,
      tdcs_base_size: MIN_TDCS_PAGES * 4096,
      tdvps_base_size: MIN_TDVPS_PAGES * 4096,
      attributes_fixed0: TDX_ATTRIBUTES_FIXED0,
      attributes_fixed1: TDX_ATTRIBUTES_FIXED1,
      xfam_fixed0: supportedXfam(platform),
      xfam_fixed1: TDX_XFAM_FIXED1,
      num_cpuid_config: CPUID_CONFIGURABLE.length,
      cpuid_config: new Uint8Array(config.buffer),
    })
    if (isWritable(info)) {
      memory.fill(info, 1024, 0)
      memory.set(info, bytes)
    }
    if (isWritable(list)) memory.fill(list, MAX_CMR * CMR_ENTRY, 0)
    for (const [i, cmr] of isWritable(list) ? cmrsOf(module).entries() : []) {
      memory.write(list + CMR_ENTRY * i, 8, BigInt(cmr.base))
      memory.write(list + CMR_ENTRY * i + 8, 8, BigInt(cmr.size))
    }
    regs.rdx = 1024n
    regs.r9 = BigInt(MAX_CMR)
    return TDX_SUCCESS
  },
  { early: true },
)
