/** Accesses to memory as the compiler has them: segments' offsets to linear addresses, and what is read or written there. */
import type { Size } from '#bits'
import { CS, FS, type Seg } from '../insn.ts'
import { STATE } from '../state.ts'
import type { Context } from './context.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import * as simd from './simd.ts'
import { type Effect, unsupported } from './unit.ts'
import { isStored } from './x87build.ts'

/** What an access may do to the instruction that is being built. */
export type MemoryDoors = {
  readonly context: Context
  readonly effect: (effect: Effect) => void
  /** The same, under a condition too: the effect has it itself. */
  readonly anyhow: (effect: Effect) => void
  /** What an access depends on. */
  readonly condition: () => Node | undefined
  /** Operands are named otherwise: see `Operands` in build.ts. */
  readonly isForSlots: boolean
}

export class MemoryBuilder {
  readonly #doors: MemoryDoors
  /** Where the last write that was settled goes. */
  #settled: { readonly offset: Node; readonly host: Node } | undefined

  constructor(doors: MemoryDoors) {
    this.#doors = doors
  }

  /** For another instruction. */
  begin(): void {
    this.#settled = undefined
  }

  get isSettled(): boolean {
    return this.#settled !== undefined
  }

  /** The linear address of a segment's offset. Segments other than FS and GS are flat in any context. */
  linear(seg: Seg, offset: Node, writes = false): Node {
    // Code segments are not written through.
    if (writes && seg === CS && this.#doors.context.mode !== 64) throw unsupported
    if (seg < FS) return n.to64(offset)
    if (this.#doors.context.mode !== 64) throw unsupported
    if (!n.isConst(offset) || offset.value >> 47n !== 0n)
      this.#doors.effect({ kind: 'leaveIf', condition: n.no(canonical(offset)) })
    return n.add(8, n.frameQuad(STATE.BASES + seg * 8), offset)
  }

  load(seg: Seg, offset: Node, size: Size): Node {
    if ((size as number) === 10 && !this.#doors.isForSlots) {
      const low = this.load(seg, offset, 8)
      return n.make('pair', 'pair', 80, low, this.load(seg, n.add(8, offset, n.number(8)), 2))
    }
    if ((size as number) === 32) {
      const low = this.load(seg, offset, 16 as Size)
      return simd.pair(low, this.load(seg, n.add(8, offset, n.number(16)), 16 as Size))
    }
    if (size > 8 && size !== (16 as number)) throw unsupported
    const to = n.temp(size > 8 ? 128 : size === 8 ? 64 : 32, size * 8)
    const condition = this.#doors.condition()
    if (condition !== undefined && !this.#doors.isForSlots && seg < FS && size <= 8) {
      this.#doors.anyhow({ kind: 'loadIf', condition, at: this.linear(seg, offset), size, to })
      return to
    }
    this.#doors.effect({ kind: 'load', at: this.linear(seg, offset), size, to })
    return to
  }

  store(seg: Seg, offset: Node, size: Size, value: Node): void {
    if (this.#settled?.offset === offset && isStored(value)) {
      this.#storeNumber(this.#settled.host, size, value)
      return
    }
    if ((size as number) === 32) {
      // Both halves or none.
      const host = n.temp(32, 32)
      this.#doors.effect({ kind: 'probe', at: this.linear(seg, offset, true), size, to: host })
      for (const half of [0, 1] as const) {
        const at = n.add(4, host, n.number(half * 16))
        this.#doors.effect({ kind: 'storeHost', host: at, size: 16, value: simd.half(value, half) })
      }
      return
    }
    if (size > 8 && size !== (16 as number)) throw unsupported
    const stored = size > 8 ? simd.to128(value) : value
    if (size <= 8 && (stored.width === 128 || stored.width === 'pair')) throw unsupported
    this.#doors.effect({ kind: 'store', at: this.linear(seg, offset, true), size, value: stored })
  }

  modify(seg: Seg, offset: Node, size: Size, change: (old: Node) => Node): void {
    const host = n.temp(32, 32)
    this.#doors.effect({ kind: 'probe', at: this.linear(seg, offset, true), size, to: host })
    const old = n.temp(size === 8 ? 64 : 32, size * 8)
    this.#doors.effect({ kind: 'loadHost', host, size, to: old })
    const value = change(old)
    this.#doors.effect({ kind: 'storeHost', host, size, value })
  }

  settle(seg: Seg, offset: Node, size: number): void {
    const host = n.temp(32, 32)
    this.#doors.effect({ kind: 'probe', at: this.linear(seg, offset, true), size, to: host })
    this.#settled = { offset, host }
  }

  /** What an x87 instruction stores, which no longer may be left by then. */
  #storeNumber(host: Node, size: number, value: Node): void {
    this.#doors.effect({ kind: 'storeHost', host, size: Math.min(size, 8), value })
    if (size <= 8) return
    const upper = n.make('cell', 32, 16, undefined, undefined, undefined, value.n + 8)
    this.#doors.effect({ kind: 'storeHost', host: n.add(4, host, n.number(8)), size: 2, value: upper })
  }
}

/** With 48 bits; where there are 57, what lies between is left to the interpreter. */
export const canonical = (at: Node): Node => {
  const wide = n.to64(at)
  return n.equal(n.sar(8, n.shl(8, wide, n.number(16)), n.number(16)), wide)
}
