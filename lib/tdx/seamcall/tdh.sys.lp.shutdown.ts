import { TDH_SYS_LP_SHUTDOWN, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'

/** TDH.SYS.LP.SHUTDOWN: from now on every leaf but this one is TDX_SYS_SHUTDOWN. tdh_sys_lp_shutdown.c. */
export const sysLpShutdown = seamcall(
  TDH_SYS_LP_SHUTDOWN,
  module => {
    module.state = 'SYS_SHUTDOWN'
    return TDX_SUCCESS
  },
  { early: true },
)
