import { MD_FIELD_ID_NA, TDG_SYS_RDALL, TDX_METADATA_LIST_OVERFLOW, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { guestMemory } from '../guest/memory.ts'
import { tdcall } from '../leaf.ts'
import { dumpSysFields } from '../metadata/sys.ts'
import { check } from '../status.ts'

/** TDG.SYS.RDALL: global fields as a list into the private page at RDX, from the id in R8 on. tdg_sys_rdall.c. */
export const sysRdall = tdcall(TDG_SYS_RDALL, ({ module, vcpu, cpu, regs }) => {
  const { gpr } = cpu
  const [address, id] = [gpr[2]!, gpr[8]!]
  check(address % 4096n === 0n, TDX_OPERAND_INVALID, 'RDX')
  const at = guestMemory(vcpu, cpu, regs, address, 'write', 'RDX', true)
  if (typeof at !== 'number') return at
  gpr[8] = MD_FIELD_ID_NA
  const { next } = dumpSysFields(module, id, 'guest', module.memory.view, at)
  gpr[8] = next
  return next === MD_FIELD_ID_NA ? TDX_SUCCESS : TDX_METADATA_LIST_OVERFLOW
})
