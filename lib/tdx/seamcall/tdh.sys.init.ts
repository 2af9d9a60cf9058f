import {
  CPUID_LOOKUP,
  CPUID_SUBLEAF_NA,
  TDH_SYS_INIT,
  TDX_INCORRECT_CPUID_VALUE,
  TDX_OPERAND_INVALID,
  TDX_SUCCESS,
  TDX_SYS_INIT_NOT_PENDING,
} from '#abi'
import { seamcall } from '../leaf.ts'
import { nativeCpuid } from '../platform.ts'
import { check } from '../status.ts'

/**
 * TDH.SYS.INIT: the module's global start, once. tdh_sys_init.c.
 * Not modelled: the platform checks beside CPUID (SMRR, MSR values, SEAM capabilities); the emulated platform passes them.
 */
export const sysInit = seamcall(
  TDH_SYS_INIT,
  (module, regs) => {
    const attributes = regs.rcx
    regs.rcx = 0n
    regs.rdx = 0n
    regs.r8 = 0n
    regs.r9 = 0n
    regs.r10 = 0n
    check(attributes === 0n, TDX_OPERAND_INVALID, 'RCX')
    check(module.state === 'SYSINIT_PENDING', TDX_SYS_INIT_NOT_PENDING)
    for (const { leaf, subleaf, checks } of CPUID_LOOKUP) {
      const native = nativeCpuid(module.platform, leaf, subleaf === CPUID_SUBLEAF_NA ? 0 : subleaf)
      for (const [register, mask, value] of checks) {
        if ((native[register] & mask) >>> 0 === value) continue
        // Which leaf it was: RCX leaf and sub-leaf, RDX the mask, R8 the value wanted. error_reporting.
        regs.rcx = BigInt(leaf) | (BigInt(subleaf) << 32n)
        regs.rdx = BigInt(mask)
        regs.r8 = BigInt(value)
        return TDX_INCORRECT_CPUID_VALUE
      }
    }

    module.state = 'SYSINIT_DONE'
    return TDX_SUCCESS
  },
  { early: true },
)
