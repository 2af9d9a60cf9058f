/** What an instruction does to memory: the TLB is looked up inline, and the region left where it does not know. */
import { I32 } from '#wasm'
import { TLB_ENTRY_WORDS, TLB_FRAME_WORD, TLB_WORD } from '../tlb.ts'
import type { Context } from './context.ts'
import { emitCrc } from './crc.ts'
import { emitDivide } from './divide.ts'
import type { Emitter } from './emit.ts'
import { floatOf } from './float.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import { type Found, type Place, Places, reaches } from './places.ts'
import { emitRepeat } from './repeat.ts'
import { emitScan } from './scan.ts'
import { type Leave, SCRATCH } from './sites.ts'
import { type Effect, LOCAL, type Unit } from './unit.ts'
import { keyOf, type Window } from './windows.ts'

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
const VECTOR_LOADS: Record<number, 'load' | 'load32_zero' | 'load64_zero'> = {
  4: 'load32_zero',
  8: 'load64_zero',
  16: 'load',
}
const INDEX_SHIFT = 12 - Math.log2(TLB_ENTRY_WORDS * 4)

/** A host address: a local plus a constant. */
type Host = { readonly local: number; readonly offset: number }

type LookUp = (at: Node, length: number, size: number, writes: boolean, leave: Leave, host: number) => number

export class Accesses {
  /** What is known where the code is being written. */
  places = new Places()
  #inLoop = false
  /** By what their addresses are made of. */
  readonly windows = new Map<string, Window>()
  /** Where the entry of the TLB is that was looked at last. */
  #entry = 0
  #reaches: ReturnType<typeof reaches> = new Map()
  readonly #free: number[] = []
  readonly #taken: number[] = []
  readonly #emit: Emitter
  readonly #context: Context
  /** Function of the runtime. */
  readonly #log: number
  /** Is a page looked up for all that a block accesses near a place? */
  readonly #isWide: (offset: number) => boolean

  /** Functions of units, by name. */
  readonly #units: ReadonlyMap<string, number>

  constructor(
    emit: Emitter,
    context: Context,
    log: number,
    isWide: (offset: number) => boolean,
    units: ReadonlyMap<string, number> = new Map(),
  ) {
    this.#units = units
    this.#emit = emit
    this.#context = context
    this.#log = log
    this.#isWide = isWide
  }

