/** A structure that guest and host share: declared once, with the same names on both sides. */
import { type Layout, type Shape, struct, type ValueOf, type Values } from '#bits'
import type { GuestBuilder, Struct } from '#guest'
import { Misuse } from './failure.ts'
import type { Td } from './td.ts'

export type Shared<F extends Shape> = {
  readonly name: string
  /** Bytes, with C's natural alignment. */
  readonly size: number
  readonly offset: { readonly [K in keyof F]: number }
  readonly layout: Layout<F>
  /** For the guest: the fields, in shared memory of the image being built. All its vCPUs get the same. */
  in(g: GuestBuilder): Struct<F>
  /** For the host: the fields of a TD, read and set like an object's. Integers are bigints, bit fields objects. */
  of(td: Td): Values<F>
}

let image = 0
/** A new image is about to be built: what guests reserve from here on is its own. */
export const beginImage = (): void => {
  image++
}

/**
 * Declares a shared structure: its fields, or a layout that there is. `name` is the symbol's name too.
 * A field is an integer type (`u32`), `array(u32, 4)`, `bitFields(u64, { present: 0, frame: [51, 12] })`, `bytes(16)` or
 * `nested(layout)`.
 */
export const shared = <const F extends Shape>(name: string, fields: F | Layout<F>): Shared<F> => {
  const layout = isLayout(fields) ? fields : struct(name, fields)
  let reserved = { image: -1, at: 0n }
  return {
    name,
    size: layout.size,
    offset: layout.offset,
    layout,
    in(g) {
      if (reserved.image !== image) reserved = { image, at: g.memory(name, layout.size, { shared: true }) }
      return g.struct(layout, reserved.at)
    },
    of(td) {
      const accessors = Object.keys(layout.fields).map(key => [key, accessorOf(td, name, layout, key)] as const)
      // One accessor for each field, of the field's own type.
      return Object.defineProperties({}, Object.fromEntries(accessors)) as Values<F>
    },
  }
}

const isLayout = <F extends Shape>(fields: F | Layout<F>): fields is Layout<F> =>
  'encode' in fields && typeof fields.encode === 'function'

const accessorOf = <F extends Shape, K extends keyof F & string>(
  td: Td,
  name: string,
  layout: Layout<F>,
  key: K,
): PropertyDescriptor => {
  const field = layout.fields[key]!
  const at = () => td.address(name) + BigInt(layout.offset[key])
  return {
    enumerable: true,
    get: () => field.read(new DataView(td.read(at(), field.size).buffer), 0),
    set: (value: ValueOf<F[K]>) => {
      const bytes = td.read(at(), field.size)
      try {
        field.write(new DataView(bytes.buffer), 0, value)
      } catch (error) {
        if (error instanceof RangeError) throw new Misuse(`${name}.${key}: ${error.message}`)
        throw error
      }
      td.write(at(), bytes)
    },
  }
}
