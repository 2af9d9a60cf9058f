import { TDH_SYS_TDMR_INIT, TDX_OPERAND_INVALID, TDX_SUCCESS, TDX_TDMR_ALREADY_INITIALIZED } from '#abi'
import { seamcall } from '../leaf.ts'
import { check, fail } from '../status.ts'

/**
 * TDH.SYS.TDMR.INIT: make pages of a TDMR usable, step by step. tdh_sys_tdmr_init.c.
 * How much one call does is the module's choice (4 MiB in 1.5.01); here it is 1 GiB, the least that is of any use.
 */
export const sysTdmrInit = seamcall(TDH_SYS_TDMR_INIT, (module, regs) => {
  const { rcx } = regs
  regs.rdx = 0n
  const tdmr = module.pamt.tdmrs.find(({ base }) => BigInt(base) === rcx) ?? fail(TDX_OPERAND_INVALID, 'RCX')
  check(tdmr.initialised < tdmr.base + tdmr.size, TDX_TDMR_ALREADY_INITIALIZED)

  module.pamt.initialiseNext(tdmr)
  regs.rdx = BigInt(tdmr.initialised)
  return TDX_SUCCESS
})
