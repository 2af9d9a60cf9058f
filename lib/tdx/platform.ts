/** The platform under the module: what CPUID, MSRs and the memory map of the emulated server say. Plain data. */
import { createHash } from 'node:crypto'
import { CR4_CET, CR4_KL } from '#abi'
import { type Registers4, reduce, XCR0_THERE, XSS_THERE } from './features.ts'

export type { Registers4 } from './features.ts'

/** Convertible memory: what the BIOS says may be given to TDX. */
export type Cmr = { readonly base: number; readonly size: number }

export type Platform = {
  /** Native CPUID of leaves without sub-leaves. What is missing reads zero. */
  readonly cpuid: ReadonlyMap<number, Registers4>
  /** Leaves that have sub-leaves, by leaf, then by sub-leaf. */
  readonly subleaves: ReadonlyMap<number, ReadonlyMap<number, Registers4>>
  readonly physicalAddressBits: number
  /** High physical address bits that carry the key id (IA32_TME_ACTIVATE.MK_TME_KEYID_BITS). */
  readonly keyIdBits: number
  /** Key ids from here on are private (IA32_MKTME_KEYID_PARTITIONING); below are TME-MK's. */
  readonly firstPrivateHkid: number
  readonly packages: number
  /** Convertible memory ranges; empty means all memory there is. */
  readonly cmrs: readonly Cmr[]
  /** XCR0 and IA32_XSS bits the CPU has. */
  readonly xcr0: bigint
  readonly xss: bigint
  /** 5-level EPT (IA32_VMX_EPT_VPID_CAP bit 7). */
  readonly ept5: boolean
  /** Native TSC frequency in 25 MHz units. */
  readonly tscFrequency: number
  /** Most vCPUs of one TD. */
  readonly maxVcpusPerTd: number
  /** What reports are made with. */
  readonly report: {
    /** Key of the MAC: only a platform with the same one verifies it. */
    readonly key: Uint8Array
    /** Security version of the CPU, 16 bytes. */
    readonly cpusvn: Uint8Array
    /** Security version of module and loader, 16 bytes. */
    readonly teeTcbSvn: Uint8Array
    /** SHA-384 of the module. */
    readonly mrseam: Uint8Array
  }
  readonly msr: {
    readonly archCapabilities: bigint
    /** IA32_ARCH_CAPABILITIES bits that TD_PARAMS may configure. */
    readonly archCapabilitiesConfigMask: bigint
    readonly miscEnable: bigint
    readonly perfCapabilities: bigint
    readonly cr0Fixed0: bigint
    readonly cr0Fixed1: bigint
    readonly cr4Fixed0: bigint
    readonly cr4Fixed1: bigint
  }
}

const leaves: [number, Registers4][] = [
  [0x0, [0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]],
  [0x1, [0x8_06f8, 0x80_0800, 0x77fe_fbff, 0xbfeb_fbff]],
  [0x5, [0x40, 0x40, 0x3, 0x2020]],
  [0x6, [0x5f_8ff7, 0x2, 0x9, 0]],
  [0xa, [0x730_0805, 0, 0xf, 0x8604]],
  [0x15, [0x2, 0xa0, 0x17d_7840, 0]],
  [0x19, [0, 0, 0, 0]],
  [0x1c, [0x4000_000b, 0x7, 0x7, 0]],
  [0x1e, [0, 0x4010, 0, 0]],
  [0x8000_0000, [0x8000_0008, 0, 0, 0]],
  [0x8000_0001, [0, 0, 0x121, 0x2c10_0800]],
  [0x8000_0006, [0, 0, 0x800_7040, 0]],
  [0x8000_0007, [0, 0, 0, 0x100]],
  [0x8000_0008, [0x3934, 0x200, 0, 0]],
]

