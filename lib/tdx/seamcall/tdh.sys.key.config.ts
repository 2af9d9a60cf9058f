import { TDH_SYS_KEY_CONFIG, TDX_KEY_CONFIGURED, TDX_SUCCESS, TDX_SYS_KEY_CONFIG_NOT_PENDING } from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'

/** TDH.SYS.KEY.CONFIG: the module's own key, once on each package; after the last the module is ready. tdh_sys_key_config.c. */
export const sysKeyConfig = seamcall(
  TDH_SYS_KEY_CONFIG,
  (module, _regs, lp) => {
    check(module.state === 'SYSCONFIG_DONE', TDX_SYS_KEY_CONFIG_NOT_PENDING)
    const bit = 1 << module.packageOf(lp)
    check((module.configuredPackages & bit) === 0, TDX_KEY_CONFIGURED)

    module.configuredPackages |= bit
    if (module.configuredPackages === module.allPackages) module.state = 'SYS_READY'
    return TDX_SUCCESS
  },
  { early: true },
)
