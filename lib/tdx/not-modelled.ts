/** The leaves that stop a test by name, in one table: all of them need live migration or service TDs. */
import * as abi from '#abi'

/**
 * Not modelled: SEAMCALL leaves of service TDs (TDH.SERVTD.*) and of live migration (TDH.EXPORT.*, TDH.IMPORT.*,
 * TDH.MIG.STREAM.CREATE).
 */
export const SEAMCALLS_NOT_MODELLED: readonly number[] = [
  abi.TDH_SERVTD_BIND,
  abi.TDH_SERVTD_PREBIND,
  abi.TDH_EXPORT_ABORT,
  abi.TDH_EXPORT_BLOCKW,
  abi.TDH_EXPORT_RESTORE,
  abi.TDH_EXPORT_MEM,
  abi.TDH_EXPORT_PAUSE,
  abi.TDH_EXPORT_TRACK,
  abi.TDH_EXPORT_STATE_IMMUTABLE,
  abi.TDH_EXPORT_STATE_TD,
  abi.TDH_EXPORT_STATE_VP,
  abi.TDH_EXPORT_UNBLOCKW,
  abi.TDH_IMPORT_ABORT,
  abi.TDH_IMPORT_END,
  abi.TDH_IMPORT_COMMIT,
  abi.TDH_IMPORT_MEM,
  abi.TDH_IMPORT_TRACK,
  abi.TDH_IMPORT_STATE_IMMUTABLE,
  abi.TDH_IMPORT_STATE_TD,
  abi.TDH_IMPORT_STATE_VP,
  abi.TDH_MIG_STREAM_CREATE,
]

/** Not modelled: TDCALL leaves of service TDs (TDG.SERVTD.*). */
export const TDCALLS_NOT_MODELLED: readonly number[] = [abi.TDG_SERVTD_RD, abi.TDG_SERVTD_WR]

const namesOf = (prefix: string): ReadonlyMap<number, string> =>
  new Map(
    Object.entries(abi).flatMap(([name, value]) =>
      name.startsWith(prefix) && typeof value === 'number' ? [[value, name.replaceAll('_', '.')] as const] : [],
    ),
  )

/** Names of all leaves by number: `TDH.MNG.CREATE`. */
export const SEAMCALL_NAMES = namesOf('TDH_')
export const TDCALL_NAMES = namesOf('TDG_')
