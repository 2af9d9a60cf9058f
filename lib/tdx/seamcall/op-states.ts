/** Sets of operation states in which leaves are legal. intel/tdx-module, include/auto_gen/op_state_lookup.c. */
import * as abi from '#abi'
import { opStates } from '../td.ts'

const [U, I, R, LE, PE, XE, MI, SI, XI, LI, FI] = [
  abi.OP_STATE_UNINITIALIZED,
  abi.OP_STATE_INITIALIZED,
  abi.OP_STATE_RUNNABLE,
  abi.OP_STATE_LIVE_EXPORT,
  abi.OP_STATE_PAUSED_EXPORT,
  abi.OP_STATE_POST_EXPORT,
  abi.OP_STATE_MEMORY_IMPORT,
  abi.OP_STATE_STATE_IMPORT,
  abi.OP_STATE_POST_IMPORT,
  abi.OP_STATE_LIVE_IMPORT,
  abi.OP_STATE_FAILED_IMPORT,
]

export const UNINITIALISED = opStates(U)
export const BUILD = opStates(I)
export const ANY_INITIALISED = opStates(I, R, LE, PE, XE, MI, SI, XI, LI, FI)
export const RUN = opStates(R, LE, LI)
/** VP.CREATE and VP.ADDCX. */
export const VP_BUILD = opStates(I, SI)
export const SEPT_ADD = opStates(I, R, LE, MI, SI, XI, LI)
export const AUG = opStates(I, R, LE, LI)
/** RANGE.BLOCK, RANGE.UNBLOCK, PAGE.RELOCATE, PROMOTE, DEMOTE. */
export const RANGE = opStates(I, R, LE, PE, XE, XI, LI)
export const REMOVE = opStates(I, R, LE, PE, XE, XI, LI, FI)
export const TRACK = opStates(I, R, LE, PE, XE, MI, SI, XI, LI)
export const METADATA_WRITE = opStates(I, R, LE, MI, SI, XI, LI, FI)
