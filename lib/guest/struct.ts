/** Structures as a guest has them: the layouts that the host reads, field by field, with the same names. */
import {
  type ArrayField,
  type BitField,
  type BitParts,
  type Field,
  type Layout,
  rangeOf,
  type Shape,
  type Size,
  type StructField,
} from '#bits'
import type { GuestBuilder } from './builder.ts'
import { type IntType, type TypeName, typeOf, type UnsignedOf, u64 } from './types.ts'
import type { In, Value } from './value.ts'

/** The guest's type of a field: its own, or the unsigned one of its size. */
type NameOfField<F> = F extends { readonly name: infer N extends TypeName }
  ? N
  : F extends { readonly size: infer S extends Size }
    ? UnsignedOf<S>
    : never

/** An integer in memory. */
export type Cell<T extends TypeName = TypeName> = {
  readonly type: IntType<T>
  /** Guest virtual address. */
  readonly address: Value<'u64'>
  get(): Value<T>
  set(value: In<T>): void
}

/** An integer in named parts. A part that is set leaves the others as they are. */
export type BitCell<T extends TypeName, P extends BitParts> = Cell<T> & {
  readonly [K in keyof P]: { get(): Value<T>; set(value: In<T>): void }
}

/** Fields of an array. */
export type Elements<F extends Field> = {
  readonly length: number
  at(index: In<'u64'>): Member<F>
}

/** Anything else: raw bytes have a place and a size. */
export type Bytes = { readonly address: Value<'u64'>; readonly size: number }

/** What a field is to the guest. */
export type Member<F> =
  F extends ArrayField<infer E>
    ? Elements<E>
    : F extends StructField<infer S>
      ? Struct<S>
      : F extends BitField<infer B, infer P>
        ? BitCell<NameOfField<B>, P>
        : [NameOfField<F>] extends [never]
          ? Bytes
          : Cell<NameOfField<F>>

/** A structure in the guest's memory: one member for each field. */
export type Struct<S extends Shape> = { readonly [K in keyof S]: Member<S[K]> }

const isArray = (field: Field): field is ArrayField => 'element' in field
const isStruct = (field: Field): field is StructField => 'layout' in field
const isBits = (field: Field): field is BitField => 'parts' in field
const isInteger = (field: Field): field is IntType => 'name' in field && 'signed' in field

const integerOf = (field: Field): IntType | undefined => {
  if (isInteger(field)) return field
  return field.size === 1 || field.size === 2 || field.size === 4 || field.size === 8
    ? typeOf(field.size as Size)
    : undefined
}

/** `at + offset`, folded where both are known. */
const plus = (g: GuestBuilder, at: In<'u64'>, offset: bigint): Value<'u64'> =>
  typeof at === 'object' ? at.add(offset) : g.value(u64, BigInt(at) + offset)

const cellOf = (g: GuestBuilder, type: IntType, address: Value<'u64'>): Cell => ({
  type,
  address,
  get: () => g.load(address, type),
  set: value => g.store(address, type, value),
})

const bitsOf = (g: GuestBuilder, field: BitField, address: Value<'u64'>): Cell => {
  const type = integerOf(field.base)!
  const cell = cellOf(g, type, address)
  const parts = Object.entries(field.parts).map(([name, range]) => {
    const [high, low] = rangeOf(range)
    const ones = (1n << BigInt(high - low + 1)) - 1n
    const part = {
      get: () => cell.get().shr(BigInt(low)).and(ones),
      set: (value: In<TypeName>) => {
        const others = cell.get().and(BigInt.asUintN(type.size * 8, ~(ones << BigInt(low))))
        const own = typeof value === 'object' ? value.and(ones).shl(BigInt(low)) : BigInt(value) << BigInt(low)
        if (typeof own === 'bigint' && own >> BigInt(low) > ones)
          throw new RangeError(`${name}: ${value} does not fit in its bits`)
        cell.set(others.or(own))
      },
    }
    return [name, part] as const
  })
  return { ...cell, ...Object.fromEntries(parts) }
}

const memberOf = (g: GuestBuilder, field: Field, address: Value<'u64'>): unknown => {
  if (isArray(field))
    return {
      length: field.length,
      at: (index: In<'u64'>) => {
        if (typeof index !== 'object' && (index < 0 || index >= field.length))
          throw new RangeError(`element ${index}: the array has ${field.length}`)
        const scale = BigInt(field.element.size)
        const offset = typeof index === 'object' ? index.mul(scale) : BigInt(index) * scale
        return memberOf(g, field.element, typeof offset === 'bigint' ? plus(g, address, offset) : address.add(offset))
      },
    }
  if (isStruct(field)) return structAt(g, field.layout, address)
  if (isBits(field)) return bitsOf(g, field, address)
  const type = integerOf(field)
  return type === undefined ? { address, size: field.size } : cellOf(g, type, address)
}

/** The structure that lies at an address. */
export const structAt = <S extends Shape>(g: GuestBuilder, layout: Layout<S>, at: In<'u64'>): Struct<S> => {
  const members: Record<string, unknown> = {}
  for (const [name, field] of Object.entries<Field>(layout.fields)) {
    const offset = BigInt(layout.offset[name] ?? 0)
    // Made where it is used, so that the address is worked out there and nowhere else.
    Object.defineProperty(members, name, { enumerable: true, get: () => memberOf(g, field, plus(g, at, offset)) })
  }
  // One member for each field: the loop above made them.
  return members as Struct<S>
}
