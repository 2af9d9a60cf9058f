/**
 * Gives every virtual register a GPR or a stack slot: linear scan over whole lifetimes.
 * Poletto and Sarkar, "Linear Scan Register Allocation" (1999), with fixed registers as holes.
 */
import { eachDefinition, eachUse, type Fn, type Op } from './ir.ts'

export const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15] = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
] as const

const bits = (...registers: number[]): number => registers.reduce((mask, r) => mask | (1 << r), 0)

/** System V: registers a call does not keep, and those of the integer arguments. */
export const CALL_CLOBBERS = bits(RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11)
export const CALLEE_SAVED = [RBX, RBP, R12, R13, R14, R15] as const
export const ARGUMENTS = [RDI, RSI, RDX, RCX, R8, R9] as const

/** Never given out: R10 and R11 carry what lives in a slot and what moves in a circle; RSP is the stack. */
export const SCRATCH = [R10, R11] as const
const POOL = bits(RAX, RCX, RDX, RBX, RBP, RSI, RDI, R8, R9, R12, R13, R14, R15)
/** Preferred first: no REX prefix needed, not to be kept for a caller. */
const ORDER = [RAX, RCX, RDX, RSI, RDI, R8, R9, RBX, RBP, R12, R13, R14, R15] as const

export type Allocation = {
  /** For each virtual register: a GPR number, or -1 - n for stack slot n. */
  readonly place: Int32Array
  readonly slots: number
  /** Bit n: GPR n is used. */
  readonly used: number
}

/** GPRs (as bits) that `op` destroys beside its own results. */
const clobbersOf = (op: Op): number => {
  switch (op.op) {
    case 'divide':
      return bits(RAX, RDX)
    case 'shift':
      return typeof op.b === 'number' ? bits(RCX) : 0
    case 'call':
      return CALL_CLOBBERS
    case 'fixed':
      return op.clobbers
    default:
      return 0
  }
}

const UNSEEN = -1

export const allocate = (fn: Fn): Allocation => {
  const { ops, vregs } = fn
  const start = new Int32Array(vregs).fill(UNSEEN)
  const end = new Int32Array(vregs)
  const weight = new Float64Array(vregs)
  const hint = new Int32Array(vregs).fill(-1)
  const order: number[] = []
  const clobberAt: number[] = []
  const clobberMask: number[] = []

  // Lifetimes. Operation i reads at 2i and writes at 2i + 1. What is older than a loop and used in it lives to its end.
  const loops: { from: number; used: Set<number> }[] = []
  const touch = (v: number, at: number): void => {
    if (start[v] === UNSEEN) {
      start[v] = at
      order.push(v)
    }
    end[v] = at
    weight[v]! += 10 ** Math.min(loops.length, 6)
    for (const loop of loops) {
      if (start[v]! < loop.from) {
        loop.used.add(v)
        break
      }
    }
  }
  let at = 0
  const read = (v: number) => touch(v, at)
  const write = (v: number) => touch(v, at + 1)
  for (let i = 0; i < ops.length; i++) {
    const op = ops[i]!
    at = 2 * i
    if (op.op === 'loop') loops.push({ from: at, used: new Set() })
    else if (op.op === 'endloop') {
      for (const v of loops.pop()!.used) end[v] = at
    }
    eachUse(op, read)
    eachDefinition(op, write)
    const mask = clobbersOf(op)
    if (mask !== 0) {
      clobberAt.push(at)
      clobberMask.push(mask)
    }
    setHints(op, hint)
  }

  /** Registers that are destroyed while `v` lives: at p with start <= p < end. */
  const forbidden = (v: number): number => {
    let low = 0
    let high = clobberAt.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (clobberAt[middle]! < start[v]!) low = middle + 1
      else high = middle
    }
    let mask = 0
    for (let i = low; i < clobberAt.length && clobberAt[i]! < end[v]!; i++) {
      mask |= clobberMask[i]!
      if ((mask & POOL) === POOL) break
    }
    return mask
  }

  const place = new Int32Array(vregs).fill(-1)
  let active: number[] = []
  let free = POOL
  let used = 0
  let slots = 0
  const freeSlots: { slot: number; until: number }[] = []
  /** A slot is free again when its owner is dead; the list stays short. */
  const spill = (v: number): void => {
    const reuse = freeSlots.find(s => s.until < start[v]!)
    if (reuse !== undefined) reuse.until = end[v]!
    else freeSlots.push({ slot: slots++, until: end[v]! })
    place[v] = -1 - (reuse ?? freeSlots.at(-1)!).slot
  }
  const preferred = (v: number, choice: number): number => {
    const wish = hint[v]!
    if (wish >= 0) {
      const register = wish < 16 ? wish : place[wish - 16]!
      if (register >= 0 && (choice & (1 << register)) !== 0) return register
    }
    for (const register of ORDER) if ((choice & (1 << register)) !== 0) return register
    return -1
  }

  for (const v of order) {
    const now = start[v]!
    if (active.length > 0) {
      let kept = 0
      for (const other of active) {
        if (end[other]! < now) free |= 1 << place[other]!
        else active[kept++] = other
      }
      active.length = kept
    }
    const bad = forbidden(v)
    let register = preferred(v, free & ~bad)
    if (register < 0) {
      // The least used per length, of those whose register would do, goes to the stack.
      let victim = v
      for (const other of active) {
        if ((bad & (1 << place[other]!)) === 0 && cost(other) < cost(victim)) victim = other
      }
      if (victim === v) {
        spill(v)
        continue
      }
      register = place[victim]!
      active = active.filter(other => other !== victim)
      // Its slot must be its own from its start, which lies behind us.
      place[victim] = -1 - slots
      freeSlots.push({ slot: slots++, until: end[victim]! })
    }
    place[v] = register
    free &= ~(1 << register)
    used |= 1 << register
    active.push(v)
  }
  return { place, slots, used }

  function cost(v: number): number {
    return weight[v]! / (end[v]! - start[v]! + 1)
  }
}

/** A wish: a GPR, or 16 + a virtual register to share with. */
const setHints = (op: Op, hint: Int32Array): void => {
  switch (op.op) {
    case 'move':
    case 'binary':
    case 'shift':
    case 'unary':
    case 'extend':
      if (typeof op.a === 'number') {
        if (hint[op.dst] === -1) hint[op.dst] = 16 + op.a
        if (op.op === 'move' && hint[op.a] === -1) hint[op.a] = 16 + op.dst
      }
      if (op.op === 'shift' && typeof op.b === 'number') hint[op.b] = RCX
      return
    case 'divide':
      hint[op.dst] = op.name === 'div' ? RAX : RDX
      if (typeof op.a === 'number' && hint[op.a] === -1) hint[op.a] = RAX
      return
    case 'call':
      if (op.dst >= 0) hint[op.dst] = RAX
      for (const [i, a] of op.args.entries()) if (typeof a === 'number') hint[a] = ARGUMENTS[i] ?? -1
      return
    case 'fixed':
      for (const [register, v] of op.outs) hint[v] = register
      for (const [register, a] of op.ins) if (typeof a === 'number') hint[a] = register
      return
    case 'parameters':
      for (const [i, v] of op.outs.entries()) hint[v] = ARGUMENTS[i] ?? -1
      return
    case 'return':
      if (typeof op.a === 'number') hint[op.a] = RAX
      return
    default:
      return
  }
}
