/** The TDCALL leaves by number, and their dispatcher. intel/tdx-module, src/td_dispatcher/tdx_td_dispatcher.c (td_call). */
import * as abi from '#abi'
import { NotModelled } from '#bits'
import type { Cpu, VmExit } from '#x86'
import { injectGp } from '../guest/ve.ts'
import type { SeamcallRegs, Tdcall, TdcallResult } from '../leaf.ts'
import type { TdxModule } from '../module.ts'
import { about, TdxStatus } from '../status.ts'
import type { Vcpu } from '../vcpu.ts'
import { memPageAccept } from './tdg.mem.page.accept.ts'
import { mrRtmrExtend } from './tdg.mr.rtmr.extend.ts'
import { vpCpuidveSet } from './tdg.vp.cpuidve.set.ts'
import { vpInfo } from './tdg.vp.info.ts'
import { vpVeinfoGet } from './tdg.vp.veinfo.get.ts'
import { vpVmcall } from './tdg.vp.vmcall.ts'

/** Numbers of all leaves, built or not. */
const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(abi).flatMap(([name, value]) =>
    name.startsWith('TDG_') && typeof value === 'number' ? [[value, name.replaceAll('_', '.')] as const] : [],
  ),
)

const BUILT: readonly Tdcall[] = [memPageAccept, mrRtmrExtend, vpCpuidveSet, vpInfo, vpVeinfoGet, vpVmcall]

/** Indexed by leaf number. */
const TDCALLS: readonly (Tdcall | undefined)[] = Array.from({ length: 32 }, (_, number) =>
  BUILT.find(leaf => leaf.number === number),
)

/** VM.RD has a version 1; every other leaf only version 0. */
const VERSIONED = abi.TDG_VM_RD

/**
 * The leaf's status, `resume` or `exit`.
 * Not modelled: TDCALL leaves that the table in lib/abi/tdx/leaf.ts names and lib/tdx/tdcall has no file for.
 */
const call = (module: TdxModule, vcpu: Vcpu, cpu: Cpu, regs: SeamcallRegs): TdcallResult => {
  const rax = cpu.gpr[0]!
  const number = Number(rax & 0xffffn)
  if (rax >> 24n !== 0n || (rax >> 16n !== 0n && number !== VERSIONED)) return about(abi.TDX_OPERAND_INVALID, 'RAX')
  const leaf = TDCALLS[number]
  if (leaf === undefined) {
    const name = NAMES.get(number)
    if (name !== undefined) throw new NotModelled(name)
    return about(abi.TDX_OPERAND_INVALID, 'RAX')
  }
  try {
    return leaf.run({ module, vcpu, cpu, regs })
  } catch (error) {
    if (!(error instanceof TdxStatus)) throw error
    return error.code
  }
}

/** A TDCALL exit. Outside 64-bit mode it is #GP(0); CPL was the CPU's to check. */
export const tdcallExit = (
  module: TdxModule,
  vcpu: Vcpu,
  cpu: Cpu,
  regs: SeamcallRegs,
  exit: VmExit,
): 'resume' | 'exit' => {
  if (cpu.mode !== 64) {
    injectGp(cpu)
    return 'resume'
  }
  const result = call(module, vcpu, cpu, regs)
  if (result === 'vmcall') {
    cpu.advance(exit.instructionLength)
    return 'exit'
  }
  if (result === 'resume' || result === 'exit') return result
  cpu.gpr[0] = result
  cpu.advance(exit.instructionLength)
  return 'resume'
}
