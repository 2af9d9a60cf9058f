/**
 * Flags that nobody has looked at: a rule, and where its inputs are. What an instruction leaves behind is at most three
 * values; the rest follows from them. A recipe has a number, so that compiled code can say which one holds.
 */
import type { Size } from '#bits'
import type { FlagRule } from '../flags.ts'
import * as rules from '../flags.ts'
import type { Tier } from '../tier.ts'
import { isConst, type Node } from './node.ts'
import { type FlagChange, flagBit } from './unit.ts'

/**
 * `operands`: a and b are kept, the result follows. `result`: the result is kept, and is all there is to know.
 * `second`: b and the result are kept, a follows: where the result is in a register, a need not be in another one.
 * `factors`: the factors of a product. `all`: a, b and the result.
 */
type Form = 'operands' | 'second' | 'result' | 'factors' | 'all'

export type Recipe = {
  readonly id: number
  readonly rule: FlagRule
  readonly size: Size
  readonly form: Form
  readonly signed: boolean
  /** Inputs known when the code was made. */
  readonly a: bigint | undefined
  readonly b: bigint | undefined
  readonly r: bigint | undefined
  /** Flags that it gives. */
  readonly flags: number
}

const recipes = new Map<number, Recipe>()
const numbers = new Map<string, Recipe>()
/** Those without inputs that were known, which most are. */
const open = new Map<FlagRule, (Recipe | undefined)[]>()
const ruleNames = new Map(Object.entries(rules).map(([name, rule]) => [rule, name]))
const FORMS: readonly Form[] = ['operands', 'second', 'result', 'factors', 'all']

export const recipeOf = (id: number): Recipe => recipes.get(id)!

/** A recipe has the same number in every process, as far as that goes: see store.ts. 24 bits. */
const numberOf = (name: string): number => {
  let hash = 0x811c_9dc5
  for (let n = 0; n < name.length; n++) hash = Math.imul(hash ^ name.charCodeAt(n), 0x0100_0193)
  let number = (hash ^ (hash >>> 24)) & 0xff_ffff
  while (recipes.has(number)) number = (number + 1) & 0xff_ffff
  return number
}

const recipeNamed = (name: string, made: Omit<Recipe, 'id' | 'flags'>): Recipe => {
  const known = numbers.get(name)
  if (known !== undefined) return known
  const recipe = { id: numberOf(name), ...made, flags: flagsOf(made.rule) }
  recipes.set(recipe.id, recipe)
  numbers.set(name, recipe)
  return recipe
}

/** A recipe as text, for another process. */
export const describeRecipe = ({ rule, size, form, signed, a, b, r }: Recipe): string =>
  `${ruleNames.get(rule)} ${size} ${form} ${signed} ${a} ${b} ${r}`

/** The recipe that another process has described; `undefined` where there is no such rule. */
export const recipeDescribed = (text: string): Recipe | undefined => {
  const [name = '', size, form, signed, ...values] = text.split(' ')
  const rule = Object.hasOwn(rules, name) ? (rules as Record<string, FlagRule>)[name] : undefined
  if (rule === undefined) return undefined
  const [a, b, r] = values.map(value => (value === 'undefined' ? undefined : BigInt(value)))
  const made = { rule, size: Number(size) as Size, form: form as Form, signed: signed === 'true', a, b, r }
  return recipeNamed(text, made)
}

const masks = new Map<FlagRule, number>()
/** The flags that a rule names. */
export const flagsOf = (rule: FlagRule): number => {
  const before = masks.get(rule)
  if (before !== undefined) return before
  let mask = 0
  for (const flag of Object.keys(rule)) mask |= flagBit(flag as 'cf')
  masks.set(rule, mask)
  return mask
}

const knownValue = (node: Node | undefined): bigint | undefined => (node?.op === 'const' ? node.value : undefined)

