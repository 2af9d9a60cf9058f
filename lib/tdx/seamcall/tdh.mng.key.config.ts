import {
  TD_HKID_ASSIGNED,
  TD_KEYS_CONFIGURED,
  TDH_MNG_KEY_CONFIG,
  TDX_KEY_CONFIGURED,
  TDX_LIFECYCLE_STATE_INCORRECT,
  TDX_SUCCESS,
  TDX_TD_FATAL,
} from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'

/** TDH.MNG.KEY.CONFIG: give the TD's key id a key on this package. tdh_mng_key_config.c. */
export const mngKeyConfig = seamcall(TDH_MNG_KEY_CONFIG, (module, { rcx }, lp) => {
  const td = module.td(rcx, 'RCX')
  check(!td.fatal, TDX_TD_FATAL)
  check(td.lifecycle === TD_HKID_ASSIGNED, TDX_LIFECYCLE_STATE_INCORRECT)
  const bit = 1 << module.packageOf(lp)
  check((td.packages & bit) === 0, TDX_KEY_CONFIGURED)

  td.packages |= bit
  if (td.packages === module.configuredPackages) td.lifecycle = TD_KEYS_CONFIGURED
  return TDX_SUCCESS
})
