import {
  MAX_TDMRS,
  PAMT_ENTRY_SIZE,
  TDH_SYS_CONFIG,
  TDMR_INFO,
  TDMR_INFO_ALIGNMENT,
  TDMR_MAX_RESERVED,
  TDX_INVALID_PAMT,
  TDX_INVALID_RESERVED_IN_TDMR,
  TDX_INVALID_TDMR,
  TDX_NON_ORDERED_RESERVED_IN_TDMR,
  TDX_NON_ORDERED_TDMR,
  TDX_OPERAND_INVALID,
  TDX_PAMT_OUTSIDE_CMRS,
  TDX_PAMT_OVERLAP,
  TDX_SUCCESS,
  TDX_SYS_CONFIG_NOT_PENDING,
  TDX_TDMR_OUTSIDE_CMRS,
} from '#abi'
import { NotModelled } from '#bits'
import { seamcall } from '../leaf.ts'
import { cmrsOf } from '../metadata/sys.ts'
import type { TdxModule } from '../module.ts'
import { isPlainAddress, sharedMemory } from '../operand.ts'
import { LEVEL_SIZE, type Tdmr } from '../pamt.ts'
import { check } from '../status.ts'

type Range = { readonly from: bigint; readonly to: bigint }

/** A TDMR_INFO as read; addresses still as wide as the host wrote them. */
type Info = {
  readonly base: bigint
  readonly size: bigint
  /** By page level: 4 KiB, 2 MiB, 1 GiB. */
  readonly pamts: readonly { readonly base: bigint; readonly size: bigint }[]
  readonly reserved: readonly { readonly offset: bigint; readonly size: bigint }[]
}

const U64 = 1n << 64n
const GIB = BigInt(LEVEL_SIZE[2])
const overlap = (a: Range, b: Range): boolean => a.from < b.to && b.from < a.to

/** Details of a status: up to four bytes, the lowest first. helpers.h, api_error_with_multiple_info. */
const details = (...bytes: number[]): number => bytes.reduceRight((word, byte) => word * 256 + byte, 0)

const readInfo = (module: TdxModule, at: number): Info => {
  const info = TDMR_INFO.read(module.memory.view, at)
  return {
    base: info.tdmr_base,
    size: info.tdmr_size,
    pamts: [
      { base: info.pamt_4k_base, size: info.pamt_4k_size },
      { base: info.pamt_2m_base, size: info.pamt_2m_size },
      { base: info.pamt_1g_base, size: info.pamt_1g_size },
    ],
    reserved: Array.from({ length: TDMR_MAX_RESERVED }, (_, i) => ({
      offset: info.reserved[2 * i] as bigint,
      size: info.reserved[2 * i + 1] as bigint,
    })),
  }
}

const isInside = (module: TdxModule, base: bigint, size: bigint): boolean =>
  base + size <= U64 && isPlainAddress(module, base) && isPlainAddress(module, base + size - 1n)

/** The parts of a TDMR that pages may come from. */
const available = (info: Info): Range[] => {
  const ranges: Range[] = []
  let from = info.base
  for (const area of info.reserved) {
    if (area.size === 0n) break
    if (info.base + area.offset > from) ranges.push({ from, to: info.base + area.offset })
    from = info.base + area.offset + area.size
  }
  if (from < info.base + info.size) ranges.push({ from, to: info.base + info.size })
  return ranges
}

/** Is the range inside convertible memory? Ranges that touch count as one. */
const isConvertible = (module: TdxModule, range: Range): boolean => {
  let from = range.from
  for (const cmr of cmrsOf(module)) {
    if (from >= BigInt(cmr.base) && from < BigInt(cmr.base + cmr.size)) from = BigInt(cmr.base + cmr.size)
    if (from >= range.to) return true
  }
  return false
}

const checkReserved = (info: Info, i: number): void => {
  let end = 0n
  for (const [j, { offset, size }] of info.reserved.entries()) {
    if (size === 0n) {
      check((info.reserved[j + 1]?.size ?? 0n) === 0n, TDX_NON_ORDERED_RESERVED_IN_TDMR, details(i, j))
      continue
    }
    check(offset + size <= U64, TDX_INVALID_RESERVED_IN_TDMR, details(i, j))
    check(offset >= end, TDX_NON_ORDERED_RESERVED_IN_TDMR, details(i, j))
    check(((offset | size) & 0xfffn) === 0n, TDX_INVALID_RESERVED_IN_TDMR, details(i, j))
    check(offset + size <= info.size, TDX_INVALID_RESERVED_IN_TDMR, details(i, j))
    end = offset + size
  }
}

