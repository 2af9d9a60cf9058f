/** The MSRs that KVM emulates for a TD: Linux arch/x86/kvm/vmx/tdx.c, tdx_has_emulated_msr, tdx_get_msr, tdx_set_msr. */
import type { Vcpu } from './vcpu.ts'

const IA32_TSC_DEADLINE = 0x6e0
const IA32_UCODE_REV = 0x8b
const IA32_ARCH_CAPABILITIES = 0x10a
const IA32_MISC_ENABLE = 0x1a0
const IA32_CR_PAT = 0x277
const IA32_APICBASE = 0x1b
const IA32_FEAT_CTL = 0x3a
const EFER = 0xc000_0080
const PLATFORM_INFO = 0xce
const IA32_MCG_CAP = 0x179
const IA32_MCG_EXT_CTL = 0x4d0
const MCE_BANKS = 32
const KVM_POLL_CONTROL = 0x4b56_4d05

const X2APIC_ID = 0x802
const X2APIC_VERSION = 0x803
const X2APIC_LDR = 0x80d
const X2APIC_CMCI = 0x82f
const X2APIC_ICR = 0x830
const X2APIC_CURRENT_COUNT = 0x839

/** [first, last] of the emulated MSRs. */
const EMULATED: readonly (readonly [first: number, last: number])[] = [
  [IA32_APICBASE, IA32_APICBASE],
  [IA32_FEAT_CTL, IA32_FEAT_CTL],
  [IA32_UCODE_REV, IA32_UCODE_REV],
  [PLATFORM_INFO, PLATFORM_INFO],
  [0xfe, 0xfe], // IA32_MTRRCAP
  [IA32_ARCH_CAPABILITIES, IA32_ARCH_CAPABILITIES],
  [0x140, 0x140], // MISC_FEATURES_ENABLES
  [IA32_MCG_CAP, IA32_MCG_CAP + 2], // and MCG_STATUS, MCG_CTL
  [IA32_MISC_ENABLE, IA32_MISC_ENABLE],
  [0x1fc, 0x1fc], // IA32_POWER_CTL
  [0x200, 0x26f], // MTRRphysBase0 to MTRRfix4K_F8000
  [IA32_CR_PAT, IA32_CR_PAT],
  [0x280, 0x280 + MCE_BANKS - 1], // MCi_CTL2
  [0x2ff, 0x2ff], // IA32_MTRR_DEF_TYPE
  [0x400, 0x400 + 4 * MCE_BANKS - 1], // MCi_CTL, STATUS, ADDR, MISC
  [IA32_MCG_EXT_CTL, IA32_MCG_EXT_CTL],
  [IA32_TSC_DEADLINE, IA32_TSC_DEADLINE],
  [X2APIC_ID, X2APIC_VERSION],
  [X2APIC_LDR, X2APIC_LDR],
  [0x80f, 0x80f], // spurious vector
  [0x828, 0x828], // ESR
  [X2APIC_CMCI, X2APIC_ICR], // LVT CMCI, ICR
  [0x832, X2APIC_CURRENT_COUNT], // LVTs, initial count, current count
  [0x83e, 0x83e], // divide configuration
  [EFER, EFER],
  [KVM_POLL_CONTROL, KVM_POLL_CONTROL],
]

const isEmulated = (index: number): boolean => EMULATED.some(([first, last]) => index >= first && index <= last)

/** x2APIC registers that KVM's local APIC has; it has no CMCI entry, which only holds its value. */
const isOfApic = (index: number): boolean => index >= 0x800 && index <= 0x8ff && index !== X2APIC_CMCI

/** Values after reset that are not zero. */
const RESET: ReadonlyMap<number, bigint> = new Map([
  [IA32_UCODE_REV, 0x1_0000_0000n],
  [PLATFORM_INFO, 1n << 31n],
  [IA32_MISC_ENABLE, 0x1800n],
  [IA32_CR_PAT, 0x0007_0406_0007_0406n],
  [0xfe, 0x508n],
  [IA32_MCG_CAP, BigInt(MCE_BANKS)],
  [KVM_POLL_CONTROL, 1n],
])

const PAT_TYPES = 0b1111_0011

/** Is every byte a memory type that IA32_PAT may hold? SDM Vol. 3A, "IA32_PAT MSR". */
const isPat = (value: bigint): boolean => {
  for (let i = 0n; i < 64n; i += 8n) {
    const type = Number((value >> i) & 0xffn)
    if (type > 7 || ((PAT_TYPES >> type) & 1) === 0) return false
  }
  return true
}

/** One vCPU's emulated MSRs. */
export class Msrs {
  readonly #vcpu: Vcpu
  readonly #values = new Map<number, bigint>()

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu
  }

  /** The value, or undefined where KVM does not let the MSR be read. */
  get(index: number, isHost: boolean): bigint | undefined {
    if (!isEmulated(index)) return undefined
    const { id, apic } = this.#vcpu
    switch (index) {
      case IA32_FEAT_CTL:
        return 1n
      case IA32_APICBASE:
        return this.#vcpu.apicBase
      case EFER:
        return 0xd01n
      case IA32_MCG_EXT_CTL:
        if (!isHost) return undefined
        break
      case X2APIC_ID:
        return BigInt(id)
      case X2APIC_VERSION:
        // 6 LVT entries, version 0x14; directed EOI, because the I/O APIC is in userspace.
        return 0x105_0014n
      case X2APIC_LDR:
        return BigInt(((id >>> 4) << 16) | (1 << (id & 0xf)))
      case IA32_TSC_DEADLINE:
        return apic?.deadline ?? 0n
    }
    if (apic !== undefined && isOfApic(index)) return apic.readMsr(index)
    return this.#values.get(index) ?? RESET.get(index) ?? 0n
  }

  /** False where KVM refuses the write. */
  set(index: number, value: bigint, isHost: boolean): boolean {
    if (!isEmulated(index)) return false
    const { apic } = this.#vcpu
    switch (index) {
      case IA32_APICBASE:
      case EFER:
      case IA32_FEAT_CTL:
      case IA32_MCG_CAP:
      case X2APIC_ID:
      case X2APIC_VERSION:
      case X2APIC_LDR:
      case X2APIC_CURRENT_COUNT:
        return false
      case IA32_ARCH_CAPABILITIES:
      case PLATFORM_INFO:
      case 0xfe:
        if (!isHost) return false
        break
      case IA32_UCODE_REV:
        if (!isHost) return true
        break
      case IA32_MISC_ENABLE: {
        if (isHost) break
        const old = this.get(index, true) ?? 0n
        if (((old ^ value) & 0x1800n) !== 0n) return false
        this.#values.set(index, (value & ~0x80n) | (old & 0x80n))
        return true
      }
      case IA32_CR_PAT:
        if (!isPat(value)) return false
        break
      case IA32_MCG_EXT_CTL:
        if (!isHost || (value & ~1n) !== 0n) return false
        break
      case KVM_POLL_CONTROL:
        if ((value & ~1n) !== 0n) return false
        break
      case IA32_TSC_DEADLINE:
        if (apic === undefined) break
        apic.deadline = value
        return true
      default:
        if (apic !== undefined && isOfApic(index)) return apic.writeMsr(index, value)
    }
    this.#values.set(index, value)
    return true
  }
}
