/**
 * CPUID: where each feature's bit is, and the processor a bare machine has. It claims what is `IMPLEMENTED`, so nothing
 * whose instructions are not there. SDM Vol. 2A, "CPUID—CPU Identification".
 */
import { semantics } from './semantics/index.ts'
import { table } from './table.ts'

export type CpuidResult = readonly [eax: number, ebx: number, ecx: number, edx: number]
export type Cpuid = (leaf: number, subleaf: number) => CpuidResult

const [EAX, EBX, ECX, EDX] = [0, 1, 2, 3] as const
type Place = readonly [leaf: number, subleaf: number, register: 0 | 1 | 2 | 3, bit: number]

/** Feature → its bit. The rows of the instruction table use these names and no others. */
export const FEATURES = {
  SSE3: [1, 0, ECX, 0],
  PCLMULQDQ: [1, 0, ECX, 1],
  MONITOR: [1, 0, ECX, 3],
  VMX: [1, 0, ECX, 5],
  SMX: [1, 0, ECX, 6],
  SSSE3: [1, 0, ECX, 9],
  FMA: [1, 0, ECX, 12],
  CX16: [1, 0, ECX, 13],
  PCID: [1, 0, ECX, 17],
  SSE4_1: [1, 0, ECX, 19],
  SSE4_2: [1, 0, ECX, 20],
  X2APIC: [1, 0, ECX, 21],
  MOVBE: [1, 0, ECX, 22],
  POPCNT: [1, 0, ECX, 23],
  TSC_DEADLINE: [1, 0, ECX, 24],
  AESNI: [1, 0, ECX, 25],
  XSAVE: [1, 0, ECX, 26],
  AVX: [1, 0, ECX, 28],
  F16C: [1, 0, ECX, 29],
  RDRAND: [1, 0, ECX, 30],
  HYPERVISOR: [1, 0, ECX, 31],
  FPU: [1, 0, EDX, 0],
  DE: [1, 0, EDX, 2],
  PSE: [1, 0, EDX, 3],
  TSC: [1, 0, EDX, 4],
  MSR: [1, 0, EDX, 5],
  PAE: [1, 0, EDX, 6],
  MCE: [1, 0, EDX, 7],
  CX8: [1, 0, EDX, 8],
  APIC: [1, 0, EDX, 9],
  SEP: [1, 0, EDX, 11],
  PGE: [1, 0, EDX, 13],
  CMOV: [1, 0, EDX, 15],
  PAT: [1, 0, EDX, 16],
  'PSE-36': [1, 0, EDX, 17],
  CLFSH: [1, 0, EDX, 19],
  MMX: [1, 0, EDX, 23],
  FXSR: [1, 0, EDX, 24],
  SSE: [1, 0, EDX, 25],
  SSE2: [1, 0, EDX, 26],
  FSGSBASE: [7, 0, EBX, 0],
  TSC_ADJUST: [7, 0, EBX, 1],
  SGX: [7, 0, EBX, 2],
  BMI1: [7, 0, EBX, 3],
  AVX2: [7, 0, EBX, 5],
  FDP_EXCPTN_ONLY: [7, 0, EBX, 6],
  SMEP: [7, 0, EBX, 7],
  BMI2: [7, 0, EBX, 8],
  ERMS: [7, 0, EBX, 9],
  INVPCID: [7, 0, EBX, 10],
  ZERO_FCS_FDS: [7, 0, EBX, 13],
  RDSEED: [7, 0, EBX, 18],
  ADX: [7, 0, EBX, 19],
  SMAP: [7, 0, EBX, 20],
  CLFLUSHOPT: [7, 0, EBX, 23],
  CLWB: [7, 0, EBX, 24],
  SHA: [7, 0, EBX, 29],
  UMIP: [7, 0, ECX, 2],
  PKU: [7, 0, ECX, 3],
  WAITPKG: [7, 0, ECX, 5],
  CET_SS: [7, 0, ECX, 7],
  VAES: [7, 0, ECX, 9],
  VPCLMULQDQ: [7, 0, ECX, 10],
  LA57: [7, 0, ECX, 16],
  RDPID: [7, 0, ECX, 22],
  KL: [7, 0, ECX, 23],
  CLDEMOTE: [7, 0, ECX, 25],
  MOVDIRI: [7, 0, ECX, 27],
  MOVDIR64B: [7, 0, ECX, 28],
  PKS: [7, 0, ECX, 31],
  SERIALIZE: [7, 0, EDX, 14],
  CET_IBT: [7, 0, EDX, 20],
  XSAVEOPT: [13, 1, EAX, 0],
  XSAVEC: [13, 1, EAX, 1],
  XGETBV1: [13, 1, EAX, 2],
  XSAVES: [13, 1, EAX, 3],
  LAHF: [0x8000_0001, 0, ECX, 0],
  LZCNT: [0x8000_0001, 0, ECX, 5],
  SSE4A: [0x8000_0001, 0, ECX, 6],
  PREFETCHW: [0x8000_0001, 0, ECX, 8],
  FMA4: [0x8000_0001, 0, ECX, 16],
  SYSCALL: [0x8000_0001, 0, EDX, 11],
  NX: [0x8000_0001, 0, EDX, 20],
  PDPE1GB: [0x8000_0001, 0, EDX, 26],
  RDTSCP: [0x8000_0001, 0, EDX, 27],
  LM: [0x8000_0001, 0, EDX, 29],
  WBNOINVD: [0x8000_0008, 0, EBX, 9],
} as const satisfies Record<string, Place>
export type Feature = keyof typeof FEATURES

