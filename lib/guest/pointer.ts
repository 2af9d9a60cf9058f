/** Memory of the guest with a shape: arrays of one type, the frame of an exception. */
import type { GuestBuilder } from './builder.ts'
import { FRAME, type FrameField } from './runtime.ts'
import { type IntType, type NameOf, type TypeName, u64 } from './types.ts'
import type { In, Value } from './value.ts'

/** Memory as an array of one type. */
export class Pointer<T extends TypeName = TypeName> {
  readonly #g: GuestBuilder
  readonly type: IntType<T>
  readonly address: Value<'u64'>
  constructor(g: GuestBuilder, type: IntType<T>, address: Value<'u64'>) {
    this.#g = g
    this.type = type
    this.address = address
  }
  /** The address of element `index`. */
  at(index: In<'u64'>): Value<'u64'> {
    const scale = BigInt(this.type.size)
    return typeof index === 'object' ? this.address.add(index.mul(scale)) : this.address.add(BigInt(index) * scale)
  }
  get(index: In<'u64'> = 0n): Value<T> {
    return this.#g.load(this.at(index), this.type) as Value<T>
  }
  set(index: In<'u64'>, value: In<T>): void {
    this.#g.store(this.at(index), this.type, value as In<NameOf<IntType<T>>>)
  }
}

/** What an exception handler finds: the registers as they were, the frame that the processor pushed. */
export class ExceptionFrame {
  readonly #g: GuestBuilder
  readonly #at: Value<'u64'>
  constructor(g: GuestBuilder, at: Value<'u64'>) {
    this.#g = g
    this.#at = at
  }
  get(field: FrameField): Value<'u64'> {
    return this.#g.load(this.#at.add(FRAME[field]), u64)
  }
  /** What the interrupted code goes on with. */
  set(field: FrameField, value: In<'u64'>): void {
    this.#g.store(this.#at.add(FRAME[field]), u64, value)
  }
}
