/** What an instruction does to memory: the TLB is looked up inline, and the region left where it does not know. */
import { TLB_ENTRY_WORDS, TLB_FRAME_WORD, TLB_WORD } from '../tlb.ts'
import { type Effect, LOCAL } from './build.ts'
import type { Context } from './context.ts'
import type { Emitter } from './emit.ts'
import { type Leave, SCRATCH } from './generate.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import { emitRepeat } from './repeat.ts'

const LOADS: Record<number, 'i32.load8_u' | 'i32.load16_u' | 'i32.load' | 'i64.load'> = {
  1: 'i32.load8_u',
  2: 'i32.load16_u',
  4: 'i32.load',
  8: 'i64.load',
}
const STORES: Record<number, 'i32.store8' | 'i32.store16' | 'i32.store' | 'i64.store'> = {
  1: 'i32.store8',
  2: 'i32.store16',
  4: 'i32.store',
  8: 'i64.store',
}
const INDEX_SHIFT = 12 - Math.log2(TLB_ENTRY_WORDS * 4)

export class Accesses {
  readonly #emit: Emitter
  readonly #context: Context
  /** Function of the runtime. */
  readonly #log: number

  constructor(emit: Emitter, context: Context, log: number) {
    this.#emit = emit
    this.#context = context
    this.#log = log
  }

  count(effect: Effect): void {
    if (effect.kind === 'repeat') return
    if (effect.kind === 'leaveIf') this.#emit.count(effect.condition)
    else if (effect.kind === 'loadHost' || effect.kind === 'storeHost') this.#emit.count(effect.host)
    else this.#emit.count(effect.at)
    if (effect.kind === 'store' || effect.kind === 'storeHost') this.#emit.count(effect.value)
  }

  effect(effect: Effect, leave: Leave): void {
    const code = this.#emit.code
    switch (effect.kind) {
      case 'leaveIf':
        if (effect.condition.op === 'const' && effect.condition.value === 0n) return
        this.#emit.put(effect.condition)
        code.if(() => leave('case'))
        return
      case 'load': {
        const host = this.#probe(effect.at, effect.size, 'read', leave)
        code.get(host)
        if (effect.size === 16) code.vectorMemory('load')
        else code.memory(LOADS[effect.size]!)
        this.#bind(effect.to)
        return
      }
      case 'store': {
        const host = this.#probe(effect.at, effect.size, 'write', leave)
        this.#store(() => code.get(host), effect.size, effect.value)
        return
      }
      case 'probe':
        effect.to.temp = this.#probe(effect.at, effect.size, 'write', leave)
        return
      case 'loadHost':
        this.#emit.put(effect.host)
        code.memory(LOADS[effect.size]!)
        this.#bind(effect.to)
        return
      case 'storeHost':
        this.#store(() => this.#emit.put(effect.host), effect.size, effect.value)
        return
      case 'repeat':
        emitRepeat(this.#emit, this, effect, leave)
    }
  }

  /** Puts the host address of `size` bytes at a linear address on the stack. */
  probe(at: Node, size: number, access: 'read' | 'write', leave: () => void): void {
    this.#emit.code.get(this.#probe(at, size, access, leave))
  }

  /** Where stores are logged: these `length` bytes are about to be written. */
  logRange(host: number, length: number): void {
    if (this.#context.logs) this.#emit.code.get(host).get(length).call(this.#log)
  }

  #bind(node: Node): void {
    node.temp = this.#emit.temp(node.width)
    this.#emit.code.set(node.temp)
  }

  #store(host: () => void, size: number, value: Node): void {
    const code = this.#emit.code
    if (this.#context.logs) {
      host()
      code.i32(size).call(this.#log)
    }
    host()
    if (size === 16) {
      this.#emit.put(value)
      code.vectorMemory('store')
      return
    }
    const wide = size === 8
    const node = wide ? n.to64(value) : n.to32(value)
    this.#emit.put(node)
    code.memory(STORES[size]!)
  }

  /** The host address, in a local, of `size` bytes at a linear address. */
  #probe(at: Node, size: number, access: 'read' | 'write', leave: Leave): number {
    const code = this.#emit.code
    const [linear, entry, host] = [this.#emit.temp(64), this.#emit.temp(32), this.#emit.temp(32)]
    this.#emit.put(at)
    code.set(linear)
    code.get(linear).op('i32.wrap_i64').i32(INDEX_SHIFT).op('i32.shr_u').get(LOCAL.MASK).op('i32.and')
    code.get(LOCAL.TLB).op('i32.add').set(entry)
    code
      .get(linear)
      .get(entry)
      .memory('i64.load', TLB_WORD[access] * 4)
      .op('i64.xor')
      .tee(linear)
    code.i64(BigInt(4096 - size)).op('i64.gt_u')
    code.if(() => {
      code
        .get(LOCAL.FRAME)
        .get(linear)
        .get(entry)
        .memory('i64.load', TLB_WORD[access] * 4)
        .op('i64.xor')
      code.memory('i64.store', SCRATCH.LINEAR)
      leave('access', access === 'write' ? -size : size)
    })
    code
      .get(linear)
      .op('i32.wrap_i64')
      .get(entry)
      .memory('i32.load', TLB_FRAME_WORD * 4)
      .op('i32.add')
      .set(host)
    return host
  }
}
