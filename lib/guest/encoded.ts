/**
 * Instructions by their shape: what differs in nothing but a displacement or an immediate is encoded once, and the constant
 * put where it belongs. A guest has thousands of instructions of a few hundred shapes.
 */
import { type EncodeOptions, encodeInto, type Operand as X86Operand } from '#x86'

/** Bytes of a shape, and where its constants go: -1 for none, or for one that is always the same. */
type Shape = {
  readonly bytes: Uint8Array
  readonly dispAt: number
  readonly dispSize: number
  readonly immAt: number
  readonly immSize: number
}

/** What a constant's encoding hangs on: two of the same class are written in the same bytes but for the lowest `size`. */
type Class = { readonly code: number; readonly size: number; readonly like: readonly [bigint, bigint] }
const like = (code: number, size: number, a: bigint, b: bigint): Class => ({ code, size, like: [a, b] })
const M = (1n << 64n) - 1n
const ZERO = like(0, 0, 0n, 0n)
const ONE = like(1, 0, 1n, 1n)
const LOW = like(2, 1, 2n, 3n)
const HIGH = like(3, 1, M - 1n, M - 2n)
const HIGH4 = like(4, 1, 0xffff_fffen, 0xffff_fffdn)
const WORD = like(5, 4, 0x1234_5678n, 0x2345_6789n)
const WORD4 = like(6, 4, 0x8765_4321n, 0x9876_5432n)
const NEGATIVE = like(7, 4, M - 0x1234_5678n, M - 0x2345_6789n)
const WIDE = like(8, 8, 0x1234_5678_9abc_def0n, 0x2345_6789_abcd_ef01n)

/** Of an immediate of an operation of 4 or 8 bytes, wrapped to them. */
const classOfImm = (value: bigint, size: number): Class => {
  if (value < 128n) return value === 1n ? ONE : value === 0n ? ZERO : LOW
  if (value < 0x8000_0000n) return WORD
  if (size === 4) return value >= 0xffff_ff80n ? HIGH4 : WORD4
  if (value >= M - 127n) return HIGH
  return value >= M - 0x7fff_ffffn ? NEGATIVE : WIDE
}

const D_LOW = like(2, 1, 2n, 3n)
const D_HIGH = like(3, 1, -2n, -3n)
const D_WORD = like(4, 4, 0x1234_5678n, 0x2345_6789n)

const classOfDisp = (value: bigint): Class | undefined => {
  if (value === 0n) return ZERO
  if (value >= -128n && value < 128n) return value > 0n ? D_LOW : D_HIGH
  return value >= -0x8000_0000n && value < 0x8000_0000n ? D_WORD : undefined
}

const LOG2 = { 0: 0, 1: 1, 2: 2, 4: 3, 8: 4 } as const
const log = (size: number): number => LOG2[size as keyof typeof LOG2] ?? 5

const put = (bytes: Uint8Array, at: number, value: bigint, size: number): void => {
  let low = Number(BigInt.asIntN(32, value))
  for (let n = 0; n < size; n++) {
    if (n === 4) low = Number(BigInt.asIntN(32, value >> 32n))
    bytes[at + n] = low >> ((n & 3) * 8)
  }
}

/** Encodes into a buffer, with what it has learned. */
export class Encoder {
  readonly #options: EncodeOptions
  readonly #known = new Map<string, Map<number, Shape>>()

  constructor(options: EncodeOptions) {
    this.#options = options
  }

  /** As `encodeInto` of the x86 room: the same bytes. */
  into(to: Uint8Array, at: number, mnemonic: string, operands: readonly X86Operand[]): number {
    let known = this.#known.get(mnemonic)
    if (known === undefined) {
      known = new Map()
      this.#known.set(mnemonic, known)
    }
    let key = operands.length
    let disp: bigint | undefined
    let imm: bigint | undefined
    let dispClass = ZERO
    let immClass = ZERO
    // The width of the operation: that of its first operand, of the stack for PUSH.
    let width = 8
    for (let n = 0; n < operands.length; n++) {
      const operand = operands[n]!
      if (operand.kind === 'reg') {
        if (operand.file !== 'gpr') return encodeInto(to, at, mnemonic, operands, this.#options)
        if (n === 0) width = operand.size
        key = key * 128 + operand.index * 8 + log(operand.size)
      } else if (operand.kind === 'mem') {
        const found = classOfDisp(operand.disp)
        const usual = operand.base === 4 || operand.base === 5 ? 2 : 3
        if (found === undefined || operand.ripRelative || operand.seg !== usual || operand.addressSize !== 8)
          return encodeInto(to, at, mnemonic, operands, this.#options)
        if (n === 0) width = operand.size
        disp = operand.disp
        dispClass = found
        const parts = (operand.base + 1) * 32 + operand.index + 1
        key = ((key * 1024 + parts) * 8 + log(operand.size)) * 32 + (log(operand.scale) - 1) * 8 + found.code
      } else if (operand.kind === 'imm' && operand.size === 0 && width >= 4) {
        imm = operand.value
        immClass = classOfImm(imm, width)
        key = key * 16 + immClass.code
      } else return encodeInto(to, at, mnemonic, operands, this.#options)
    }
    let shape = known.get(key)
    if (shape === undefined) {
      shape = this.#learn(mnemonic, operands, dispClass, immClass)
      known.set(key, shape)
    }
    const { bytes, dispAt, immAt } = shape
    for (let n = 0; n < bytes.length; n++) to[at + n] = bytes[n]!
    if (dispAt >= 0) put(to, at + dispAt, disp!, shape.dispSize)
    if (immAt >= 0) put(to, at + immAt, imm!, shape.immSize)
    return bytes.length
  }

  /** Two encodings with other constants of the same classes show where those are. */
  #learn(mnemonic: string, operands: readonly X86Operand[], dispClass: Class, immClass: Class): Shape {
    const encoded = (disp: 0 | 1, imm: 0 | 1): Uint8Array => {
      const bytes = new Uint8Array(16)
      const others = operands.map(o =>
        o.kind === 'mem'
          ? { ...o, disp: dispClass.like[disp] }
          : o.kind === 'imm'
            ? { ...o, value: immClass.like[imm] }
            : o,
      )
      return bytes.subarray(0, encodeInto(bytes, 0, mnemonic, others, this.#options))
    }
    const bytes = encoded(0, 0)
    const differs = (other: Uint8Array): number => bytes.findIndex((byte, n) => byte !== other[n])
    return {
      bytes,
      dispAt: dispClass.size === 0 ? -1 : differs(encoded(1, 0)),
      dispSize: dispClass.size,
      immAt: immClass.size === 0 ? -1 : differs(encoded(0, 1)),
      immSize: immClass.size,
    }
  }
}
