/**
 * Which of a processor's features are there: CPUID is the one switch, so what raises #UD is not in it. A bit stands if
 * #x86 has implemented it, or if this table keeps it. SDM Vol. 2A, "CPUID—CPU Identification".
 */
import { XCR0_AVX, XCR0_PKRU, XCR0_SSE, XCR0_X87, XFAM_CET } from '#abi'
import { FEATURES, type Feature, IMPLEMENTED } from '#x86'

export type Registers4 = readonly [eax: number, ebx: number, ecx: number, edx: number]

/**
 * What becomes of a feature that #x86 does not name, or has not implemented:
 *
 * - `kept`: it is there, outside the CPU: in the interrupt controller, the module, the VMM, or because nothing here
 *   speculates, caches or is slow.
 * - `demanded`: SYS.INIT does not accept a platform without it, though what it stands for is missing.
 * - `absent`: the silicon has it, the emulated CPU does not.
 */
export type Fate = 'kept' | 'demanded' | 'absent'
type Bits = { readonly [bit: number]: readonly [name: string, fate: Fate] }

const [EAX, EBX, ECX, EDX] = [0, 1, 2, 3] as const

/** A register of feature bits, and what is known of those that #x86 does not answer for. */
export type FeatureRegister = {
  readonly leaf: number
  readonly subleaf: number
  readonly register: 0 | 1 | 2 | 3
  readonly bits: Bits
}

/**
 * Not modelled, though SYS.INIT demands the bit: debug stores (1 ECX 2, 4 and EDX 21), virtual-8086 extensions (1 EDX 1),
 * #DB for bus locks (7.0 ECX 24) and last branch records (7.0 EDX 19), of which no guest sees the bit.
 */
export const FEATURE_REGISTERS: readonly FeatureRegister[] = [
  {
    leaf: 1,
    subleaf: 0,
    register: ECX,
    bits: {
      2: ['DTES64', 'demanded'],
      4: ['DS_CPL', 'demanded'],
      // KVM and the module are in VMX operation, the module's loader in SMX: no guest is.
      5: ['VMX', 'kept'],
      6: ['SMX', 'kept'],
      7: ['EIST', 'absent'],
      8: ['TM2', 'absent'],
      11: ['SDBG', 'absent'],
      14: ['XTPR', 'absent'],
      15: ['PDCM', 'kept'],
      18: ['DCA', 'absent'],
      21: ['X2APIC', 'kept'],
      24: ['TSC_DEADLINE', 'kept'],
    },
  },
  {
    leaf: 1,
    subleaf: 0,
    register: EDX,
    bits: {
      1: ['VME', 'demanded'],
      9: ['APIC', 'kept'],
      12: ['MTRR', 'kept'],
      14: ['MCA', 'kept'],
      21: ['DS', 'demanded'],
      22: ['ACPI', 'absent'],
      27: ['SS', 'kept'],
      28: ['HTT', 'kept'],
      29: ['TM', 'absent'],
      31: ['PBE', 'absent'],
    },
  },
  {
    leaf: 7,
    subleaf: 0,
    register: EBX,
    bits: {
      1: ['TSC_ADJUST', 'kept'],
      2: ['SGX', 'absent'],
      4: ['HLE', 'absent'],
      11: ['RTM', 'absent'],
      12: ['RDT_M', 'absent'],
      15: ['RDT_A', 'absent'],
      16: ['AVX512F', 'absent'],
      17: ['AVX512DQ', 'absent'],
      21: ['AVX512_IFMA', 'absent'],
      25: ['PT', 'absent'],
      28: ['AVX512CD', 'absent'],
      30: ['AVX512BW', 'absent'],
      31: ['AVX512VL', 'absent'],
    },
  },
  {
    leaf: 7,
    subleaf: 0,
    register: ECX,
    bits: {
      1: ['AVX512_VBMI', 'absent'],
      // It follows CR4.PKE, wherever CPUID is executed.
      4: ['OSPKE', 'absent'],
      5: ['WAITPKG', 'absent'],
      6: ['AVX512_VBMI2', 'absent'],
      7: ['CET_SS', 'absent'],
      8: ['GFNI', 'absent'],
      11: ['AVX512_VNNI', 'absent'],
      12: ['AVX512_BITALG', 'absent'],
      13: ['TME', 'kept'],
      14: ['AVX512_VPOPCNTDQ', 'absent'],
      24: ['BUS_LOCK_DETECT', 'demanded'],
      29: ['ENQCMD', 'absent'],
      30: ['SGX_LC', 'absent'],
    },
  },
  {
    leaf: 7,
    subleaf: 0,
    register: EDX,
    bits: {
      1: ['SGX_KEYS', 'absent'],
      4: ['FSRM', 'kept'],
      5: ['UINTR', 'absent'],
      10: ['MD_CLEAR', 'kept'],
      16: ['TSXLDTRK', 'absent'],
      18: ['PCONFIG', 'absent'],
      19: ['LBR', 'demanded'],
      20: ['CET_IBT', 'absent'],
      22: ['AMX_BF16', 'absent'],
      23: ['AVX512_FP16', 'absent'],
      24: ['AMX_TILE', 'absent'],
      25: ['AMX_INT8', 'absent'],
      26: ['IBRS', 'kept'],
      27: ['STIBP', 'kept'],
      28: ['L1D_FLUSH', 'kept'],
      29: ['ARCH_CAPABILITIES', 'kept'],
      30: ['CORE_CAPABILITIES', 'kept'],
      31: ['SSBD', 'kept'],
    },
  },
  {
    leaf: 7,
    subleaf: 1,
    register: EAX,
    bits: {
      4: ['AVX_VNNI', 'absent'],
      5: ['AVX512_BF16', 'absent'],
      10: ['FZRM', 'kept'],
      11: ['FSRS', 'kept'],
      12: ['FSRC', 'kept'],
    },
  },
  {
    leaf: 7,
    subleaf: 2,
    register: EDX,
    bits: {
      0: ['PSFD', 'kept'],
      1: ['IPRED_CTRL', 'kept'],
      2: ['RRSBA_CTRL', 'kept'],
      4: ['BHI_CTRL', 'kept'],
    },
  },
  { leaf: 0xd, subleaf: 1, register: EAX, bits: { 4: ['XFD', 'absent'] } },
  { leaf: 0x8000_0001, subleaf: 0, register: ECX, bits: {} },
  { leaf: 0x8000_0001, subleaf: 0, register: EDX, bits: {} },
  { leaf: 0x8000_0007, subleaf: 0, register: EDX, bits: { 8: ['INVARIANT_TSC', 'kept'] } },
  { leaf: 0x8000_0008, subleaf: 0, register: EBX, bits: {} },
]

