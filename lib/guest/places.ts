/** Where a function's values are while it runs: in registers, in slots of its frame, or nowhere, as constants. */
import { ones, type Size, signed } from '#bits'
import type { Imm, Mem, Reg, Operand as X86Operand } from '#x86'
import { type Allocation, R10, R11, RSP } from './allocate.ts'
import type { Code } from './code.ts'
import type { Address, Operand } from './ir.ts'

const SS = 2
const DS = 3

export const reg = (n: number, size: number): Reg => REGS[size as Size][n]!
const REGS = {
  1: Array.from({ length: 16 }, (_, n): Reg => ({ kind: 'reg', file: 'gpr', index: n, size: 1 })),
  2: Array.from({ length: 16 }, (_, n): Reg => ({ kind: 'reg', file: 'gpr', index: n, size: 2 })),
  4: Array.from({ length: 16 }, (_, n): Reg => ({ kind: 'reg', file: 'gpr', index: n, size: 4 })),
  8: Array.from({ length: 16 }, (_, n): Reg => ({ kind: 'reg', file: 'gpr', index: n, size: 8 })),
}
/** The encoder takes the shortest form. */
export const imm = (value: bigint, size: number): Imm => ({
  kind: 'imm',
  size: 0,
  value: BigInt.asUintN(size * 8, value),
})
export const mem = (size: number, base: number, disp: bigint, index = -1, scale: 1 | 2 | 4 | 8 = 1): Mem => ({
  kind: 'mem',
  size,
  seg: base === RSP || base === 5 ? SS : DS,
  base,
  index,
  scale,
  disp,
  ripRelative: false,
  addressSize: 8,
})

/** Fits in an immediate of 32 bits that an operation of `size` bytes sign-extends. */
export const isShort = (value: bigint, size: number): boolean =>
  size < 8 || BigInt.asUintN(64, BigInt.asIntN(32, value)) === BigInt.asUintN(64, value)

/** Moves values between their places. R10 and R11 are nobody's place: they carry what needs a register for a moment. */
export class Places {
  readonly #at: Allocation
  readonly #code: Code
  /** Bytes pushed since the frame was made. */
  pushed = 0

  constructor(at: Allocation, code: Code) {
    this.#at = at
    this.#code = code
  }

