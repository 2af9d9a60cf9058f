/**
 * A page's compiled code, and the same as bytes that another process can take up: the page and the context it was made for,
 * what regions there are, and their WebAssembly.
 */
import type { Context } from './context.ts'
import type { Generated } from './generate.ts'
import { describeRecipe, type Recipe, recipeDescribed, recipeOf } from './recipe.ts'
import type { Missed, Sites, Way } from './sites.ts'

/** A region as a module. */
export type Made = {
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Made when it is entered first. */
  module: WebAssembly.Module | undefined
  readonly sites: Sites
  readonly windows: Generated['windows']
  /** It calls functions of units. */
  readonly calls: boolean
  /** What the numbers of its rules mean. */
  readonly recipes: readonly Recipe[]
  /** Where it was begun. */
  readonly start: number
  /** Offsets in the page where it can be entered. */
  readonly entries: readonly number[]
  /** For each of them, the flags that it reads before it sets them. */
  readonly live: readonly number[]
  /** Computed jumps need the map of its entries. */
  readonly dynamic: boolean
}

export const moduleOf = (made: Made): WebAssembly.Module => {
  made.module ??= new WebAssembly.Module(made.bytes)
  return made.module
}

/** Compiled code of a page's content in one context. */
export type Shared = {
  readonly bytes: Uint8Array
  readonly context: Context
  /** By where they can be entered. */
  readonly modules: Map<number, Made>
  /** Since it was packed or unpacked. */
  changed: boolean
}

/** What stands before the WebAssembly, as JSON. */
type Head = {
  readonly context: string
  /** Recipes by their numbers in the code. */
  readonly recipes: readonly (readonly [number, string])[]
  readonly regions: readonly {
    /** Bytes of its WebAssembly, and where it can be entered from outside. */
    readonly size: number
    readonly at: readonly number[]
    readonly start: number
    readonly entries: readonly number[]
    readonly live: readonly number[]
    readonly dynamic: boolean
    readonly calls: boolean
    readonly windows: Generated['windows']
    readonly recipes: readonly number[]
    readonly sites: Omit<Sites, 'missed' | 'ways'> & {
      readonly ways: readonly Way[]
      readonly missed: readonly (Missed | null)[]
    }
  }[]
}

const WORD = 4

/** The length of the head, the page, the head, and the modules one after the other. */
export const pack = ({ bytes, context, modules }: Shared): Uint8Array => {
  const all = [...new Set(modules.values())]
  const recipes = new Map<number, string>()
  for (const made of all) for (const recipe of made.recipes) recipes.set(recipe.id, describeRecipe(recipe))
  const regions = all.map(made => ({
    size: made.bytes.length,
    at: [...modules].filter(([, other]) => other === made).map(([offset]) => offset),
    start: made.start,
    entries: made.entries,
    live: made.live,
    dynamic: made.dynamic,
    calls: made.calls,
    windows: made.windows,
    recipes: made.recipes.map(({ id }) => id),
    sites: { ...made.sites, missed: made.sites.missed.map(missed => missed ?? null) },
  }))
  const head = Buffer.from(JSON.stringify({ context: context.name, recipes: [...recipes], regions } satisfies Head))
  const length = Buffer.alloc(WORD)
  length.writeUInt32LE(head.length)
  return Buffer.concat([length, bytes, head, ...all.map(made => made.bytes)])
}

/** Adds what `pack` made of the same page in the same context; of another one, nothing. */
export const unpack = (packed: Uint8Array<ArrayBuffer>, { bytes, context, modules }: Shared): void => {
  const page = packed.subarray(WORD, WORD + bytes.length)
  if (Buffer.compare(page, bytes) !== 0) return
  const from = WORD + bytes.length
  const length = new DataView(packed.buffer, packed.byteOffset).getUint32(0, true)
  const head: Head = JSON.parse(Buffer.from(packed.buffer, packed.byteOffset + from, length).toString())
  if (head.context !== context.name) return
  // Two recipes of one number, of which this process met the other one first: very rare.
  if (head.recipes.some(([number, text]) => recipeDescribed(text)?.id !== number)) return
  let at = from + length
  for (const { size, at: offsets, sites, recipes: numbers, ...rest } of head.regions) {
    const missed = sites.missed.map(missed => missed ?? undefined)
    const own: Sites = { ...sites, ways: [...sites.ways], missed }
    const recipes = numbers.map(recipeOf)
    const made: Made = { ...rest, bytes: packed.slice(at, at + size), module: undefined, sites: own, recipes }
    for (const offset of offsets) modules.set(offset, made)
    at += size
  }
}
