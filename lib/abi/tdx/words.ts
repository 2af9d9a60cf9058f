/** Words for bits, digests and reports, for printing: nothing here decides anything. */
import { hex } from '#bits'
import * as params from './params.ts'
import { REPORT_TYPE_TDX, REPORTMACSTRUCT, TDINFO_STRUCT, TDREPORT_SIZE, TEE_TCB_INFO } from './report.ts'

const ATTRIBUTES: readonly (readonly [bit: bigint, name: string])[] = Object.entries(params).flatMap(([name, value]) =>
  name.startsWith('TDX_ATTR_') && typeof value === 'bigint' ? [[value, name.slice('TDX_ATTR_'.length)] as const] : [],
)
const XFAM: readonly (readonly [bit: bigint, name: string])[] = [
  [1n << 0n, 'x87'],
  [1n << 1n, 'SSE'],
  [1n << 2n, 'AVX'],
  [1n << 5n, 'AVX-512 opmask'],
  [1n << 6n, 'AVX-512 ZMM_Hi256'],
  [1n << 7n, 'AVX-512 Hi16_ZMM'],
  [1n << 8n, 'PT'],
  [1n << 9n, 'PKRU'],
  [1n << 10n, 'PASID'],
  [1n << 11n, 'CET user'],
  [1n << 12n, 'CET supervisor'],
  [1n << 14n, 'UINTR'],
  [1n << 15n, 'LBR'],
  [1n << 17n, 'AMX tile configuration'],
  [1n << 18n, 'AMX tile data'],
]

const bits = (value: bigint, names: readonly (readonly [bigint, string])[]): string[] => {
  const words = names.filter(([bit]) => (value & bit) !== 0n).map(([, name]) => name)
  for (let n = 0n; value >> n !== 0n; n++)
    if (((value >> n) & 1n) === 1n && !names.some(([bit]) => bit === 1n << n)) words.push(`bit ${n}`)
  return words
}

/** `['DEBUG', 'SEPT_VE_DISABLE']`; a bit without a name is `bit 3`. */
export const attributesInWords = (attributes: bigint): string[] => bits(attributes, ATTRIBUTES)
/** `['x87', 'SSE', 'AVX']`. */
export const xfamInWords = (xfam: bigint): string[] => bits(xfam, XFAM)

/** Bytes as hexadecimal digits, in the order of memory. */
export const digits = (bytes: Uint8Array): string =>
  bytes.reduce((text, byte) => text + byte.toString(16).padStart(2, '0'), '')

const listed = (value: bigint, words: readonly string[]): string =>
  words.length === 0 ? hex(value) : `${hex(value)}  ${words.join(', ')}`

/** Every field of a TDREPORT and its value in words, in the order of the structure. Throws RangeError for another length. */
export const reportInWords = (report: Uint8Array): [field: string, value: string][] => {
  if (report.length !== TDREPORT_SIZE)
    throw new RangeError(`a TDREPORT is ${TDREPORT_SIZE} bytes, not ${report.length}`)
  const view = new DataView(report.buffer, report.byteOffset, report.length)
  const mac = REPORTMACSTRUCT.read(view, 0)
  const tcb = TEE_TCB_INFO.read(view, REPORTMACSTRUCT.size)
  const td = TDINFO_STRUCT.read(view, REPORTMACSTRUCT.size + TEE_TCB_INFO.size)
  const type = mac.type === REPORT_TYPE_TDX ? 'TDX' : 'not TDX'
  return [
    ['type', `${hex(mac.type)}  ${type}, sub-type ${mac.subtype}, version ${mac.version}`],
    ['CPUSVN', digits(mac.cpusvn)],
    ['hash of TEE_TCB_INFO', digits(mac.tee_tcb_info_hash)],
    ['hash of TDINFO', digits(mac.tee_info_hash)],
    ['REPORTDATA', digits(mac.reportdata)],
    ['MAC', digits(mac.mac)],
    ['TEE_TCB_SVN', digits(tcb.tee_tcb_svn)],
    ['MRSEAM', digits(tcb.mrseam)],
    ['MRSIGNERSEAM', digits(tcb.mrsignerseam)],
    ['SEAM attributes', hex(tcb.attributes)],
    ['ATTRIBUTES', listed(td.attributes, attributesInWords(td.attributes))],
    ['XFAM', listed(td.xfam, xfamInWords(td.xfam))],
    ['MRTD', digits(td.mrtd)],
    ['MRCONFIGID', digits(td.mrconfigid)],
    ['MROWNER', digits(td.mrowner)],
    ['MROWNERCONFIG', digits(td.mrownerconfig)],
    ['RTMR0', digits(td.rtmr_0)],
    ['RTMR1', digits(td.rtmr_1)],
    ['RTMR2', digits(td.rtmr_2)],
    ['RTMR3', digits(td.rtmr_3)],
    ['SERVTD_HASH', digits(td.servtd_hash)],
  ]
}
