import { MD_FIELD_ID_NA, TDH_SYS_RDALL, TDX_METADATA_LIST_OVERFLOW, TDX_SUCCESS, TDX_SYS_LP_INIT_NOT_DONE } from '#abi'
import { seamcall } from '../leaf.ts'
import { dumpSysFields } from '../metadata/sys.ts'
import { sharedMemory } from '../operand.ts'
import { check } from '../status.ts'

/** What the host does not see of a page that is private. */
const scratch = new DataView(new ArrayBuffer(4096))

/** TDH.SYS.RDALL: global fields as a list into the page at RDX, from the id in R8 on; R8 is where to go on. tdh_sys_rdall.c. */
export const sysRdall = seamcall(
  TDH_SYS_RDALL,
  (module, regs, lp) => {
    const { rdx, r8 } = regs
    regs.r8 = MD_FIELD_ID_NA
    check(module.initialisedLps.has(lp.id), TDX_SYS_LP_INIT_NOT_DONE)
    const at = sharedMemory(module, rdx, 4096, 4096, 'RDX')
    module.hostWrote(at)
    const { next } = module.isPrivate(at)
      ? dumpSysFields(module, r8, 'host', scratch, 0)
      : dumpSysFields(module, r8, 'host', module.memory.view, at)
    regs.r8 = next
    return next === MD_FIELD_ID_NA ? TDX_SUCCESS : TDX_METADATA_LIST_OVERFLOW
  },
  { early: true },
)
