/** Nodes as WebAssembly: what is used once goes by the stack, what is used more often by a local. */
import { type Code, F32, F64, I32, I64, V128, type ValueType } from '#wasm'
import type { Node, Width } from './node.ts'
import * as n from './node.ts'
import { LOCAL } from './unit.ts'

type Single = Exclude<Width, 'pair'>
const WIDTHS = [32, 64, 128, 'f32', 'f64'] as const
const TYPES: Record<Single, ValueType> = { 32: I32, 64: I64, 128: V128, f32: F32, f64: F64 }

export class Emitter {
  readonly code: Code
  readonly #free: Record<Single, number[]> = { 32: [], 64: [], 128: [], f32: [], f64: [] }
  readonly #taken: Record<Single, number[]> = { 32: [], 64: [], 128: [], f32: [], f64: [] }

  constructor(code: Code) {
    this.code = code
  }

  temp(width: Width): number {
    if (width === 'pair') throw new Error('a pair is two values')
    const found = this.#free[width].pop() ?? this.code.local(TYPES[width])
    this.#taken[width].push(found)
    return found
  }

  release(): void {
    for (const width of WIDTHS) this.#free[width].push(...this.#taken[width].splice(0))
  }

  count(node: Node): void {
    if (node.as !== undefined) {
      this.count(node.as)
      return
    }
    if (node.uses++ > 0) return
    if (node.a !== undefined) this.count(node.a)
    if (node.b !== undefined) this.count(node.b)
    if (node.c !== undefined) this.count(node.c)
  }

  /** Writes the node's value to the stack. */
  put(node: Node): void {
    const code = this.code
    if (node.as !== undefined) {
      this.put(node.as)
      return
    }
    if (node.temp >= 0) {
      code.get(node.temp)
      return
    }
    switch (node.op) {
      case 'const':
        if (node.width === 64) code.i64(node.value)
        else code.i32(Number(node.value))
        return
      case 'local':
        code.get(node.n)
        return
      case 'temp':
        throw new Error('a value is used before the effect that makes it')
      case 'flag':
      case 'cc':
        throw new Error(`${node.op} without a meaning`)
      case 'pair':
        throw new Error('a pair is two values')
      case 'simd':
        if (node.a !== undefined) this.put(node.a)
        if (node.b !== undefined) this.put(node.b)
        if (node.c !== undefined) this.put(node.c)
        code.simd(node.n, node.lanes)
        break
      case 'frame':
        code
          .get(LOCAL.FRAME)
          .memory(node.width === 64 ? 'i64.load' : node.bits === 32 ? 'i32.load' : 'i32.load8_u', node.n)
        break
      case 'cell':
        code.get(LOCAL.FRAME)
        this.#load(node.bits, node.n)
        break
      case 'field':
        code.get(LOCAL.BLOCK)
        this.#load(node.bits, node.n)
        break
      case 'slot':
        this.slot(node.n, node.value === 1n)
        this.#load(node.bits, node.value === 2n ? 16 : 0)
        break
      default:
        if (node.a !== undefined) this.put(node.a)
        if (node.b !== undefined) this.put(node.b)
        if (node.c !== undefined) this.put(node.c)
        code.op(node.op)
    }
    if (node.uses > 1) {
      node.temp = this.temp(node.width)
      code.tee(node.temp)
    }
  }

  /** The address of a slot. */
  slot(at: number, short: boolean): void {
    this.code
      .get(LOCAL.FRAME)
      .get(LOCAL.BLOCK)
      .memory(short ? 'i32.load8_u' : 'i32.load16_u', at)
      .op('i32.add')
  }

  #load(bits: number, at: number): void {
    if (bits > 64) this.code.vectorMemory('load', at)
    else
      this.code.memory(bits > 32 ? 'i64.load' : bits > 16 ? 'i32.load' : bits > 8 ? 'i32.load16_u' : 'i32.load8_u', at)
  }

  /** A node's value in a local of its own, to be used as often as one likes. */
  keep(node: Node): Node {
    const from = node.as ?? node
    if (from.op === 'const') return from
    this.put(from)
    const at = this.temp(from.width)
    this.code.set(at)
    return n.local(at, from.width, from.bits)
  }

  /** New values of locals, all at once. */
  assign(batch: readonly (readonly [Node, number])[]): void {
    for (const [node] of batch) this.count(node)
    for (const [node] of batch) this.put(node)
    for (let k = batch.length - 1; k >= 0; k--) this.code.set(batch[k]![1])
  }
}