  count(effect: Effect): void {
    if (effect.kind === 'repeat' || effect.kind === 'scan' || effect.kind === 'help') return
    if (effect.kind === 'leaveIf') this.#emit.count(effect.condition)
    else if (effect.kind === 'loadIf') {
      this.#emit.count(effect.condition)
      this.#emit.count(effect.at)
    } else if (effect.kind === 'check') {
      this.#emit.count(effect.fast)
      this.#emit.count(effect.slow)
    } else if (effect.kind === 'crc') {
      this.#emit.count(effect.crc)
      this.#emit.count(effect.data)
    } else if (effect.kind === 'divide') {
      for (const node of [effect.high, effect.low, effect.by]) this.#emit.count(node)
    } else if (effect.kind === 'unit') {
      for (const node of effect.args) this.#emit.count(node)
    } else if (effect.kind === 'frame') this.#emit.count(effect.value)
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
        const { local, offset } = this.#probe(effect.at, effect, leave)
        code.get(local)
        if (effect.to.width === 128) code.vectorMemory(VECTOR_LOADS[effect.size]!, offset)
        else code.memory(LOADS[effect.size]!, offset)
        this.#bind(effect.to)
        return
      }
      case 'loadIf': {
        // What is worked out once for several of these is worked out whether this one loads or not.
        const at = this.#emit.temp(64)
        this.#linear(effect.at)
        code.set(at)
        effect.to.temp = this.#emit.temp(effect.to.width)
        if (effect.to.width === 64) code.i64(0n)
        else code.i32(0)
        code.set(effect.to.temp)
        this.#emit.put(effect.condition)
        code.if(() => {
          const host = this.#lookUp(n.local(at, 64, 64), effect.size, effect.size, false, leave, this.#emit.temp(32))
          code.get(host).memory(LOADS[effect.size]!).set(effect.to.temp)
        })
        return
      }
      case 'store': {
        const { local, offset } = this.#probe(effect.at, effect, leave)
        this.#store(() => code.get(local), offset, effect.size, effect.value)
        return
      }
      case 'probe': {
        const { local, offset } = this.#probe(effect.at, effect, leave)
        effect.to.temp = offset === 0 ? local : this.#emit.temp(32)
        if (offset !== 0) code.get(local).i32(offset).op('i32.add').set(effect.to.temp)
        return
      }
      case 'loadHost':
        this.#emit.put(effect.host)
        code.memory(LOADS[effect.size]!)
        this.#bind(effect.to)
        return
      case 'storeHost':
        this.#store(() => this.#emit.put(effect.host), 0, effect.size, effect.value)
        return
      case 'repeat':
        emitRepeat(this.#emit, this, effect, leave)
        return
      case 'scan':
        emitScan(this.#emit, this, effect, leave)
        return
      case 'crc':
        emitCrc(this.#emit, effect)
        return
      case 'divide':
        emitDivide(this.#emit, effect)
        return
      case 'help':
        throw new Error('what the interpreter does is no access')
      case 'frame':
        code.get(LOCAL.FRAME)
        this.#emit.put(effect.size === 8 ? n.to64(effect.value) : n.to32(effect.value))
        code.memory(STORES[effect.size]!, effect.at)
        return
      case 'unit':
        if (effect.fails) code.get(LOCAL.FRAME)
        for (const node of effect.args) this.#emit.put(node)
        code.call(this.#units.get(effect.name)!)
        if (effect.fails) code.if(() => leave('case'))
        else this.#bind(effect.to!)
        return
      case 'check':
        this.#emit.put(effect.fast)
        code.op('i32.eqz')
        code.if(() => {
          this.#emit.put(effect.slow)
          code.op('i32.eqz')
          code.if(() => leave('case'))
        })
    }
  }

  /** Puts the host address of `size` bytes at a linear address on the stack. */
  probe(at: Node, size: number, access: 'read' | 'write', leave: Leave): void {
    this.#emit.code.get(this.#lookUp(at, size, size, access === 'write', leave, this.#emit.temp(32)))
  }

  /** Where stores are logged: these `length` bytes are about to be written. */
  logRange(host: number, length: number): void {
    if (this.#context.logs) this.#emit.code.get(host).get(length).call(this.#log)
  }

  #bind(node: Node): void {
    node.temp = this.#emit.temp(node.width)
    this.#emit.code.set(node.temp)
  }

  #store(host: () => void, offset: number, size: number, value: Node): void {
    const code = this.#emit.code
    if (this.#context.logs) {
      host()
      code.i32(offset).op('i32.add').i32(size).call(this.#log)
    }
    host()
    if (size === 16) {
      this.#emit.put(value)
      code.vectorMemory('store', offset)
      return
    }
    const lane = floatOf(value)
    if (lane !== undefined) {
      this.#emit.put(lane)
      code.memory(lane.width === 'f64' ? 'f64.store' : 'f32.store', offset)
      return
    }
    const wide = size === 8
    const node = wide ? n.to64(value) : n.to32(value)
    this.#emit.put(node)
    code.memory(STORES[size]!, offset)
  }

  /** Where the bytes at a linear address are: found before, found with others, or looked up. */
  #probe(at: Node, effect: Effect & { readonly size: number }, leave: Leave): Host {
    const { size } = effect
    const writes = effect.kind !== 'load'
    const place = this.places.of(at)
    if (place === undefined)
      return { local: this.#lookUp(at, size, size, writes, leave, this.#emit.temp(32)), offset: 0 }
    const near = this.places.near(place, writes)
    if (near !== undefined) {
      const { found, from } = near
      const offset = Number(from)
      if (offset >= 0 && offset + size <= found.length) return { local: found.host, offset }
      return { local: this.#guarded(at, size, writes, leave, found, offset, place), offset: 0 }
    }
    const reach = this.#reaches.get(effect)
    const { before, behind } = reach ?? { before: 0n, behind: BigInt(size) }
    const length = Number(before + behind)
    const from = before === 0n ? at : n.sub(8, at, n.constant(before))
    const key = this.#inLoop ? keyOf(at) : undefined
    const window = key === undefined ? undefined : this.windows.get(key)
    const look = window === undefined || (writes && !window.writes) ? this.#lookUp : this.#through(window)
    const host = look(from, length, size, writes, leave, this.#own())
    this.places.remember({ place: { sum: place.sum, at: place.at - before }, host, length, writable: writes })
    return { local: host, offset: Number(before) }
  }

  /** The same page as something found, if the offset in it allows that. */
  #guarded(at: Node, size: number, writes: boolean, leave: Leave, found: Found, offset: number, place: Place): number {
    const code = this.#emit.code
    const host = this.#own()
    code.get(found.host).i32(4095).op('i32.and')
    if (offset < 0) code.i32(-offset).op('i32.ge_u')
    else code.i32(4096 - offset - size).op('i32.le_u')
    code.if(
      () => code.get(found.host).i32(offset).op('i32.add').set(host),
      () => this.#lookUp(at, size, size, writes, leave, host),
    )
    this.places.remember({ place, host, length: size, writable: writes })
    return host
  }

  /** A linear address as 64 bits: what is known to have no upper half may be a node of 32. */
  #linear(at: Node): void {
    this.#emit.put(at)
    if ((at.as ?? at).width === 32) this.#emit.code.op('i64.extend_i32_u')
  }

  /** Looks up `length` bytes in the TLB, `size` of which are wanted now; the host address goes to local `host`. */
  readonly #lookUp: LookUp = (at, length, size, writes, leave, host) => {
    const code = this.#emit.code
    const [linear, entry, tag] = [this.#emit.temp(64), this.#emit.temp(32), this.#emit.temp(64)]
    this.#entry = entry
    this.#linear(at)
    code.tee(linear)
    code.op('i32.wrap_i64').i32(INDEX_SHIFT).op('i32.shr_u').get(LOCAL.MASK).op('i32.and')
    code.get(LOCAL.TLB).op('i32.add').tee(entry)
    // In a local that is used once more: V8 would load it twice.
    code.memory('i64.load', TLB_WORD[writes ? 'write' : 'read'] * 4).tee(tag)
    code.get(linear).op('i64.xor').tee(linear)
    code.i64(BigInt(4096 - length)).op('i64.gt_u')
    code.if(() => {
      code.get(LOCAL.FRAME).get(linear).get(tag).op('i64.xor')
      code.memory('i64.store', SCRATCH.LINEAR)
      leave('access', { size, length, writes })
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

  /** The same by way of a window, which moves to the page where that is another. */
  #through({ page, frame, writes: mayWrite, number }: Window): LookUp {
    return (at, length, size, writes, leave, host) => {
      const code = this.#emit.code
      const [linear, offset] = [this.#emit.temp(64), this.#emit.temp(64)]
      this.#linear(at)
      code.tee(linear).get(page).op('i64.sub').tee(offset)
      code.i64(BigInt(4096 - length)).op('i64.gt_u')
      const move = (): void => {
        code.get(host).i32(-4096).op('i32.and').set(frame)
        code.get(linear).i64(-4096n).op('i64.and').set(page)
      }
      code.if(
        () => {
          this.#lookUp(n.local(linear, 64, 64), length, size, writes, leave, host)
          if (writes || !mayWrite) move()
          else {
            // Only a page that may be written.
            code
              .get(this.#entry)
              .memory('i64.load', TLB_WORD.write * 4)
              .get(linear)
              .op('i64.xor')
            code.i64(4096n).op('i64.lt_u').if(move)
          }
          code
            .get(LOCAL.FRAME)
            .get(LOCAL.FRAME)
            .memory('i32.load', SCRATCH.SCATTER + number * 4)
          code
            .i32(1)
            .op('i32.add')
            .memory('i32.store', SCRATCH.SCATTER + number * 4)
        },
        () => code.get(offset).op('i32.wrap_i64').get(frame).op('i32.add').set(host),
      )
      return host
    }
  }

  /** A local for a page that was found. */
  #own(): number {
    const local = this.#free.pop() ?? this.#emit.code.local(I32)
    this.#taken.push(local)
    return local
  }

  /** Locals of pages taken since `mark` are free again. */
  release(mark: number): void {
    this.#free.push(...this.#taken.splice(mark))
  }

  get mark(): number {
    return this.#taken.length
  }

  /** A block is written from here on, of which what comes before tells `places`. */
  begin(units: readonly Unit[], places: Places, inLoop: boolean): void {
    this.#inLoop = inLoop
    this.places = places
    this.#reaches = reaches(units, places, this.#isWide)
  }
}
