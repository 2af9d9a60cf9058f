/** The SEAMCALL leaves by number. */
import { TDX_OPERAND_INVALID } from '#abi'
import { NotModelled } from '#bits'
import type { Seamcall } from '../leaf.ts'
import { SEAMCALL_NAMES, SEAMCALLS_NOT_MODELLED } from '../not-modelled.ts'
import { about } from '../status.ts'
import { memPageAdd } from './tdh.mem.page.add.ts'
import { memPageAug } from './tdh.mem.page.aug.ts'
import { memPageDemote } from './tdh.mem.page.demote.ts'
import { memPagePromote } from './tdh.mem.page.promote.ts'
import { memPageRelocate } from './tdh.mem.page.relocate.ts'
import { memPageRemove } from './tdh.mem.page.remove.ts'
import { memRangeBlock } from './tdh.mem.range.block.ts'
import { memRangeUnblock } from './tdh.mem.range.unblock.ts'
import { memRd } from './tdh.mem.rd.ts'
import { memSeptAdd } from './tdh.mem.sept.add.ts'
import { memSeptRd } from './tdh.mem.sept.rd.ts'
import { memSeptRemove } from './tdh.mem.sept.remove.ts'
import { memTrack } from './tdh.mem.track.ts'
import { memWr } from './tdh.mem.wr.ts'
import { mngAddcx } from './tdh.mng.addcx.ts'
import { mngCreate } from './tdh.mng.create.ts'
import { mngInit } from './tdh.mng.init.ts'
import { mngKeyConfig } from './tdh.mng.key.config.ts'
import { mngKeyFreeid } from './tdh.mng.key.freeid.ts'
import { mngKeyReclaimid } from './tdh.mng.key.reclaimid.ts'
import { mngRd } from './tdh.mng.rd.ts'
import { mngVpflushdone } from './tdh.mng.vpflushdone.ts'
import { mngWr } from './tdh.mng.wr.ts'
import { mrExtend } from './tdh.mr.extend.ts'
import { mrFinalize } from './tdh.mr.finalize.ts'
import { phymemCacheWb } from './tdh.phymem.cache.wb.ts'
import { phymemPageRdmd } from './tdh.phymem.page.rdmd.ts'
import { phymemPageReclaim } from './tdh.phymem.page.reclaim.ts'
import { phymemPageWbinvd } from './tdh.phymem.page.wbinvd.ts'
import { sysConfig } from './tdh.sys.config.ts'
import { sysInfo } from './tdh.sys.info.ts'
import { sysInit } from './tdh.sys.init.ts'
import { sysKeyConfig } from './tdh.sys.key.config.ts'
import { sysLpInit } from './tdh.sys.lp.init.ts'
import { sysLpShutdown } from './tdh.sys.lp.shutdown.ts'
import { sysRd } from './tdh.sys.rd.ts'
import { sysRdall } from './tdh.sys.rdall.ts'
import { sysShutdown } from './tdh.sys.shutdown.ts'
import { sysTdmrInit } from './tdh.sys.tdmr.init.ts'
import { sysUpdate } from './tdh.sys.update.ts'
import { vpAddcx } from './tdh.vp.addcx.ts'
import { vpCreate } from './tdh.vp.create.ts'
import { vpEnter } from './tdh.vp.enter.ts'
import { vpFlush } from './tdh.vp.flush.ts'
import { vpInit } from './tdh.vp.init.ts'
import { vpRd } from './tdh.vp.rd.ts'
import { vpWr } from './tdh.vp.wr.ts'

const BUILT: readonly Seamcall[] = [
  memPageAdd,
  memPageAug,
  memPageDemote,
  memPagePromote,
  memPageRelocate,
  memPageRemove,
  memRangeBlock,
  memRangeUnblock,
  memRd,
  memSeptAdd,
  memSeptRd,
  memSeptRemove,
  memTrack,
  memWr,
  mngAddcx,
  mngCreate,
  mngInit,
  mngKeyConfig,
  mngKeyFreeid,
  mngKeyReclaimid,
  mngRd,
  mngVpflushdone,
  mngWr,
  mrExtend,
  mrFinalize,
  phymemCacheWb,
  phymemPageRdmd,
  phymemPageReclaim,
  phymemPageWbinvd,
  sysConfig,
  sysInfo,
  sysInit,
  sysKeyConfig,
  sysLpInit,
  sysLpShutdown,
  sysRd,
  sysRdall,
  sysShutdown,
  sysTdmrInit,
  sysUpdate,
  vpAddcx,
  vpCreate,
  vpFlush,
  vpInit,
  vpRd,
  vpWr,
  vpEnter,
]

/** Indexed by leaf number. */
export const SEAMCALLS: readonly (Seamcall | undefined)[] = Array.from({ length: 128 }, (_, number) =>
  BUILT.find(leaf => leaf.number === number),
)

/** A leaf number that no handler stands for: the module does not have it, or we do not. */
export const notBuilt = (number: number): bigint => {
  if (SEAMCALLS_NOT_MODELLED.includes(number)) throw new NotModelled(SEAMCALL_NAMES.get(number) as string)
  return about(TDX_OPERAND_INVALID, 'RAX')
}
