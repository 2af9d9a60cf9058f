/** Byte layouts: a structure is declared once, with C's natural alignment, and read and written by field name. */
import type { Size } from './int.ts'

/** An unsigned integer field of `size` bytes; 8 bytes read as bigint, less as number. */
export type Field<T = bigint | number | Uint8Array> = {
  readonly size: number
  readonly align: number
  readonly read: (view: DataView, at: number) => T
  readonly write: (view: DataView, at: number, value: T) => void
}

export const u8: Field<number> = {
  size: 1,
  align: 1,
  read: (v, at) => v.getUint8(at),
  write: (v, at, x) => v.setUint8(at, x),
}
export const u16: Field<number> = {
  size: 2,
  align: 2,
  read: (v, at) => v.getUint16(at, true),
  write: (v, at, x) => v.setUint16(at, x, true),
}
export const u32: Field<number> = {
  size: 4,
  align: 4,
  read: (v, at) => v.getUint32(at, true),
  write: (v, at, x) => v.setUint32(at, x, true),
}
export const u64: Field<bigint> = {
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
export const packed = <T>(field: Field<T>): Field<T> => ({ ...field, align: 1 })

type Shape = Record<string, Field<never>>
type AnyShape = { readonly [name: string]: Field<bigint> | Field<number> | Field<Uint8Array> | Field<bigint[]> }
type ValueOf<F> = F extends Field<infer T> ? T : never
/** The plain object that a layout reads and writes. */
export type Values<S extends AnyShape> = { -readonly [K in keyof S]: ValueOf<S[K]> }

export type Layout<S extends AnyShape> = {
  readonly name: string
  readonly size: number
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
  read: (v, at) => Array.from({ length: n }, (_, i) => v.getBigUint64(at + 8 * i, true)),
  write: (v, at, x) => {
    for (const [i, value] of x.slice(0, n).entries()) v.setBigUint64(at + 8 * i, value, true)
  },
})

/** Declares a structure: fields in order, each at its natural alignment, the size rounded up as C does. */
export const struct = <S extends AnyShape>(name: string, fields: S): Layout<S> => {
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
  const untyped = fields as unknown as Shape
  const list = Object.entries(untyped).map(([key, field]) => ({ key, field, at: offset[key]! }))
  const layout: Layout<S> = {
    name,
    size,
    fields,
    offset: offset as { [K in keyof S]: number },
    get: (view, base, key) => untyped[key as string]!.read(view, base + offset[key as string]!),
    set: (view, base, key, value) => untyped[key as string]!.write(view, base + offset[key as string]!, value as never),
    read: (view, base) => {
      const out: Record<string, unknown> = {}
      for (const { key, field, at } of list) out[key] = field.read(view, base + at)
      return out as Values<S>
    },
    write: (view, base, values) => {
      for (const key in values) {
        const value = values[key]
        if (value !== undefined) untyped[key]!.write(view, base + offset[key]!, value as never)
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
