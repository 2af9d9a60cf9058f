/**
 * Windows: in loops, tables at fixed addresses have a page each in two locals, so that an access to the page of the one
 * before is a subtraction and a comparison, without the TLB.
 */

import type { Node } from './node.ts'
import type { Block, Region } from './region.ts'
import { type Effect, FIRST_VEC, LOCAL } from './unit.ts'

/** Windows of a region: each is two locals that want a register. */
export const MOST_WINDOWS = 8
/** Tables lie here or above: below are displacements of structures. */
const LEAST = 0x1_0000n

export type Window = {
  readonly key: string
  /** Local with the linear address of a page, and local with the host address of its frame. */
  readonly page: number
  readonly frame: number
  /** Some of the accesses write: the page is one that may be written. */
  readonly writes: boolean
  /** Where its misses are counted. */
  readonly number: number
}

/**
 * What a table's window goes by: one scaled register and a fixed address. Other accesses have none: measured, a window
 * makes loops longer (V8 unrolls them no more) and saves nothing where it moves; but in a table it is the latency of
 * the TLB that counts, as what is read decides what is read next.
 */
export const keyOf = (address: Node): string | undefined => {
  const [index, base] = address.op === 'i64.add' ? [address.a!, address.b!] : [address, address]
  if (base.op !== 'const' || base.value < LEAST || index.op !== 'i64.shl' || index.b!.op !== 'const') return undefined
  const { op, n } = index.a!
  return op === 'local' && n >= LOCAL.GPR && n < FIRST_VEC ? `${base.value}+${n}<<${index.b!.value}` : undefined
}

const isAccess = (effect: Effect): effect is Effect & { kind: 'load' | 'store' | 'probe' } =>
  effect.kind === 'load' || effect.kind === 'store' || effect.kind === 'probe'

/** Blocks that are in a loop of the region. */
export const loopsOf = ({ root, blocks }: Region): ReadonlySet<Block> => {
  const inside = new Set<Block>(root.isLoop ? blocks : [])
  for (const head of blocks) {
    if (!head.isLoop) continue
    inside.add(head)
    const waiting = head.preds.filter(pred => pred.order >= head.order)
    for (let block = waiting.pop(); block !== undefined; block = waiting.pop()) {
      if (inside.has(block) && block !== head && block.preds.every(pred => inside.has(pred))) continue
      if (block === head || block === root) continue
      inside.add(block)
      for (const pred of block.preds) if (pred.order > head.order && !inside.has(pred)) waiting.push(pred)
    }
  }
  return inside
}

/** The tables that loops read and write, the most frequent first, but for those in `scattered`. */
export const wantedWindows = (
  loops: Iterable<Block>,
  scattered: ReadonlySet<string>,
): { key: string; writes: boolean }[] => {
  const found = new Map<string, { count: number; writes: boolean }>()
  for (const { units } of loops)
    for (const { effects } of units)
      for (const effect of effects) {
        const key = isAccess(effect) ? keyOf(effect.at) : undefined
        if (key === undefined || scattered.has(key)) continue
        const known = found.get(key) ?? { count: 0, writes: false }
        known.count++
        known.writes ||= effect.kind !== 'load'
        found.set(key, known)
      }
  return [...found]
    .sort(([, a], [, b]) => b.count - a.count)
    .slice(0, MOST_WINDOWS)
    .map(([key, { writes }]) => ({ key, writes }))
}
