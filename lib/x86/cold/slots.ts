/**
 * The operands of a handler: not those of one instruction, but where the record of any instruction of its shape has them.
 *
 * The semantics must not look behind an operand: one that asks for the number of a register or the value of an immediate,
 * rather than reading it, has meant one instruction only, and the shape has to say so.
 */

import type { Operands } from '../compile/build.ts'
import type { Node } from '../compile/node.ts'
import * as n from '../compile/node.ts'
import { half, pair } from '../compile/simd.ts'
import { Unsupported } from '../compile/unit.ts'
import type { Imm, Insn, Mem, Operand, Reg } from '../insn.ts'
import { STATE } from '../state.ts'
import { RECORD } from './record.ts'

/**
 * Where a register is: a fixed offset in the state frame, or the place in the record that has the offset; `upper`: the second
 * 16 bytes of it.
 */
export type Slot =
  | { readonly fixed: number }
  | { readonly at: number; readonly short: boolean; readonly upper: boolean }

export type Write = {
  readonly slot: Slot
  readonly size: number
  readonly value: Node
  readonly condition: Node | undefined
}

/** Places of the register operands in the record, in the order of the operands. */
const PLACES: readonly Slot[] = [
  { at: RECORD.FIRST, short: false, upper: false },
  { at: RECORD.SECOND, short: false, upper: false },
  { at: RECORD.THIRD, short: false, upper: false },
]

const refuse = (): never => {
  throw new Unsupported('left to the interpreter')
}
const field = (at: number, bits: number, nonzero = false): Node =>
  n.make('field', bits > 32 ? 64 : 32, bits, undefined, undefined, undefined, at, nonzero ? 1n : 0n)
const at = (slot: Slot, bits: number): Node => {
  const width = bits > 64 ? 128 : bits > 32 ? 64 : 32
  return 'fixed' in slot
    ? n.make('cell', width, bits, undefined, undefined, undefined, slot.fixed)
    : n.make('slot', width, bits, undefined, undefined, undefined, slot.at, slot.upper ? 2n : slot.short ? 1n : 0n)
}

/** Bits of an immediate that is a shift count, as far as the shape says so: see `countClass`. */
export type CountClass = 0 | 1 | 2

/** 1: a count that is neither 0 nor masked away; 2: any other. */
export const countClass = (value: bigint, size: number): CountClass =>
  value > 0n && value < (size === 8 ? 64n : 32n) ? 1 : 2

export class Slots implements Operands {
  /** The instruction as the semantics see it. */
  readonly insn: Insn
  readonly writes: Write[] = []
  /** The semantics want to know what is only known of one instruction. */
  literal = false
  readonly #slots = new Map<Operand, Slot>()
  readonly #memory: Mem | undefined
  readonly #immediate: Imm | undefined
  readonly #count: CountClass
  readonly #size: number
  readonly #known = new Map<string, Node>()
  readonly #original: Insn

  constructor(insn: Insn, count: CountClass) {
    this.#original = insn
    this.#count = count
    this.#size = insn.operandSize
    let registers = 0
    let memory: Mem | undefined
    let immediate: Imm | undefined
    const seen = new Map<Operand, Operand>()
    const operands = insn.operands.map((operand, k): Operand => {
      const same = seen.get(operand)
      if (same !== undefined) return same
      const made = this.#stand(operand, insn.row.forms[k]?.place === 'implied')
      if (made === operand) return operand
      if (made.kind === 'reg') {
        const slot = PLACES[registers++]
        if (slot === undefined) return this.#itself(operand)
        this.#slots.set(made, slot)
      } else if (made.kind === 'mem') memory = made
      else if (made.kind === 'imm') {
        if (immediate !== undefined) return this.#itself(operand)
        immediate = made
      }
      seen.set(operand, made)
      return made
    })
    this.insn = { ...insn, operands }
    this.#memory = memory
    this.#immediate = immediate
  }

