/** A CPU's extended state as one XSAVE area in the standard format, for whoever saves and restores CPUs from outside. */
import { XCR0_AVX, XCR0_PKRU, XCR0_SSE, XCR0_X87 } from '#abi'
import type { Cpu } from './cpu.ts'
import { init, putMxcsr, putX87, takeX87 } from './x87env.ts'

const HEADER = 512
const EXTENDED = 576
const XMM = 160
const VECTORS = 16
const MXCSR = 24
const MXCSR_INIT = 0x1f80
const MXCSR_KNOWN = 0xffff
const COMPONENTS = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_PKRU
const has = (components: bigint, one: bigint): boolean => (components & one) !== 0n

const SIZE = { 2: 256, 9: 8 } as const

/** Where CPUID has a component in an area of `size`, 0 where there is none. A VMM may have given the CPU any CPUID. */
const offsetOf = (cpu: Cpu, component: 2 | 9, size: number): number => {
  const at = cpu.cpuid(0xd, component)[1] >>> 0
  return at >= EXTENDED && at + SIZE[component] <= size ? at : 0
}

/** The area, of 512 bytes (what FXSAVE64 gives) or of `size`: everything, whatever mode the CPU is in. */
export const saveArea = (cpu: Cpu, size: number): Uint8Array => {
  const bytes = new Uint8Array(size)
  const view = new DataView(bytes.buffer)
  putX87(cpu, bytes, true)
  putMxcsr(cpu, bytes)
  for (let n = 0; n < VECTORS; n++) bytes.set(cpu.vec.subarray(n * 32, n * 32 + 16), XMM + n * 16)
  if (size < EXTENDED) return bytes
  const avx = offsetOf(cpu, 2, size)
  const pkru = offsetOf(cpu, 9, size)
  let present = XCR0_X87 | XCR0_SSE
  if (avx !== 0) {
    present |= XCR0_AVX
    for (let n = 0; n < VECTORS; n++) bytes.set(cpu.vec.subarray(n * 32 + 16, n * 32 + 32), avx + n * 16)
  }
  if (pkru !== 0) {
    present |= XCR0_PKRU
    view.setUint32(pkru, cpu.pkru, true)
  }
  view.setBigUint64(HEADER, present, true)
  return bytes
}

/** Takes an area over: what its header does not have gets its initial configuration. False, with nothing changed, where it is no area. */
export const loadArea = (cpu: Cpu, bytes: Uint8Array): boolean => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const isExtended = bytes.length >= EXTENDED
  const present = isExtended ? view.getBigUint64(HEADER, true) : XCR0_X87 | XCR0_SSE
  const mxcsr = view.getUint32(MXCSR, true)
  if ((present & ~COMPONENTS) !== 0n || (has(present, XCR0_SSE) && (mxcsr & ~MXCSR_KNOWN) !== 0)) return false
  if (has(present, XCR0_X87)) takeX87(cpu, bytes, true)
  else {
    init(cpu)
    cpu.x87.regs.fill(0)
  }
  cpu.mxcsr = has(present, XCR0_SSE) ? mxcsr : MXCSR_INIT
  const avx = isExtended ? offsetOf(cpu, 2, bytes.length) : 0
  for (let n = 0; n < VECTORS; n++) {
    const at = n * 32
    if (has(present, XCR0_SSE)) cpu.vec.set(bytes.subarray(XMM + n * 16, XMM + n * 16 + 16), at)
    else cpu.vec.fill(0, at, at + 16)
    if (!isExtended) continue
    if (has(present, XCR0_AVX) && avx !== 0) cpu.vec.set(bytes.subarray(avx + n * 16, avx + n * 16 + 16), at + 16)
    else cpu.vec.fill(0, at + 16, at + 32)
  }
  const pkru = isExtended ? offsetOf(cpu, 9, bytes.length) : 0
  if (isExtended) cpu.pkru = has(present, XCR0_PKRU) && pkru !== 0 ? view.getUint32(pkru, true) : 0
  return true
}
