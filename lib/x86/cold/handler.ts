/**
 * A handler: a piece of WebAssembly that executes any instruction of one shape and goes on at the next record. General and vector registers are in the state frame, flags are left as a recipe.
 */
import { type Code, I32 } from '#wasm'
import { Accesses } from '../compile/access.ts'
import type { Builder } from '../compile/build.ts'
import type { Context } from '../compile/context.ts'
import { Emitter } from '../compile/emit.ts'
import { type FlagPlaces, Flags } from '../compile/flags.ts'
import type { Node } from '../compile/node.ts'
import * as n from '../compile/node.ts'
import { flagsOf, recipeFor, recipeOf } from '../compile/recipe.ts'
import { type Leave, SCRATCH } from '../compile/sites.ts'
import { ALL_FLAGS, FLAGS, flagBit, LOCAL, type Unit } from '../compile/unit.ts'
import { STATE } from '../state.ts'
import { HEAD, MISSED, RECORD, RECORD_BYTES } from './record.ts'
import type { Slots, Write } from './slots.ts'

/**
 * Where the flags are before an instruction: `UNKNOWN`, or as the state frame says it at run time: the number of the recipe
 * times 64 plus the flags that follow from it. 0: all flags are in the frame.
 */
export type FlagsAt = number
export const UNKNOWN: FlagsAt = -1

const FLAG_AT = [STATE.CF, STATE.PF, STATE.AF, STATE.ZF, STATE.SF, STATE.OF]
const CF = flagBit('cf')

/** In the state frame: what `places` of a recipe and single flags are to a handler. */
const cells: FlagPlaces = {
  input: (place, size) =>
    n.make('cell', size === 8 ? 64 : 32, size * 8, undefined, undefined, undefined, SCRATCH.FLAG_A + place * 8),
  flag: f => n.make('cell', 32, 1, undefined, undefined, undefined, FLAG_AT[f]!),
}

/** What an operand follows from is gone when the flags are looked at. */
const noneKept = (): boolean => false

/** What an instruction does to the flags, as far as it matters to where they are. */
type Change = 'none' | 'lazy' | 'keeps carry' | 'at once'
const changeOf = ({ flags }: Unit): Change => {
  if (flags === undefined) return 'none'
  const mask = flagsOf(flags.rule)
  if (mask === ALL_FLAGS) return 'lazy'
  return mask === (ALL_FLAGS & ~CF) && flags.condition === undefined ? 'keeps carry' : 'at once'
}

/** Does the code of the handler depend on where the flags are before it? */
export const asksForFlags = (unit: Unit): boolean => {
  const change = changeOf(unit)
  const mayKeep = change === 'at once' && unit.flags?.condition !== undefined
  return unit.pending.length > 0 || change === 'keeps carry' || mayKeep
}

/** Where the flags are after it. */
export const flagsAfter = (unit: Unit, before: FlagsAt): FlagsAt => {
  const { flags, single } = unit
  let after = before
  const change = changeOf(unit)
  if (flags !== undefined && change !== 'none') {
    const mask = flagsOf(flags.rule)
    if (change === 'at once') after = reduce(after, mask)
    else if (flags.condition !== undefined) after = UNKNOWN
    else after = recipeFor(flags, noneKept).recipe.id * 64 + mask
  }
  for (const flag of single.keys()) if (flag !== 'df') after = reduce(after, flagBit(flag))
  return after
}
const reduce = (at: FlagsAt, mask: number): FlagsAt => {
  if (at <= 0) return at
  const rest = at & ~mask
  return (rest & ALL_FLAGS) === 0 ? 0 : rest
}

/**
 * The blocks of the function that handlers are pieces of, as labels; see dispatch.ts. `NEXT` executes the record in local
 * `BLOCK`, `JUMP` goes to the linear address in `TARGET`, `AWAY` takes the branch of the record without its link, `LEAVE` ends
 * before the record.
 */
export const LABEL = { AGAIN: 0, LEAVE: 1, JUMP: 2, AWAY: 3, NEXT: 4 } as const
export const LABELS = 5
/** The local behind the parameters. */
export const TARGET = LOCAL.LEFT + 1
/** Imported functions. */
export const IMPORT = { LOG: 0, SETTLE: 1 } as const

