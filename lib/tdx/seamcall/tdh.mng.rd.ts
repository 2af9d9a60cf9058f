import { MD_FIELD_ID_NA, TDH_MNG_RD, TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { firstTdField, isTdrHalf, nextTdField, readTdField, seekTdHalves } from '../metadata/td.ts'
import { WORD } from '../registers.ts'
import { TdxStatus } from '../status.ts'
import { ANY_INITIALISED } from './op-states.ts'

/** TDH.MNG.RD: read a field of TDR or TDCS. Version 1 also tells the id of the next one. tdh_mng_rd_wr.c. */
export const mngRd = seamcall(
  TDH_MNG_RD,
  (module, regs, _lp, version) => {
    const { words } = regs
    const low = words[WORD.RDX]!
    const high = words[WORD.RDX + 1]!
    const isFirst = version > 0 && regs.rdx === MD_FIELD_ID_NA
    if (version > 0) regs.rdx = MD_FIELD_ID_NA
    words[WORD.R8] = 0
    words[WORD.R8 + 1] = 0
    const td = module.tdOf(words[WORD.RCX]!, words[WORD.RCX + 1]!, 'RCX')
    if (!isTdrHalf(high)) td.checkState(ANY_INITIALISED)
    if (isFirst) {
      regs.rdx = firstTdField(module, td, 'host')
      return TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT
    }
    const field = seekTdHalves(low, high)
    if (field instanceof TdxStatus) return field.code
    regs.r8 = readTdField(module, td, field, 'host')
    if (version > 0) regs.rdx = nextTdField(module, td, field, 'host')
    return TDX_SUCCESS
  },
  { versions: 1 },
)
