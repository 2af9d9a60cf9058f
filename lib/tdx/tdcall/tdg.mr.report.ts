import { REPORTMACSTRUCT, TDG_MR_REPORT, TDREPORT_SIZE, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { EXIT_REASON_EXTERNAL_INTERRUPT } from '#x86'
import { asyncExit } from '../guest/exit.ts'
import { guestMemory } from '../guest/memory.ts'
import { tdcall } from '../leaf.ts'
import { makeReport } from '../report.ts'
import { check } from '../status.ts'

const DATA_SIZE = REPORTMACSTRUCT.fields.reportdata.size
const SUBTYPE = 0n

/**
 * TDG.MR.REPORT: a report about the TD over 64 bytes of its own. tdg_mr_report.c.
 * Where an event waits for the host the TD is left first, and asks again. The report's address is looked at last.
 */
export const mrReport = tdcall(TDG_MR_REPORT, ({ module, vcpu, cpu, regs }) => {
  const [to, from, subtype] = [cpu.gpr[1]!, cpu.gpr[2]!, cpu.gpr[8]!]
  check(to % BigInt(TDREPORT_SIZE) === 0n, TDX_OPERAND_INVALID, 'RCX')
  check(from % BigInt(DATA_SIZE) === 0n, TDX_OPERAND_INVALID, 'RDX')
  const data = guestMemory(vcpu, cpu, regs, from, 'read', 'RDX', false)
  if (typeof data !== 'number') return data
  check(subtype === SUBTYPE, TDX_OPERAND_INVALID, 'R8')
  if (vcpu.interrupted?.()) {
    asyncExit(vcpu, regs, EXIT_REASON_EXTERNAL_INTERRUPT)
    return 'exit'
  }
  const { memory, platform } = module
  const report = makeReport(platform, vcpu.td, memory.u8.slice(data, data + DATA_SIZE))
  const at = guestMemory(vcpu, cpu, regs, to, 'write', 'RCX', false)
  if (typeof at !== 'number') return at
  memory.set(at, report)
  return TDX_SUCCESS
})
