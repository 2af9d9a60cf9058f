/** Images of the x87 state in memory: FSTENV, FSAVE, FXSAVE and back. SDM Vol. 1, "x87 FPU State" and Vol. 2A, "FXSAVE". */

import { CR0_EM, CR0_PE, CR0_TS, VECTOR_GP, VECTOR_NM } from '#abi'
import type { Cpu } from './cpu.ts'
import type { Seg } from './insn.ts'
import { linearOf } from './linear.ts'
import { EXTENDED, unpack } from './softfloat.ts'
import { bitsOf, pending, physical } from './x87.ts'

/** FNINIT. */
export const init = (cpu: Cpu): void => {
  const { x87 } = cpu
  x87.fcw = 0x37f
  x87.fsw = 0
  x87.ftw = 0
  x87.fop = 0
  x87.fip = 0n
  x87.fdp = 0n
  x87.fcs = 0
  x87.fds = 0
}
/** FNCLEX. */
export const clear = (cpu: Cpu): void => {
  cpu.x87.fsw &= 0x7f00
}
/** FLDCW: what was masked may be pending now. */
export const loadControl = (cpu: Cpu, value: number): void => {
  // Bit 6 reads as one, the reserved bits as zero.
  cpu.x87.fcw = (value & 0x1f3f) | 0x40
  pending(cpu)
}

/** Two bits per physical register: valid, zero, special, empty. */
const fullTag = (cpu: Cpu): number => {
  const { x87 } = cpu
  const top = (x87.fsw >> 11) & 7
  let tag = 0
  for (let r = 0; r < 8; r++) {
    const bits = bitsOf(cpu, (r - top) & 7)
    const v = unpack(EXTENDED, bits)
    const kind = (x87.ftw & (1 << r)) === 0 ? 3 : v.kind === 'zero' ? 1 : v.kind === 'finite' && !v.denormal ? 0 : 2
    tag |= kind << (2 * r)
  }
  return tag
}
const setFullTag = (cpu: Cpu, tag: number): void => {
  let valid = 0
  for (let r = 0; r < 8; r++) if (((tag >> (2 * r)) & 3) !== 3) valid |= 1 << r
  cpu.x87.ftw = valid
}

/** Real mode has linear addresses in the environment, in pieces. SDM Vol. 1, "Real Mode x87 FPU State Image in Memory". */
const hasLinear = (cpu: Cpu): boolean => (cpu.cr0 & CR0_PE) === 0n
const realLinear = (selector: number, offset: bigint): number => Number((BigInt(selector << 4) + offset) & 0xffff_ffffn)

