/** Types of guest values. */
import { type Field, readUint, type Size, writeUint } from '#bits'

export type TypeName = 'u8' | 'u16' | 'u32' | 'u64' | 'i8' | 'i16' | 'i32' | 'i64'

/** An integer type of the guest; a field of a structure too, whose values are bigints on the host. */
export type IntType<T extends TypeName = TypeName> = Field<bigint> & {
  readonly name: T
  readonly size: Size
  readonly signed: boolean
}

const type = <T extends TypeName, S extends Size>(
  name: T,
  size: S,
  signed: boolean,
): IntType<T> & { readonly size: S } => ({
  name,
  size,
  signed,
  align: size,
  read: (view, at) => {
    const value = readUint(view, at, size)
    return signed ? BigInt.asIntN(size * 8, value) : value
  },
  write: (view, at, value) => {
    const [low, high] = signed
      ? [-(1n << BigInt(size * 8 - 1)), 1n << BigInt(size * 8 - 1)]
      : [0n, 1n << BigInt(size * 8)]
    if (value < low || value >= high) throw new RangeError(`${value} does not fit in a ${name}`)
    writeUint(view, at, size, value)
  },
})

export const u8 = type('u8', 1, false)
export const u16 = type('u16', 2, false)
export const u32 = type('u32', 4, false)
export const u64 = type('u64', 8, false)
export const i8 = type('i8', 1, true)
export const i16 = type('i16', 2, true)
export const i32 = type('i32', 4, true)
export const i64 = type('i64', 8, true)

export const TYPES: { readonly [T in TypeName]: IntType<T> } = { u8, u16, u32, u64, i8, i16, i32, i64 }

/** The unsigned type of a size in bytes. */
export type UnsignedOf<S extends Size> = S extends 1 ? 'u8' : S extends 2 ? 'u16' : S extends 4 ? 'u32' : 'u64'
const UNSIGNED: { readonly [S in Size]: IntType<UnsignedOf<S>> } = { 1: u8, 2: u16, 4: u32, 8: u64 }

/** A type, or the size in bytes of an unsigned one. */
export type TypeOrSize = IntType | Size
export type NameOf<T extends TypeOrSize> = T extends IntType<infer N> ? N : T extends Size ? UnsignedOf<T> : never

export const typeOf = <T extends TypeOrSize>(t: T): IntType<NameOf<T>> =>
  (typeof t === 'number' ? UNSIGNED[t as Size] : t) as IntType<NameOf<T>>

/** How a value that travelled in 64 bits reads in its type. */
export const readAs = (value: bigint, name: TypeName): bigint => {
  const { size, signed } = TYPES[name]
  return signed ? BigInt.asIntN(size * 8, value) : BigInt.asUintN(size * 8, value)
}
