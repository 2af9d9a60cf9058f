/** What the builder's calls append to: straight operations on virtual registers, with structured control. */
import type { Size } from '#bits'
import type { Place } from './site.ts'

/** A virtual register: assigned once (a temporary) or often (a variable). */
export type Vreg = number
/** A virtual register (number) or a constant (bigint, wrapped to 64 bits). */
export type Operand = Vreg | bigint

/** `base + index * scale + disp`; -1 for no register. `disp` fits in 32 bits, signed. */
export type Address = {
  readonly base: Vreg
  readonly index: Vreg
  readonly scale: 1 | 2 | 4 | 8
  readonly disp: bigint
}

/** Condition codes by the names Jcc and SETcc have. */
export type Cc = 'E' | 'NE' | 'B' | 'AE' | 'BE' | 'A' | 'L' | 'GE' | 'LE' | 'G'
export const NOT: Readonly<Record<Cc, Cc>> = {
  E: 'NE',
  NE: 'E',
  B: 'AE',
  AE: 'B',
  BE: 'A',
  A: 'BE',
  L: 'GE',
  GE: 'L',
  LE: 'G',
  G: 'LE',
}
/** The code that holds for (b, a) where the key holds for (a, b). */
export const SWAPPED: Readonly<Record<Cc, Cc>> = {
  E: 'E',
  NE: 'NE',
  B: 'A',
  AE: 'BE',
  BE: 'AE',
  A: 'B',
  L: 'G',
  GE: 'LE',
  LE: 'GE',
  G: 'L',
}

/** Width an operation is carried out in; narrower types are kept extended to 4 bytes. */
export type Width = 4 | 8
export type Label = number

/** An operation with operands in registers of its own choosing: an asm block, TDCALL, CPUID, I/O. */
export type Fixed = {
  readonly op: 'fixed'
  readonly code: FixedCode
  /** [GPR number, operand] */
  readonly ins: readonly (readonly [number, Operand])[]
  readonly outs: readonly (readonly [number, Vreg])[]
  /** Bit n: GPR n does not keep its value. Includes `outs`. */
  readonly clobbers: number
}
/** Bytes, or text for the assembler at the place where it ends up. */
export type FixedCode = { readonly bytes: Uint8Array } | { readonly text: string }

export type Op =
  | { readonly op: 'move'; dst: Vreg; readonly a: Operand }
  | {
      readonly op: 'binary'
      readonly name: 'add' | 'sub' | 'and' | 'or' | 'xor' | 'mul'
      readonly size: Width
      dst: Vreg
      readonly a: Operand
      readonly b: Operand
    }
  | {
      readonly op: 'shift'
      readonly name: 'shl' | 'shr' | 'sar'
      readonly size: Width
      dst: Vreg
      readonly a: Operand
      readonly b: Operand
    }
  | {
      readonly op: 'divide'
      readonly name: 'div' | 'mod'
      readonly signed: boolean
      readonly size: Width
      dst: Vreg
      readonly a: Operand
      readonly b: Operand
    }
  | { readonly op: 'unary'; readonly name: 'neg' | 'not'; readonly size: Width; dst: Vreg; readonly a: Operand }
  /** The low `from` bytes of `a`, zero- or sign-extended to `size`. */
  | {
      readonly op: 'extend'
      readonly from: 1 | 2 | 4
      readonly signed: boolean
      readonly size: Width
      dst: Vreg
      readonly a: Operand
    }
  | { readonly op: 'set'; readonly cc: Cc; readonly size: Width; dst: Vreg; readonly a: Operand; readonly b: Operand }
  | {
      readonly op: 'branch'
      readonly cc: Cc
      readonly size: Width
      readonly a: Operand
      readonly b: Operand
      readonly label: Label
    }
  | { readonly op: 'jump'; readonly label: Label }
  /** Goes to the label that `a`, 64 bits, is the number of. It is one of them. */
  | { readonly op: 'table'; readonly a: Operand; readonly labels: readonly Label[] }
  | { readonly op: 'label'; readonly label: Label }
  /** Brackets around a loop's code, for the life of what is used inside. */
  | { readonly op: 'loop' }
  | { readonly op: 'endloop' }
  | { readonly op: 'nop' }
  | { readonly op: 'load'; dst: Vreg; readonly size: Size; readonly signed: boolean; readonly address: Address }
  | { readonly op: 'store'; readonly size: Size; readonly a: Operand; readonly address: Address }
  /** `[address] = [address] name a`, LOCKed where `lock`. */
  | {
      readonly op: 'modify'
      readonly name: 'add' | 'sub' | 'and' | 'or' | 'xor'
      readonly size: Size
      readonly a: Operand
      readonly address: Address
      readonly lock: boolean
    }
  /** XCHG or LOCK XADD: `dst` gets what memory held. */
  | {
      readonly op: 'exchange'
      readonly name: 'xchg' | 'xadd'
      readonly size: Size
      dst: Vreg
      readonly a: Operand
      readonly address: Address
    }
  | { readonly op: 'address'; dst: Vreg; readonly address: Address }
  /** System V call of a function of this image (by number) or of an address. */
  | { readonly op: 'call'; readonly target: { fn: number } | Operand; dst: Vreg; readonly args: readonly Operand[] }
  | { readonly op: 'parameters'; readonly outs: readonly Vreg[] }
  | { readonly op: 'return'; readonly a: Operand | undefined }
  | Fixed
  /** Nothing where `a cc b`; else UCALL_ABORT(site, a, b), and on where `resume`. */
  | {
      readonly op: 'check'
      readonly cc: Cc
      readonly size: Width
      readonly a: Operand
      readonly b: Operand
      readonly site: number
      readonly resume: boolean
    }
  /** A ucall; keeps every register. */
  | { readonly op: 'ucall'; readonly command: number; readonly args: readonly Operand[]; readonly resume: boolean }
  /** The address of a function of this image. */
  | { readonly op: 'function'; dst: Vreg; readonly fn: number }
  /** The address of a label of this function. */
  | { readonly op: 'where'; dst: Vreg; readonly label: Label }
  /** A bare ucall with this payload. */
  | { readonly op: 'bare' }

