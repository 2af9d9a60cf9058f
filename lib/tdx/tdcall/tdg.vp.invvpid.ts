import { TDG_VP_INVVPID, TDX_OPERAND_INVALID } from '#abi'
import { tdcall } from '../leaf.ts'
import { fail } from '../status.ts'

/** TDG.VP.INVVPID: drop linear addresses of an L2 VM. A TD without L2 VMs cannot name one. tdg_vp_invvpid.c. */
export const vpInvvpid = tdcall(TDG_VP_INVVPID, () => fail(TDX_OPERAND_INVALID, 'RCX'))
