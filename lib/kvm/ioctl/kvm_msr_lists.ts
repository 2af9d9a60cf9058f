/** Which MSRs KVM saves and restores, and which tell of the host: the index lists, and KVM_GET_MSRS of /dev/kvm. */
import * as abi from '#abi'
import { hva } from '#bits'
import { Errno } from '../errno.ts'
import type { Host } from '../host.ts'

const range = (first: number, count: number): number[] => Array.from({ length: count }, (_, n) => first + n)

/** Linux arch/x86/kvm/x86.c, msrs_to_save_base and emulated_msrs_all, as far as they are here. */
const SAVED: readonly number[] = [
  abi.IA32_TIME_STAMP_COUNTER,
  abi.IA32_SYSENTER_CS,
  abi.IA32_SYSENTER_ESP,
  abi.IA32_SYSENTER_EIP,
  abi.IA32_STAR,
  abi.IA32_LSTAR,
  abi.IA32_CSTAR,
  abi.IA32_FMASK,
  abi.IA32_KERNEL_GS_BASE,
  abi.IA32_TSC_AUX,
  abi.IA32_PAT,
  abi.IA32_EFER,
  abi.IA32_TSC_ADJUST,
  abi.IA32_XSS,
  abi.IA32_MISC_ENABLE,
  abi.IA32_BIOS_SIGN_ID,
  abi.IA32_ARCH_CAPABILITIES,
  abi.IA32_TSC_DEADLINE,
  0x3a, // IA32_FEAT_CTL
  0xce, // MSR_PLATFORM_INFO
  0x140, // MSR_MISC_FEATURES_ENABLES
  ...range(0x17a, 2), // IA32_MCG_STATUS, IA32_MCG_CTL
  0x1fc, // MSR_IA32_POWER_CTL
  ...range(0x200, 16), // IA32_MTRR_PHYSBASE0 to PHYSMASK7
  0x2ff, // IA32_MTRR_DEF_TYPE
  ...range(0x11, 2), // MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME
  ...range(0x4b56_4d00, 2), // their later numbers
  0x4b56_4d05, // MSR_KVM_POLL_CONTROL
]

/** Linux arch/x86/kvm/x86.c, msr_based_features_all_except_vmx: what there is without nesting and without counters. */
const FEATURES = (host: Host): ReadonlyMap<number, bigint> =>
  new Map([
    [abi.IA32_BIOS_SIGN_ID, 0x1_0000_0000n],
    [abi.IA32_ARCH_CAPABILITIES, host.platform.msr.archCapabilities],
    [0xce, 1n << 31n],
  ])

const give = (host: Host, name: string, arg: bigint, indices: readonly number[]): number => {
  const at = hva(arg)
  const { nmsrs } = host.space.get(abi.kvm_msr_list, at)
  host.space.set(abi.kvm_msr_list, at, { nmsrs: indices.length })
  if (nmsrs < indices.length)
    throw new Errno('E2BIG', `${name}: room for ${nmsrs} indices; there are ${indices.length}, as nmsrs now says`)
  host.write(hva(arg + BigInt(abi.kvm_msr_list.size)), new Uint8Array(Uint32Array.from(indices).buffer))
  return 0
}

/** E2BIG: nmsrs says how many there are. */
export const getMsrIndexList = (host: Host, arg: bigint): number => give(host, 'KVM_GET_MSR_INDEX_LIST', arg, SAVED)

/** E2BIG: the same. */
export const getMsrFeatureIndexList = (host: Host, arg: bigint): number =>
  give(host, 'KVM_GET_MSR_FEATURE_INDEX_LIST', arg, [...FEATURES(host).keys()])

/** KVM_GET_MSRS of /dev/kvm: how many were read before the first that is no feature. E2BIG. */
export const getFeatureMsrs = (host: Host, arg: bigint): number => {
  const { nmsrs } = host.space.get(abi.kvm_msrs, hva(arg))
  if (nmsrs >= 256) throw new Errno('E2BIG', `KVM_GET_MSRS: ${nmsrs} entries; want fewer than 256`)
  const features = FEATURES(host)
  for (let i = 0; i < nmsrs; i++) {
    const entry = hva(arg + BigInt(abi.kvm_msrs.size + i * abi.kvm_msr_entry.size))
    const data = features.get(host.get(abi.kvm_msr_entry, entry).index)
    if (data === undefined) return i
    host.set(abi.kvm_msr_entry, entry, { data })
  }
  return nmsrs
}
