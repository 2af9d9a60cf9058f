/** MSRs of the processor that the host could trick a TD with, and the module's checks of them. tdh_mng_init.c, tdh_vp_init.c, tdh_vp_enter.c. */
import {
  IA32_MISC_ENABLE,
  IA32_TSC_ADJUST,
  TDX_INCONSISTENT_MSR,
  TDX_INCORRECT_MSR_VALUE,
  TDX_LIMIT_CPUID_MAXVAL_SET,
  TDX_TSC_ROLLBACK,
} from '#abi'
import { check } from './status.ts'
import type { Vcpu } from './vcpu.ts'

/** What stands in them beside what the platform has; `tsc` is the processor's own, in ticks. */
export type HostMsrs = { readonly tscAdjust?: bigint; readonly miscEnable?: bigint; readonly tsc?: bigint }

/** Bits of IA32_MISC_ENABLE. SDM Vol. 4, "Architectural MSRs". */
const [MONITOR_FSM, LIMIT_CPUID_MAXVAL] = [1n << 18n, 1n << 22n]

/** CPUID's leaves must not be cut off. */
export const checkCpuidLimit = ({ miscEnable = 0n }: HostMsrs): void =>
  check((miscEnable & LIMIT_CPUID_MAXVAL) === 0n, TDX_LIMIT_CPUID_MAXVAL_SET)

/** The TSC's adjustment must be as it was at TDH.SYS.INIT, which found 0. */
export const checkTscAdjust = ({ tscAdjust = 0n }: HostMsrs): void =>
  check(tscAdjust === 0n, TDX_INCONSISTENT_MSR, IA32_TSC_ADJUST)

/** Before a vCPU runs: the TSC has not gone back since it ran last, and MONITOR works where the TD has it. */
export const checkEntryMsrs = (vcpu: Vcpu, msrs: HostMsrs): void => {
  checkTscAdjust(msrs)
  check(BigInt.asIntN(64, (msrs.tsc ?? vcpu.lastExitTsc) - vcpu.lastExitTsc) >= 0n, TDX_TSC_ROLLBACK)
  const hasMonitor = vcpu.td.cpuid?.flags.monitorMwait === true
  const isOn = msrs.miscEnable === undefined || (msrs.miscEnable & MONITOR_FSM) !== 0n
  check(!hasMonitor || isOn, TDX_INCORRECT_MSR_VALUE, IA32_MISC_ENABLE)
}
