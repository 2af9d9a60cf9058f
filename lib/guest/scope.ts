/** One function while it is built: appends operations, folds constants and addresses on the way. */
import { mask, type Size } from '#bits'
import { quotientBy } from './divide.ts'
import {
  type Address,
  type Cc,
  eachDefinition,
  type Fn,
  type Label,
  type Op,
  type Operand,
  type Vreg,
  type Width,
} from './ir.ts'
import { placeOutside } from './site.ts'
import { type IntType, u64 } from './types.ts'

/** Width a type is computed in. */
export const widthOf = (type: IntType): Width => (type.size === 8 ? 8 : 4)

/**
 * How a value of `type` lies in a 64-bit register: unsigned zero-extended; signed sign-extended to 4 bytes, the upper
 * half zero; 8 bytes as they are.
 */
export const canonical = (type: IntType, value: bigint): bigint => {
  if (type.size === 8) return BigInt.asUintN(64, value)
  if (type.signed) return BigInt.asUintN(32, BigInt.asIntN(type.size * 8, value))
  return BigInt.asUintN(type.size * 8, value)
}

/** The number that a canonical register content stands for. */
export const numberOf = (type: IntType, content: bigint): bigint =>
  type.signed ? BigInt.asIntN(type.size * 8, content) : content

export type BinaryName = 'add' | 'sub' | 'and' | 'or' | 'xor' | 'mul' | 'shl' | 'shr' | 'div' | 'mod'

/** What `name` gives on numbers of `type`; undefined where the processor raises #DE. Shift counts wrap as x86's do. */
export const evaluate = (name: BinaryName, type: IntType, a: bigint, b: bigint): bigint | undefined => {
  const count = b & BigInt(widthOf(type) * 8 - 1)
  switch (name) {
    case 'add':
      return a + b
    case 'sub':
      return a - b
    case 'and':
      return a & b
    case 'or':
      return a | b
    case 'xor':
      return a ^ b
    case 'mul':
      return a * b
    case 'shl':
      return a << count
    case 'shr':
      return a >> count
    case 'div':
    case 'mod': {
      const lowest = -(1n << BigInt(widthOf(type) * 8 - 1))
      if (b === 0n || (type.signed && a === lowest && b === -1n)) return undefined
      return name === 'div' ? a / b : a % b
    }
  }
}

export const CC_SIGNED = { eq: 'E', ne: 'NE', lt: 'L', le: 'LE', gt: 'G', ge: 'GE' } as const
export const CC_UNSIGNED = { eq: 'E', ne: 'NE', lt: 'B', le: 'BE', gt: 'A', ge: 'AE' } as const

/** log2 of a power of two, or -1. */
const log2 = (value: bigint): number =>
  value > 0n && (value & (value - 1n)) === 0n ? value.toString(2).length - 1 : -1

const isDisp = (value: bigint): boolean => value >= -0x8000_0000n && value < 0x8000_0000n

export class Scope {
  readonly fn: Fn
  readonly result: IntType | undefined
  /** Innermost last. */
  readonly loops: { readonly next: Label; readonly leave: Label }[] = []
  /** Changes where control may come in from elsewhere. */
  #block = 0
  readonly #definition: (Op | undefined)[] = []
  readonly #definedIn: number[] = []
  /** Position of the last write. */
  readonly #writtenAt: number[] = []

  constructor(name: string, entry: boolean, result: IntType | undefined, isPlaced = false) {
    this.fn = { name, ops: [], vregs: 0, labels: 0, entry, ...(isPlaced ? { places: new Map() } : {}) }
    this.result = result
  }

  vreg(): Vreg {
    return this.fn.vregs++
  }

  emit(op: Op): void {
    const at = this.fn.ops.length
    this.fn.ops.push(op)
    this.fn.places?.set(op, placeOutside())
    if (op.op === 'label') this.#block++
    else
      eachDefinition(op, v => {
        this.#definition[v] = this.#definition[v] === undefined && this.#writtenAt[v] === undefined ? op : undefined
        this.#definedIn[v] = this.#block
        this.#writtenAt[v] = at
      })
  }