  slot(v: number, size: number): Mem {
    return mem(size, RSP, BigInt(8 * (-1 - this.#at.place[v]!) + this.pushed))
  }
  /** The register of a virtual register, or -1. */
  register(a: Operand): number {
    if (typeof a === 'bigint') return -1
    const place = this.#at.place[a]!
    return place >= 0 ? place : -1
  }
  /** A register that holds `a`: its own, or `scratch` after a move. */
  in(a: Operand, scratch: number): number {
    const own = this.register(a)
    if (own >= 0) return own
    this.into(scratch, a)
    return scratch
  }
  /** `register = a`, 64 bits. Changes the flags. */
  into(register: number, a: Operand): void {
    const code = this.#code
    if (typeof a === 'bigint') {
      if (a === 0n) code.op('XOR', reg(register, 4), reg(register, 4))
      else if (a <= 0xffff_ffffn) code.op('MOV', reg(register, 4), imm(a, 4))
      else code.op('MOV', reg(register, 8), imm(a, 8))
      return
    }
    const own = this.#at.place[a]!
    if (own === register) return
    code.op('MOV', reg(register, 8), own >= 0 ? reg(own, 8) : this.slot(a, 8))
  }
  /** `a` as a source operand of an operation of `size` bytes: register, slot, or short constant; else by `scratch`. */
  source(a: Operand, size: number, scratch: number): X86Operand {
    if (typeof a === 'bigint') {
      if (isShort(a, size)) return imm(a, size)
      this.into(scratch, a)
      return reg(scratch, size)
    }
    const place = this.#at.place[a]!
    return place >= 0 ? reg(place, size) : this.slot(a, size)
  }
  /** Where `v` is computed: its register, or `scratch` to be stored by `store`. */
  target(v: number, scratch: number): number {
    const place = this.#at.place[v]!
    return place >= 0 ? place : scratch
  }
  store(v: number, register: number): void {
    const place = this.#at.place[v]!
    if (place < 0) this.#code.op('MOV', this.slot(v, 8), reg(register, 8))
    else if (place !== register) this.#code.op('MOV', reg(place, 8), reg(register, 8))
  }
  /** May use R10, and R11 where both parts lie in slots. */
  memory(a: Address, size: number): Mem {
    let base = a.base < 0 ? -1 : this.register(a.base)
    let index = a.index < 0 ? -1 : this.register(a.index)
    if (a.base >= 0 && base < 0) base = this.in(a.base, R10)
    if (a.index >= 0 && index < 0) {
      if (base === R10) {
        this.into(R11, a.index)
        this.#code.op('LEA', reg(R10, 8), mem(0, R10, a.disp, R11, a.scale))
        return mem(size, R10, 0n)
      }
      index = this.in(a.index, R10)
    }
    return mem(size, base, a.disp, index, a.scale)
  }

  /** All moves at once: no target is written before every source of it was read. Constants and R10, R11 last. */
  #parallel(moves: readonly (readonly [number, Operand])[]): void {
    const pending = moves
      .filter(([to, a]) => typeof a === 'number' && this.#at.place[a]! >= 0 && to !== R10 && to !== R11)
      .map(([to, a]) => ({ to, from: this.#at.place[a as number]! }))
      .filter(({ to, from }) => to !== from)
    this.#shuffle(pending)
    for (const [to, a] of moves) {
      if (to === R10 || to === R11) {
        // The registers were shuffled: what was in one that is now a target is where the shuffle put it.
        continue
      }
      if (typeof a === 'bigint' || this.#at.place[a]! < 0) this.into(to, a)
    }
  }
  #shuffle(pending: { to: number; from: number }[]): void {
    while (pending.length > 0) {
      const ready = pending.findIndex(({ to }) => !pending.some(other => other.from === to))
      if (ready >= 0) {
        const [{ to, from }] = pending.splice(ready, 1) as [{ to: number; from: number }]
        this.#code.op('MOV', reg(to, 8), reg(from, 8))
      } else {
        // Only circles are left: swap one step of it.
        const { to, from } = pending.shift()!
        this.#code.op('XCHG', reg(to, 8), reg(from, 8))
        for (const other of pending) {
          if (other.from === to) other.from = from
          else if (other.from === from) other.from = to
        }
        for (let i = pending.length - 1; i >= 0; i--) if (pending[i]!.to === pending[i]!.from) pending.splice(i, 1)
      }
    }
  }

  /** `ins` into their registers. What goes to R10 and R11 is read first where a register it is in gets overwritten. */
  inputs(ins: readonly (readonly [number, Operand])[]): void {
    const code = this.#code
    const late: [number, Operand][] = []
    for (const [to, a] of ins) {
      if (to !== R10 && to !== R11) continue
      const from = this.register(a)
      // R10 and R11 hold nothing of anybody's, so these may go first.
      if (from >= 0) code.op('MOV', reg(to, 8), reg(from, 8))
      else late.push([to, a])
    }
    this.#parallel(ins)
    for (const [to, a] of late) this.into(to, a)
  }

  /** Results from their registers into the places of their virtual registers. */
  results(outs: readonly (readonly [number, number])[]): void {
    const code = this.#code
    // Slots first: that frees their registers.
    for (const [from, v] of outs) if (this.#at.place[v]! < 0) code.op('MOV', this.slot(v, 8), reg(from, 8))
    this.#shuffle(
      outs
        .filter(([from, v]) => this.#at.place[v]! >= 0 && this.#at.place[v] !== from)
        .map(([from, v]) => ({ to: this.#at.place[v]!, from })),
    )
  }

  push(a: Operand): void {
    const code = this.#code
    if (typeof a === 'bigint') {
      if (isShort(a, 8)) code.op('PUSH', imm(a, 8))
      else {
        code.op('PUSH', imm(signed(a & ones(32), 4), 8))
        code.op('MOV', mem(4, RSP, 4n), imm(a >> 32n, 4))
      }
    } else {
      const place = this.#at.place[a]!
      code.op('PUSH', place >= 0 ? reg(place, 8) : this.slot(a, 8))
    }
    this.pushed += 8
  }
}
