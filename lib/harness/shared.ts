/** A structure that guest and host share: declared once, with the same names on both sides. */
import type { GuestBuilder, In, IntType, NameOf, Value } from '#guest'
import { Misuse } from './failure.ts'
import type { Td } from './td.ts'

type Fields = Readonly<Record<string, IntType>>

/** A field as the guest has it. */
export type Cell<T extends IntType> = {
  /** Its guest virtual address. */
  readonly address: bigint
  get(): Value<NameOf<T>>
  set(value: In<NameOf<T>>): void
}

export type Shared<F extends Fields> = {
  readonly name: string
  /** Bytes, with C's natural alignment. */
  readonly size: number
  readonly offset: { readonly [K in keyof F]: number }
  /** For the guest: the fields, in shared memory of the image being built. All its vCPUs get the same. */
  in(g: GuestBuilder): { readonly [K in keyof F]: Cell<F[K]> }
  /** For the host: the fields of a TD, read and set like an object's. Values are those of the field's type. */
  of(td: Td): { -readonly [K in keyof F]: bigint }
}

let image = 0
/** A new image is about to be built: what guests reserve from here on is its own. */
export const beginImage = (): void => {
  image++
}

/** Declares a shared structure. `name` is the symbol's name too. */
export const shared = <const F extends Fields>(name: string, fields: F): Shared<F> => {
  const types = Object.entries<IntType>(fields)
  const offsets: Record<string, number> = {}
  let size = 0
  for (const [key, type] of types) {
    size = Math.ceil(size / type.size) * type.size
    offsets[key] = size
    size += type.size
  }
  let reserved = { image: -1, at: 0n }
  return {
    name,
    size,
    // One entry for each field: the loop above made them.
    offset: offsets as { [K in keyof F]: number },
    in(g) {
      if (reserved.image !== image) reserved = { image, at: g.memory(name, size, { shared: true }) }
      const { at } = reserved
      const cells = types.map(([key, type]) => [key, cellOf(g, at + BigInt(offsets[key] ?? 0), type)] as const)
      return Object.fromEntries(cells) as { [K in keyof F]: Cell<F[K]> }
    },
    of(td) {
      const accessors = types.map(([key, type]) => [key, accessorOf(td, name, offsets[key] ?? 0, type)] as const)
      return Object.defineProperties({}, Object.fromEntries(accessors)) as { -readonly [K in keyof F]: bigint }
    },
  }
}

const cellOf = (g: GuestBuilder, address: bigint, type: IntType): Cell<IntType> => ({
  address,
  get: () => g.load(address, type),
  set: value => g.store(address, type, value),
})

const accessorOf = (td: Td, name: string, offset: number, { size, signed }: IntType): PropertyDescriptor => ({
  enumerable: true,
  get: () => {
    const value = td.load(td.address(name) + BigInt(offset), size)
    return signed ? BigInt.asIntN(size * 8, value) : value
  },
  set: (value: bigint) => {
    const [low, high] = signed
      ? [-(1n << BigInt(size * 8 - 1)), (1n << BigInt(size * 8 - 1)) - 1n]
      : [0n, (1n << BigInt(size * 8)) - 1n]
    if (value < low || value > high) throw new Misuse(`${name}: ${value} does not fit in ${size} bytes`)
    td.store(td.address(name) + BigInt(offset), BigInt.asUintN(size * 8, value), size)
  },
})