  label(): Label {
    return this.fn.labels++
  }

  /** The operation that made the temporary `v`, where doing it again here would give the same. */
  #definitionOf(v: Operand): Op | undefined {
    if (typeof v === 'bigint') return undefined
    const op = this.#definition[v]
    if (op === undefined || this.#definedIn[v] !== this.#block) return undefined
    const at = this.#writtenAt[v]!
    const isFresh = (operand: Operand): boolean => typeof operand === 'bigint' || (this.#writtenAt[operand] ?? -1) < at
    if (op.op === 'binary' || op.op === 'shift' || op.op === 'set')
      return isFresh(op.a) && isFresh(op.b) ? op : undefined
    return undefined
  }

  // Values.

  /** A variable's own register, with `a` in it. */
  variable(a: Operand): Vreg {
    const dst = this.vreg()
    this.emit({ op: 'move', dst, a })
    return dst
  }

  binary(name: BinaryName, type: IntType, a: Operand, b: Operand): Operand {
    if (typeof a === 'bigint' && typeof b === 'bigint') {
      const value = evaluate(name, type, numberOf(type, a), numberOf(type, b))
      if (value !== undefined) return canonical(type, value)
    }
    const size = widthOf(type)
    const dst = this.vreg()
    if (typeof b === 'bigint') {
      const power = log2(b)
      if (name === 'mul' && power > 0) return this.binary('shl', type, a, BigInt(power))
      if (name === 'div' && power > 0 && !type.signed) return this.binary('shr', type, a, BigInt(power))
      if (name === 'mod' && power >= 0 && !type.signed) return this.binary('and', type, a, b - 1n)
      if (b === 0n && (name === 'add' || name === 'sub' || name === 'or' || name === 'xor' || name === 'shl')) return a
      if ((name === 'div' || name === 'mod') && typeof a === 'number') {
        const quotient = quotientBy(this, type, a, numberOf(type, b))
        if (quotient !== undefined)
          return name === 'div' ? quotient : this.binary('sub', type, a, this.binary('mul', type, quotient, b))
      }
      // The lower half has an instruction; as an immediate the mask would need a register.
      if (name === 'and' && size === 8 && b === 0xffff_ffffn && typeof a === 'number')
        return this.#extend(a, 4, false, 4)
      if (b === 1n && (name === 'mul' || (name === 'div' && !type.signed))) return a
    }
    switch (name) {
      case 'shl':
        this.emit({ op: 'shift', name, size, dst, a, b })
        return this.#normal(type, dst)
      case 'shr':
        this.emit({ op: 'shift', name: type.signed ? 'sar' : 'shr', size, dst, a, b })
        return dst
      case 'div':
      case 'mod':
        this.emit({ op: 'divide', name, signed: type.signed, size, dst, a, b })
        return type.signed && name === 'div' ? this.#normal(type, dst) : dst
      case 'and':
      case 'or':
      case 'xor':
        this.emit({ op: 'binary', name, size, dst, a, b })
        return dst
      case 'add':
      case 'sub':
      case 'mul':
        this.emit({ op: 'binary', name, size, dst, a, b })
        return this.#normal(type, dst)
    }
  }

  unary(name: 'neg' | 'not', type: IntType, a: Operand): Operand {
    if (typeof a === 'bigint') return canonical(type, name === 'neg' ? -a : ~a)
    const dst = this.vreg()
    this.emit({ op: 'unary', name, size: widthOf(type), dst, a })
    return this.#normal(type, dst)
  }

  /** Brings the result of an operation on a type narrower than 4 bytes back into its range. */
  #normal(type: IntType, a: Vreg): Vreg {
    if (type.size >= 4) return a
    const dst = this.vreg()
    this.emit({ op: 'extend', from: type.size as 1 | 2, signed: type.signed, size: 4, dst, a })
    return dst
  }