/** Enters the block whose head is in local `head`, unless there is a reason not to; execution goes on behind it then. */
export const enterBlock = (code: Code, head: number, left: number, heat: number, enter: () => void): void => {
  code.get(LOCAL.LEFT).get(head).memory('i32.load', HEAD.NEED).op('i32.sub').set(left)
  code.get(head).memory('i32.load', HEAD.HEAT).i32(1).op('i32.sub').set(heat)
  code.get(head).get(heat).memory('i32.store', HEAD.HEAT)
  code.get(left).get(heat).op('i32.or').i32(0).op('i32.ge_s')
  code.if(() => {
    code.get(head).i32(RECORD_BYTES).op('i32.add').set(LOCAL.BLOCK)
    code.get(left).set(LOCAL.LEFT)
    enter()
  })
}

/** Goes on in the block that the record is linked with. */
export const follow = (code: Code): void => {
  const [head, left, heat] = [code.local(I32), code.local(I32), code.local(I32)]
  code.get(LOCAL.BLOCK).memory('i32.load', RECORD.TARGET).set(head)
  enterBlock(code, head, left, heat, () => code.br(LABEL.NEXT))
  code.br(LABEL.AWAY)
}

/** Writes the handler of a unit that was built with `slots`, for flags that are at `before`. */
export const writeHandler = (
  code: Code,
  unit: Unit,
  slots: Slots,
  before: FlagsAt,
  context: Context,
  builder: Builder,
): void => {
  const emit = new Emitter(code)
  const flags = new Flags(emit, builder, cells)
  const accesses = new Accesses(emit, context, IMPORT.LOG, () => false)
  const leave: Leave = (_way, missed) => {
    if (missed !== undefined)
      code
        .get(LOCAL.FRAME)
        .i32(missed.writes ? -missed.size : missed.size)
        .memory('i32.store', MISSED)
    code.br(LABEL.LEAVE)
  }

  /** Repetitions have their registers in locals, and are left with some iterations done. */
  const exact = () => {
    for (const r of REPEATED)
      code
        .get(LOCAL.FRAME)
        .get(LOCAL.GPR + r)
        .memory('i64.store', STATE.GPR + r * 8)
  }
  const leaveExact: Leave = (way, missed) => {
    exact()
    leave(way, missed)
  }

  const lazy = before > 0 ? before & ALL_FLAGS : 0
  flags.state = { known: true, recipe: lazy === 0 ? undefined : recipeOf(before >>> 6), lazy }
  for (const node of unit.pending) node.as = node.op === 'cc' ? flags.condition(node.n) : flags.flag(node.n)

  // What is to be put where in the frame, in this order.
  const items: Item[] = []
  let rule: number | undefined
  let cleared = 0
  const change = unit.flags
  const how = changeOf(unit)
  if (change !== undefined) {
    const mask = flagsOf(change.rule)
    if (how === 'at once') {
      cleared = mask
      const { size, a, b, r } = change
      for (const [f, flag] of FLAGS.entries()) {
        const of = change.rule[flag]
        if (of === undefined) continue
        const made = of<Node, Node>(builder, size, a, b, r)
        const { condition } = change
        // Where nothing changes, the flag may yet have to be worked out.
        const value = condition === undefined ? made : n.select(condition, made, flags.flag(f))
        items.push(byte(FLAG_AT[f]!, value, undefined))
      }
    } else {
      const made = recipeFor(change, noneKept)
      if (how === 'keeps carry' && (lazy & CF) !== 0) items.push(byte(STATE.CF, flags.flag(0), undefined))
      for (const [place, node] of made.slots.entries())
        if (node !== undefined)
          items.push({
            slot: { fixed: SCRATCH.FLAG_A + place * 8 },
            size: 8,
            value: n.to64(node),
            condition: change.condition,
          })
      rule = made.recipe.id * 64 + mask
    }
  }
  for (const [flag, node] of unit.single) {
    if (flag === 'df') items.push(byte(STATE.DF, node, undefined))
    else {
      items.push(byte(FLAG_AT[FLAGS.indexOf(flag)]!, node, undefined))
      cleared |= flagBit(flag)
    }
  }
  items.push(...slots.writes)
  const { control } = unit
  const condition = control?.condition
  const away = isOutside(unit) ? n.truncate(slots.target(), context.mode === 64 ? 8 : 4) : undefined
  const target = control?.kind === 'jump' ? control.target : away

  for (const effect of unit.effects) accesses.count(effect)
  for (const item of items) {
    emit.count(item.value)
    if (item.condition !== undefined) emit.count(item.condition)
  }
  if (change?.condition !== undefined) emit.count(change.condition)
  if (condition !== undefined) emit.count(condition)
  if (target !== undefined) emit.count(target)

  for (const effect of unit.effects) {
    if (effect.kind === 'repeat') repeat(code, () => accesses.effect(effect, leaveExact), exact)
    else accesses.effect(effect, leave)
  }

  // Nothing leaves before the instruction from here on.
  const known = new Map<Node, Node>()
  const keep = (node: Node): Node => {
    const from = node.as ?? node
    const before = known.get(from) ?? emit.keep(from)
    known.set(from, before)
    return before
  }
  const taken = condition === undefined || unitIsAlways(condition) ? undefined : keep(condition)
  const to = target === undefined ? undefined : keep(target)
  const conditional = items.some(item => item.condition !== undefined) || change?.condition !== undefined
  const several = slots.writes.length > 1 || unit.pending.length > 0 || conditional
  const ready = several
    ? items.map(item => ({
        ...item,
        value: keep(item.value),
        condition: item.condition === undefined ? undefined : keep(item.condition),
      }))
    : items
  const changes = change?.condition === undefined ? undefined : keep(change.condition)
  for (const item of ready) {
    if (item.condition === undefined) store(emit, item)
    else {
      emit.put(item.condition)
      code.if(() => store(emit, item))
    }
  }
  const settle = () => {
    if (rule !== undefined)
      code
        .get(LOCAL.FRAME)
        .i32(rule & ~cleared)
        .memory('i32.store', SCRATCH.RULE)
    else if (cleared !== 0) {
      code.get(LOCAL.FRAME).get(LOCAL.FRAME).memory('i32.load', SCRATCH.RULE)
      code.i32(~cleared).op('i32.and').memory('i32.store', SCRATCH.RULE)
    }
  }
  if (changes === undefined) settle()
  else {
    emit.put(changes)
    code.if(settle)
  }

  // Where it goes on.
  const next = () => {
    code.get(LOCAL.BLOCK).i32(RECORD_BYTES).op('i32.add').set(LOCAL.BLOCK)
    code.br(LABEL.NEXT)
  }
  if (control === undefined) {
    next()
    return
  }
  const go = () => {
    // What is left of the block is not executed.
    if (taken !== undefined) {
      code.get(LOCAL.LEFT).get(LOCAL.BLOCK).memory('i32.load8_u', RECORD.REFUND).op('i32.add')
      code.i32(1).op('i32.sub').set(LOCAL.LEFT)
    }
    if (to !== undefined) {
      emit.put(n.to64(to))
      code.set(TARGET).br(LABEL.JUMP)
      return
    }
    follow(code)
  }
  if (taken === undefined) go()
  else {
    emit.put(taken)
    code.if(go)
    next()
  }
}

