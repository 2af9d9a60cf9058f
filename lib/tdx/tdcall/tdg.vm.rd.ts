import {
  MD_FIELD_ID_NA,
  TDG_VM_RD,
  TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT,
  TDX_OPERAND_INVALID,
  TDX_SUCCESS,
} from '#abi'
import { tdcall } from '../leaf.ts'
import { findTdField, firstTdField, nextTdField, readTdField } from '../metadata/td.ts'
import { check } from '../status.ts'

/** TDG.VM.RD: a field of the TD itself. Version 1 also tells the id of the next one. tdg_vm_rd_wr.c. */
export const vmRd = tdcall(
  TDG_VM_RD,
  ({ module, vcpu, cpu }, version) => {
    const { gpr } = cpu
    const [vm, id] = [gpr[1]!, gpr[2]!]
    if (version > 0) gpr[2] = MD_FIELD_ID_NA
    gpr[8] = 0n
    check(vm === 0n, TDX_OPERAND_INVALID, 'RCX')
    const { td } = vcpu
    if (version > 0 && id === MD_FIELD_ID_NA) {
      gpr[2] = firstTdField(module, td, 'guest')
      return TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT
    }
    const field = findTdField(id)
    gpr[8] = readTdField(module, td, field, 'guest')
    if (version > 0) gpr[2] = nextTdField(module, td, field, 'guest')
    return TDX_SUCCESS
  },
  1,
)
