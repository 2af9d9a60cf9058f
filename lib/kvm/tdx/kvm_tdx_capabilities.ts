/** KVM_TDX_CAPABILITIES: what TDX module and KVM let a TD have. Linux arch/x86/kvm/vmx/tdx.c, tdx_get_capabilities. */

import {
  kvm_tdx_capabilities,
  TDVMCALLINFO_SETUP_EVENT_NOTIFY_INTERRUPT,
  TDX_ATTR_SEPT_VE_DISABLE,
  XFAM_CET,
  XFAM_XCR0_MASK,
} from '#abi'
import { hva } from '#bits'
import { nativeCpuid } from '#tdx'
import type { CpuidEntry } from '../cpuid.ts'
import { encodeCpuid } from '../cpuid.ts'
import { Errno } from '../errno.ts'
import type { Tdx } from '../module.ts'
import type { Vm } from '../vm.ts'
import type { Command } from './command.ts'

/** The index of a configurable leaf that has no sub-leaves. */
const NO_SUBLEAF = 0xffff_ffff
/** CPUID 7.0: HLE and RTM in EBX, WAITPKG in ECX. KVM lets no TD have them. */
export const TSX = (1 << 4) | (1 << 11)
export const WAITPKG = 1 << 5

/** ATTRIBUTES that KVM lets a TD have. */
export const supportedAttributes = ({ info }: Tdx): bigint => TDX_ATTR_SEPT_VE_DISABLE & info.attributesFixed0

/**
 * XFAM that KVM lets a TD have: its own XCR0 and IA32_XSS bits, as far as processor and module have them. The states of
 * control-flow enforcement need one of its two features. Linux arch/x86/kvm/x86.c, kvm_x86_vendor_init.
 */
export const supportedXfam = (tdx: Tdx): bigint => answersOf(tdx).xfam

const xfamOf = ({ info, platform }: Tdx): bigint => {
  const [, , ecx, edx] = nativeCpuid(platform, 7, 0)
  const hasCet = (ecx & SHADOW_STACKS) !== 0 || (edx & INDIRECT_BRANCH_TRACKING) !== 0
  return (platform.xcr0 | platform.xss) & (hasCet ? XFAM_XCR0_MASK | XFAM_CET : XFAM_XCR0_MASK) & info.xfamFixed0
}
/** CPUID 7.0 ECX and EDX. */
const [SHADOW_STACKS, INDIRECT_BRANCH_TRACKING] = [1 << 7, 1 << 20]

/** The CPUID bits that INIT_VM may set, as KVM shows them. */
export const configurableCpuid = (tdx: Tdx): readonly CpuidEntry[] => answersOf(tdx).cpuid

const cpuidOf = ({ info }: Tdx): CpuidEntry[] =>
  info.cpuidConfig.map(entry => {
    const isIndexed = entry.index !== NO_SUBLEAF
    const isFeatures = entry.function === 7 && entry.index === 0
    return {
      ...entry,
      index: isIndexed ? entry.index : 0,
      // Guest physical address bits are KVM's way to choose GPAW; the module does not configure them.
      eax: entry.function === 0x8000_0008 ? (entry.eax | 0xff_0000) >>> 0 : entry.eax,
      ebx: isFeatures ? (entry.ebx & ~TSX) >>> 0 : entry.ebx,
      ecx: isFeatures ? (entry.ecx & ~WAITPKG) >>> 0 : entry.ecx,
    }
  })

/** What one booted module answers, every time. */
type Answers = { readonly xfam: bigint; readonly cpuid: readonly CpuidEntry[]; readonly bytes: Uint8Array }
const answers = new WeakMap<Tdx, Answers>()
const answersOf = (tdx: Tdx): Answers => {
  const known = answers.get(tdx)
  if (known !== undefined) return known
  const [xfam, cpuid] = [xfamOf(tdx), cpuidOf(tdx)]
  const head = kvm_tdx_capabilities.encode({
    supported_attrs: supportedAttributes(tdx),
    supported_xfam: xfam,
    user_tdvmcallinfo_1_r11: TDVMCALLINFO_SETUP_EVENT_NOTIFY_INTERRUPT,
    nent: cpuid.length,
  })
  const made = { xfam, cpuid, bytes: Buffer.concat([head, encodeCpuid(cpuid)]) }
  answers.set(tdx, made)
  return made
}

/** EINVAL: flags; E2BIG: room for fewer CPUID entries than there are, and nothing is written back. */
export const capabilities = (vm: Vm, { flags, data }: Command): void => {
  if (flags !== 0) throw new Errno('EINVAL', `KVM_TDX_CAPABILITIES: flags ${flags}; want 0`)
  const { space } = vm.host
  const { tdx } = vm.td
  const { cpuid: entries, bytes } = answersOf(tdx)
  const nent = Number(space.load(hva(data + BigInt(kvm_tdx_capabilities.offset.nent)), 4))
  if (nent < entries.length) {
    throw new Errno('E2BIG', `KVM_TDX_CAPABILITIES: room for ${nent} CPUID entries; there are ${entries.length}`)
  }
  space.write(hva(data), bytes)
}
