/**
 * What is known of addresses while blocks are written one after the other: which registers differ only by a constant
 * from what they, or others, were before; and which pages were found, so that they need not be looked up again.
 */

import type { Node } from './node.ts'
import { type Effect, FIRST_VEC, LOCAL, type Unit } from './unit.ts'

/** An address: a sum of values that nothing more is known of, by name, and a constant. */
export type Place = { readonly sum: string; readonly at: bigint }

/** Bytes of one page at known host addresses: `length` of them from `place`, which is at the address in local `host`. */
export type Found = {
  readonly place: Place
  readonly host: number
  readonly length: number
  readonly writable: boolean
}

/** Values of the registers: number n of a value that is not known, plus a constant. */
type Value = { readonly id: number; readonly plus: bigint }

const wrap = (n: bigint): bigint => BigInt.asIntN(64, n)
/** RCX, RSI and RDI, which REP instructions change as they go. */
const REPEAT = [1, 6, 7] as const
/** Bytes that one look-up asks for at most. */
const SPAN = 512n

export class Places {
  #next: number
  #values: Value[]
  #found: readonly Found[]

  constructor(next = 16, values?: readonly Value[], found: readonly Found[] = []) {
    this.#next = next
    this.#values = values?.slice() ?? Array.from({ length: 16 }, (_, id) => ({ id, plus: 0n }))
    this.#found = found
  }

  copy(): Places {
    return new Places(this.#next, this.#values, this.#found)
  }

  /** The place that an address is; `undefined` where it is more than sums of registers. */
  of(address: Node): Place | undefined {
    const parts: string[] = []
    const at = this.#sum(address, 0n, parts)
    return at === undefined ? undefined : { sum: parts.sort().join('+'), at: wrap(at) }
  }

  #sum(node: Node, shift: bigint, parts: string[]): bigint | undefined {
    switch (node.op) {
      case 'const':
        return node.value << shift
      case 'local': {
        if (node.width !== 64) return undefined
        if (node.n === LOCAL.BASE) {
          parts.push(`page<<${shift}`)
          return 0n
        }
        if (node.n < LOCAL.GPR || node.n >= FIRST_VEC) return undefined
        const { id, plus } = this.#values[node.n - LOCAL.GPR]!
        parts.push(`${id}<<${shift}`)
        return plus << shift
      }
      case 'i64.add': {
        const a = this.#sum(node.a!, shift, parts)
        const b = a === undefined ? undefined : this.#sum(node.b!, shift, parts)
        return b === undefined ? undefined : a! + b
      }
      case 'i64.shl':
        return node.b!.op === 'const' ? this.#sum(node.a!, shift + node.b!.value, parts) : undefined
      default:
        return undefined
    }
  }

  #fresh(): Value {
    return { id: this.#next++, plus: 0n }
  }

  /** An instruction has given registers new values. */
  assign(unit: Unit): void {
    for (const { kind } of unit.effects)
      if (kind === 'repeat' || kind === 'scan') for (const r of REPEAT) this.#values[r] = this.#fresh()
    if (unit.registers.size === 0) return
    const before = this.#values.slice()
    for (const [r, node] of unit.registers) {
      const [from, plus] = node.op === 'i64.add' && node.b!.op === 'const' ? [node.a!, node.b!.value] : [node, 0n]
      const known = from.op === 'local' && from.width === 64 ? before[from.n - LOCAL.GPR] : undefined
      this.#values[r] = known === undefined ? this.#fresh() : { id: known.id, plus: known.plus + plus }
    }
  }

  /** What was found of the page that `place` is in or near, the latest first. */
  near(place: Place, writes: boolean): { found: Found; from: bigint } | undefined {
    for (const found of this.#found) {
      if (found.place.sum !== place.sum || (writes && !found.writable)) continue
      const from = wrap(place.at - found.place.at)
      if (from > -SPAN && from < SPAN) return { found, from }
    }
    return undefined
  }

  remember(found: Found): void {
    this.#found = [found, ...this.#found.slice(0, 15)]
  }
}

/** For each access of a block: how far before and behind it the block accesses the same place from there on. */
export const reaches = (
  units: readonly Unit[],
  start: Places,
  isWide: (offset: number) => boolean,
): Map<Effect, { before: bigint; behind: bigint }> => {
  const places = start.copy()
  const reaches = new Map<Effect, { before: bigint; behind: bigint }>()
  const all: { effect: Effect; place: Place; wide: boolean; size: bigint; writes: boolean }[] = []
  for (const unit of units) {
    for (const effect of unit.effects) {
      if (effect.kind !== 'load' && effect.kind !== 'store' && effect.kind !== 'probe') continue
      const place = places.of(effect.at)
      if (place !== undefined)
        all.push({
          effect,
          place,
          wide: isWide(unit.offset),
          size: BigInt(effect.size),
          writes: effect.kind !== 'load',
        })
    }
    places.assign(unit)
  }
  for (const [k, { effect, place, wide, size, writes }] of all.entries()) {
    let [before, behind] = [0n, size]
    for (const other of wide ? all.slice(k + 1) : []) {
      // A page that is only read must not be looked up for writing.
      if (other.place.sum !== place.sum || (other.writes && !writes)) continue
      const from = wrap(other.place.at - place.at)
      const [low, high] = [from < -before ? -from : before, from + other.size > behind ? from + other.size : behind]
      if (low + high <= SPAN) [before, behind] = [low, high]
    }
    reaches.set(effect, { before, behind })
  }
  return reaches
}
