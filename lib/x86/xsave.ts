/**
 * The XSAVE family: both formats of the area, and who writes what of it. SDM Vol. 1, "Managing State Using the XSAVE
 * Feature Set". Not modelled: supervisor state components, so that XSAVES and XRSTORS see IA32_XSS as 0.
 */

import { CR0_TS, CR4_OSXSAVE, VECTOR_GP, VECTOR_NM, VECTOR_UD, XCR0_AVX, XCR0_PKRU, XCR0_SSE, XCR0_X87 } from '#abi'
import type { Cpu } from './cpu.ts'
import type { Seg } from './insn.ts'
import { linearOf } from './linear.ts'
import { init, mxcsrOf, putMxcsr, putX87, putXmm, takeX87, takeXmm, vectors } from './x87env.ts'

const HEADER = 512
const HEADER_SIZE = 64
const EXTENDED = HEADER + HEADER_SIZE
const MXCSR_INIT = 0x1f80
const COMPACTED = 1n << 63n
const AVX = 2
const PKRU = 9

/** Where each component of the extended region is, and where the area ends. */
type Layout = { readonly offsets: ReadonlyMap<number, number>; readonly size: number }
/** CPUID says where components are; compacted, those of `components` follow each other. */
const layout = (cpu: Cpu, components: bigint, compacted: boolean): Layout => {
  const offsets = new Map<number, number>()
  let size = EXTENDED
  for (let n = 2, rest = components >> 2n; rest !== 0n; n++, rest >>= 1n) {
    if ((rest & 1n) === 0n) continue
    const [length, at, flags] = cpu.cpuid(0xd, n)
    const from = !compacted ? at : (flags & 2) !== 0 ? Math.ceil(size / 64) * 64 : size
    offsets.set(n, from)
    size = compacted ? from + length : Math.max(size, from + length)
  }
  return { offsets, size }
}

const has = (components: bigint, one: bigint): boolean => (components & one) !== 0n
/** Some byte of these parts of the vector registers is not zero. */
const anyOf = (cpu: Cpu, half: 0 | 16): boolean => {
  for (let n = 0; n < vectors(cpu); n++)
    if (cpu.vec.subarray(n * 32 + half, n * 32 + half + 16).some(byte => byte !== 0)) return true
  return false
}
/** XINUSE: what is not in its initial configuration. MXCSR counts for nothing here. */
export const inUse = (cpu: Cpu): bigint => {
  const { x87 } = cpu
  const fpu = x87.fcw !== 0x37f || x87.fsw !== 0 || x87.ftw !== 0 || x87.regs.some(byte => byte !== 0)
  return (
    (fpu || x87.fop !== 0 || x87.fip !== 0n || x87.fdp !== 0n ? XCR0_X87 : 0n) |
    (anyOf(cpu, 0) ? XCR0_SSE : 0n) |
    (anyOf(cpu, 16) ? XCR0_AVX : 0n) |
    (cpu.pkru !== 0 ? XCR0_PKRU : 0n)
  )
}

/** #UD, #NM, and #GP(0) for an area off 64 bytes; RFBM, the components that EDX:EAX asks for and XCR0 allows. */
const enter = (cpu: Cpu, seg: Seg, offset: bigint, access: 'read' | 'write'): { linear: bigint; asked: bigint } => {
  if ((cpu.cr4 & CR4_OSXSAVE) === 0n) cpu.raise(VECTOR_UD)
  if ((cpu.cr0 & CR0_TS) !== 0n) cpu.raise(VECTOR_NM)
  const linear = linearOf(cpu, seg, offset, 1, access)
  if ((linear & 63n) !== 0n) cpu.raise(VECTOR_GP, 0)
  const mask = ((cpu.gpr[2]! & 0xffff_ffffn) << 32n) | (cpu.gpr[0]! & 0xffff_ffffn)
  return { linear, asked: mask & cpu.xcr0 }
}
const supervisor = (cpu: Cpu): void => {
  if ((cpu.cr4 & CR4_OSXSAVE) === 0n) cpu.raise(VECTOR_UD)
  if (cpu.cpl !== 0) cpu.raise(VECTOR_GP, 0)
}

/** The data of `components` into an area. */
const put = (cpu: Cpu, bytes: Uint8Array, components: bigint, { offsets }: Layout, wide: boolean): void => {
  if (has(components, XCR0_X87)) putX87(cpu, bytes, wide)
  if (has(components, XCR0_SSE)) putXmm(cpu, bytes)
  const avx = offsets.get(AVX)
  if (has(components, XCR0_AVX) && avx !== undefined)
    for (let n = 0; n < vectors(cpu); n++) bytes.set(cpu.vec.subarray(n * 32 + 16, n * 32 + 32), avx + n * 16)
  const pkru = offsets.get(PKRU)
  if (has(components, XCR0_PKRU) && pkru !== undefined)
    new DataView(bytes.buffer).setBigUint64(pkru, BigInt(cpu.pkru), true)
}

