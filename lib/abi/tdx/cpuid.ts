/**
 * CPUID virtualization: what of each leaf a TD sees comes from the CPU, from TD_PARAMS, or is fixed.
 * intel/tdx-module 1.5.01, include/auto_gen/cpuid_configurations.c (cpuid_lookup, cpuid_configurable).
 */

/** EAX, EBX, ECX, EDX. */
export type CpuidMasks = readonly [number, number, number, number]

/** A register (0 = EAX … 3 = EDX) of the native leaf must have `value` under `mask`. */
export type CpuidCheck = readonly [register: 0 | 1 | 2 | 3, mask: number, value: number]

export type CpuidRow = {
  readonly leaf: number
  /** Sub-leaf, or CPUID_SUBLEAF_NA where the leaf has none. */
  readonly subleaf: number
  /** CPUID of it is a #VE. */
  readonly faulting: boolean
  readonly fixed1: CpuidMasks
  /** Not taken from the CPU: zero, or computed by the module. */
  readonly fixed0OrDynamic: CpuidMasks
  /** Taken from TD_PARAMS as they are. */
  readonly direct: CpuidMasks
  /** Native AND TD_PARAMS. */
  readonly allow: CpuidMasks
  /** What TDH.SYS.INIT requires of the CPU. */
  readonly checks: readonly CpuidCheck[]
}

export const CPUID_SUBLEAF_NA = 0xffff_ffff
const ANY = CPUID_SUBLEAF_NA

const row = (
  leaf: number,
  subleaf: number,
  faulting: boolean,
  fixed1: CpuidMasks,
  fixed0OrDynamic: CpuidMasks,
  direct: CpuidMasks,
  allow: CpuidMasks,
  checks: readonly CpuidCheck[],
): CpuidRow => ({ leaf, subleaf, faulting, fixed1, fixed0OrDynamic, direct, allow, checks })

