/** Where the flags are while a region is written: in locals, or yet to follow from the inputs of a recipe. */
import type { Size } from '#bits'
import type { Builder } from './build.ts'
import type { Emitter } from './emit.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import { conditionOf, inputs, type Recipe, type recipeFor } from './recipe.ts'
import { ALL_FLAGS, FLAGS, flagBit, LOCAL } from './unit.ts'

/** All flags are in locals, but for those in `lazy`, which follow from `recipe`; unless that is not known. */
export type FlagState = { readonly known: boolean; readonly recipe: Recipe | undefined; readonly lazy: number }
export const UNKNOWN: FlagState = { known: false, recipe: undefined, lazy: 0 }
/** As the function says it at run time: number of the recipe times 64 plus the flags that follow from it. */
export const encode = ({ recipe, lazy }: FlagState): number => (recipe === undefined ? 0 : recipe.id * 64 + lazy)

/** Where the inputs of a recipe and the flags that do not follow from one are. */
export type FlagPlaces = { input(place: 0 | 1 | 2, size: Size): Node; flag(f: number): Node }
const locals: FlagPlaces = {
  input: (place, size) => n.local(LOCAL.FLAG_A + place, 64, size * 8),
  flag: f => n.local(LOCAL.FLAG + f, 32, 1),
}

export class Flags {
  state: FlagState = UNKNOWN
  readonly #emit: Emitter
  readonly #builder: Builder
  readonly #where: FlagPlaces

  constructor(emit: Emitter, builder: Builder, where = locals) {
    this.#emit = emit
    this.#builder = builder
    this.#where = where
  }

  /** Puts flags that are read further on into their locals, and says which recipe the others follow. */
  settle(live: number, visible: number): void {
    const code = this.#emit.code
    const { known, lazy } = this.state
    if (!known) return
    this.toLocals(live & lazy)
    if (visible !== 0) code.i32(encode(this.state)).set(LOCAL.RULE)
  }

  toLocals(which: number): void {
    const batch: [Node, number][] = []
    for (const [f, flag] of FLAGS.entries())
      if ((which & flagBit(flag)) !== 0) batch.push([this.flag(f), LOCAL.FLAG + f])
    this.#emit.assign(batch)
  }

  readonly #places = (place: 0 | 1 | 2): Node => this.#where.input(place, this.state.recipe!.size)

  flag(f: number): Node {
    const { known, recipe, lazy } = this.state
    if (!known || recipe === undefined || (lazy & (1 << f)) === 0) return this.#where.flag(f)
    const { a, b, r } = inputs(this.#builder, recipe, this.#places)
    return n.to32(recipe.rule[FLAGS[f]!]!<Node, Node>(this.#builder, recipe.size, a, b, r))
  }

  condition(cc: number): Node {
    const { known, recipe, lazy } = this.state
    if (known && recipe !== undefined && lazy === ALL_FLAGS) {
      const simple = conditionOf<Node, Node>(this.#builder, recipe, cc, this.#places)
      if (simple !== undefined) return simple
    }
    const [cf, , , zf, sf, of] = [0, 1, 2, 3, 4, 5].map(f => () => this.flag(f))
    const pf = () => this.flag(1)
    const holds = [
      () => of!(),
      () => cf!(),
      () => zf!(),
      () => n.either(cf!(), zf!()),
      () => sf!(),
      () => pf(),
      () => n.differ(sf!(), of!()),
      () => n.either(zf!(), n.differ(sf!(), of!())),
    ][cc >> 1]!()
    return (cc & 1) === 1 ? n.no(holds) : holds
  }

  /** Flags that change only where `condition` holds: from here on only the function knows which recipe it is. */
  changeIf(condition: Node, made: ReturnType<typeof recipeFor>, mask: number, live: number): FlagState {
    const code = this.#emit.code
    const holds = this.#emit.keep(condition)
    const slots = made.slots.map(slot => (slot === undefined ? undefined : n.to64(this.#emit.keep(slot))))
    if (this.state.known) {
      this.toLocals(this.state.lazy & (live | ~mask))
      code.i32(encode({ ...this.state, lazy: this.state.lazy & mask })).set(LOCAL.RULE)
    }
    this.#emit.put(holds)
    code.if(() => {
      const batch: [Node, number][] = []
      for (const [place, slot] of slots.entries()) if (slot !== undefined) batch.push([slot, LOCAL.FLAG_A + place])
      this.#emit.assign(batch)
      const next = { known: true, recipe: made.recipe, lazy: mask }
      code.i32(encode(next)).set(LOCAL.RULE)
      this.state = next
      this.toLocals(live & mask)
    })
    return UNKNOWN
  }
}
