import { MD_FIELD_ID_NA, TDH_MNG_RD, TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { firstTdField, isTdrField, nextTdField, readTdField, seekTdField } from '../metadata/td.ts'
import { TdxStatus } from '../status.ts'
import { ANY_INITIALISED } from './op-states.ts'

/** TDH.MNG.RD: read a field of TDR or TDCS. Version 1 also tells the id of the next one. tdh_mng_rd_wr.c. */
export const mngRd = seamcall(
  TDH_MNG_RD,
  (module, regs, _lp, version) => {
    const { rcx, rdx } = regs
    if (version > 0) regs.rdx = MD_FIELD_ID_NA
    regs.r8 = 0n
    const td = module.td(rcx, 'RCX')
    if (!isTdrField(rdx)) td.checkState(ANY_INITIALISED)
    if (version > 0 && rdx === MD_FIELD_ID_NA) {
      regs.rdx = firstTdField(module, td, 'host')
      return TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT
    }
    const field = seekTdField(rdx)
    if (field instanceof TdxStatus) return field.code
    regs.r8 = readTdField(module, td, field, 'host')
    if (version > 0) regs.rdx = nextTdField(module, td, field, 'host')
    return TDX_SUCCESS
  },
  { versions: 1 },
)
