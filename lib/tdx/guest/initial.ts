/** The state in which a vCPU enters its TD for the first time. tdh_vp_init.c, td_vmcs_init.c. */

import { DR6_INIT, DR7_INIT, IA32_FMASK, IA32_PAT, IA32_PERF_GLOBAL_CTRL } from '#abi'
import { type Cpu, CS, DS, ES, FS, GS, SS } from '#x86'
import { nativeCpuid, type Platform } from '../platform.ts'
import type { Vcpu } from '../vcpu.ts'

const CODE = 0xc09b
const DATA = 0xc093
const LDT_UNUSABLE = 0x1_0082
const TSS_BUSY = 0x8b
/** No x87 register holds a value, in FXSAVE's short form. */
const EMPTY = 0
const [RCX, RDX, RBX, RSI, R8] = [1, 2, 3, 6, 8]

export const initialState = (platform: Platform, vcpu: Vcpu, cpu: Cpu): void => {
  const { td } = vcpu
  cpu.gpr.fill(0n)
  cpu.gpr[RBX] = BigInt(td.gpaw)
  cpu.gpr[RCX] = vcpu.initialRcx
  cpu.gpr[R8] = vcpu.initialRcx
  cpu.gpr[RDX] = BigInt(nativeCpuid(platform, 1, 0)[0])
  cpu.gpr[RSI] = BigInt(vcpu.index)
  cpu.rip = 0xffff_fff0n
  cpu.rflags = 2n
  for (const n of [ES, CS, SS, DS, FS, GS]) {
    const segment = cpu.segments[n]!
    segment.selector = 0
    segment.base = 0n
    segment.limit = 0xffff_ffff
    segment.rights = n === CS ? CODE : DATA
  }
  for (const [system, rights] of [
    [cpu.ldtr, LDT_UNUSABLE],
    [cpu.tr, TSS_BUSY],
  ] as const) {
    system.selector = 0
    system.base = 0n
    system.limit = 0xffff
    system.rights = rights
  }
  cpu.gdtr.base = 0n
  cpu.gdtr.limit = 0xffff
  cpu.idtr.base = 0n
  cpu.idtr.limit = 0
  cpu.cr0 = 0x21n
  cpu.cr2 = 0n
  cpu.cr3 = 0n
  // VMXE is set in the register itself and hidden by the read shadow.
  cpu.cr4 = 0x2040n
  cpu.cr8 = 0n
  cpu.efer = 0x901n
  cpu.xcr0 = 1n
  // Every XSAVE component is in its INIT state. SDM Vol. 1, "Processor Tracking of XSAVE-Managed State".
  cpu.x87.fcw = 0x37f
  cpu.x87.fsw = 0
  cpu.x87.ftw = EMPTY
  cpu.mxcsr = 0x1f80
  for (let n = 0; n < 4; n++) cpu.dr[n] = 0n
  cpu.dr[6] = DR6_INIT
  cpu.dr[7] = DR7_INIT
  vcpu.msrs.set(IA32_PERF_GLOBAL_CTRL, 0xffn)
  cpu.msrs.set(IA32_PAT, 0x0007_0406_0007_0406n)
  cpu.msrs.set(IA32_FMASK, 0x2_0200n)
}
