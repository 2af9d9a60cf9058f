/** Model-specific registers of the CPU itself. SDM Vol. 4, "Architectural MSRs". */

import {
  CR0_PG,
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  EFER_SCE,
  IA32_APIC_BASE,
  IA32_BIOS_SIGN_ID,
  IA32_CSTAR,
  IA32_DEBUGCTL,
  IA32_EFER,
  IA32_FMASK,
  IA32_FS_BASE,
  IA32_GS_BASE,
  IA32_KERNEL_GS_BASE,
  IA32_LSTAR,
  IA32_MISC_ENABLE,
  IA32_PAT,
  IA32_PKRS,
  IA32_STAR,
  IA32_SYSENTER_CS,
  IA32_SYSENTER_EIP,
  IA32_SYSENTER_ESP,
  IA32_TIME_STAMP_COUNTER,
  IA32_TSC_ADJUST,
  IA32_TSC_AUX,
  IA32_TSC_DEADLINE,
  IA32_XSS,
  VECTOR_GP,
} from '#abi'
import { ones } from '#bits'
import type { Cpu } from './cpu.ts'
import { FS, GS } from './insn.ts'
import { isCanonicalBase } from './linear.ts'
import { EXIT_REASON_RDMSR, EXIT_REASON_WRMSR } from './vmx.ts'

/** An MSR that only holds its value: what it is after reset, and what may be written. */
type Plain = { readonly reset?: bigint; readonly canonical?: true; readonly mask?: bigint }
const PLAIN: Readonly<Record<number, Plain>> = {
  // The bootstrap processor's, xAPIC enabled at its default address.
  [IA32_APIC_BASE]: { reset: 0xfee0_0900n, mask: ones(52) & ~0x2ffn },
  [IA32_TSC_ADJUST]: {},
  [IA32_BIOS_SIGN_ID]: {},
  [IA32_SYSENTER_CS]: { mask: ones(32) },
  [IA32_SYSENTER_ESP]: { canonical: true },
  [IA32_SYSENTER_EIP]: { canonical: true },
  // Fast strings on.
  [IA32_MISC_ENABLE]: { reset: 1n },
  [IA32_DEBUGCTL]: { mask: 0n },
  [IA32_PAT]: { reset: 0x0007_0406_0007_0406n },
  [IA32_XSS]: { mask: 0n },
  [IA32_STAR]: {},
  [IA32_LSTAR]: { canonical: true },
  [IA32_CSTAR]: { canonical: true },
  [IA32_FMASK]: { mask: ones(32) },
  [IA32_KERNEL_GS_BASE]: { canonical: true },
  [IA32_TSC_AUX]: { mask: ones(32) },
  [IA32_PKRS]: { mask: ones(32) },
}

/** Memory types a PAT entry may have. SDM Vol. 3A, "Memory Types That Can Be Encoded With PAT". */
const isPat = (value: bigint): boolean => {
  for (let n = 0n; n < 64n; n += 8n) if (![0n, 1n, 4n, 5n, 6n, 7n].includes((value >> n) & 0xffn)) return false
  return true
}

/** The registers of a local APIC in x2APIC mode. SDM Vol. 3A, "x2APIC Register Address Space". */
const isX2Apic = (index: number): boolean => index >>> 8 === 8

export class Msrs {
  /** Those of `PLAIN` that are not as after reset. */
  readonly #values = new Map<number, bigint>()

  /** The value of a plain MSR with no check; 0 for one that there is not. */
  get(index: number): bigint {
    return this.#values.get(index) ?? PLAIN[index]?.reset ?? 0n
  }

  /** Puts a value in place with no check, as a VMM does. */
  set(index: number, value: bigint): void {
    this.#values.set(index, value)
  }

  /** Access and write disable of the sixteen keys of supervisor pages, as PKRU has them for user pages. */
  get pkrs(): number {
    return Number(this.get(IA32_PKRS))
  }

  get tscAux(): bigint {
    return this.get(IA32_TSC_AUX)
  }

