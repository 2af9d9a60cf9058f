/** The registers of a program of the system's kind, and how each mode starts. */
import type { Mode } from '../../insn.ts'
import { AT, GDT, GDT_LIMIT, VECTORS } from './image.ts'

/**
 * Where a program starts: real mode; protected mode without paging, 16-bit, 32-bit in rings 0 and 3; 32-bit in ring 0
 * with both older kinds of paging; 64-bit and compatibility mode in rings 0 and 3.
 */
export type ModeName = 'real' | 'p16' | 'k32' | 'u32' | 'paged32' | 'pae' | 'k64' | 'u64' | 'c32' | 'uc32'
export const BITS: Record<ModeName, Mode> = {
  real: 16,
  p16: 16,
  k32: 32,
  u32: 32,
  paged32: 32,
  pae: 32,
  k64: 64,
  u64: 64,
  c32: 32,
  uc32: 32,
}

export type Segment = { selector: number; base: bigint; limit: number; rights: number }
export const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const
export const GPRS = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
]
const NUMBERS = ['rip', 'rflags', 'cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'xcr0'] as const
const DEBUG = ['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'] as const
const TABLES = ['gdtBase', 'gdtLimit', 'idtBase', 'idtLimit'] as const
const MSRS = [
  ...(['star', 'lstar', 'cstar', 'fmask', 'kernelGsBase'] as const),
  ...(['sysenterCs', 'sysenterEsp', 'sysenterEip', 'pat'] as const),
]
/** In the order of `msrs` in real-vm.c. */
export const MSR_NUMBERS = [0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0102, 0x174, 0x175, 0x176, 0x277]
/** Names of `State.numbers`, in the order of `struct state` in real-vm.c, the segments left out. */
export const BEFORE_SEGMENTS = [...GPRS, ...NUMBERS, ...DEBUG, ...TABLES]
export const AFTER_SEGMENTS = MSRS

/** Registers by name. */
export type State = { numbers: Record<string, bigint>; segments: Record<string, Segment> }
const segment = (selector: number, access: number, base = 0, limit = 0xffff_ffff): Segment => ({
  selector,
  base: BigInt(base),
  limit,
  rights: access,
})
const NO_SEGMENT = 0x1_0000

/** How a mode starts. */
export const stateOf = (mode: ModeName): State => {
  const numbers: Record<string, bigint> = {}
  for (const name of [...BEFORE_SEGMENTS, ...AFTER_SEGMENTS]) numbers[name] = 0n
  const long = BITS[mode] === 64 || mode === 'c32' || mode === 'uc32'
  const user = mode.startsWith('u')
  Object.assign(numbers, {
    rip: mode === 'real' || mode === 'p16' ? 0n : BigInt(AT.code),
    rflags: 2n,
    rsp: BigInt(mode === 'real' ? 0x9000 : user ? AT.stack3 : AT.stack0),
    cr0: mode === 'real' ? 0x10n : mode === 'p16' || mode === 'k32' || mode === 'u32' ? 0x31n : 0x8001_0033n,
    cr3: BigInt(long ? AT.pml4 : mode === 'pae' ? AT.pdptes : AT.pd32),
    cr4: long || mode === 'pae' ? 0x620n : 0x600n,
    efer: long ? 0xd01n : mode === 'pae' ? 0x800n : 0n,
    xcr0: 1n,
    dr6: 0xffff_0ff0n,
    dr7: 0x400n,
    gdtBase: BigInt(AT.gdt),
    gdtLimit: BigInt(GDT_LIMIT),
    idtBase: BigInt(mode === 'real' ? 0 : long ? AT.idt64 : AT.idt32),
    idtLimit: BigInt(mode === 'real' ? 0x3ff : VECTORS * (long ? 16 : 8) - 1),
    star: (BigInt(GDT.code32User | 3) << 48n) | (BigInt(GDT.code64) << 32n),
    lstar: BigInt(AT.entry),
    cstar: BigInt(AT.entry + 0x100),
    fmask: 0x4_7700n,
    sysenterCs: BigInt(GDT.code64),
    sysenterEsp: BigInt(AT.inner),
    sysenterEip: BigInt(AT.entry + 0x200),
    pat: 0x0007_0406_0007_0406n,
  })
  const segments: Record<string, Segment> = {}
  for (const name of SEGMENTS) {
    if (mode === 'real') segments[name] = segment(0x2000, 0x93, 0x2_0000, 0xffff)
    else if (mode === 'p16') segments[name] = segment(GDT.data16, 0x93, 0, 0xffff)
    else segments[name] = user ? segment(GDT.dataUser | 3, 0xc0f3) : segment(GDT.data, 0xc093)
  }
  if (mode === 'p16') segments['ss'] = segment(GDT.data, 0xc093)
  if (mode === 'real') segments['ss'] = segment(0x3000, 0x93, 0x3_0000, 0xffff)
  if (mode === 'real') segments['cs'] = segment(AT.code >> 4, 0x9b, AT.code, 0xffff)
  else if (mode === 'p16') segments['cs'] = segment(GDT.code16, 0x9b, AT.code, 0xffff)
  else if (BITS[mode] === 64) segments['cs'] = user ? segment(GDT.code64User | 3, 0xa0fb) : segment(GDT.code64, 0xa09b)
  else segments['cs'] = user ? segment(GDT.code32User | 3, 0xc0fb) : segment(GDT.code32, 0xc09b)
  segments['ldtr'] = segment(0, NO_SEGMENT | 0x82, 0, 0)
  segments['tr'] = long
    ? segment(GDT.tss64, 0x8b, AT.tss64, 0x67 + 0x40)
    : segment(GDT.tss32, 0x8b, AT.tss32, 0x67 + 0x40)
  return { numbers, segments }
}
