import { TDG_VM_WR, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { tdcall } from '../leaf.ts'
import { findTdField, writeTdField } from '../metadata/td.ts'
import { check } from '../status.ts'

/** TDG.VM.WR: write a field of the TD itself; R8 is the old value then. tdg_vm_rd_wr.c. */
export const vmWr = tdcall(TDG_VM_WR, ({ module, vcpu, cpu }) => {
  const { gpr } = cpu
  const [vm, id, value, mask] = [gpr[1]!, gpr[2]!, gpr[8]!, gpr[9]!]
  gpr[8] = 0n
  check(vm === 0n, TDX_OPERAND_INVALID, 'RCX')
  gpr[8] = writeTdField(module, vcpu.td, findTdField(id), value, mask, 'guest')
  return TDX_SUCCESS
})
