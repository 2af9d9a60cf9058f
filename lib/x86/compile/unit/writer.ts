/** A function of a unit as it is written: statements over nodes, with locals that keep what is used more than once. */
import { type Code, F32, F64, I32, I64, type Module, V128, type ValueType } from '#wasm'
import { Emitter } from '../emit.ts'
import type { Node, Width } from '../node.ts'
import * as n from '../node.ts'

type Single = Exclude<Width, 'pair'>
const TYPES: Record<Single, ValueType> = { 32: I32, 64: I64, 128: V128, f32: F32, f64: F64 }
const BITS: Record<Single, number> = { 32: 32, 64: 64, 128: 128, f32: 32, f64: 64 }
type Load = 'i32.load8_u' | 'i32.load16_u' | 'i32.load' | 'i64.load'
type Store = 'i32.store8' | 'i32.store16' | 'i32.store' | 'i64.store'

/** A function with its parameters as nodes. */
export type Written = { readonly index: number; readonly w: Writer; readonly params: readonly Node[] }

/** Begins a function; the first parameter of what works on a CPU's state is the address of its frame. */
export const begin = (module: Module, params: readonly Single[], results: readonly Single[]): Written => {
  const { index, code } = module.func(
    module.type(
      params.map(width => TYPES[width]),
      results.map(width => TYPES[width]),
    ),
  )
  return { index, w: new Writer(code), params: params.map((width, at) => n.local(at, width, BITS[width])) }
}

export class Writer {
  readonly code: Code
  readonly emit: Emitter

  constructor(code: Code) {
    this.code = code
    this.emit = new Emitter(code)
  }

  /** Leaves the value on the stack. */
  put(node: Node): void {
    this.emit.count(node)
    this.emit.put(node)
    this.emit.release()
    forget(node)
  }

  /** A local with this value. */
  let(value: Node): Node {
    if (value.width === 'pair') throw new Error('a pair is two values')
    const to = n.local(this.code.local(TYPES[value.width]), value.width, Math.min(value.bits, BITS[value.width]))
    this.set(to, value)
    return to
  }

  /** A local with this value that is to be given others, of any size. */
  variable(value: Node): Node {
    if (value.width === 'pair') throw new Error('a pair is two values')
    const to = this.local(value.width)
    this.set(to, value)
    return to
  }

  /** A local that is to be given a value of any size. */
  local(width: Single): Node {
    return n.local(this.code.local(TYPES[width]), width, BITS[width])
  }

  set(to: Node, value: Node): void {
    if (value.bits > to.bits) throw new Error(`a value of ${value.bits} bits goes to a local of ${to.bits}`)
    this.put(to.width === 64 ? n.to64(value) : to.width === 32 ? n.to32(value) : value)
    this.code.set(to.n)
  }

  if(condition: Node, then: () => void, otherwise?: () => void): void {
    this.put(condition)
    this.code.if(then, otherwise)
  }

  return(value: Node): void {
    this.put(value)
    this.code.op('return')
  }

  load(name: Load, at: Node, offset = 0): Node {
    this.put(at)
    const width = name === 'i64.load' ? 64 : 32
    const bits = name === 'i64.load' ? 64 : name === 'i32.load' ? 32 : name === 'i32.load16_u' ? 16 : 8
    const to = n.local(this.code.local(TYPES[width]), width, bits)
    this.code.memory(name, offset).set(to.n)
    return to
  }

  store(name: Store, at: Node, offset: number, value: Node): void {
    this.put(at)
    this.put(name === 'i64.store' ? n.to64(value) : n.to32(value))
    this.code.memory(name, offset)
  }

  call(func: number, args: readonly Node[]): void {
    for (const arg of args) this.put(arg)
    this.code.call(func)
  }
}

/** A node may be part of several statements: each works it out anew. */
const forget = (node: Node): void => {
  if (node.uses === 0) return
  node.uses = 0
  node.temp = -1
  if (node.a !== undefined) forget(node.a)
  if (node.b !== undefined) forget(node.b)
  if (node.c !== undefined) forget(node.c)
}
