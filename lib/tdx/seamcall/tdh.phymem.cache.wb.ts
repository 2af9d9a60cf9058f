import {
  TDH_PHYMEM_CACHE_WB,
  TDX_INTERRUPTED_RESUMABLE,
  TDX_NO_HKID_READY_TO_WBCACHE,
  TDX_OPERAND_INVALID,
  TDX_SUCCESS,
  TDX_WBCACHE_RESUME_ERROR,
} from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'

/** Parts of a package's caches, between which the leaf looks for events. Hardware has its own number. */
const SUB_BLOCKS = 16

/**
 * TDH.PHYMEM.CACHE.WB: write back this package's caches for the key ids that are being freed. tdh_phymem_cache_wb.c.
 * There are no caches here; what an event of the host's interrupts is resumed with RCX = 1, for the key ids that it began with.
 */
export const phymemCacheWb = seamcall(TDH_PHYMEM_CACHE_WB, (module, { rcx }, lp) => {
  check(rcx <= 1n, TDX_OPERAND_INVALID, 'RCX')
  const pkg = module.packageOf(lp)
  if (rcx === 0n) {
    const flushed = [...module.keys.values()].filter(key => key.state === 'HKID_FLUSHED')
    module.writeBacks.delete(pkg)
    check(flushed.length > 0, TDX_NO_HKID_READY_TO_WBCACHE)
    module.writeBacks.set(pkg, { done: 0, keys: flushed })
  }
  const writeBack = module.writeBacks.get(pkg)
  if (writeBack === undefined) return TDX_WBCACHE_RESUME_ERROR
  while (++writeBack.done < SUB_BLOCKS) if (lp.interrupted?.()) return TDX_INTERRUPTED_RESUMABLE

  module.writeBacks.delete(pkg)
  for (const key of writeBack.keys) key.wbinvd &= ~(1 << pkg)
  return TDX_SUCCESS
})
