/** XSAVE and XRSTOR, standard format. SDM Vol. 1, "Managing State Using the XSAVE Feature Set". */
import { CR0_TS, CR4_OSXSAVE, VECTOR_GP, VECTOR_NM, VECTOR_UD, XCR0_AVX, XCR0_PKRU, XCR0_SSE, XCR0_X87 } from '#abi'
import type { Cpu } from './cpu.ts'
import type { Seg } from './insn.ts'
import { init, mxcsrOf, putMxcsr, putX87, putXmm, takeX87, takeXmm, vectors } from './x87env.ts'

const HEADER = 512
const HEADER_SIZE = 64
const AVX = 576
const MXCSR_INIT = 0x1f80
/** The components there are, for XCR0: x87, SSE, AVX and PKRU. */
const COMPONENTS = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_PKRU

/** Where CPUID says that PKRU is, and the end of what the components need. */
const pkruAt = (cpu: Cpu): number => cpu.cpuid(0xd, 9)[1]
const sizeOf = (cpu: Cpu, components: bigint): number => {
  if ((components & XCR0_PKRU) !== 0n) return pkruAt(cpu) + 8
  return (components & XCR0_AVX) !== 0n ? AVX + 256 : HEADER + HEADER_SIZE
}

const enter = (cpu: Cpu, seg: Seg, offset: bigint, access: 'read' | 'write'): { linear: bigint; asked: bigint } => {
  if ((cpu.cr4 & CR4_OSXSAVE) === 0n) cpu.raise(VECTOR_UD)
  if ((cpu.cr0 & CR0_TS) !== 0n) cpu.raise(VECTOR_NM)
  const linear = cpu.linear(seg, offset, 1, access)
  if ((linear & 63n) !== 0n) cpu.raise(VECTOR_GP, 0)
  const mask = ((cpu.gpr[2]! & 0xffff_ffffn) << 32n) | (cpu.gpr[0]! & 0xffff_ffffn)
  return { linear, asked: mask & cpu.xcr0 & COMPONENTS }
}
const has = (components: bigint, one: bigint): boolean => (components & one) !== 0n
/** Some byte of these parts of the vector registers is not zero. */
const anyOf = (cpu: Cpu, half: 0 | 16): boolean => {
  for (let n = 0; n < vectors(cpu); n++)
    if (cpu.vec.subarray(n * 32 + half, n * 32 + half + 16).some(byte => byte !== 0)) return true
  return false
}
/** XINUSE: what is not in its initial configuration. */
const inUse = (cpu: Cpu): bigint => {
  const { x87 } = cpu
  const fpu = x87.fcw !== 0x37f || x87.fsw !== 0 || x87.ftw !== 0 || x87.regs.some(byte => byte !== 0)
  return (
    (fpu ? XCR0_X87 : 0n) |
    (cpu.mxcsr !== MXCSR_INIT || anyOf(cpu, 0) ? XCR0_SSE : 0n) |
    (anyOf(cpu, 16) ? XCR0_AVX : 0n) |
    (cpu.pkru !== 0 ? XCR0_PKRU : 0n)
  )
}

/** XSAVE: the components that EDX:EAX asks for and XCR0 allows; the others keep their bytes. */
export const xsave = (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean): void => {
  const { linear, asked } = enter(cpu, seg, offset, 'write')
  const size = sizeOf(cpu, asked)
  cpu.settleWrite(linear, size)
  const bytes = Uint8Array.from(cpu.readBytes(linear, size))
  const view = new DataView(bytes.buffer)
  if (has(asked, XCR0_X87)) putX87(cpu, bytes, wide)
  if (has(asked, XCR0_SSE | XCR0_AVX)) putMxcsr(cpu, bytes)
  if (has(asked, XCR0_SSE)) putXmm(cpu, bytes)
  if (has(asked, XCR0_AVX))
    for (let n = 0; n < vectors(cpu); n++) bytes.set(cpu.vec.subarray(n * 32 + 16, n * 32 + 32), AVX + n * 16)
  if (has(asked, XCR0_PKRU)) view.setBigUint64(pkruAt(cpu), BigInt(cpu.pkru), true)
  view.setBigUint64(HEADER, (view.getBigUint64(HEADER, true) & ~asked) | (inUse(cpu) & asked), true)
  cpu.writeBytes(linear, bytes)
}

/** XRSTOR: what the header does not have gets its initial configuration. #GP(0) for a header that is not standard. */
export const xrstor = (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean): void => {
  const { linear, asked } = enter(cpu, seg, offset, 'read')
  const header = cpu.readBytes(linear + BigInt(HEADER), HEADER_SIZE)
  const present = new DataView(header.buffer, header.byteOffset).getBigUint64(0, true)
  if ((present & ~cpu.xcr0) !== 0n || header.subarray(8, 24).some(byte => byte !== 0)) cpu.raise(VECTOR_GP, 0)
  const bytes = Uint8Array.from(cpu.readBytes(linear, sizeOf(cpu, asked)))
  const mxcsr = has(asked, XCR0_SSE | XCR0_AVX) ? mxcsrOf(cpu, bytes) : cpu.mxcsr
  const given = asked & present

  // Every check has passed: nothing below can fail.
  if (has(given, XCR0_X87)) takeX87(cpu, bytes, wide)
  else if (has(asked, XCR0_X87)) {
    init(cpu)
    cpu.x87.regs.fill(0)
  }
  cpu.mxcsr = mxcsr
  if (has(given, XCR0_SSE)) takeXmm(cpu, bytes)
  else if (has(asked, XCR0_SSE)) for (let n = 0; n < vectors(cpu); n++) cpu.vec.fill(0, n * 32, n * 32 + 16)
  if (has(asked, XCR0_AVX))
    for (let n = 0; n < vectors(cpu); n++) {
      if (has(given, XCR0_AVX)) cpu.vec.set(bytes.subarray(AVX + n * 16, AVX + n * 16 + 16), n * 32 + 16)
      else cpu.vec.fill(0, n * 32 + 16, n * 32 + 32)
    }
  if (has(asked, XCR0_PKRU))
    cpu.pkru = has(given, XCR0_PKRU) ? new DataView(bytes.buffer).getUint32(pkruAt(cpu), true) : 0
}
