/** The TDCALL leaves by number, and their dispatcher. intel/tdx-module, src/td_dispatcher/tdx_td_dispatcher.c (td_call). */
import * as abi from '#abi'
import { NotModelled, seen } from '#bits'
import type { Cpu, VmExit } from '#x86'
import { injectGp } from '../guest/ve.ts'
import type { SeamcallRegs, Tdcall, TdcallResult } from '../leaf.ts'
import type { TdxModule } from '../module.ts'
import { TDCALL_NAMES, TDCALLS_NOT_MODELLED } from '../not-modelled.ts'
import { about, TdxStatus } from '../status.ts'
import type { Vcpu } from '../vcpu.ts'
import { memPageAccept } from './tdg.mem.page.accept.ts'
import { memPageAttrRd } from './tdg.mem.page.attr.rd.ts'
import { memPageAttrWr } from './tdg.mem.page.attr.wr.ts'
import { mrReport } from './tdg.mr.report.ts'
import { mrRtmrExtend } from './tdg.mr.rtmr.extend.ts'
import { mrVerifyreport } from './tdg.mr.verifyreport.ts'
import { sysRd } from './tdg.sys.rd.ts'
import { sysRdall } from './tdg.sys.rdall.ts'
import { vmRd } from './tdg.vm.rd.ts'
import { vmWr } from './tdg.vm.wr.ts'
import { vpCpuidveSet } from './tdg.vp.cpuidve.set.ts'
import { vpEnterL2 } from './tdg.vp.enter.ts'
import { vpInfo } from './tdg.vp.info.ts'
import { vpInvept } from './tdg.vp.invept.ts'
import { vpInvvpid } from './tdg.vp.invvpid.ts'
import { vpRd } from './tdg.vp.rd.ts'
import { vpVeinfoGet } from './tdg.vp.veinfo.get.ts'
import { vpVmcall } from './tdg.vp.vmcall.ts'
import { vpWr } from './tdg.vp.wr.ts'

const BUILT: readonly Tdcall[] = [
  memPageAccept,
  memPageAttrRd,
  memPageAttrWr,
  mrReport,
  mrRtmrExtend,
  mrVerifyreport,
  sysRd,
  sysRdall,
  vmRd,
  vmWr,
  vpCpuidveSet,
  vpInfo,
  vpInvept,
  vpInvvpid,
  vpEnterL2,
  vpRd,
  vpVeinfoGet,
  vpVmcall,
  vpWr,
]

/** Indexed by leaf number. */
export const TDCALLS: readonly (Tdcall | undefined)[] = Array.from({ length: 32 }, (_, number) =>
  BUILT.find(leaf => leaf.number === number),
)

/** The leaf's status, `resume` or `exit`. */
const call = (module: TdxModule, vcpu: Vcpu, cpu: Cpu, regs: SeamcallRegs): TdcallResult => {
  // RAX in two halves: a bigint of each would be made for every ucall.
  const low = cpu.words[0]!
  const high = cpu.words[1]!
  const number = low & 0xffff
  const version = (low >>> 16) & 0xff
  const leaf = TDCALLS[number]
  if (high !== 0 || low >>> 24 !== 0 || (version > 0 && number !== abi.TDG_VM_RD))
    return about(abi.TDX_OPERAND_INVALID, 'RAX')
  if (leaf === undefined) {
    if (TDCALLS_NOT_MODELLED.includes(number)) throw new NotModelled(TDCALL_NAMES.get(number) as string)
    return about(abi.TDX_OPERAND_INVALID, 'RAX')
  }
  if (version > leaf.versions) {
    cpu.gpr[2] = abi.MD_FIELD_ID_NA
    cpu.gpr[8] = 0n
    return about(abi.TDX_OPERAND_INVALID, 'RAX')
  }
  const injected = module.faults?.tdcall(number)
  if (injected !== undefined) return injected
  try {
    return leaf.run({ module, vcpu, cpu, regs }, version)
  } catch (error) {
    if (!(error instanceof TdxStatus)) throw error
    return error.code
  }
}

const RESULTS = { vmcall: 'TD exit, done', exit: 'TD exit, again', resume: 'exception' }

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
  const number = cpu.words[0]! & 0xffff
  const { onTdcall } = module
  const result =
    onTdcall === undefined ? call(module, vcpu, cpu, regs) : onTdcall(vcpu, cpu, () => call(module, vcpu, cpu, regs))
  if (seen !== undefined)
    seen(
      TDCALL_NAMES.get(number) ?? `TDCALL ${number}`,
      typeof result === 'bigint' ? abi.statusName(result) : RESULTS[result],
    )
  if (result === 'vmcall') {
    cpu.advance(exit.instructionLength)
    return 'exit'
  }
  if (result === 'resume' || result === 'exit') return result
  cpu.gpr[0] = result
  cpu.advance(exit.instructionLength)
  return 'resume'
}
