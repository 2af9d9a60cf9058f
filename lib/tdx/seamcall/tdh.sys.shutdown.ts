import { TDH_SYS_SHUTDOWN, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'

/** The one version of handoff data that the module writes. proj_defs.mk, TDX_MODULE_HV. */
const HANDOFF_VERSION = 0n

/** TDH.SYS.SHUTDOWN: end the module so that another can take over. tdh_sys_shutdown.c. */
export const sysShutdown = seamcall(TDH_SYS_SHUTDOWN, (module, { rcx }) => {
  check(rcx === HANDOFF_VERSION, TDX_OPERAND_INVALID, 'RCX')

  module.state = 'SYS_SHUTDOWN'
  module.hasHandoff = true
  return TDX_SUCCESS
})
