import { TDH_SYS_UPDATE, TDX_SUCCESS, TDX_SYS_INVALID_HANDOFF, TDX_SYS_STATE_INCORRECT } from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'

/** TDH.SYS.UPDATE: take over from the module before, instead of SYS.CONFIG: its TDs go on. tdh_sys_update.c. */
export const sysUpdate = seamcall(
  TDH_SYS_UPDATE,
  module => {
    const isStarted = module.state === 'SYSINIT_DONE' && module.initialisedLps.size === module.processors
    check(isStarted, TDX_SYS_STATE_INCORRECT)
    check(module.hasHandoff, TDX_SYS_INVALID_HANDOFF)

    module.hasHandoff = false
    module.state = 'SYS_READY'
    return TDX_SUCCESS
  },
  { early: true },
)