  /** `a` of type `from` as type `to`, as a C cast does it. */
  convert(a: Operand, from: IntType, to: IntType): Operand {
    if (typeof a === 'bigint') return canonical(to, numberOf(from, a))
    const widensSigned = from.signed && from.size < 8 && to.size === 8
    if (widensSigned) return this.#extend(a, 4, true, 8)
    if (to.size >= 4) {
      const narrows = to.size === 4 && from.size === 8
      return narrows ? this.#extend(a, 4, false, 4) : a
    }
    const fits =
      from.size < to.size
        ? from.signed === to.signed || !from.signed
        : from.size === to.size && from.signed === to.signed
    return fits ? a : this.#extend(a, to.size as 1 | 2, to.signed, 4)
  }
  #extend(a: Vreg, from: 1 | 2 | 4, signed: boolean, size: Width): Vreg {
    const dst = this.vreg()
    this.emit({ op: 'extend', from, signed, size, dst, a })
    return dst
  }

  set(cc: Cc, size: Width, a: Operand, b: Operand): Vreg {
    const dst = this.vreg()
    this.emit({ op: 'set', cc, size, dst, a, b })
    return dst
  }

  // Control.

  /** Goes to `label` where the truth value `condition` is not (or is) 0; a comparison made just before is used itself. */
  branch(condition: Operand, holds: boolean, label: Label, not: Readonly<Record<Cc, Cc>>): void {
    const made = this.#definitionOf(condition)
    if (made?.op === 'set') {
      this.emit({ op: 'branch', cc: holds ? made.cc : not[made.cc], size: made.size, a: made.a, b: made.b, label })
    } else if (typeof condition === 'bigint') {
      if ((condition !== 0n) === holds) this.emit({ op: 'jump', label })
    } else this.emit({ op: 'branch', cc: holds ? 'NE' : 'E', size: 8, a: condition, b: 0n, label })
  }

  // Memory.

  /** An addressing mode for `a + disp`: sums and small shifts that were just made become part of it. */
  address(a: Operand, disp = 0n): Address {
    if (typeof a === 'bigint') {
      const sum = BigInt.asUintN(64, a + disp)
      const near = BigInt.asIntN(64, sum)
      if (isDisp(near)) return { base: -1, index: -1, scale: 1, disp: near }
      return { base: this.variable(sum), index: -1, scale: 1, disp: 0n }
    }
    let base: Vreg = a
    let offset = disp
    for (;;) {
      const made = this.#definitionOf(base)
      if (made?.op !== 'binary' || made.size !== 8 || typeof made.a !== 'number') break
      if (typeof made.b === 'number') {
        if (made.name !== 'add') break
        const { index, scale } = this.#scaled(made.b)
        return { base: made.a, index, scale, disp: offset }
      }
      const constant = BigInt.asIntN(64, made.b)
      const next = made.name === 'add' ? offset + constant : offset - constant
      if ((made.name !== 'add' && made.name !== 'sub') || !isDisp(next)) break
      offset = next
      base = made.a
    }
    const { index, scale } = this.#scaled(base)
    if (scale !== 1) return { base: -1, index, scale, disp: offset }
    return { base, index: -1, scale: 1, disp: offset }
  }
  #scaled(v: Vreg): { index: Vreg; scale: 1 | 2 | 4 | 8 } {
    const made = this.#definitionOf(v)
    if (made?.op === 'shift' && made.name === 'shl' && made.size === 8 && typeof made.a === 'number') {
      if (made.b === 1n) return { index: made.a, scale: 2 }
      if (made.b === 2n) return { index: made.a, scale: 4 }
      if (made.b === 3n) return { index: made.a, scale: 8 }
    }
    return { index: v, scale: 1 }
  }

  load(type: IntType, address: Address): Vreg {
    const dst = this.vreg()
    this.emit({ op: 'load', dst, size: type.size, signed: type.signed, address })
    return dst
  }

  store(size: Size, address: Address, a: Operand): void {
    this.emit({ op: 'store', size, address, a: typeof a === 'bigint' ? a & mask(size) : a })
  }
}

/** Type of addresses, counts and registers. */
export const WORD = u64