/** A function of the image under construction. */
export type Fn = {
  readonly name: string
  readonly ops: Op[]
  vregs: number
  labels: number
  /** A vCPU's first function: it has no caller, so it keeps nothing and never returns. */
  readonly entry: boolean
  /** Where each operation was written, of a guest that is built once more to explain a failure. */
  readonly places?: Map<Op, Place>
}

/** Calls `use` with every virtual register that `op` reads. */
export const eachUse = (op: Op, use: (v: Vreg) => void): void => {
  switch (op.op) {
    case 'move':
    case 'unary':
    case 'extend':
      if (typeof op.a === 'number') use(op.a)
      return
    case 'binary':
    case 'shift':
    case 'divide':
    case 'set':
    case 'branch':
    case 'check':
      if (typeof op.a === 'number') use(op.a)
      if (typeof op.b === 'number') use(op.b)
      return
    case 'load':
    case 'address':
      eachOfAddress(op.address, use)
      return
    case 'store':
    case 'modify':
    case 'exchange':
      eachOfAddress(op.address, use)
      if (typeof op.a === 'number') use(op.a)
      return
    case 'call':
      if (typeof op.target === 'number') use(op.target)
      for (const a of op.args) if (typeof a === 'number') use(a)
      return
    case 'ucall':
      for (const a of op.args) if (typeof a === 'number') use(a)
      return
    case 'fixed':
      for (const [, a] of op.ins) if (typeof a === 'number') use(a)
      return
    case 'return':
    case 'table':
      if (typeof op.a === 'number') use(op.a)
      return
    case 'jump':
    case 'label':
    case 'loop':
    case 'endloop':
    case 'nop':
    case 'parameters':
    case 'function':
    case 'where':
    case 'bare':
      return
  }
}
export const eachOfAddress = ({ base, index }: Address, use: (v: Vreg) => void): void => {
  if (base >= 0) use(base)
  if (index >= 0) use(index)
}

/** Calls `define` with every virtual register that `op` writes. */
export const eachDefinition = (op: Op, define: (v: Vreg) => void): void => {
  switch (op.op) {
    case 'move':
    case 'unary':
    case 'extend':
    case 'binary':
    case 'shift':
    case 'divide':
    case 'set':
    case 'load':
    case 'exchange':
    case 'address':
    case 'function':
    case 'where':
      define(op.dst)
      return
    case 'call':
      if (op.dst >= 0) define(op.dst)
      return
    case 'fixed':
      for (const [, v] of op.outs) define(v)
      return
    case 'parameters':
      for (const v of op.outs) define(v)
      return
    case 'branch':
    case 'check':
    case 'store':
    case 'modify':
    case 'ucall':
    case 'return':
    case 'table':
    case 'jump':
    case 'label':
    case 'loop':
    case 'endloop':
    case 'nop':
    case 'bare':
      return
  }
}

/** Does nothing but compute `dst`, so that it may go where nobody reads that. A load may fault, and stays. */
export const isPure = (op: Op): boolean => {
  switch (op.op) {
    case 'move':
    case 'unary':
    case 'extend':
    case 'binary':
    case 'shift':
    case 'set':
    case 'address':
    case 'function':
      return true
    default:
      return false
  }
}
