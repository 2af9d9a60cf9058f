import {
  TDH_PHYMEM_CACHE_WB,
  TDX_NO_HKID_READY_TO_WBCACHE,
  TDX_OPERAND_INVALID,
  TDX_SUCCESS,
  TDX_WBCACHE_RESUME_ERROR,
} from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'

/**
 * TDH.PHYMEM.CACHE.WB: write back this package's caches for the key ids that are being freed. tdh_phymem_cache_wb.c.
 * There are no caches here and nothing interrupts the leaf, so there is never one to resume.
 */
export const phymemCacheWb = seamcall(TDH_PHYMEM_CACHE_WB, (module, { rcx }, lp) => {
  check(rcx <= 1n, TDX_OPERAND_INVALID, 'RCX')
  const flushed = [...module.keys.values()].filter(key => key.state === 'HKID_FLUSHED')
  check(rcx === 0n, TDX_WBCACHE_RESUME_ERROR)
  check(flushed.length > 0, TDX_NO_HKID_READY_TO_WBCACHE)

  const bit = 1 << module.packageOf(lp)
  for (const key of flushed) key.wbinvd &= ~bit
  return TDX_SUCCESS
})