/** Standard format: what is not asked for keeps its bytes, and with `optimized` what is in its initial state. */
const saveStandard = (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean, optimized: boolean): void => {
  const { linear, asked } = enter(cpu, seg, offset, 'write')
  const where = layout(cpu, asked, false)
  cpu.settleWrite(linear, where.size)
  const bytes = Uint8Array.from(cpu.readBytes(linear, where.size))
  const view = new DataView(bytes.buffer)
  const used = inUse(cpu)
  put(cpu, bytes, optimized ? asked & used : asked, where, wide)
  if (has(asked, XCR0_SSE | XCR0_AVX)) putMxcsr(cpu, bytes)
  view.setBigUint64(HEADER, (view.getBigUint64(HEADER, true) & ~asked) | (used & asked), true)
  cpu.writeBytes(linear, bytes)
}
export const xsave = (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean): void =>
  saveStandard(cpu, seg, offset, wide, false)
/** XSAVEOPT. Not modelled: leaving out what has not changed since the last XRSTOR, which it may. */
export const xsaveopt = (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean): void =>
  saveStandard(cpu, seg, offset, wide, true)

/** XSAVEC: what is asked for, one after the other; of that, what is in use is written. */
export const xsavec = (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean): void => {
  const { linear, asked } = enter(cpu, seg, offset, 'write')
  const where = layout(cpu, asked, true)
  cpu.settleWrite(linear, where.size)
  const bytes = Uint8Array.from(cpu.readBytes(linear, where.size))
  const used = asked & (inUse(cpu) | (cpu.mxcsr === MXCSR_INIT ? 0n : XCR0_SSE))
  put(cpu, bytes, used, where, wide)
  if (has(used, XCR0_SSE)) putMxcsr(cpu, bytes)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(HEADER, used, true)
  view.setBigUint64(HEADER + 8, asked | COMPACTED, true)
  cpu.writeBytes(linear, bytes)
}
/** XSAVES: XSAVEC for the supervisor. */
export const xsaves = (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean): void => {
  supervisor(cpu)
  xsavec(cpu, seg, offset, wide)
}

/** What a header says; #GP(0) where it may not say so. */
const headerOf = (cpu: Cpu, linear: bigint): { present: bigint; format: bigint } => {
  const bytes = cpu.readBytes(linear + BigInt(HEADER), HEADER_SIZE)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const [present, format] = [view.getBigUint64(0, true), view.getBigUint64(8, true)]
  const compacted = (format & COMPACTED) !== 0n
  const known = compacted && cpu.features.has('XSAVEC') ? format & ~COMPACTED : cpu.xcr0
  const isWrong = compacted
    ? !cpu.features.has('XSAVEC') || (format & ~COMPACTED & ~cpu.xcr0) !== 0n || bytes.subarray(16).some(b => b !== 0)
    : format !== 0n || bytes.subarray(16, 24).some(b => b !== 0)
  if (isWrong || (present & ~known) !== 0n) cpu.raise(VECTOR_GP, 0)
  return { present, format }
}

/** XRSTOR: what the header does not have gets its initial configuration. */
export const xrstor = (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean): void => {
  const { linear, asked } = enter(cpu, seg, offset, 'read')
  const { present, format } = headerOf(cpu, linear)
  const given = asked & present
  const where = layout(cpu, format === 0n ? asked : format & ~COMPACTED, format !== 0n)
  const bytes = Uint8Array.from(cpu.readBytes(linear, where.size))
  // In the standard format MXCSR is there whatever the header says; compacted, it belongs to SSE.
  const isGiven = format === 0n ? has(asked, XCR0_SSE | XCR0_AVX) : has(given, XCR0_SSE)
  let { mxcsr } = cpu
  if (isGiven) mxcsr = mxcsrOf(cpu, bytes)
  else if (has(asked, XCR0_SSE)) mxcsr = MXCSR_INIT

  // Every check has passed: nothing below can fail.
  if (has(given, XCR0_X87)) takeX87(cpu, bytes, wide)
  else if (has(asked, XCR0_X87)) {
    init(cpu)
    cpu.x87.regs.fill(0)
  }
  cpu.mxcsr = mxcsr
  if (has(given, XCR0_SSE)) takeXmm(cpu, bytes)
  else if (has(asked, XCR0_SSE)) for (let n = 0; n < vectors(cpu); n++) cpu.vec.fill(0, n * 32, n * 32 + 16)
  const avx = where.offsets.get(AVX) ?? 0
  if (has(asked, XCR0_AVX))
    for (let n = 0; n < vectors(cpu); n++) {
      if (has(given, XCR0_AVX)) cpu.vec.set(bytes.subarray(avx + n * 16, avx + n * 16 + 16), n * 32 + 16)
      else cpu.vec.fill(0, n * 32 + 16, n * 32 + 32)
    }
  const pkru = where.offsets.get(PKRU) ?? 0
  if (has(asked, XCR0_PKRU)) cpu.pkru = has(given, XCR0_PKRU) ? new DataView(bytes.buffer).getUint32(pkru, true) : 0
}
/** XRSTORS: XRSTOR for the supervisor, of the compacted format only. */
export const xrstors = (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean): void => {
  supervisor(cpu)
  const { linear } = enter(cpu, seg, offset, 'read')
  if ((headerOf(cpu, linear).format & COMPACTED) === 0n) cpu.raise(VECTOR_GP, 0)
  xrstor(cpu, seg, offset, wide)
}