const isImplemented = (feature: Feature): boolean => IMPLEMENTED.includes(feature)

/** The bits of a register of features that are there. */
export const featureMask = ({ leaf, subleaf, register, bits }: FeatureRegister): number => {
  let mask = 0
  for (const [bit, [, fate]] of Object.entries(bits)) if (fate !== 'absent') mask |= 1 << Number(bit)
  for (const feature of Object.keys(FEATURES) as Feature[]) {
    const [l, s, r, bit] = FEATURES[feature]
    if (l === leaf && s === subleaf && r === register && isImplemented(feature)) mask |= 1 << bit
  }
  return mask >>> 0
}

/** State that XSAVE and XSETBV know. */
export const XCR0_THERE: bigint =
  XCR0_X87 | XCR0_SSE | (isImplemented('AVX') ? XCR0_AVX : 0n) | (isImplemented('PKU') ? XCR0_PKRU : 0n)
/**
 * Not modelled: control-flow enforcement. SYS.INIT demands that IA32_XSS has its two state components (0xD.1 ECX 11 and
 * 12), so XFAM may name them; what uses them (7.0 ECX 7 and EDX 20, CR4.CET) is not there.
 */
export const XSS_THERE: bigint = XFAM_CET

type Leaves = {
  readonly cpuid: ReadonlyMap<number, Registers4>
  readonly subleaves: ReadonlyMap<number, ReadonlyMap<number, Registers4>>
}

/** Leaves of features that are absent whole: branch records, tiles. */
const ABSENT_LEAVES = [0x1c, 0x1d, 0x1e]
const STANDARD_AREA = 576

/** Leaf 0xD for the state that is there: sizes as for all of it. SDM Vol. 1, "Enumeration of CPU Support for XSAVE". */
const xsaveLeaves = (silicon: ReadonlyMap<number, Registers4>): Map<number, Registers4> => {
  const out = new Map<number, Registers4>()
  let [standard, compacted] = [STANDARD_AREA, STANDARD_AREA]
  for (const [n, row] of silicon) {
    if (n < 2 || (((XCR0_THERE | XSS_THERE) >> BigInt(n)) & 1n) === 0n) continue
    const [size, offset, flags] = row
    const isSupervisor = (flags & 1) !== 0
    if (!isSupervisor) standard = Math.max(standard, offset + size)
    compacted = ((flags & 2) !== 0 ? Math.ceil(compacted / 64) * 64 : compacted) + size
    out.set(n, row)
  }
  out.set(0, [Number(XCR0_THERE), standard, standard, 0])
  out.set(1, [silicon.get(1)?.[EAX] ?? 0, compacted, Number(XSS_THERE), 0])
  return out
}

/** CPUID of `silicon` without what is not there. */
export const reduce = (silicon: Leaves): Leaves => {
  const cpuid = new Map(silicon.cpuid)
  const subleaves = new Map([...silicon.subleaves].map(([leaf, rows]) => [leaf, new Map(rows)]))
  for (const leaf of ABSENT_LEAVES) {
    cpuid.delete(leaf)
    subleaves.delete(leaf)
  }
  subleaves.set(0xd, xsaveLeaves(silicon.subleaves.get(0xd) ?? new Map()))
  // Not modelled: processor trace (7.0 EBX 25). SYS.INIT demands that leaf 0x14 says that it has a sub-leaf.
  subleaves.set(0x14, new Map([[0, [1, 0, 0, 0]]]))
  for (const at of FEATURE_REGISTERS) {
    const rows = subleaves.get(at.leaf)
    const row = rows === undefined ? cpuid.get(at.leaf) : rows.get(at.subleaf)
    if (row === undefined) continue
    const masked: [number, number, number, number] = [...row]
    masked[at.register] = (masked[at.register] & featureMask(at)) >>> 0
    if (rows === undefined) cpuid.set(at.leaf, masked)
    else rows.set(at.subleaf, masked)
  }
  return { cpuid, subleaves }
}
