/**
 * Which lanes of vector registers hold plain numbers (see float.ts): what was found so once is not looked at again.
 * Six bits a register: lanes 0 to 3 as singles, lanes 0 and 1 as doubles.
 */

import { DOUBLE, type Format, SINGLE } from './float.ts'
import type { Node } from './node.ts'
import type { Block } from './region.ts'
import type { Unit } from './unit.ts'
import { FIRST_VEC } from './unit.ts'

const ALL = 0x3f
const SINGLES = 0x0f
const DOUBLES = 0x30
const SHUFFLE = 0x0d
const CONSTANT = 0x0c

/** Facts of all registers: lower halves, then upper ones. */
export type Facts = Uint8Array

const bitOf = (f: Format, lane: number): number => (f.size === 8 ? 0x10 << lane : 1 << lane)
/** What is no longer known when a lane changes. */
const touched = (f: Format, lane: number): number =>
  f.size === 8 ? (0x10 << lane) | (3 << (lane * 2)) : (1 << lane) | (0x10 << (lane >> 1))
const allOf = (f: Format): number => (f.size === 8 ? DOUBLES : SINGLES)

/** Low and upper halves. */
const VECTORS = 32

const registerOf = (node: Node): number => (node.op === 'local' && node.width === 128 ? node.n - FIRST_VEC : -1)
const INTEGERS = /^f(32|64)\.convert_i/

/** What is known while one instruction is looked at: its operands by `facts`, what it makes by `made`. */
const factsOf = (node: Node, facts: Facts, made: ReadonlyMap<Node, number>): number => {
  const known = made.get(node)
  if (known !== undefined) return known
  const register = registerOf(node)
  if (register >= 0) return facts[register]!
  const of = (other: Node) => factsOf(other, facts, made)
  if (typeof node.width === 'string') {
    // Of a number: all or nothing.
    if (INTEGERS.test(node.op)) return ALL
    if (node.op === 'f64.promote_f32') return of(node.a!)
    if (node.op === 'select') return of(node.a!) & of(node.b!)
    if (node.op !== 'simd') return 0
    const f = node.width === 'f64' ? DOUBLE : SINGLE
    return (of(node.a!) & bitOf(f, node.lanes[0]!)) !== 0 ? ALL : 0
  }
  if (node.op !== 'simd' || node.width !== 128) return 0
  for (const f of [DOUBLE, SINGLE])
    if (node.n === f.lanes.replace) {
      const lane = node.lanes[0]!
      return (of(node.a!) & ~touched(f, lane)) | (of(node.b!) & bitOf(f, lane))
    }
  if (node.n === CONSTANT) return node.lanes.every(byte => byte === 0) ? ALL : 0
  if (node.n === SHUFFLE) return shuffled(node.lanes, of(node.a!), of(node.b!))
  return 0
}

const shuffled = (lanes: readonly number[], a: number, b: number): number => {
  let facts = 0
  for (const f of [DOUBLE, SINGLE])
    for (let k = 0; k < 16 / f.size; k++) {
      const first = lanes[k * f.size]!
      let whole = first % f.size === 0
      for (let byte = 1; byte < f.size; byte++) whole &&= lanes[k * f.size + byte] === first + byte
      const from = first < 16 ? a : b
      if (whole && (from & bitOf(f, (first % 16) / f.size)) !== 0) facts |= bitOf(f, k)
    }
  return facts
}

/** Does it write a vector register, or look whether numbers are plain? */
const concerns = ({ vectors, effects }: Unit): boolean => {
  if (vectors.size > 0) return true
  for (const { kind } of effects) if (kind === 'check') return true
  return false
}

/** Changes `facts` from those before a unit to those after it; `needed` is told of each check whether it is. */
export const follow = (unit: Unit, facts: Facts, needed?: Set<object>): void => {
  if (!concerns(unit)) return
  const made = new Map<Node, number>()
  for (const effect of unit.effects) {
    if (effect.kind !== 'check') continue
    const { value } = effect
    const scalar = typeof value.width === 'string'
    const wanted = scalar ? ALL : allOf(effect.format)
    if ((factsOf(value, facts, made) & wanted) === wanted) continue
    needed?.add(effect)
    const register = registerOf(scalar && value.op === 'simd' ? value.a! : value)
    if (register >= 0) facts[register] = facts[register]! | (scalar ? bitOf(effect.format, value.lanes[0]!) : wanted)
    else made.set(value, wanted)
  }
  const after = [...unit.vectors].map(([r, node]): [number, number] => [r, factsOf(node, facts, made)])
  for (const [r, known] of after) facts[r] = known
}

export const noFacts = (): Facts => new Uint8Array(VECTORS)

/** The facts where each block begins. */
export const factsAt = (root: Block, blocks: readonly Block[]): Map<Block, Facts> => {
  const before = new Map<Block, Facts>()
  if (!blocks.some(({ units }) => units.some(concerns))) {
    const none = noFacts()
    for (const block of blocks) before.set(block, none)
    return before
  }
  const after = new Map<Block, Facts>([[root, new Uint8Array(VECTORS)]])
  for (const block of blocks) after.set(block, new Uint8Array(VECTORS).fill(ALL))
  for (let changed = true; changed; ) {
    changed = false
    for (const block of blocks) {
      const facts = new Uint8Array(VECTORS).fill(ALL)
      for (const pred of block.preds) {
        const known = after.get(pred)!
        for (let r = 0; r < VECTORS; r++) facts[r] = facts[r]! & known[r]!
      }
      before.set(block, facts.slice())
      for (const unit of block.units) follow(unit, facts)
      const old = after.get(block)!
      if (!facts.every((known, r) => known === old[r])) {
        after.set(block, facts)
        changed = true
      }
    }
  }
  return before
}
