/** Images that were built before: guests that come to the same again are not put together a second time. */
import type { GuestImage, Sym } from './image.ts'
import type { Fn } from './ir.ts'
import type { Chunk } from './region.ts'

/** All that an image follows from once its guests have run, apart from the places that they were written in. */
export type Recipe = {
  readonly options: Readonly<Record<string, unknown>>
  readonly functions: readonly Fn[]
  readonly data: readonly Chunk[]
  readonly shared: readonly Chunk[]
  readonly symbols: readonly Sym[]
}

/** Most images that are kept, and most shapes of recipes that were seen. */
const MOST_IMAGES = 64
const MOST_SHAPES = 4096

type Kept = { readonly recipe: Recipe; readonly image: GuestImage }
/** By shape. Most guests are built once: what is seen for the first time leaves no more than its shape. */
const shapes = new Map<string, Kept[]>()
let images = 0

/** What tells most guests apart, and is soon written. */
const shapeOf = ({ functions, data, shared }: Recipe): string => {
  let shape = `${data.length} ${shared.length}`
  for (const { ops, vregs, labels } of functions) shape += ` ${ops.length} ${vregs} ${labels}`
  return shape
}

/** Plain data of the same values. */
const isSame = (a: unknown, b: unknown): boolean => {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (a instanceof Uint8Array) return b instanceof Uint8Array && Buffer.compare(a, b) === 0
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false
    for (let n = 0; n < a.length; n++) if (!isSame(a[n], b[n])) return false
    return true
  }
  return isSameObject(a as Plain, b as Plain)
}

type Plain = Readonly<Record<string, unknown>>

const isSameObject = (a: Plain, b: Plain): boolean => {
  let count = 0
  for (const key in a) {
    if (!isSame(a[key], b[key])) return false
    count++
  }
  for (const _ in b) count--
  return count === 0
}

/** The image that the same recipe gave before. */
export const known = (recipe: Recipe): GuestImage | undefined => {
  for (const kept of shapes.get(shapeOf(recipe)) ?? []) if (isSameObject(kept.recipe, recipe)) return kept.image
  return undefined
}

/** Notes a recipe that is about to be made into an image; what is returned takes the image, where it is to be kept. */
export const keep = (recipe: Recipe): ((image: GuestImage) => void) | undefined => {
  const shape = shapeOf(recipe)
  const list = shapes.get(shape)
  if (list === undefined) {
    if (shapes.size === MOST_SHAPES) forget()
    shapes.set(shape, [])
    return undefined
  }
  const copy = structuredClone(recipe)
  return image => {
    if (images++ === MOST_IMAGES) {
      forget()
      images = 1
    }
    list.push({ recipe: copy, image })
    shapes.set(shape, list)
  }
}

const forget = (): void => {
  shapes.clear()
}
