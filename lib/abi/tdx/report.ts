/** TDREPORT_STRUCT and the words for it. intel/tdx-module 1.5.01, include/tdx_api_defs.h. */
import { bytes, struct, u8, u64 } from '#bits'

export const TDREPORT_SIZE = 1024
/** TYPE of a report about a TD. */
export const REPORT_TYPE_TDX = 0x81

/** Bytes 0 to 255; the MAC is over what is before it. */
export const REPORTMACSTRUCT = struct('REPORTMACSTRUCT', {
  type: u8,
  subtype: u8,
  /** 1 where a service TD is bound. */
  version: u8,
  reserved_0: bytes(13),
  cpusvn: bytes(16),
  tee_tcb_info_hash: bytes(48),
  tee_info_hash: bytes(48),
  reportdata: bytes(64),
  reserved_1: bytes(32),
  mac: bytes(32),
})

/** Bytes 256 to 511 (the structure itself is 239 bytes, the rest reserved). */
export const TEE_TCB_INFO = struct('TEE_TCB_INFO', {
  /** Bit i: the eight bytes at 8 i are there. */
  valid: u64,
  tee_tcb_svn: bytes(16),
  mrseam: bytes(48),
  mrsignerseam: bytes(48),
  attributes: u64,
  reserved: bytes(128),
})

/** Bytes 512 to 1023. */
export const TDINFO_STRUCT = struct('TDINFO_STRUCT', {
  attributes: u64,
  xfam: u64,
  mrtd: bytes(48),
  mrconfigid: bytes(48),
  mrowner: bytes(48),
  mrownerconfig: bytes(48),
  rtmr_0: bytes(48),
  rtmr_1: bytes(48),
  rtmr_2: bytes(48),
  rtmr_3: bytes(48),
  servtd_hash: bytes(48),
  reserved: bytes(64),
})
