/** Values of a guest: they exist when the guest runs, so the host can only say what is to be done with them. */

import { NOT, type Operand, type Vreg } from './ir.ts'
import { type BinaryName, CC_SIGNED, CC_UNSIGNED, canonical, type Scope, widthOf } from './scope.ts'
import type { Relation } from './site.ts'
import { type IntType, type TypeName, u64 } from './types.ts'

/** What stands where a guest value of type T is wanted. */
export type In<T extends TypeName> = Value<T> | bigint | number

/** What `g.function` gives; to be said where a function calls itself: `const f: GuestFunction<['u64'], 'u64'> = ...`. */
export type GuestFunction<P extends readonly TypeName[], R extends TypeName> = (
  ...args: { [I in keyof P]: In<P[I]> }
) => Value<R>

/** Whoever holds the function that is being built. */
export type Builder = { readonly scope: Scope }

/** A guest value was used as if the host knew it. */
export class GuestValueError extends TypeError {
  override readonly name = 'GuestValueError'
}

const refuse = (): never => {
  throw new GuestValueError(
    'a guest value has no value on the host: compare it in the guest (g.assert, g.when) or send it (g.sync, g.printf)',
  )
}

/** An integer of the guest. A variable's value is read where it is used, not where it is written down. */
export class Value<T extends TypeName = TypeName> {
  readonly type: IntType<T>
  readonly #builder: Builder
  readonly #operand: Operand
  readonly #home: Scope | undefined

  constructor(builder: Builder, type: IntType<T>, operand: Operand) {
    this.#builder = builder
    this.type = type
    this.#operand = operand
    this.#home = typeof operand === 'number' ? builder.scope : undefined
  }

  /** For the builder: the register or constant behind a value. Throws where it belongs to another function. */
  static operand<T extends TypeName>(value: Value<T>): Operand {
    if (value.#home !== undefined && value.#home !== value.#builder.scope)
      throw new GuestValueError(
        `a value of ${value.#home.fn.name} is used in ${value.#builder.scope.fn.name}: pass it as an argument or through memory`,
      )
    return value.#operand
  }
  protected static builder(value: Value): Builder {
    return value.#builder
  }

  #in(b: In<T>): Operand {
    return operandIn(this.type, b)
  }
  #binary(name: BinaryName, b: In<T>): Value<T> {
    const { scope } = this.#builder
    return new Value(this.#builder, this.type, scope.binary(name, this.type, Value.operand(this), this.#in(b)))
  }
  #compare(relation: Relation, b: In<T>): Condition {
    const { scope } = this.#builder
    const cc = (this.type.signed ? CC_SIGNED : CC_UNSIGNED)[relation]
    return new Condition(this.#builder, scope.set(cc, widthOf(this.type), Value.operand(this), this.#in(b)))
  }

  add(b: In<T>): Value<T> {
    return this.#binary('add', b)
  }
  sub(b: In<T>): Value<T> {
    return this.#binary('sub', b)
  }
  mul(b: In<T>): Value<T> {
    return this.#binary('mul', b)
  }
  /** Rounds towards zero. By zero: #DE in the guest. */
  div(b: In<T>): Value<T> {
    return this.#binary('div', b)
  }
  mod(b: In<T>): Value<T> {
    return this.#binary('mod', b)
  }
  and(b: In<T>): Value<T> {
    return this.#binary('and', b)
  }
  or(b: In<T>): Value<T> {
    return this.#binary('or', b)
  }
  xor(b: In<T>): Value<T> {
    return this.#binary('xor', b)
  }
  /** The count wraps at 32, or at 64 for 8-byte types, as the processor has it. */
  shl(b: In<T>): Value<T> {
    return this.#binary('shl', b)
  }
  /** Keeps the sign of signed types. The count wraps as that of `shl`. */
  shr(b: In<T>): Value<T> {
    return this.#binary('shr', b)
  }
  not(): Value<T> {
    return new Value(this.#builder, this.type, this.#builder.scope.unary('not', this.type, Value.operand(this)))
  }
  neg(): Value<T> {
    return new Value(this.#builder, this.type, this.#builder.scope.unary('neg', this.type, Value.operand(this)))
  }

  eq(b: In<T>): Condition {
    return this.#compare('eq', b)
  }
  ne(b: In<T>): Condition {
    return this.#compare('ne', b)
  }
  lt(b: In<T>): Condition {
    return this.#compare('lt', b)
  }
  le(b: In<T>): Condition {
    return this.#compare('le', b)
  }
  gt(b: In<T>): Condition {
    return this.#compare('gt', b)
  }
  ge(b: In<T>): Condition {
    return this.#compare('ge', b)
  }

  /** This value in another type, as a C cast converts. */
  as<U extends TypeName>(type: IntType<U>): Value<U> {
    const { scope } = this.#builder
    return new Value(this.#builder, type, scope.convert(Value.operand(this), this.type, type))
  }

  /** The value as it is now, whatever becomes of the variable. */
  copy(): Value<T> {
    const operand = Value.operand(this)
    return typeof operand === 'bigint'
      ? this
      : new Value(this.#builder, this.type, this.#builder.scope.variable(operand))
  }

  [Symbol.toPrimitive](): never {
    return refuse()
  }
  toJSON(): never {
    return refuse()
  }
}

/** A variable of the guest: lives in a register or on the stack. */
export class Variable<T extends TypeName = TypeName> extends Value<T> {
  set(value: In<T>): void {
    const dst = Value.operand(this) as Vreg
    Value.builder(this).scope.emit({ op: 'move', dst, a: operandIn(this.type, value) })
  }
}

/** A truth value of the guest. */
export class Condition {
  readonly #builder: Builder
  readonly #value: Value<'u64'>

  constructor(builder: Builder, operand: Operand) {
    this.#builder = builder
    this.#value = new Value(builder, u64, operand)
  }
  static operand(condition: Condition): Operand {
    return Value.operand(condition.#value)
  }

  /** Both sides were worked out already: this joins results. */
  and(other: Condition): Condition {
    return new Condition(this.#builder, Value.operand(this.#value.and(other.#value)))
  }
  or(other: Condition): Condition {
    return new Condition(this.#builder, Value.operand(this.#value.or(other.#value)))
  }
  not(): Condition {
    return new Condition(this.#builder, Value.operand(this.#value.xor(1n)))
  }
  /** 1 where it holds, else 0. */
  value(): Value<'u64'> {
    return this.#value
  }
  [Symbol.toPrimitive](): never {
    return refuse()
  }
}

/** Goes to `label` where `condition` holds, or where it does not. A plain value holds where it is not zero. */
export const branch = (builder: Builder, condition: Condition | Value, holds: boolean, label: number): void => {
  const operand = condition instanceof Condition ? Condition.operand(condition) : Value.operand(condition)
  builder.scope.branch(operand, holds, label, NOT)
}

/** A value or constant as an operand. Throws RangeError where a constant is outside the type. */
export const operandIn = <T extends TypeName>(type: IntType<T>, value: In<T>): Operand => {
  if (value instanceof Value) {
    if (value.type.name !== type.name)
      throw new GuestValueError(
        `a ${value.type.name} stands where a ${type.name} is wanted: convert it with .as(${type.name})`,
      )
    return Value.operand(value)
  }
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw new RangeError(`${value} is not an integer`)
  const number = BigInt(value)
  const bits = BigInt(type.size * 8)
  if (number >= 1n << bits || number < -(1n << (bits - 1n)))
    throw new RangeError(`${number} does not fit in a ${type.name}`)
  return canonical(type, number)
}
