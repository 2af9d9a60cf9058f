import { TDH_SYS_LP_INIT, TDX_SUCCESS, TDX_SYS_LP_INIT_DONE, TDX_SYS_LP_INIT_NOT_PENDING } from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'

/** TDH.SYS.LP.INIT: start the module on this processor, once on each. tdh_sys_lp_init.c. */
export const sysLpInit = seamcall(
  TDH_SYS_LP_INIT,
  (module, regs, lp) => {
    regs.rcx = 0n
    regs.rdx = 0n
    regs.r8 = 0n
    check(module.state === 'SYSINIT_DONE', TDX_SYS_LP_INIT_NOT_PENDING)
    check(!module.initialisedLps.has(lp.id), TDX_SYS_LP_INIT_DONE)

    module.initialisedLps.add(lp.id)
    return TDX_SUCCESS
  },
  { early: true },
)