/** RCX, RSI and RDI. */
const REPEATED = [1, 6, 7]
const repeat = (code: Code, run: () => void, done: () => void): void => {
  for (const r of [0, ...REPEATED])
    code
      .get(LOCAL.FRAME)
      .memory('i64.load', STATE.GPR + r * 8)
      .set(LOCAL.GPR + r)
  run()
  done()
}

type Item = Write
const byte = (fixed: number, value: Node, condition: Node | undefined): Item => ({
  slot: { fixed },
  size: 1,
  value: n.to32(value),
  condition,
})

/** A branch out of the page. */
const isOutside = ({ control }: Unit): boolean =>
  control?.kind === 'goto' && (control.offset < 0 || control.offset > 4095)
const unitIsAlways = (condition: Node): boolean => condition.op === 'const' && condition.value === 1n

const store = (emit: Emitter, { slot, size, value }: Item): void => {
  const { code } = emit
  const offset = 'fixed' in slot ? slot.fixed : slot.upper ? 16 : 0
  if ('fixed' in slot) code.get(LOCAL.FRAME)
  else emit.slot(slot.at, slot.short)
  emit.put(value)
  if (size === 16) code.vectorMemory('store', offset)
  else code.memory(size >= 4 ? 'i64.store' : size === 2 ? 'i32.store16' : 'i32.store8', offset)
}
