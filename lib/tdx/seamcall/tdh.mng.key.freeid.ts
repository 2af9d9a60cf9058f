import {
  TD_BLOCKED,
  TD_TEARDOWN,
  TDH_MNG_KEY_FREEID,
  TDX_LIFECYCLE_STATE_INCORRECT,
  TDX_SUCCESS,
  TDX_WBCACHE_NOT_COMPLETE,
} from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'

/** TDH.MNG.KEY.FREEID: give the TD's key id back; what is left of the TD is pages to reclaim. tdh_mng_key_freeid.c. */
export const mngKeyFreeid = seamcall(TDH_MNG_KEY_FREEID, (module, { rcx }) => {
  const td = module.td(rcx, 'RCX')
  check(td.lifecycle === TD_BLOCKED, TDX_LIFECYCLE_STATE_INCORRECT)
  const key = module.key(td.hkid)
  check(key.wbinvd === 0, TDX_WBCACHE_NOT_COMPLETE)

  key.state = 'HKID_FREE'
  td.lifecycle = TD_TEARDOWN
  return TDX_SUCCESS
})
