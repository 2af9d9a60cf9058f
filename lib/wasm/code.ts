/** The body of one WebAssembly function as it is written, instruction by instruction. */
import { Bytes } from './bytes.ts'
import { EMPTY, MEMORY_OP, type MemoryOp, OP, type Op, type ValueType } from './opcodes.ts'

const VECTOR_MEMORY = { load: 0, store: 11, load32_zero: 92, load64_zero: 93 } as const

/** A label counts from the outermost: the number of blocks that were open when its block began. */
export type Label = number

/** A function body. Locals may be added at any time; blocks nest by calls, so that they always close. */
export class Code {
  readonly #bytes = new Bytes(1024)
  readonly #locals: ValueType[] = []
  readonly #params: number
  readonly #pool: ((type: ValueType) => number) | undefined
  #depth: number

  /**
   * A piece of a function stands in `depth` blocks of it, whose labels are 0 to `depth` - 1, and has its locals from a pool
   * that they all share.
   */
  constructor(params: number, depth = 0, pool?: (type: ValueType) => number) {
    this.#params = params
    this.#depth = depth
    this.#pool = pool
  }

  /** Bytes written so far. */
  get size(): number {
    return this.#bytes.length
  }

  /** A new local, zero at entry. */
  local(type: ValueType): number {
    if (this.#pool !== undefined) return this.#pool(type)
    this.#locals.push(type)
    return this.#params + this.#locals.length - 1
  }

  op(name: Op): this {
    this.#bytes.byte(OP[name])
    return this
  }

  i32(value: number): this {
    this.#bytes.byte(0x41)
    this.#bytes.s32(value)
    return this
  }

  i64(value: bigint): this {
    this.#bytes.byte(0x42)
    this.#bytes.s64(value)
    return this
  }

  get(local: number): this {
    return this.#indexed(0x20, local)
  }

  set(local: number): this {
    return this.#indexed(0x21, local)
  }

  tee(local: number): this {
    return this.#indexed(0x22, local)
  }

  global(index: number): this {
    return this.#indexed(0x23, index)
  }

  setGlobal(index: number): this {
    return this.#indexed(0x24, index)
  }

  call(func: number): this {
    return this.#indexed(0x10, func)
  }

  tailCall(func: number): this {
    return this.#indexed(0x12, func)
  }

  /** Calls entry `index` (on the stack) of table 0, which must have `type`. */
  callIndirect(type: number): this {
    this.#indexed(0x11, type)
    this.#bytes.byte(0)
    return this
  }

  tailCallIndirect(type: number): this {
    this.#indexed(0x13, type)
    this.#bytes.byte(0)
    return this
  }

  /** A load or store at the address on the stack plus `offset`. Guests are unaligned: no alignment is promised. */
  memory(name: MemoryOp, offset = 0): this {
    this.#bytes.byte(MEMORY_OP[name][0])
    this.#bytes.u32(0)
    this.#bytes.u32(offset)
    return this
  }

  /** A vector instruction by its number, with its lanes (or the bytes of a constant). */
  simd(opcode: number, lanes: readonly number[] = []): this {
    this.#bytes.byte(0xfd)
    this.#bytes.u32(opcode)
    for (const lane of lanes) this.#bytes.byte(lane)
    return this
  }

  /** v128.load or v128.store, or a load of the lowest lane, at the address on the stack plus `offset`. */
  vectorMemory(name: keyof typeof VECTOR_MEMORY, offset = 0): this {
    this.simd(VECTOR_MEMORY[name])
    this.#bytes.u32(0)
    this.#bytes.u32(offset)
    return this
  }

  copy(): this {
    for (const byte of [0xfc, 10, 0, 0]) this.#bytes.byte(byte)
    return this
  }

  fill(): this {
    for (const byte of [0xfc, 11, 0]) this.#bytes.byte(byte)
    return this
  }

  block(body: (end: Label) => void, type: ValueType | typeof EMPTY = EMPTY): this {
    return this.#nest(0x02, type, body)
  }

  loop(body: (again: Label) => void, type: ValueType | typeof EMPTY = EMPTY): this {
    return this.#nest(0x03, type, body)
  }

  /** Takes an i32 from the stack. */
  if(then: () => void, otherwise?: () => void, type: ValueType | typeof EMPTY = EMPTY): this {
    return this.#nest(0x04, type, () => {
      then()
      if (otherwise) {
        this.#bytes.byte(OP.else)
        otherwise()
      }
    })
  }

  br(to: Label): this {
    return this.#indexed(0x0c, this.#depth - to - 1)
  }

  brIf(to: Label): this {
    return this.#indexed(0x0d, this.#depth - to - 1)
  }

  brTable(targets: readonly Label[], otherwise: Label): this {
    this.#indexed(0x0e, targets.length)
    for (const to of [...targets, otherwise]) this.#bytes.u32(this.#depth - to - 1)
    return this
  }

  /** A copy of what was written: of a piece, all there is to it. */
  piece(): Uint8Array {
    return this.#bytes.view().slice()
  }

  raw(bytes: Uint8Array): this {
    this.#bytes.raw(bytes)
    return this
  }

  /** The body with its locals, as the code section has it. */
  finish(): Uint8Array {
    const out = new Bytes(this.#bytes.length + 64)
    const runs: [count: number, type: ValueType][] = []
    for (const type of this.#locals) {
      const last = runs.at(-1)
      if (last?.[1] === type) last[0]++
      else runs.push([1, type])
    }
    out.u32(runs.length)
    for (const [count, type] of runs) {
      out.u32(count)
      out.byte(type)
    }
    out.raw(this.#bytes.view())
    out.byte(OP.end)
    return out.view()
  }

  #indexed(opcode: number, index: number): this {
    this.#bytes.byte(opcode)
    this.#bytes.u32(index)
    return this
  }

  #nest(opcode: number, type: number, body: (label: Label) => void): this {
    this.#bytes.byte(opcode)
    this.#bytes.byte(type)
    body(this.#depth++)
    this.#depth--
    this.#bytes.byte(OP.end)
    return this
  }
}