const checkPamts = (module: TdxModule, infos: readonly Info[], i: number): void => {
  const info = infos[i] as Info
  for (const level of [2, 1, 0] as const) {
    const { base, size } = info.pamts[level] as { base: bigint; size: bigint }
    const needed = (info.size / BigInt(LEVEL_SIZE[level])) * BigInt(PAMT_ENTRY_SIZE)
    check(
      ((base | size) & 0xfffn) === 0n && size >= needed && isInside(module, base, size),
      TDX_INVALID_PAMT,
      details(i, level),
    )
  }
  const ranges = infos.map(({ pamts }) => pamts.map(({ base, size }) => ({ from: base, to: base + size })))
  const own = ranges[i] as Range[]
  for (const level of [0, 1, 2] as const)
    check(isConvertible(module, own[level] as Range), TDX_PAMT_OUTSIDE_CMRS, details(i, level))
  for (const [j, other] of infos.entries()) {
    for (const level of [0, 1, 2] as const) {
      const pamt = own[level] as Range
      check(!available(other).some(range => overlap(pamt, range)), TDX_PAMT_OVERLAP, details(i, level, j))
      const theirs = (ranges[j] as Range[])[level] as Range
      check(!available(info).some(range => overlap(theirs, range)), TDX_PAMT_OVERLAP, details(j, level, i))
    }
  }
  for (const [j, others] of ranges.entries())
    for (const [level, pamt] of own.entries())
      for (const [otherLevel, other] of others.entries())
        check((i === j && level === otherLevel) || !overlap(pamt, other), TDX_PAMT_OVERLAP, details(i, level, j))
}

const checkInfo = (module: TdxModule, infos: readonly Info[], i: number): void => {
  const info = infos[i] as Info
  const before = infos[i - 1]
  check(info.base + info.size <= U64, TDX_INVALID_TDMR, details(i))
  check(before === undefined || info.base >= before.base + before.size, TDX_NON_ORDERED_TDMR, details(i))
  check(info.base % GIB === 0n && info.size % GIB === 0n && info.size > 0n, TDX_INVALID_TDMR, details(i))
  check(isInside(module, info.base, info.size), TDX_INVALID_TDMR, details(i))
  checkReserved(info, i)
  checkPamts(module, infos, i)
  for (const range of available(info)) check(isConvertible(module, range), TDX_TDMR_OUTSIDE_CMRS, details(i))
}

const toTdmr = ({ base, size, pamts, reserved }: Info): Tdmr => ({
  base: Number(base),
  size: Number(size),
  pamt: [Number(pamts[0]?.base), Number(pamts[1]?.base), Number(pamts[2]?.base)],
  pamtSize: [Number(pamts[0]?.size), Number(pamts[1]?.size), Number(pamts[2]?.size)],
  reserved: reserved
    .filter(area => area.size !== 0n)
    .map(area => ({ offset: Number(area.offset), size: Number(area.size) })),
  initialised: Number(base),
})

/** TDH.SYS.CONFIG: the TD memory regions with their PAMTs, and the module's own key id. tdh_sys_config.c. */
export const sysConfig = seamcall(
  TDH_SYS_CONFIG,
  (module, { rcx, rdx, r8 }) => {
    check(module.state === 'SYSINIT_DONE', TDX_SYS_CONFIG_NOT_PENDING)
    check(module.initialisedLps.size >= module.processors, TDX_SYS_CONFIG_NOT_PENDING)
    // Not modelled: a module that begins anew where it could take over; the TDs of the one before are lost then.
    if (module.hasHandoff) throw new NotModelled('TDH.SYS.CONFIG where TDH.SYS.UPDATE could be')
    const list = sharedMemory(module, rcx, TDMR_INFO_ALIGNMENT, TDMR_INFO_ALIGNMENT, 'RCX')
    check(rdx >= 1n && rdx <= BigInt(MAX_TDMRS), TDX_OPERAND_INVALID, 'RDX')
    const hkid = Number(r8 & 0xffffn)
    check(r8 >> 16n === 0n && module.isPrivateHkid(hkid), TDX_OPERAND_INVALID, 'R8')
    const infos: Info[] = []
    for (let i = 0; i < Number(rdx); i++) {
      const pointer = module.memory.read(list + 8 * i, 8)
      infos.push(readInfo(module, sharedMemory(module, pointer, TDMR_INFO.size, TDMR_INFO_ALIGNMENT, 'RCX')))
      checkInfo(module, infos, i)
    }

    module.key(hkid).state = 'HKID_RESERVED'
    module.globalHkid = hkid
    module.pamt.tdmrs.push(...infos.map(toTdmr))
    module.state = 'SYSCONFIG_DONE'
    return TDX_SUCCESS
  },
  { early: true },
)
