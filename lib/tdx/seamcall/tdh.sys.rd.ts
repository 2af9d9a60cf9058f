import {
  MD_FIELD_ID_NA,
  TDH_SYS_RD,
  TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT,
  TDX_SUCCESS,
  TDX_SYS_LP_INIT_NOT_DONE,
} from '#abi'
import { seamcall } from '../leaf.ts'
import { findSysField, firstSysField, nextSysField, readSysField } from '../metadata/sys.ts'
import { check } from '../status.ts'

/** TDH.SYS.RD: read a global field; RDX is the id of the next one then. tdh_sys_rd.c. */
export const sysRd = seamcall(
  TDH_SYS_RD,
  (module, regs, lp) => {
    const id = regs.rdx
    regs.rdx = MD_FIELD_ID_NA
    regs.r8 = 0n
    check(module.initialisedLps.has(lp.id), TDX_SYS_LP_INIT_NOT_DONE)
    if (id === MD_FIELD_ID_NA) {
      regs.rdx = firstSysField(module, 'host')
      return TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT
    }
    const field = findSysField(id)
    regs.r8 = readSysField(module, field, 'host')
    regs.rdx = nextSysField(module, field, 'host')
    return TDX_SUCCESS
  },
  { early: true },
)
