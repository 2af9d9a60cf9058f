/** The state that a processor begins with: after RESET, after INIT, or as a test wants it. */
import { CR0_CD, CR0_ET, CR0_NW, CR0_PE, CR4_OSFXSR, DR6_INIT, DR7_INIT, EFER_LMA, EFER_SCE } from '#abi'
import type { Cpu } from './cpu.ts'
import type { Start } from './cpuoptions.ts'
import { CS } from './insn.ts'

/** Access rights of flat segments. SDM Vol. 3C, "Guest Register State". */
export const FLAT_CODE = 0xc09b
export const FLAT_DATA = 0xc093
export const CODE64 = 0xa09b
/** Unusable, of the type LDT. */
const NO_LDT = 0x1_0082

/** Registers as `Start` says. SDM Vol. 3A, "Processor State After Reset". */
export const start = (cpu: Cpu, how: Start): void => {
  cpu.rflags = 0n
  cpu.mxcsr = 0x1f80
  cpu.x87.fcw = how === 'reset' ? 0x40 : 0x37f
  cpu.ldtr.set(0, 0n, 0xffff, 0x82)
  cpu.tr.set(0, 0n, 0xffff, 0x8b)
  if (how === 'reset') {
    cpu.x87.ftw = 0xff
    for (const segment of cpu.segments) segment.set(0, 0n, 0xffff, 0x93)
    cpu.segments[CS]!.set(0xf000, 0xffff_0000n, 0xffff, 0x9b)
    cpu.rip = 0xfff0n
    cpu.gpr[2] = BigInt(cpu.cpuid(1, 0)[0] >>> 0)
    return
  }
  cpu.ldtr.set(0, 0n, 0, NO_LDT)
  for (const segment of cpu.segments) segment.set(0x10, 0n, 0xffff_ffff, FLAT_DATA)
  cpu.segments[CS]!.set(8, 0n, 0xffff_ffff, how === 'flat64' ? CODE64 : FLAT_CODE)
  cpu.cr0 = CR0_PE | CR0_ET
  if (how === 'flat64') {
    cpu.efer = EFER_SCE | EFER_LMA
    cpu.cr4 = CR4_OSFXSR
  }
}

/**
 * What INIT leaves. SDM Vol. 3A, "Processor State After Reset": caches, x87, SSE, MSRs and the TSC stay as they are.
 */
export const init = (cpu: Cpu): void => {
  const kept = { mxcsr: cpu.mxcsr, fcw: cpu.x87.fcw, ftw: cpu.x87.ftw }
  cpu.gpr.fill(0n)
  start(cpu, 'reset')
  cpu.mxcsr = kept.mxcsr
  cpu.x87.fcw = kept.fcw
  cpu.x87.ftw = kept.ftw
  cpu.cr0 = 0x10n | (cpu.cr0 & (CR0_CD | CR0_NW))
  cpu.cr2 = 0n
  cpu.cr3 = 0n
  cpu.cr4 = 0n
  cpu.cr8 = 0n
  cpu.efer = 0n
  cpu.gdtr.base = 0n
  cpu.gdtr.limit = 0xffff
  cpu.idtr.base = 0n
  cpu.idtr.limit = 0xffff
  cpu.dr.splice(0, 8, 0n, 0n, 0n, 0n, 0n, 0n, DR6_INIT, DR7_INIT)
  cpu.met = 0
  cpu.pending.length = 0
  cpu.shadow = 'none'
  cpu.nmiBlocked = false
  cpu.refresh()
}
