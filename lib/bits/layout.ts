/** Byte layouts: a structure is declared once, with C's natural alignment, and read and written by field name. */
import type { Size } from './int.ts'

/** A field of `size` bytes at a multiple of `align`. */
export type Field<T = unknown> = {
  readonly size: number
  readonly align: number
  read(view: DataView, at: number): T
  write(view: DataView, at: number, value: T): void
}
/** A field whose size the compiler knows. */
export type Sized<T, N extends number> = Field<T> & { readonly size: N }

// Unsigned integers: 8 bytes read as bigint, less as number.
export const u8: Sized<number, 1> = {
  size: 1,
  align: 1,
  read: (v, at) => v.getUint8(at),
  write: (v, at, x) => v.setUint8(at, x),
}
export const u16: Sized<number, 2> = {
  size: 2,
  align: 2,
  read: (v, at) => v.getUint16(at, true),
  write: (v, at, x) => v.setUint16(at, x, true),
}
export const u32: Sized<number, 4> = {
  size: 4,
  align: 4,
  read: (v, at) => v.getUint32(at, true),
  write: (v, at, x) => v.setUint32(at, x, true),
}
export const u64: Sized<bigint, 8> = {
  size: 8,
  align: 8,
  read: (v, at) => v.getBigUint64(at, true),
  write: (v, at, x) => v.setBigUint64(at, x, true),
}

/** `n` raw bytes. */
export const bytes = (n: number): Field<Uint8Array> => ({
  size: n,
  align: 1,
  read: (v, at) => new Uint8Array(v.buffer, v.byteOffset + at, n).slice(),
  write: (v, at, x) => {
    if (x.length !== n) throw new RangeError(`a field of ${n} bytes cannot hold ${x.length}`)
    new Uint8Array(v.buffer, v.byteOffset + at, n).set(x)
  },
})

/** The same field without alignment, for packed structures. */
export const packed = <F extends Field>(field: F): F => ({ ...field, align: 1 })

/** The fields of a structure, in order. */
export type Shape = { readonly [name: string]: Field }
/** What a field reads and writes. */
export type ValueOf<F> = F extends Field<infer T> ? T : never
/** The plain object that a layout reads and writes. */
export type Values<S extends Shape> = { -readonly [K in keyof S]: ValueOf<S[K]> }

/** `length` fields of one kind, one after the other. */
export type ArrayField<F extends Field = Field> = Field<ValueOf<F>[]> & { readonly element: F; readonly length: number }
/** A structure inside a structure. */
export type StructField<S extends Shape = Shape> = Field<Values<S>> & { readonly layout: Layout<S> }
/** Bits `[high, low]` of an integer, as the manuals write them, or one bit. */
export type BitRange = number | readonly [high: number, low: number]
export type BitParts = { readonly [name: string]: BitRange }
/** An integer in named parts. Values are bigints, whatever the integer's size. */
export type BitField<F extends Field = Field, P extends BitParts = BitParts> = Field<{ [K in keyof P]: bigint }> & {
  readonly base: F
  readonly parts: P
}

/** An array of `length` fields. */
export const array = <F extends Field>(element: F, length: number): ArrayField<F> => ({
  size: element.size * length,
  align: element.align,
  element,
  length,
  read: (view, at) => {
    const values: ValueOf<F>[] = []
    for (let i = 0; i < length; i++) values.push(element.read(view, at + i * element.size) as ValueOf<F>)
    return values
  },
  write: (view, at, values) => {
    if (values.length > length) throw new RangeError(`an array of ${length} cannot hold ${values.length}`)
    for (const [i, value] of values.entries()) element.write(view, at + i * element.size, value)
  },
})

/** A structure as a field of another. */
export const nested = <S extends Shape>(layout: Layout<S>): StructField<S> => ({
  size: layout.size,
  align: layout.align,
  layout,
  read: layout.read,
  write: layout.write,
})

/** High and low bit of a part. */
export const rangeOf = (range: BitRange): readonly [high: number, low: number] =>
  typeof range === 'number' ? [range, range] : range