/** Every leaf and sub-leaf the module knows; CPUID of any other is a #VE. */
// biome-ignore format: one row per leaf
export const CPUID_LOOKUP: readonly CpuidRow[] = [
  row(0x0, ANY, false, [0x0000_0023, 0, 0, 0], [0xffff_ffdc, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [[1, 0xffff_ffff, 0x756e_6547], [2, 0xffff_ffff, 0x6c65_746e], [3, 0xffff_ffff, 0x4965_6e69]]),
  row(0x1, ANY, false, [0, 0, 0x8000_0000, 0x0000_0200], [0xf000_c000, 0xff00_00ff, 0x0801_0060, 0x4012_0400], [0x0fff_3fff, 0x00ff_0000, 0, 0], [0, 0, 0x3104_4d88, 0xb844_0000], [[1, 0xff00, 0x800], [2, 0x47fa_a217, 0x47fa_a217], [3, 0x1fa9_fbff, 0x1fa9_fbff]]),
  row(0x3, ANY, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x4, 0, false, [0, 0, 0, 0], [0x0000_3c00, 0, 0, 0x0000_0004], [0xffff_c3ff, 0xffff_f000, 0xffff_ffff, 0xffff_fffb], [0, 0, 0, 0], [[1, 0xfff, 0x3f]]),
  row(0x4, 1, false, [0, 0, 0, 0], [0x0000_3c00, 0, 0, 0x0000_0004], [0xffff_c3ff, 0xffff_f000, 0xffff_ffff, 0xffff_fffb], [0, 0, 0, 0], [[1, 0xfff, 0x3f]]),
  row(0x4, 2, false, [0, 0, 0, 0], [0x0000_3c00, 0, 0, 0x0000_0004], [0xffff_c3ff, 0xffff_f000, 0xffff_ffff, 0xffff_fffb], [0, 0, 0, 0], [[1, 0xfff, 0x3f]]),
  row(0x4, 3, false, [0, 0, 0, 0], [0x0000_3c00, 0, 0, 0xffff_fff8], [0xffff_c3ff, 0xffff_f000, 0xffff_ffff, 0x0000_0007], [0, 0, 0, 0], [[0, 0xe0, 0x60], [1, 0xfff, 0x3f], [3, 0x1, 0x0]]),
  row(0x4, 4, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], [[0, 0x1f, 0x0]]),
  row(0x5, ANY, false, [0, 0, 0, 0], [0xffff_0000, 0xffff_0000, 0xffff_fffc, 0], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x6, ANY, true, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [[0, 0x80_0000, 0x0]]),
  row(0x7, 0, false, [0, 0, 0, 0], [0, 0x0040_4006, 0x643e_8010, 0x0022_98c3], [0, 0, 0, 0], [0, 0xdc2b_9b18, 0x0241_7f65, 0x0005_411c], [[0, 0xffff_ffff, 0x2], [1, 0x2194_24c3, 0x2194_24c3], [2, 0x9900_0000, 0x9900_0000], [3, 0xfc08_2600, 0xfc08_0400]]),
  row(0x7, 1, false, [0, 0, 0, 0], [0xffff_e2cf, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0x0000_1d30, 0, 0, 0], []),
  row(0x7, 2, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffc0], [0, 0, 0, 0], [0, 0, 0, 0x0000_0028], [[3, 0x17, 0x17]]),
  row(0x8, ANY, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xa, ANY, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_6000], [0, 0, 0, 0], [0, 0, 0, 0], [[0, 0xff00, 0x800], [2, 0xffff_ff80, 0x0], [3, 0x8000, 0x8000]]),
  row(0xd, 0, false, [0, 0, 0, 0], [0xfff9_fd18, 0xffff_ffff, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], [[0, 0x3, 0x3]]),
  row(0xd, 1, false, [0, 0, 0, 0], [0xffff_ffe0, 0xffff_ffff, 0xffff_26ff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], [[0, 0xf, 0xf], [2, 0x1800, 0x1800]]),
  row(0xd, 2, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 3, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 4, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 5, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 6, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 7, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 8, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 9, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 10, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 11, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 12, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 13, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 14, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 15, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 16, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 17, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xd, 18, false, [0, 0, 0, 0], [0, 0, 0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0xe, ANY, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x11, ANY, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x12, ANY, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x13, ANY, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x14, 0, false, [0, 0, 0, 0], [0, 0xffff_fe00, 0x7fff_fff0, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], [[0, 0xffff_ffff, 0x1]]),
  row(0x14, 1, false, [0, 0, 0, 0], [0x0000_fff8, 0, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x15, ANY, false, [0x0000_0001, 0, 0x017d_7840, 0], [0xffff_fffe, 0, 0xfe82_87bf, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x19, ANY, false, [0, 0, 0, 0], [0xffff_fff8, 0xffff_ffeb, 0xffff_fffd, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x1c, ANY, false, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0x0000_00ff, 0, 0, 0], []),
  row(0x1d, 0, false, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x1d, 1, false, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x1e, ANY, false, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x1f, 0, true, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x1f, 1, true, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x1f, 2, true, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x1f, 3, true, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x1f, 4, true, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x1f, 5, true, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [[2, 0xff00, 0x0]]),
  row(0x20, ANY, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x21, 0, false, [0, 0x6574_6e49, 0x2020_2020, 0x5844_546c], [0xffff_ffff, 0x9a8b_91b6, 0xdfdf_dfdf, 0xa7bb_ab93], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x22, ANY, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x23, 0, false, [0, 0, 0, 0], [0xffff_fff0, 0, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0x0000_000f, 0, 0, 0], []),
  row(0x23, 1, false, [0, 0, 0, 0], [0, 0, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], [[0, 0xffff_ff00, 0x0], [1, 0xffff_fff0, 0x0]]),
  row(0x23, 2, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x23, 3, false, [0, 0, 0, 0], [0, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x8000_0000, ANY, false, [0x8000_0008, 0, 0, 0], [0x7fff_fff7, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0, 0, 0], []),
  row(0x8000_0001, ANY, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_fede, 0xd3ef_ffff], [0, 0, 0, 0], [0, 0, 0, 0], [[2, 0x121, 0x121], [3, 0x2c10_0800, 0x2c10_0800]]),
  row(0x8000_0006, ANY, true, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [[2, 0xff, 0x40]]),
  row(0x8000_0007, ANY, false, [0, 0, 0, 0], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_feff], [0, 0, 0, 0], [0, 0, 0, 0], [[3, 0x100, 0x100]]),
  row(0x8000_0008, ANY, false, [0, 0, 0, 0], [0xffff_0000, 0xffff_fdff, 0xffff_ffff, 0xffff_ffff], [0, 0, 0, 0], [0, 0x0000_0200, 0, 0], [[0, 0xff, 0x34], [1, 0x200, 0x200]]),
]

/** The configurable leaves, in the order of TD_PARAMS.CPUID_CONFIG. */
export const CPUID_CONFIGURABLE: readonly (readonly [leaf: number, subleaf: number])[] = [
  [0x1, ANY],
  [0x4, 0],
  [0x4, 1],
  [0x4, 2],
  [0x4, 3],
  [0x7, 0],
  [0x7, 1],
  [0xa, ANY],
  [0x1c, ANY],
  [0x8000_0008, ANY],
  [0x7, 2],
  [0x23, 0],
]

/** Bits cleared where the TD's XFAM lacks the bit: leaf, sub-leaf, XFAM bit, masks. (cpuid_configurations.c, xfam_mask_*) */
export const CPUID_XFAM_MASKS: readonly (readonly [
  leaf: number,
  subleaf: number,
  xfamBit: number,
  masks: CpuidMasks,
])[] = [
  [0x1, ANY, 2, [0, 0, 0x3000_1000, 0]],
  [0x7, 0, 2, [0, 0x20, 0x600, 0]],
  [0x7, 0, 5, [0, 0xdc23_0000, 0x5842, 0x80_010c]],
  [0x7, 0, 6, [0, 0xdc23_0000, 0x5842, 0x80_010c]],
  [0x7, 0, 7, [0, 0xdc23_0000, 0x5842, 0x80_010c]],
  [0x7, 0, 8, [0, 0x200_0000, 0, 0]],
  [0x7, 0, 9, [0, 0, 0x8, 0]],
  [0x7, 0, 11, [0, 0, 0x80, 0x10_0000]],
  [0x7, 0, 12, [0, 0, 0x80, 0x10_0000]],
  [0x7, 0, 14, [0, 0, 0, 0x20]],
  [0x7, 0, 15, [0, 0, 0, 0x8_0000]],
  [0x7, 0, 17, [0, 0, 0, 0x340_0000]],
  [0x7, 0, 18, [0, 0, 0, 0x340_0000]],
  [0x7, 1, 5, [0x30, 0, 0, 0]],
  [0x7, 1, 6, [0x30, 0, 0, 0]],
  [0x7, 1, 7, [0x30, 0, 0, 0]],
  [0xd, 0, 2, [0x4, 0, 0, 0]],
  [0xd, 0, 5, [0xe0, 0, 0, 0]],
  [0xd, 0, 6, [0xe0, 0, 0, 0]],
  [0xd, 0, 7, [0xe0, 0, 0, 0]],
  [0xd, 0, 9, [0x200, 0, 0, 0]],
  [0xd, 0, 17, [0x6_0000, 0, 0, 0]],
  [0xd, 0, 18, [0x6_0000, 0, 0, 0]],
  [0xd, 1, 8, [0, 0, 0x100, 0]],
  [0xd, 1, 11, [0, 0, 0x1800, 0]],
  [0xd, 1, 12, [0, 0, 0x1800, 0]],
  [0xd, 1, 14, [0, 0, 0x4000, 0]],
  [0xd, 1, 15, [0, 0, 0x8000, 0]],
]

/** Highest basic and extended leaf a TD sees. */
export const CPUID_MAX_BASIC_LEAF = 0x23
export const CPUID_MAX_EXTENDED_LEAF = 0x8000_0008
