/** Vector values as plain bigints: in and out of bytes, and what the lane operations make of them. */
import { CR4_OSXMMEXCPT, VECTOR_UD, VECTOR_XM } from '#abi'
import type { Cpu } from './cpu.ts'
import { Lanes, type PackedName, packed } from './packed.ts'
import { fusedFloat, packedFloat } from './packedfloat.ts'
import { type Control, DENORMAL, DIVIDE, INVALID, type Rounding } from './softfloat.ts'

const [left, right, third, scratch] = [new Lanes(), new Lanes(), new Lanes(), new Lanes()]
const control: Control = {
  rounding: 0,
  masks: 0,
  flushToZero: false,
  denormalsAreZero: false,
  precision: 0,
  raised: 0,
  roundedUp: false,
}
const BEFORE = INVALID | DENORMAL | DIVIDE

/** A vector value into lanes, and the low `size` bytes (8, 16, 32) of lanes as a value. */
const put = (lanes: Lanes, value: bigint): void => {
  const { u64 } = lanes
  u64[0] = value
  u64[1] = value >> 64n
  u64[2] = value >> 128n
  u64[3] = value >> 192n
}
const take = ({ u64 }: Lanes, size: number): bigint => {
  if (size === 8) return u64[0]!
  const low = u64[0]! | (u64[1]! << 64n)
  return size === 16 ? low : low | (u64[2]! << 128n) | (u64[3]! << 192n)
}

/** `size` bytes (8, 16, 32) as one value, and back. */
export const gather = (from: Uint8Array, at: number, size: number): bigint => {
  for (let n = 0; n < size; n++) scratch.u8[n] = from[at + n]!
  return take(scratch, size)
}
export const scatter = (to: Uint8Array, at: number, size: number, value: bigint): void => {
  put(scratch, value)
  for (let n = 0; n < size; n++) to[at + n] = scratch.u8[n]!
}

/** Memory operands of more than 8 bytes. */
export const readWide = (cpu: Cpu, linear: bigint, size: number): bigint => {
  const bytes = cpu.readBytes(linear, size)
  scratch.u8.fill(0)
  scratch.u8.set(bytes)
  return take(scratch, 32)
}
export const writeWide = (cpu: Cpu, linear: bigint, size: number, value: bigint): void => {
  put(scratch, value)
  cpu.writeBytes(linear, scratch.u8.slice(0, size))
}

/** See `Tier.packed` and `Tier.float`. */
export const packedValue = (name: PackedName, bytes: number, a: bigint, b: bigint, imm: number): bigint => {
  put(left, a)
  put(right, b)
  scratch.u8.fill(0)
  packed[name](scratch, left, right, imm, bytes)
  return take(scratch, bytes)
}
export const floatValue = (
  cpu: Cpu,
  name: string,
  bytes: number,
  a: bigint,
  b: bigint,
  imm: number,
  addend: bigint,
): bigint => {
  const { mxcsr } = cpu
  const masks = (mxcsr >> 7) & 0x3f
  control.rounding = ((mxcsr >> 13) & 3) as Rounding
  control.masks = masks
  control.flushToZero = (mxcsr & 0x8000) !== 0
  control.denormalsAreZero = (mxcsr & 0x40) !== 0
  control.raised = 0
  put(left, a)
  put(right, b)
  scratch.u8.fill(0)
  put(third, addend)
  const operation = packedFloat[name] ?? fusedFloat[name]
  operation!(scratch, left, right, imm, bytes, control, third)
  const { raised } = control
  if (raised !== 0) {
    // Exceptions found before anything is computed hide those found after. SDM Vol. 1, "SIMD Floating-Point Exceptions".
    const before = raised & BEFORE
    cpu.mxcsr = mxcsr | ((before & ~masks) === 0 ? raised : before)
    if ((raised & ~masks) !== 0) cpu.raise((cpu.cr4 & CR4_OSXMMEXCPT) !== 0n ? VECTOR_XM : VECTOR_UD)
  }
  return take(scratch, bytes <= 16 ? 16 : 32)
}