  /** RDMSR. SDM Vol. 2B, "RDMSR". */
  rdmsr(cpu: Cpu, index: number): bigint {
    if (cpu.cpl !== 0) cpu.raise(VECTOR_GP, 0)
    if (cpu.controls?.msr(index, false)) cpu.leave(EXIT_REASON_RDMSR, 0n)
    return this.read(cpu, index) ?? cpu.raise(VECTOR_GP, 0)
  }

  /** WRMSR. SDM Vol. 2D, "WRMSR". */
  wrmsr(cpu: Cpu, index: number, value: bigint): void {
    if (cpu.cpl !== 0) cpu.raise(VECTOR_GP, 0)
    if (cpu.controls?.msr(index, true)) cpu.leave(EXIT_REASON_WRMSR, 0n)
    if (!this.write(cpu, index, value)) cpu.raise(VECTOR_GP, 0)
  }

  /** The MSR natively, `undefined` where there is none. */
  read(cpu: Cpu, index: number): bigint | undefined {
    const { apic } = cpu
    if (apic !== undefined) {
      if (index === IA32_APIC_BASE) return apic.base
      if (index === IA32_TSC_DEADLINE) return apic.deadline
      if (isX2Apic(index)) return apic.readMsr(index)
    }
    switch (index) {
      case IA32_EFER:
        return cpu.efer
      case IA32_FS_BASE:
        return cpu.segments[FS]!.base
      case IA32_GS_BASE:
        return cpu.segments[GS]!.base
      case IA32_TIME_STAMP_COUNTER:
        return cpu.tsc
      case IA32_PKRS:
        return cpu.features.has('PKS') ? this.get(index) : undefined
      default:
        return PLAIN[index] === undefined ? undefined : this.get(index)
    }
  }

  /** Writes the MSR natively; false where the write is not allowed (#GP). */
  write(cpu: Cpu, index: number, value: bigint): boolean {
    const { apic } = cpu
    if (apic !== undefined) {
      if (index === IA32_APIC_BASE) return apic.writeBase(value, cpu.stage.width, cpu.features.has('X2APIC'))
      if (index === IA32_TSC_DEADLINE) {
        apic.deadline = value
        return true
      }
      if (isX2Apic(index)) return apic.writeMsr(index, value)
    }
    switch (index) {
      case IA32_EFER:
        return writeEfer(cpu, value)
      case IA32_FS_BASE:
      case IA32_GS_BASE:
        if (!isCanonicalBase(cpu, value)) return false
        cpu.segments[index === IA32_FS_BASE ? FS : GS]!.base = value
        return true
      case IA32_TIME_STAMP_COUNTER: {
        // The adjustment follows. SDM Vol. 3B, "IA32_TSC_ADJUST Register Support".
        const by = value - cpu.tsc
        cpu.tscOffset = BigInt.asIntN(64, cpu.tscOffset + by)
        this.#values.set(IA32_TSC_ADJUST, BigInt.asUintN(64, this.get(IA32_TSC_ADJUST) + by))
        return true
      }
      case IA32_TSC_ADJUST:
        cpu.tscOffset = BigInt.asIntN(64, cpu.tscOffset + value - this.get(index))
        break
      case IA32_PKRS:
        if (!cpu.features.has('PKS')) return false
        cpu.tlb.flush()
        break
      case IA32_PAT:
        if (!isPat(value)) return false
        break
    }
    const plain = PLAIN[index]
    if (plain === undefined) return false
    if (plain.canonical === true && !isCanonicalBase(cpu, value)) return false
    if (plain.mask !== undefined && (value & ~plain.mask) !== 0n) return false
    this.#values.set(index, value)
    return true
  }
}

/** SDM Vol. 3A, "Extended Feature Enable Register": LME may not change while paging, LMA not at all. */
const writeEfer = (cpu: Cpu, value: bigint): boolean => {
  let known = EFER_LMA
  if (cpu.features.has('SYSCALL')) known |= EFER_SCE
  if (cpu.features.has('LM')) known |= EFER_LME
  if (cpu.features.has('NX')) known |= EFER_NXE
  if ((value & ~known) !== 0n) return false
  if (((value ^ cpu.efer) & EFER_LME) !== 0n && (cpu.cr0 & CR0_PG) !== 0n) return false
  cpu.efer = (value & ~EFER_LMA) | (cpu.efer & EFER_LMA)
  return true
}