/** The recipe of a change of flags, and what goes into its three places (`undefined`: nothing). */
export const recipeFor = (
  change: FlagChange,
  isKept: (node: Node) => boolean,
): { recipe: Recipe; slots: readonly (Node | undefined)[] } => {
  const { rule, size, r } = change
  let { a, b }: { a: Node | undefined; b: Node | undefined } = change
  let kept: Node | undefined = r
  let form: Form = 'all'
  let signed = false
  if (rule === rules.sub || rule === rules.add) {
    if (size >= 4 && isKept(r) && !isConst(r)) {
      form = 'second'
      a = undefined
    } else {
      form = 'operands'
      kept = undefined
    }
  } else if (rule === rules.inc || rule === rules.dec || rule === rules.logic) {
    form = 'result'
    a = undefined
    b = undefined
  } else if ((rule === rules.mul || rule === rules.imul) && b!.factors !== undefined) {
    form = 'factors'
    signed = b!.factors.signed
    a = b!.factors.a
    b = b!.factors.b
    kept = undefined
  }
  const [va, vb, vr] = [knownValue(a), knownValue(b), knownValue(kept)]
  const isOpen = va === undefined && vb === undefined && vr === undefined
  const key = (FORMS.indexOf(form) * 16 + size) * 2 + (signed ? 1 : 0)
  let recipe = isOpen ? open.get(rule)?.[key] : undefined
  if (recipe === undefined) {
    const made = { rule, size, form, signed, a: va, b: vb, r: vr }
    recipe = recipeNamed(describeRecipe({ id: 0, flags: 0, ...made }), made)
    if (isOpen) {
      const list = open.get(rule) ?? []
      list[key] = recipe
      open.set(rule, list)
    }
  }
  const slot = (node: Node | undefined) => (node === undefined || isConst(node) ? undefined : node)
  return { recipe, slots: [slot(a), slot(b), slot(kept)] }
}

/** The inputs of a recipe's rule, in any tier, from what is in the places. */
export const inputs = <V, C>(t: Tier<V, C>, recipe: Recipe, places: (n: 0 | 1 | 2) => V): { a: V; b: V; r: V } => {
  const { rule, size, form } = recipe
  const value = (known: bigint | undefined, n: 0 | 1 | 2) => (known === undefined ? places(n) : t.constant(known))
  if (form === 'result') {
    const r = value(recipe.r, 2)
    const one = t.constant(1n)
    if (rule === rules.inc) return { a: t.sub(size, r, one), b: one, r }
    if (rule === rules.dec) return { a: t.add(size, r, one), b: one, r }
    return { a: r, b: r, r }
  }
  const b = value(recipe.b, 1)
  if (form === 'second') {
    const r = value(recipe.r, 2)
    return { a: rule === rules.sub ? t.add(size, r, b) : t.sub(size, r, b), b, r }
  }
  const a = value(recipe.a, 0)
  if (form === 'operands') return { a, b, r: rule === rules.sub ? t.sub(size, a, b) : t.add(size, a, b) }
  if (form === 'factors') return { a, b: t.mulHigh(size, a, b, recipe.signed), r: t.mul(size, a, b) }
  return { a, b, r: value(recipe.r, 2) }
}

/** A condition code, where the recipe makes it simpler than its flags do. */
export const conditionOf = <V, C>(
  t: Tier<V, C>,
  recipe: Recipe,
  cc: number,
  places: (n: 0 | 1 | 2) => V,
): C | undefined => {
  const { rule, size } = recipe
  const simple = (): C | undefined => {
    if (rule === rules.sub) {
      const { a, b, r } = inputs(t, recipe, places)
      if (cc >> 1 === 2 && recipe.form === 'second') return t.isZero(r)
      if (cc >> 1 === 1) return t.below(a, b)
      if (cc >> 1 === 2) return t.equal(a, b)
      if (cc >> 1 === 3) return t.no(t.below(b, a))
      if (cc >> 1 === 6) return t.less(size, a, b)
      if (cc >> 1 === 7) return t.no(t.less(size, b, a))
    }
    if (rule === rules.logic) {
      const { r } = inputs(t, recipe, places)
      if (cc >> 1 === 3) return t.isZero(r)
      if (cc >> 1 === 6) return t.bit(r, size * 8 - 1)
      if (cc >> 1 === 7) return t.no(t.less(size, t.constant(0n), r))
    }
    return undefined
  }
  const found = simple()
  return found === undefined || (cc & 1) === 0 ? found : t.no(found)
}
