import {
  REPORTMACSTRUCT,
  TDG_MR_VERIFYREPORT,
  TDX_INVALID_CPUSVN,
  TDX_INVALID_REPORTMACSTRUCT,
  TDX_OPERAND_INVALID,
  TDX_SUCCESS,
} from '#abi'
import { guestMemory } from '../guest/memory.ts'
import { tdcall } from '../leaf.ts'
import { verifyReportMac } from '../report.ts'
import { check } from '../status.ts'

const STATUS = { good: TDX_SUCCESS, cpusvn: TDX_INVALID_CPUSVN, bad: TDX_INVALID_REPORTMACSTRUCT }

/** TDG.MR.VERIFYREPORT: was this REPORTMACSTRUCT made on this platform? tdg_mr_verifyreport.c. */
export const mrVerifyreport = tdcall(TDG_MR_VERIFYREPORT, ({ module, vcpu, cpu, regs }) => {
  const address = cpu.gpr[1]!
  check(address % BigInt(REPORTMACSTRUCT.size) === 0n, TDX_OPERAND_INVALID, 'RCX')
  const at = guestMemory(vcpu, cpu, regs, address, 'read', 'RCX', true)
  if (typeof at !== 'number') return at
  return STATUS[verifyReportMac(module.platform, module.memory.u8.subarray(at, at + REPORTMACSTRUCT.size))]
})
