import { TDH_MNG_KEY_RECLAIMID, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'

/** TDH.MNG.KEY.RECLAIMID: does nothing, kept for compatibility. tdh_mng_key_reclaimid.c. */
export const mngKeyReclaimid = seamcall(TDH_MNG_KEY_RECLAIMID, () => TDX_SUCCESS)