const isFeature = (name: string): name is Feature => Object.hasOwn(FEATURES, name)
/** Names that Linux and QEMU have for features which the SDM calls otherwise. Linux, arch/x86/include/asm/cpufeatures.h. */
const ALIASES: Readonly<Record<string, Feature>> = {
  pni: 'SSE3',
  pclmuldq: 'PCLMULQDQ',
  aes: 'AESNI',
  tscdeadlinetimer: 'TSC_DEADLINE',
  clflush: 'CLFSH',
  shani: 'SHA',
  abm: 'LZCNT',
  lahflm: 'LAHF',
  '3dnowprefetch': 'PREFETCHW',
  keylocker: 'KL',
  ospke: 'PKU',
  shstk: 'CET_SS',
  usershstk: 'CET_SS',
  ibt: 'CET_IBT',
}
/** Marks between words, and case, are nobody's business. */
const plainName = (name: string): string => name.toLowerCase().replace(/[-_.]/g, '')
const byName = new Map(
  Object.keys(FEATURES)
    .filter(isFeature)
    .map(name => [plainName(name), name]),
)
/** A feature by its name in the SDM, in Linux or in QEMU; undefined where there is none. */
export const featureNamed = (name: string): Feature | undefined => {
  const plain = plainName(name)
  return byName.get(plain) ?? (Object.hasOwn(ALIASES, plain) ? ALIASES[plain] : undefined)
}

/** What a CPUID answer says, as the CPU asks it again and again. */
export type Features = {
  /** Does the CPU have the feature? What is no name of `FEATURES` is never there. */
  has(name: string): boolean
  readonly pdpe1gb: boolean
  /** The names of all that are there: equal for CPUs that run the same code. */
  readonly summary: string
}

const answered = new WeakMap<Cpuid, Features>()

/** What an answer says. CPUs that are given the same function share it: what it answers never changes. */
export const featuresOf = (cpuid: Cpuid): Features => {
  const before = answered.get(cpuid)
  if (before !== undefined) return before
  const features = readFeatures(cpuid)
  answered.set(cpuid, features)
  return features
}

const readFeatures = (cpuid: Cpuid): Features => {
  // Let go of once all has been asked: compiled code keeps features, and an answer holds the machine it is of.
  let ask: Cpuid | undefined = cpuid
  const known = new Map<string, boolean>()
  const has = (name: string): boolean => {
    const before = known.get(name)
    if (before !== undefined) return before
    let found = false
    if (ask !== undefined && isFeature(name)) {
      const [leaf, subleaf, register, bit] = FEATURES[name]
      found = ((ask(leaf, subleaf)[register] >>> bit) & 1) === 1
    }
    known.set(name, found)
    return found
  }
  let summary: string | undefined
  return {
    has,
    pdpe1gb: has('PDPE1GB'),
    get summary() {
      summary ??= Object.keys(FEATURES).filter(has).join(' ')
      ask = undefined
      return summary
    },
  }
}

/** Features without instructions of their own: what this room does for them is always there. */
const MECHANISMS: readonly Feature[] = [
  ...([
    'DE',
    'PSE',
    'PAE',
    'MCE',
    'PGE',
    'PAT',
    'PSE-36',
    'ERMS',
    'SMEP',
    'UMIP',
    'LA57',
    'NX',
    'PDPE1GB',
    'PCID',
  ] as const),
  'PKS',
  ...(['FDP_EXCPTN_ONLY', 'ZERO_FCS_FDS', 'XGETBV1', 'PREFETCHW', 'WBNOINVD', 'CLDEMOTE'] as const),
]
/** Features that are nothing without another. */
const NEEDS: { readonly [F in Feature]?: Feature } = {
  XSAVEOPT: 'XSAVE',
  XSAVEC: 'XSAVE',
  XSAVES: 'XSAVE',
  XGETBV1: 'XSAVE',
  AVX: 'XSAVE',
  AVX2: 'AVX',
  FMA: 'AVX',
  F16C: 'AVX',
  VAES: 'AVX',
  VPCLMULQDQ: 'AVX',
}
/** Other makers' features, which a GenuineIntel processor does not have. */
const FOREIGN: readonly string[] = ['SSE4A', 'FMA4']

/**
 * The features that are there: mechanisms, and every feature of the instruction table of whose rows none lacks its
 * semantics. So a feature is claimed from the day its last instruction is written, and not before.
 */
