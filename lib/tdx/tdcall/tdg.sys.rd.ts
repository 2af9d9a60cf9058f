import { MD_FIELD_ID_NA, TDG_SYS_RD, TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT, TDX_SUCCESS } from '#abi'
import { tdcall } from '../leaf.ts'
import { findSysField, firstSysField, nextSysField, readSysField } from '../metadata/sys.ts'

/** TDG.SYS.RD: a global field; RDX is the id of the next one then. tdg_sys_rd.c. */
export const sysRd = tdcall(TDG_SYS_RD, ({ module, cpu }) => {
  const { gpr } = cpu
  const id = gpr[2]!
  gpr[2] = MD_FIELD_ID_NA
  gpr[8] = 0n
  if (id === MD_FIELD_ID_NA) {
    gpr[2] = firstSysField(module, 'guest')
    return TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT
  }
  const field = findSysField(id)
  gpr[8] = readSysField(module, field, 'guest')
  gpr[2] = nextSysField(module, field, 'guest')
  return TDX_SUCCESS
})
