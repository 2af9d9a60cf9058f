/** Where our decoder and iced-x86 do not say the same, and why: the one list. */
import type { Reading } from './decoder.ts'

/** Operands that both know and only one of the two lists, or lists elsewhere. */
const CONVENTIONS: readonly (readonly [name: RegExp, change: (operands: readonly string[]) => readonly string[]])[] = [
  // The accumulator of a string instruction.
  [/^(lods|scas)[bwdq]$/, ([, memory]) => [memory!]],
  [/^stos[bwdq]$/, ([memory]) => [memory!]],
  // Where the bytes go, which the SDM lists last.
  [/^v?maskmov(q|dqu)$/, ([memory, source, mask]) => [source!, mask!, memory!]],
  // AL, which XLAT adds.
  [/^xlatb$/, ([memory]) => [memory!.replace('+al*1', '')]],
  // The mask that is always XMM0, which the SDM lists as <XMM0>.
  [/^(blendvp[sd]|pblendvb|sha256rnds2)$/, operands => [...operands, 'xmm0']],
]

/** Operands of iced-x86 as we list them. */
export const inOurWay = (name: string, operands: readonly string[]): readonly string[] =>
  CONVENTIONS.find(([names]) => names.test(name))?.[1](operands) ?? operands

/** Instructions that the table has no rows for, by the CPUID feature that iced-x86 gives them. */
const NO_ROWS: readonly (readonly [feature: RegExp, why: string])[] = [
  [
    /^(D3NOW|D3NOWEXT|CYRIX_D3NOW|SVM|TBM|XOP|CLZERO|MONITORX|RDPRU|INVLPGB|SKINIT\w*|SEV_\w+|RMPQUERY|MCOMMIT)$/,
    'AMD only, no instruction on a processor of Intel',
  ],
  [/^(PADLOCK\w*|CENTAUR\w*|CYRIX\w*)$/, 'VIA, Zhaoxin and Cyrix only'],
  [
    /^(AVX512\w*|AVX10\w*|AVX_\w+|AMX\w*|SM[34]|SHA512|GFNI|WIDE_KL)$/,
    'not modelled: newer vector extensions (table.ts)',
  ],
  [
    /^(RTM|TSXLDTRK|HLE\w*|MPX|CET_\w+|UINTR|PTWRITE|PCONFIG|FRED|LKGS|HRESET|WRMSRNS|MSRLIST|MOVDIR\w+|ENQCMD|CMPCCXADD|RAO_INT|USER_MSR|TSE|KL)$/,
    'not modelled: extensions that the processor does not show (table.ts)',
  ],
]

type Known = {
  /** Of `OURS, THEIRS`, the names. */
  readonly names: RegExp
  /** What may differ: the name, or the operands by a form that both can be brought to. */
  readonly same?: (operands: string) => string
  readonly why: string
}

/** General registers by number, whatever their width. */
const byNumber = (operands: string): string =>
  operands.replace(
    /\b(?:r(\d+)[dwb]?|[re]?(ax|cx|dx|bx|sp|bp|si|di))\b/g,
    (_, number: string, name: string) => `g${number ?? name}`,
  )
const withoutSize = (operands: string): string => operands.replace(/\b\d+ (?=\ws:\[)/g, '')

const KNOWN: readonly Known[] = [
  {
    names: /^reservednop, (prefetchit[01]|cldemote|rdssp[dq]|bnd\w+)$/,
    why: 'hints of features that are absent are reserved NOPs (SDM Vol. 2D, "Opcode Map")',
  },
  { names: /^getsec, getsecq$/, why: 'GETSEC is one mnemonic in the SDM (Vol. 2D, "Safer Mode Extensions Reference")' },
  { names: /^xchg, pause$/, why: 'F3 41 90 exchanges: measured, though objdump says PAUSE as well' },
  { names: /^seamcall, invalid$/, why: 'SEAMCALL outside 64-bit mode is #UD of the instruction, not of its bytes' },
  {
    names:
      /^(v?pextr[bw]|v?pinsr[bw]|v?pmovmskb|v?movmskp[sd]|v?extractps|lar|lsl|lldt|ltr|str|sldt|smsw|lmsw|ver[rw]|mov|arpl|tpause|umwait|umonitor|enqcmds?)$/,
    same: byNumber,
    why: 'a register of which the instruction uses less, or always as much: which width its name has is taste',
  },
  {
    names: /^(aes(enc|dec)(wide)?(128|256)kl)$/,
    same: withoutSize,
    why: 'a key handle is memory of no size to us, and of its size to them',
  },
]

/** Why the readings differ, `undefined` where that is not known. `features`: CPUID features of theirs. */
export const differences = (ours: Reading, theirs: Reading, features: () => readonly string[]): string | undefined => {
  if (ours.name === 'too long' && theirs.name === 'invalid')
    return 'more than 15 bytes are #GP, not #UD: two answers of ours, one of theirs'
  if (ours.name === 'invalid') {
    const all = features()
    return NO_ROWS.find(([known]) => all.some(feature => known.test(feature)))?.[1]
  }
  const names = ours.name === theirs.name ? ours.name : `${ours.name}, ${theirs.name}`
  return KNOWN.find(known => {
    if (!known.names.test(names)) return false
    if (known.same === undefined) return ours.name !== theirs.name
    return (
      ours.name === theirs.name &&
      ours.length === theirs.length &&
      known.same(ours.operands) === known.same(theirs.operands)
    )
  })?.why
}