export const IMPLEMENTED: readonly Feature[] = (() => {
  const whole = new Set<string>(table.map(row => row.feature))
  for (const row of table) if (!Object.hasOwn(semantics, row.semantics)) whole.delete(row.feature)
  const found = (name: Feature): boolean => {
    const needs = NEEDS[name]
    return (whole.has(name) || MECHANISMS.includes(name)) && (needs === undefined || found(needs))
  }
  return (Object.keys(FEATURES) as Feature[]).filter(name => found(name) && !FOREIGN.includes(name))
})()

/** Family 6, model 0x8f, stepping 8: a Sapphire Rapids. */
const SIGNATURE = 0x0008_06f8
const CLFLUSH_LINE = 8
const BRAND = 'Seamless virtual processor'

const register = (text: string, at: number): number => {
  let value = 0
  for (let n = 3; n >= 0; n--) value = (value << 8) | (at + n < text.length ? text.charCodeAt(at + n) : 0)
  return value >>> 0
}

/** The registers of each leaf and subleaf that `features` have bits in. */
const bitsOf = (features: readonly Feature[]): ReadonlyMap<number, CpuidResult> => {
  const found = new Map<number, [number, number, number, number]>()
  for (const name of features) {
    const [leaf, subleaf, which, bit] = FEATURES[name]
    const key = leaf * 16 + subleaf
    const registers = found.get(key) ?? [0, 0, 0, 0]
    registers[which] = (registers[which] | (1 << bit)) >>> 0
    found.set(key, registers)
  }
  return found
}

/** The CPUID of a GenuineIntel processor that has exactly `features`. Widths are in bits. */
export const describeCpu = (
  features: readonly Feature[],
  { physicalWidth = 46, linearWidth = 57 }: { physicalWidth?: number; linearWidth?: number } = {},
): Cpuid => {
  const bits = bitsOf(features)
  const flags = (leaf: number, subleaf = 0): CpuidResult => bits.get(leaf * 16 + subleaf) ?? [0, 0, 0, 0]
  const xsave = features.includes('XSAVE')
  const avx = features.includes('AVX')
  const pku = features.includes('PKU')
  const compacts = features.includes('XSAVEC') || features.includes('XSAVES')
  const xcr0 = 1 | (features.includes('SSE') ? 2 : 0) | (avx ? 4 : 0) | (pku ? 0x200 : 0)
  const xsaveSize = pku ? 0xa88 : avx ? 0x340 : 0x240
  const leaf = (eax: number, subleaf: number): CpuidResult => {
    switch (eax) {
      case 0:
        return [0x16, register('Genu', 0), register('ntel', 0), register('ineI', 0)]
      case 1: {
        const [, , ecx, edx] = flags(1)
        return [SIGNATURE, (1 << 16) | (CLFLUSH_LINE << 8), ecx, edx]
      }
      case 2:
        return [0x00fe_ff01, 0xf0, 0, 0]
      case 5:
        return features.includes('MONITOR') ? [64, 64, 3, 0] : [0, 0, 0, 0]
      case 7:
        return subleaf === 0 ? flags(7) : [0, 0, 0, 0]
      case 0xd:
        if (!xsave) return [0, 0, 0, 0]
        if (subleaf === 0) return [xcr0, xsaveSize, xsaveSize, 0]
        if (subleaf === 1) return [flags(0xd, 1)[0], compacts ? xsaveSize : 0, 0, 0]
        if (subleaf === 2 && avx) return [0x100, 0x240, 0, 0]
        if (subleaf === 9 && pku) return [8, 0xa80, 0, 0]
        return [0, 0, 0, 0]
      case 0x15:
        return [0, 0, 0, 0]
      case 0x8000_0000:
        return [0x8000_0008, 0, 0, 0]
      case 0x8000_0001: {
        const [, , ecx, edx] = flags(0x8000_0001)
        return [0, 0, ecx, edx]
      }
      case 0x8000_0002:
      case 0x8000_0003:
      case 0x8000_0004: {
        const at = (eax - 0x8000_0002) * 16
        return [register(BRAND, at), register(BRAND, at + 4), register(BRAND, at + 8), register(BRAND, at + 12)]
      }
      case 0x8000_0006:
        return [0, 0, 0x0100_7040, 0]
      case 0x8000_0007:
        // Invariant TSC.
        return [0, 0, 0, 1 << 8]
      case 0x8000_0008:
        return [physicalWidth | (linearWidth << 8), flags(0x8000_0008)[1], 0, 0]
      default:
        return [0, 0, 0, 0]
    }
  }
  return (eax, subleaf) => {
    const known = eax <= 0x16 || (eax >= 0x8000_0000 && eax <= 0x8000_0008)
    // Beyond the maximum leaf the CPU answers as for the highest basic one.
    return known ? leaf(eax, subleaf) : leaf(0x16, subleaf)
  }
}

/** What a CPU answers unless told otherwise. */
export const nativeCpuid: Cpuid = describeCpu(IMPLEMENTED)