const subleaves: [number, [number, Registers4][]][] = [
  [
    0x4,
    [
      [0, [0xfc00_4121, 0x2c0_003f, 0x3f, 0]],
      [1, [0xfc00_4122, 0x1c0_003f, 0x3f, 0]],
      [2, [0xfc01_c143, 0x3c0_003f, 0x7ff, 0]],
      [3, [0xfc1f_c163, 0x380_003f, 0x1_bfff, 0x4]],
    ],
  ],
  [
    0x7,
    [
      [0, [0x2, 0xf3bf_bfff, 0xfb41_7ffe, 0xffdd_4432]],
      [1, [0x1c30, 0, 0, 0]],
      [2, [0, 0, 0, 0x17]],
    ],
  ],
  [
    0xd,
    [
      [0, [0x6_02e7, 0x2b00, 0x2b00, 0]],
      [1, [0x1f, 0x2e28, 0x9900, 0]],
      [2, [0x100, 0x240, 0, 0]],
      [5, [0x40, 0x440, 0, 0]],
      [6, [0x200, 0x480, 0, 0]],
      [7, [0x400, 0x680, 0, 0]],
      [8, [0x80, 0, 0x1, 0]],
      [9, [0x8, 0xa80, 0, 0]],
      [11, [0x10, 0, 0x1, 0]],
      [12, [0x18, 0, 0x1, 0]],
      [15, [0x328, 0, 0x1, 0]],
      [17, [0x40, 0xac0, 0x2, 0]],
      [18, [0x2000, 0xb00, 0x6, 0]],
    ],
  ],
  [
    0x14,
    [
      [0, [0x1, 0x5f, 0x7, 0]],
      [1, [0x249_0002, 0x3f_1fff, 0, 0]],
    ],
  ],
  [
    0x1d,
    [
      [0, [0x1, 0, 0, 0]],
      [1, [0x400_2000, 0x8_0040, 0x10, 0]],
    ],
  ],
]

/**
 * A server of the Sapphire Rapids generation (family 6, model 0x8f) as it is made, with all it can do. Key ids: eleven
 * bits, the most the module can manage (tdx_global_data.h, MAX_HKIDS), so that many TDs can live at once.
 */
export const SILICON: Platform = {
  cpuid: new Map(leaves),
  subleaves: new Map(subleaves.map(([leaf, rows]) => [leaf, new Map(rows)])),
  physicalAddressBits: 52,
  keyIdBits: 11,
  firstPrivateHkid: 64,
  packages: 1,
  cmrs: [],
  xcr0: 0x6_02e7n,
  xss: 0x9900n,
  ept5: true,
  tscFrequency: 80,
  maxVcpusPerTd: 576,
  report: {
    key: new TextEncoder().encode('Seamless: the key of the emulated platform, which is no secret'),
    cpusvn: new Uint8Array(16).fill(1),
    // Minor version of the module's security, major version, then the microcode of the SEAM loader. TEE_TCB_SVN.
    teeTcbSvn: Uint8Array.of(5, 1, ...new Uint8Array(14)),
    mrseam: new Uint8Array(createHash('sha384').update('Seamless, a TDX module 1.5').digest()),
  },
  msr: {
    archCapabilities: 0xd8d_2aebn,
    archCapabilitiesConfigMask: 1n << 4n,
    miscEnable: 0x85_0089n,
    perfCapabilities: 0n,
    cr0Fixed0: 0x8000_0021n,
    cr0Fixed1: 0xffff_ffffn,
    cr4Fixed0: 0x2000n,
    cr4Fixed1: 0x1ff_7fffn,
  },
}

/**
 * The same server as it is emulated: topology, caches and frequencies are the silicon's, features are what the CPU of
 * #x86 can do (features.ts). It passes the module's checks (cpuid_configurations.c).
 */
export const SAPPHIRE_RAPIDS: Platform = {
  ...SILICON,
  ...reduce(SILICON),
  xcr0: SILICON.xcr0 & XCR0_THERE,
  xss: SILICON.xss & XSS_THERE,
  msr: { ...SILICON.msr, cr4Fixed1: SILICON.msr.cr4Fixed1 & ~(CR4_KL | CR4_CET) },
}

const ZERO: Registers4 = [0, 0, 0, 0]

/** Native CPUID of the platform. */
export const nativeCpuid = (platform: Platform, leaf: number, subleaf: number): Registers4 =>
  platform.subleaves.get(leaf)?.get(subleaf) ?? platform.cpuid.get(leaf) ?? ZERO