/** Bit fields of an integer: `bitFields(u64, { present: 0, frame: [51, 12] })`. What is not named is kept, or zero. */
export const bitFields = <F extends Sized<number, 1 | 2 | 4> | Sized<bigint, 1 | 2 | 4 | 8>, const P extends BitParts>(
  base: F,
  parts: P,
): BitField<F, P> => {
  const size = base.size as Size
  const list = Object.entries<BitRange>(parts).map(([name, range]) => {
    const [high, low] = rangeOf(range)
    if (!(high >= low && low >= 0 && high < size * 8))
      throw new RangeError(`bits ${high}:${low} of ${name} do not lie in ${size} bytes`)
    return { name, low: BigInt(low), ones: (1n << BigInt(high - low + 1)) - 1n }
  })
  return {
    size,
    align: base.align,
    base,
    parts,
    read: (view, at) => {
      const whole = readUint(view, at, size)
      const entries = list.map(({ name, low, ones }) => [name, (whole >> low) & ones] as const)
      return Object.fromEntries(entries) as { [K in keyof P]: bigint }
    },
    write: (view, at, values: Readonly<Record<string, bigint>>) => {
      let whole = readUint(view, at, size)
      for (const { name, low, ones } of list) {
        const value = values[name]
        if (value === undefined) continue
        if (value < 0n || value > ones) throw new RangeError(`${name}: ${value} does not fit in its bits`)
        whole = (whole & ~(ones << low)) | (value << low)
      }
      writeUint(view, at, size, whole)
    },
  }
}

export type Layout<S extends Shape> = {
  readonly name: string
  readonly size: number
  /** That of its widest field. */
  readonly align: number
  readonly fields: S
  /** Byte offset of each field. */
  readonly offset: { readonly [K in keyof S]: number }
  readonly get: <K extends keyof S>(view: DataView, at: number, name: K) => ValueOf<S[K]>
  readonly set: <K extends keyof S>(view: DataView, at: number, name: K, value: ValueOf<S[K]>) => void
  readonly read: (view: DataView, at: number) => Values<S>
  /** Writes the named fields; the others keep their bytes. */
  readonly write: (view: DataView, at: number, values: Partial<Values<S>>) => void
  /** The structure's bytes with the named fields set and everything else zero. */
  readonly encode: (values: Partial<Values<S>>) => Uint8Array
}

/** An array of `n` u64. */
export const u64s = (n: number): Field<bigint[]> => ({
  size: 8 * n,
  align: 8,
  read: (v, at) => {
    const words: bigint[] = []
    for (let i = 0; i < n; i++) words.push(v.getBigUint64(at + 8 * i, true))
    return words
  },
  write: (v, at, x) => {
    for (const [i, value] of x.slice(0, n).entries()) v.setBigUint64(at + 8 * i, value, true)
  },
})

/** Declares a structure: fields in order, each at its natural alignment, the size rounded up as C does. */
export const struct = <S extends Shape>(name: string, fields: S): Layout<S> => {
  const offset: Record<string, number> = {}
  let at = 0
  let widest = 1
  for (const [key, field] of Object.entries(fields)) {
    at = Math.ceil(at / field.align) * field.align
    offset[key] = at
    at += field.size
    widest = Math.max(widest, field.align)
  }
  const size = Math.ceil(at / widest) * widest
  const untyped: Shape = fields
  const names: Record<string, unknown> = Object.fromEntries(Object.keys(fields).map(key => [key, undefined]))
  const list = Object.entries(untyped).map(([key, field]) => ({ key, field, at: offset[key]! }))
  const layout: Layout<S> = {
    name,
    size,
    align: widest,
    fields,
    offset: offset as { [K in keyof S]: number },
    get: (view, base, key) =>
      untyped[key as string]!.read(view, base + offset[key as string]!) as ValueOf<S[typeof key]>,
    set: (view, base, key, value) => untyped[key as string]!.write(view, base + offset[key as string]!, value),
    read: (view, base) => {
      // With all its names from the start, so that none is added one by one.
      const out: Record<string, unknown> = { ...names }
      for (const { key, field, at } of list) out[key] = field.read(view, base + at)
      return out as Values<S>
    },
    write: (view, base, values) => {
      for (const key in values) {
        const value = values[key]
        if (value !== undefined) untyped[key]!.write(view, base + offset[key]!, value)
      }
    },
    encode: values => {
      const out = new Uint8Array(size)
      layout.write(new DataView(out.buffer), 0, values)
      return out
    },
  }
  return layout
}

/** Reads an unsigned integer of `size` bytes. */
export const readUint = (view: DataView, at: number, size: Size): bigint => {
  switch (size) {
    case 1:
      return BigInt(view.getUint8(at))
    case 2:
      return BigInt(view.getUint16(at, true))
    case 4:
      return BigInt(view.getUint32(at, true))
    case 8:
      return view.getBigUint64(at, true)
  }
}

/** Writes the low `size` bytes of `value`. */
export const writeUint = (view: DataView, at: number, size: Size, value: bigint): void => {
  if (size === 1) view.setUint8(at, Number(value & 0xffn))
  else if (size === 2) view.setUint16(at, Number(value & 0xffffn), true)
  else if (size === 4) view.setUint32(at, Number(value & 0xffff_ffffn), true)
  else view.setBigUint64(at, value, true)
}