/** The environment in 14 or 28 bytes. */
const environment = (cpu: Cpu, into: DataView, size: 2 | 4): void => {
  const { x87 } = cpu
  const put = (n: number, value: number, high = 0xffff) => {
    into.setUint16(n * size, value & 0xffff, true)
    if (size === 4) into.setUint16(n * 4 + 2, high, true)
  }
  put(0, x87.fcw)
  put(1, x87.fsw)
  put(2, fullTag(cpu))
  if (hasLinear(cpu)) {
    const pointer = (n: number, linear: number, opcode: number) => {
      put(n, linear & 0xffff)
      put(n + 1, ((linear >>> 16) << 12) | opcode, linear >>> 20)
    }
    pointer(3, realLinear(x87.fcs, x87.fip), x87.fop)
    pointer(5, realLinear(x87.fds, x87.fdp), 0)
    return
  }
  put(3, Number(x87.fip & 0xffffn), Number((x87.fip >> 16n) & 0xffffn))
  put(4, x87.fcs, x87.fop)
  put(5, Number(x87.fdp & 0xffffn), Number((x87.fdp >> 16n) & 0xffffn))
  put(6, x87.fds)
}
const setEnvironment = (cpu: Cpu, from: DataView, size: 2 | 4): void => {
  const { x87 } = cpu
  const word = (n: number, high = 0) => from.getUint16(n * size + high, true)
  const long = (n: number) => BigInt(word(n)) | (size === 4 ? BigInt(word(n, 2)) << 16n : 0n)
  x87.fsw = word(1)
  setFullTag(cpu, word(2))
  if (hasLinear(cpu)) {
    const linear = (n: number) => BigInt(word(n)) | (((long(n + 1) >> 12n) & 0xffffn) << 16n)
    Object.assign(x87, { fip: linear(3), fcs: 0, fop: word(4) & 0x7ff, fdp: linear(5), fds: 0 })
  } else {
    x87.fip = long(3)
    x87.fcs = word(4)
    x87.fop = size === 4 ? word(4, 2) & 0x7ff : 0
    x87.fdp = long(5)
    x87.fds = word(6)
  }
  loadControl(cpu, word(0))
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
const regsAt = (size: 2 | 4): number => 7 * size

/** FNSTENV, and with `registers` FNSAVE. */
export const store = (cpu: Cpu, seg: Seg, offset: bigint, size: 2 | 4, registers: boolean): void => {
  const bytes = new Uint8Array(regsAt(size) + (registers ? 80 : 0))
  environment(cpu, viewOf(bytes), size)
  if (registers)
    for (let i = 0; i < 8; i++) {
      const at = physical(cpu, i) * 10
      bytes.set(cpu.x87.regs.subarray(at, at + 10), regsAt(size) + i * 10)
    }
  cpu.writeBytes(linearOf(cpu, seg, offset, bytes.length, 'write'), bytes)
  if (registers) init(cpu)
  else {
    cpu.x87.fcw |= 0x3f
    pending(cpu)
  }
}
/** FLDENV and FRSTOR. */
export const load = (cpu: Cpu, seg: Seg, offset: bigint, size: 2 | 4, registers: boolean): void => {
  const length = regsAt(size) + (registers ? 80 : 0)
  const bytes = cpu.readBytes(linearOf(cpu, seg, offset, length, 'read'), length)
  setEnvironment(cpu, viewOf(bytes), size)
  if (registers) loadRegisters(cpu, bytes, regsAt(size), 10)
}
const loadRegisters = (cpu: Cpu, bytes: Uint8Array, from: number, stride: number): void => {
  for (let i = 0; i < 8; i++)
    cpu.x87.regs.set(bytes.subarray(from + i * stride, from + i * stride + 10), physical(cpu, i) * 10)
}

const MXCSR_MASK = 0xffff
const FX_SIZE = 512
const fxReady = (cpu: Cpu, linear: bigint): void => {
  if ((cpu.cr0 & (CR0_EM | CR0_TS)) !== 0n) cpu.raise(VECTOR_NM)
  if ((linear & 15n) !== 0n) cpu.raise(VECTOR_GP, 0)
}
export const vectors = (cpu: Cpu): number => (cpu.mode === 64 ? 16 : 8)

/** The x87 part of an FXSAVE or XSAVE image. */
export const putX87 = (cpu: Cpu, bytes: Uint8Array, wide: boolean): void => {
  const view = viewOf(bytes)
  const { x87 } = cpu
  view.setUint16(0, x87.fcw, true)
  view.setUint16(2, x87.fsw, true)
  view.setUint16(4, x87.ftw, true)
  view.setUint16(6, x87.fop, true)
  view.setBigUint64(8, wide ? x87.fip : (x87.fip & 0xffff_ffffn) | (BigInt(x87.fcs) << 32n), true)
  view.setBigUint64(16, wide ? x87.fdp : (x87.fdp & 0xffff_ffffn) | (BigInt(x87.fds) << 32n), true)
  for (let i = 0; i < 8; i++) {
    bytes.fill(0, 32 + i * 16, 48 + i * 16)
    const at = physical(cpu, i) * 10
    bytes.set(x87.regs.subarray(at, at + 10), 32 + i * 16)
  }
}
export const putMxcsr = (cpu: Cpu, bytes: Uint8Array): void => {
  viewOf(bytes).setUint32(24, cpu.mxcsr, true)
  viewOf(bytes).setUint32(28, MXCSR_MASK, true)
}
export const putXmm = (cpu: Cpu, bytes: Uint8Array): void => {
  for (let n = 0; n < vectors(cpu); n++) bytes.set(cpu.vec.subarray(n * 32, n * 32 + 16), 160 + n * 16)
}

/** MXCSR of an image; #GP(0) for reserved bits. */
export const mxcsrOf = (cpu: Cpu, bytes: Uint8Array): number => {
  const mxcsr = viewOf(bytes).getUint32(24, true)
  if ((mxcsr & ~MXCSR_MASK) !== 0) cpu.raise(VECTOR_GP, 0)
  return mxcsr
}
export const takeX87 = (cpu: Cpu, bytes: Uint8Array, wide: boolean): void => {
  const view = viewOf(bytes)
  const { x87 } = cpu
  const word = (at: number) => view.getUint16(at, true)
  x87.fsw = word(2)
  x87.ftw = word(4) & 0xff
  x87.fop = word(6) & 0x7ff
  x87.fip = wide ? view.getBigUint64(8, true) : BigInt(view.getUint32(8, true))
  x87.fcs = wide ? 0 : word(12)
  x87.fdp = wide ? view.getBigUint64(16, true) : BigInt(view.getUint32(16, true))
  x87.fds = wide ? 0 : word(20)
  loadControl(cpu, word(0))
  loadRegisters(cpu, bytes, 32, 16)
}
export const takeXmm = (cpu: Cpu, bytes: Uint8Array): void => {
  for (let n = 0; n < vectors(cpu); n++) cpu.vec.set(bytes.subarray(160 + n * 16, 176 + n * 16), n * 32)
}

/** FXSAVE, and with `wide` FXSAVE64. What the instruction leaves alone keeps its bytes. */
export const fxsave = (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean): void => {
  const linear = linearOf(cpu, seg, offset, 1, 'write')
  fxReady(cpu, linear)
  cpu.settleWrite(linear, FX_SIZE)
  const bytes = Uint8Array.from(cpu.readBytes(linear, FX_SIZE))
  putX87(cpu, bytes, wide)
  putMxcsr(cpu, bytes)
  putXmm(cpu, bytes)
  cpu.writeBytes(linear, bytes)
}

/** FXRSTOR: everything is checked before anything changes. */
export const fxrstor = (cpu: Cpu, seg: Seg, offset: bigint, wide: boolean): void => {
  const linear = linearOf(cpu, seg, offset, 1, 'read')
  fxReady(cpu, linear)
  const bytes = cpu.readBytes(linear, FX_SIZE)
  const mxcsr = mxcsrOf(cpu, bytes)
  takeX87(cpu, bytes, wide)
  cpu.mxcsr = mxcsr
  takeXmm(cpu, bytes)
}