  #itself(operand: Operand): Operand {
    this.literal = true
    return operand
  }

  /** What stands for an operand. It notices where it is looked behind. */
  #stand(operand: Operand, implied: boolean): Operand {
    const behind = <T>(value: T): T => {
      this.literal = true
      return value
    }
    switch (operand.kind) {
      case 'reg':
        if (operand.file !== 'gpr' && operand.file !== 'high' && operand.file !== 'vec') return this.#itself(operand)
        return {
          kind: 'reg',
          file: operand.file === 'high' ? 'gpr' : operand.file,
          size: operand.size,
          get index() {
            return behind(operand.index)
          },
        }
      case 'imm':
        return {
          kind: 'imm',
          size: operand.size,
          get value() {
            return behind(operand.value)
          },
        }
      case 'mem':
        if (implied) return operand
        return {
          kind: 'mem',
          size: operand.size,
          seg: operand.seg,
          addressSize: operand.addressSize,
          get base() {
            return behind(operand.base)
          },
          get index() {
            return behind(operand.index)
          },
          get scale() {
            return behind(operand.scale)
          },
          get disp() {
            return behind(operand.disp)
          },
          get ripRelative() {
            return behind(operand.ripRelative)
          },
        }
      case 'rel':
      case 'far':
        return operand
    }
  }

  /** One node for each place, so that it is loaded once. */
  #node(slot: Slot, bits: number): Node {
    const name = 'fixed' in slot ? `f${slot.fixed} ${bits}` : `r${slot.at} ${slot.upper} ${bits}`
    const known = this.#known.get(name) ?? at(slot, bits)
    this.#known.set(name, known)
    return known
  }

  #slotOf(r: Reg): Slot {
    const named = this.#slots.get(r)
    if (named !== undefined) return named
    if (r.file === 'gpr') return { fixed: STATE.GPR + r.index * 8 }
    if (r.file === 'high') return { fixed: STATE.GPR + r.index * 8 + 1 }
    if (r.file === 'vec') return { fixed: STATE.VEC + r.index * 32 }
    return refuse()
  }

  read(r: Reg): Node {
    const slot = this.#slotOf(r)
    if (r.file !== 'vec') return this.#value(slot, r.size)
    const low = this.#value(slot, 16)
    return r.size === 32 ? pair(low, this.#value(upper(slot), 16)) : low
  }

  #value(slot: Slot, size: number): Node {
    for (const write of this.writes.toReversed()) {
      if (isSame(write.slot, slot) && write.size === size && write.condition === undefined) return write.value
      // It may be the same register by another name.
      if (!isApart(write.slot, slot)) return refuse()
    }
    return this.#node(slot, size * 8)
  }

  write(r: Reg, value: Node, condition: Node | undefined): void {
    const slot = this.#slotOf(r)
    if (r.file !== 'vec') {
      const stored = r.size >= 4 ? n.to64(value) : n.to32(value)
      this.writes.push({ slot, size: r.size, value: stored, condition })
      return
    }
    if (condition !== undefined) refuse()
    this.writes.push({ slot, size: 16, value: half(value, 0), condition })
    if (this.#original.vectorLength === 0) return
    this.writes.push({ slot: upper(slot), size: 16, value: half(value, 1), condition })
  }

  immediate(from: Imm): Node {
    if (from !== this.#immediate) return n.constant(from.value)
    if (this.#count === 1) return field(RECORD.IMMEDIATE, this.#size === 8 ? 6 : 5, true)
    return field(RECORD.IMMEDIATE, from.size * 8)
  }

  address(m: Mem): Node {
    if (m !== this.#memory) return refuse()
    const { index } = this.#memoryOf()
    let sum = n.add(8, this.#node({ at: RECORD.BASE, short: true, upper: false }, 64), field(RECORD.DISPLACEMENT, 64))
    if (index >= 0) {
      const scaled = n.shl(8, this.#node({ at: RECORD.INDEX, short: true, upper: false }, 64), field(RECORD.SCALE, 8))
      sum = n.add(8, sum, scaled)
    }
    return n.truncate(sum, m.addressSize)
  }

  #memoryOf(): Mem {
    for (const operand of this.#original.operands) if (operand.kind === 'mem') return operand
    return refuse()
  }

  next(): Node {
    const isRelative = this.#original.operands.some(operand => operand.kind === 'rel')
    return n.add(8, base(), field(isRelative ? RECORD.DISPLACEMENT : RECORD.IMMEDIATE, 64))
  }

  target(): Node {
    return n.add(8, base(), n.signExtend(field(RECORD.TARGET_OFFSET, 32), 4, 8))
  }
}

const upper = (slot: Slot): Slot => ('fixed' in slot ? { fixed: slot.fixed + 16 } : { ...slot, upper: true })

/** While handlers run, RIP is the beginning of the page. */
const base = (): Node => at({ fixed: STATE.RIP }, 64)

const isSame = (a: Slot, b: Slot): boolean =>
  'fixed' in a ? 'fixed' in b && a.fixed === b.fixed : 'at' in b && a.at === b.at && a.upper === b.upper
/** Two registers that are known to be different ones: both are fixed. */
const isApart = (a: Slot, b: Slot): boolean => 'fixed' in a && 'fixed' in b && a.fixed >> 3 !== b.fixed >> 3
