/**
 * TDREPORT: what a TD is, in a structure that only the same platform can verify.
 * Layout: intel/tdx-module, include/tdx_api_defs.h (td_report_t, td_report_type_t, tee_tcb_info_t, td_info_t).
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { REPORT_TYPE_TDX, REPORTMACSTRUCT, TDINFO_STRUCT, TDREPORT_SIZE, TEE_TCB_INFO } from '#abi'
import type { Platform } from './platform.ts'
import type { Td } from './td.ts'

const MAC_SIZE = 32
const MACED = REPORTMACSTRUCT.size - MAC_SIZE
const MACSTRUCT = REPORTMACSTRUCT.size
const TDINFO = MACSTRUCT + TEE_TCB_INFO.size

/** Every field of TEE_TCB_INFO is there; bit i stands for the eight bytes at 8 i. */
const TCB_VALID = 0xffffn

const sha384 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha384').update(bytes).digest())

/** HMAC-SHA-256 under a key of the platform. Hardware's key and algorithm are its own secret: nothing else may depend on it. */
const macOf = (platform: Platform, bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHmac('sha256', platform.report.key).update(bytes.subarray(0, MACED)).digest())

const teeTcbInfo = ({ report }: Platform): Uint8Array =>
  TEE_TCB_INFO.encode({ valid: TCB_VALID, tee_tcb_svn: report.teeTcbSvn, mrseam: report.mrseam })

const tdInfo = (td: Td): Uint8Array =>
  TDINFO_STRUCT.encode({
    attributes: td.attributes,
    xfam: td.xfam,
    mrtd: td.mrtd,
    mrconfigid: td.mrConfigId,
    mrowner: td.mrOwner,
    mrownerconfig: td.mrOwnerConfig,
    rtmr_0: td.rtmr[0],
    rtmr_1: td.rtmr[1],
    rtmr_2: td.rtmr[2],
    rtmr_3: td.rtmr[3],
  })

/** The report of a TD over 64 bytes of its own choice. */
export const makeReport = (platform: Platform, td: Td, reportData: Uint8Array): Uint8Array => {
  const tcb = teeTcbInfo(platform)
  const info = tdInfo(td)
  const report = new Uint8Array(TDREPORT_SIZE)
  report.set(
    REPORTMACSTRUCT.encode({
      type: REPORT_TYPE_TDX,
      cpusvn: platform.report.cpusvn,
      tee_tcb_info_hash: sha384(tcb),
      tee_info_hash: sha384(info),
      reportdata: reportData,
    }),
  )
  report.set(tcb, MACSTRUCT)
  report.set(info, TDINFO)
  report.set(macOf(platform, report), MACED)
  return report
}

/** What a REPORTMACSTRUCT is to this platform. SEAMOPS_SEAMVERIFYREPORT. */
export const verifyReportMac = (platform: Platform, struct: Uint8Array): 'good' | 'cpusvn' | 'bad' => {
  const type = struct[0]
  if (type !== REPORT_TYPE_TDX || struct[1] !== 0) return 'bad'
  const reserved = [3, 13, 192, 32] as const
  for (let i = 0; i < reserved.length; i += 2)
    if (struct.subarray(reserved[i]!, reserved[i]! + reserved[i + 1]!).some(byte => byte !== 0)) return 'bad'
  if (Buffer.compare(struct.subarray(16, 32), platform.report.cpusvn) !== 0) return 'cpusvn'
  return timingSafeEqual(struct.subarray(MACED, MACSTRUCT), macOf(platform, struct)) ? 'good' : 'bad'
}

/**
 * Does the whole report belong together? Its MAC, and the two hashes that the MAC covers.
 * TDG.MR.VERIFYREPORT looks at the MAC only: the hashes are the asker's to compare.
 */
export const verifyReport = (platform: Platform, report: Uint8Array): boolean =>
  report.length === TDREPORT_SIZE &&
  verifyReportMac(platform, report.subarray(0, MACSTRUCT)) === 'good' &&
  Buffer.compare(report.subarray(32, 80), sha384(report.subarray(MACSTRUCT, TDINFO))) === 0 &&
  Buffer.compare(report.subarray(80, 128), sha384(report.subarray(TDINFO))) === 0
