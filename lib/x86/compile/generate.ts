/**
 * A region as one WebAssembly function: structured control flow from the dominator tree (N. Ramsey, "Beyond Relooper"),
 * registers in locals, flags as recipes, the TLB looked up inline.
 *
 * Wherever the region is left, the registers are those before an instruction: the number of the place ("site") says
 * which, how many instructions of the path were done, and what recipe the flags follow.
 */
import { type Code, I32, I64, type Label, Module, V128 } from '#wasm'
import { STATE } from '../state.ts'
import type { Flag } from '../tier.ts'
import { Accesses } from './access.ts'
import { Builder } from './build.ts'
import type { Context } from './context.ts'
import { Emitter } from './emit.ts'
import { encode, type FlagState, Flags, UNKNOWN } from './flags.ts'
import { Foresight } from './foresight.ts'
import { LEFT_BEFORE } from './help.ts'
import {
  loadFlags,
  loadRecipe,
  loadRegisters,
  readOf,
  registersIn,
  storeFlags,
  storeGeneral,
  storeRule,
  storeVectors,
  writtenOf,
} from './inframe.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import { Places } from './places.ts'
import { type Facts, factsAt, follow, noFacts } from './plain.ts'
import { flagsOf, type Recipe, recipeFor } from './recipe.ts'
import type { Block, Region, Target } from './region.ts'
import { DYNAMIC, type Leave, type Missed, SCRATCH, type Sites, STORED, type Way } from './sites.ts'
import { ALL_FLAGS, type Effect, FIRST_VEC, FLAGS, flagBit, LOCAL, type Unit } from './unit.ts'
import { importUnits } from './units.ts'
import { loopsOf, wantedWindows } from './windows.ts'

export type Generated = {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly sites: Sites
  /** It calls functions of units. */
  readonly calls: boolean
  /** Its windows, by number; they begin as the page that SCRATCH.PAGE tells. */
  readonly windows: readonly { readonly key: string; readonly writes: boolean }[]
  /** Those that its code and its sites name by number. */
  readonly recipes: readonly Recipe[]
}

/**
 * `isWide`: at these offsets, pages are looked up for all that a block accesses near a place, which must not often cross into another.
 * `scattered`: sums of registers that go through too many pages to have a window.
 */
export const generate = (
  region: Region,
  context: Context,
  isWide: (offset: number) => boolean,
  scattered: ReadonlySet<string>,
): Generated => new RegionWriter(region, context, isWide, scattered).run()

class RegionWriter {
  readonly #region: Region
  readonly #context: Context
  readonly #isWide: (offset: number) => boolean
  readonly #scattered: ReadonlySet<string>
  #loops: ReadonlySet<Block> = new Set()
  readonly #builder: Builder
  readonly #sites: Sites = { ways: [], offsets: [], done: [], rules: [], missed: [], helped: [] }
  #code!: Code
  #emit!: Emitter
  #flags!: Flags
  #accesses!: Accesses
  #exit: Label = 0
  /** The interpreter, for one instruction. */
  #helper = -1
  /** Labels that the head of a block can be reached by: its loop, or the end of a WebAssembly block. */
  readonly #labels = new Map<Block, Label>()
  /** Instructions since `left` was brought up to date. */
  #done = 0
  readonly #foresight: Foresight

  /** Which vector registers hold plain numbers: where blocks begin, and now. */
  readonly #factsAt: Map<Block, Facts>
  #facts = noFacts()
  readonly #needed = new Set<object>()
  readonly #recipes = new Set<Recipe>()

  constructor(region: Region, context: Context, isWide: (offset: number) => boolean, scattered: ReadonlySet<string>) {
    this.#region = region
    this.#context = context
    this.#isWide = isWide
    this.#scattered = scattered
    this.#foresight = new Foresight(region.root)
    this.#factsAt = factsAt(region.root, region.blocks)
    this.#builder = new Builder(context, region.entries[0]!.units[0]!.insn)
  }

  run(): Generated {
    const module = new Module()
    module.importMemory('env', 'memory', 1, 65536, this.#context.sharedMemory)
    const log = this.#context.logs ? module.importFunc('env', 'log', module.type([I32, I32], [])) : 0
    const effects = [...effectsOf(this.#region)]
    if (effects.some(({ kind }) => kind === 'help'))
      this.#helper = module.importFunc('env', 'help', module.type([I32, I32], [I32]))
    const units = importUnits(module, effects)
    const { index, code } = module.func(module.type([I32, I32, I32, I32, I32, I32], [I32]))
    this.#code = code
    this.#emit = new Emitter(code)
    this.#flags = new Flags(this.#emit, this.#builder)
    this.#accesses = new Accesses(this.#emit, this.#context, log, this.#isWide, units)
    for (const type of [I32, I32, I64, I64, I64, I64, I32, I32, I32, I32, I32, I32] as const) code.local(type)
    for (let r = LOCAL.GPR; r < FIRST_VEC; r++) code.local(I64)

    const { used, written } = registersIn(this.#region.blocks)
    if (used.vectors !== 0) for (let r = 0; r < (used.vectors >>> 16 === 0 ? 16 : 32); r++) code.local(V128)
    code.get(LOCAL.FRAME).memory('i64.load', STATE.RIP).i64(-4096n).op('i64.and').set(LOCAL.BASE)
    loadRegisters(code, used)
    loadFlags(code)
    // Flags may be yet to be worked out from before.
    loadRecipe(code)
    const windows = this.#windows()
    code.block(exit => {
      this.#exit = exit
      this.#tree(this.#region.root, UNKNOWN, 0)
    })
    storeVectors(code, written)
    storeGeneral(code, written)
    storeFlags(code)
    code.get(LOCAL.FRAME).get(LOCAL.RULE).memory('i32.store', SCRATCH.RULE)
    code.get(LOCAL.FRAME).get(LOCAL.LEFT).memory('i32.store', SCRATCH.LEFT)
    code.get(LOCAL.SITE)
    module.export('run', index)
    const calls = units.size > 0
    return { bytes: module.finish(), sites: this.#sites, windows, calls, recipes: [...this.#recipes] }
  }

  /** Gives the windows their locals, and a page that the runtime knows to be there. */
  #windows(): Generated['windows'] {
    const code = this.#code
    this.#loops = loopsOf(this.#region)
    const wanted = this.#context.mode === 64 ? wantedWindows(this.#loops, this.#scattered) : []
    for (const [number, { key, writes }] of wanted.entries()) {
      const window = { key, page: code.local(I64), frame: code.local(I32), writes, number }
      this.#accesses.windows.set(key, window)
      code.get(LOCAL.FRAME).memory('i64.load', SCRATCH.PAGE).set(window.page)
      code.get(LOCAL.FRAME).memory('i32.load', SCRATCH.PAGE_FRAME).set(window.frame)
    }
    return wanted
  }

  // Control flow

  #tree(block: Block, state: FlagState, done: number, places?: Places): void {
    const merges = block.dominated.filter(to => to.isMerge).sort((a, b) => b.order - a.order)
    if (!block.isLoop) {
      this.#within(block, merges, state, done, places)
      return
    }
    if (this.#foresight.isQuiet(block)) {
      this.#flags.state = UNKNOWN
      this.#check(block)
    }
    this.#code.loop(again => {
      this.#labels.set(block, again)
      this.#within(block, merges, state, done)
    })
  }

  /** `block` with what it dominates: the blocks that several ways lead to come behind it. */
  #within(block: Block, merges: readonly Block[], state: FlagState, done: number, places?: Places): void {
    const [last, ...rest] = merges
    if (last === undefined) {
      this.#block(block, state, done, places)
      return
    }
    this.#code.block(end => {
      this.#labels.set(last, end)
      this.#within(block, rest, state, done, places)
    })
    this.#tree(last, UNKNOWN, 0)
  }

  #block(block: Block, state: FlagState, done: number, places = new Places()): void {
    const code = this.#code
    const { root, entries } = this.#region
    if (block === root) {
      code.get(LOCAL.BLOCK).brTable(
        entries.map(entry => this.#labels.get(entry)!),
        this.#labels.get(entries[0]!)!,
      )
      return
    }
    this.#facts = this.#factsAt.get(block)!.slice()
    this.#flags.state = state
    this.#done = done
    if (block.isHead) {
      this.#flags.state = UNKNOWN
      this.#done = 0
      if (block.isChecked && !this.#foresight.isQuiet(block)) this.#check(block)
    }
    const after = this.#foresight.wanted(block)
    const { mark } = this.#accesses
    this.#accesses.begin(block.units, places, this.#loops.has(block))
    const { units } = block
    for (let k = 0; k < units.length; k++) {
      this.#instruction(units[k]!, after[k]!)
      if (units[k]!.control === undefined) this.#done++
    }
    const last = block.units.at(-1)!
    if (last.control === undefined) this.#edge(block, block.next!)
    this.#accesses.release(mark)
  }

  /** Goes on at `to`, from behind `this.#done` instructions. */
  #edge(from: Block, to: Target): void {
    const code = this.#code
    const { block } = to
    if (block === undefined) {
      this.#leave('edge', to.offset)
      return
    }
    if (!block.isHead && !from.throughRoot.has(block)) {
      this.#tree(block, this.#flags.state, this.#done, this.#accesses.places.copy())
      return
    }
    const again = block.order <= from.order && this.#foresight.isQuiet(block) && !from.throughRoot.has(block)
    const visible = this.#foresight.goesInto(from, block) ? this.#foresight.visible(block) : ALL_FLAGS
    if (!again) this.#flags.settle(block.live, visible)
    if (this.#done > 0) code.get(LOCAL.LEFT).i32(this.#done).op('i32.sub').set(LOCAL.LEFT)
    if (again) this.#check(block)
    this.#jumpTo(from, block)
  }

  /** Leaves before `block` where there is not enough left to come to the next check. */
  #check(block: Block): void {
    this.#code.get(LOCAL.LEFT).i32(this.#foresight.need(block)).op('i32.lt_s')
    this.#code.if(() => this.#leave('slice', block.start, 0))
  }

  #jumpTo(from: Block, block: Block): void {
    const code = this.#code
    if (from.throughRoot.has(block)) {
      code.i32(this.#region.entries.indexOf(block)).set(LOCAL.BLOCK)
      code.br(this.#labels.get(this.#region.root)!)
    } else if (block.isMerge || block.order <= from.order) code.br(this.#labels.get(block)!)
    else this.#tree(block, UNKNOWN, 0)
  }

  #leave(way: Way, offset: number, done = this.#done, missed?: Missed): void {
    const { offsets, rules } = this.#sites
    this.#sites.ways.push(way)
    this.#sites.missed.push(missed)
    offsets.push(offset)
    this.#sites.done.push(done)
    rules.push(this.#flags.state.known ? encode(this.#flags.state) : DYNAMIC)
    this.#code
      .i32(offsets.length - 1)
      .set(LOCAL.SITE)
      .br(this.#exit)
  }

  // Instructions

  #instruction(unit: Unit, after: { live: number; visible: number }): void {
    const code = this.#code
    const [first] = unit.effects
    if (first?.kind === 'help') {
      this.#help(unit, first)
      return
    }
    const leave: Leave = (way, missed) => this.#leave(way, unit.offset, this.#done, missed)
    for (const node of unit.pending)
      node.as = node.op === 'cc' ? this.#flags.condition(node.n) : this.#flags.flag(node.n)

    // What is needed, and how often.
    for (const effect of unit.effects) this.#accesses.count(effect)
    const flags = unit.flags
    const wanted = after.live | after.visible
    const change = flags !== undefined && (wanted & flagsOf(flags.rule)) !== 0 ? flags : undefined
    const made = change === undefined ? undefined : recipeFor(change, node => isKept(unit, node))
    if (made !== undefined) this.#recipes.add(made.recipe)
    if (made !== undefined) for (const slot of made.slots) if (slot !== undefined) this.#emit.count(slot)
    if (change?.condition !== undefined) this.#emit.count(change.condition)
    for (const node of unit.registers.values()) this.#emit.count(node)
    for (const node of unit.vectors.values()) this.#emit.count(node)
    const singles = unit.single.size === 0 ? NO_FLAGS : wantedOf(unit.single, wanted)
    for (const { node } of singles) this.#emit.count(node)
    const { control } = unit
    if (control?.condition !== undefined) this.#emit.count(control.condition)
    if (control?.kind === 'jump') this.#emit.count(control.target)

    this.#needed.clear()
    follow(unit, this.#facts, this.#needed)
    for (const effect of unit.effects)
      if (effect.kind !== 'check' || this.#needed.has(effect)) this.#accesses.effect(effect, leave)

    // Nothing leaves before the next instruction from here on.
    let condition: Node | undefined
    if (control?.condition !== undefined) condition = this.#emit.keep(control.condition)
    let target: Node | undefined
    if (control?.kind === 'jump') target = this.#emit.keep(control.target)

    const batch: [Node, number][] = []
    // Flags that change in between must not be seen by the registers' new values.
    const early = change?.condition !== undefined
    for (const [r, node] of unit.registers) batch.push([early ? this.#emit.keep(node) : node, LOCAL.GPR + r])
    for (const [r, node] of unit.vectors) batch.push([early ? this.#emit.keep(node) : node, FIRST_VEC + r])
    const old = this.#flags.state
    let next = old
    if (change !== undefined && made !== undefined) {
      const mask = flagsOf(change.rule)
      if (change.condition !== undefined) {
        next = this.#flags.changeIf(change.condition, made, mask, after.live)
      } else {
        // Flags that neither the rule nor the instruction itself names leave the old recipe.
        const rest = old.known ? old.lazy & ~mask & wanted : 0
        if (rest !== 0)
          for (let f = 0; f < FLAGS.length; f++) {
            if ((rest & (1 << f)) === 0 || unit.single.has(FLAGS[f]!)) continue
            const node = this.#flags.flag(f)
            this.#emit.count(node)
            batch.push([node, LOCAL.FLAG + f])
          }
        for (let place = 0; place < 3; place++) {
          const slot = made.slots[place]
          if (slot !== undefined) batch.push([n.to64(slot), LOCAL.FLAG_A + place])
        }
        next = { known: true, recipe: made.recipe, lazy: mask }
      }
    }
    let singleMask = 0
    for (const { flag, node } of singles) {
      if (flag === 'df') {
        code.get(LOCAL.FRAME)
        this.#emit.put(node)
        code.memory('i32.store8', STATE.DF)
        continue
      }
      batch.push([n.to32(node), LOCAL.FLAG + FLAGS.indexOf(flag)])
      singleMask |= flagBit(flag)
    }
    for (let k = 0; k < batch.length; k++) this.#emit.put(batch[k]![0])
    for (let k = batch.length - 1; k >= 0; k--) code.set(batch[k]![1])
    if (singleMask !== 0) {
      if (next.known) next = { ...next, lazy: next.lazy & ~singleMask }
      else code.get(LOCAL.RULE).i32(~singleMask).op('i32.and').set(LOCAL.RULE)
    }
    this.#flags.state = next
    this.#accesses.places.assign(unit)
    if (control === undefined) {
      this.#emit.release()
      return
    }

    this.#done++
    const block = this.#blockOf(unit)
    const [state, done, { places }] = [this.#flags.state, this.#done, this.#accesses]
    if (control.kind === 'jump') {
      this.#computed(block, target!)
      this.#emit.release()
      return
    }
    this.#emit.release()
    if (condition === undefined) {
      this.#edge(block, block.taken!)
      return
    }
    const branch = (to: Target) => () => {
      this.#flags.state = state
      this.#done = done
      this.#accesses.places = places
      this.#edge(block, to)
    }
    if (condition.op === 'const') {
      branch(condition.value === 1n ? block.taken! : block.next!)()
      return
    }
    this.#emit.put(condition)
    code.if(branch(block.taken!), branch(block.next!))
  }

  /** The interpreter does it: what it reads goes to the state frame before it, and what it writes comes back. */
  #help(unit: Unit, { insn, flags }: Effect & { readonly kind: 'help' }): void {
    const code = this.#code
    const { helped } = this.#sites
    code.get(LOCAL.FRAME).get(LOCAL.BASE).i64(BigInt(unit.offset)).op('i64.add').memory('i64.store', STATE.RIP)
    storeGeneral(code, readOf(unit))
    storeVectors(code, readOf(unit))
    if (flags) {
      storeFlags(code)
      storeRule(code, this.#flags.state)
    }
    const went = this.#emit.temp(32)
    code.i32(helped.length).get(LOCAL.LEFT).i32(this.#done).op('i32.sub').call(this.#helper).tee(went)
    helped.push({ offset: unit.offset, flags })
    code.i32(LEFT_BEFORE).op('i32.eq')
    code.if(() => this.#leave('case', unit.offset))
    loadRegisters(code, writtenOf(unit))
    if (flags) {
      loadFlags(code)
      this.#flags.state = { known: true, recipe: undefined, lazy: 0 }
    }
    code.get(went)
    code.if(() => this.#leave('case', unit.offset + insn.length, this.#done + 1))
    this.#emit.release()
    follow(unit, this.#facts)
    this.#accesses.places.assign(unit)
  }

  #blockOf(unit: Unit): Block {
    if (this.#owners === undefined) {
      this.#owners = new Map()
      for (const block of this.#region.blocks) this.#owners.set(block.units.at(-1)!, block)
    }
    return this.#owners.get(unit)!
  }
  #owners: Map<Unit, Block> | undefined

  /** A return: compared with where the calls of the region come back to. */
  #computed(block: Block, target: Node): void {
    const code = this.#code
    const [state, done, { places }] = [this.#flags.state, this.#done, this.#accesses]
    const at = this.#emit.temp(64)
    if (block.jumps.length > 0 || block.isDynamic) {
      this.#emit.put(target)
      code.get(LOCAL.BASE).op('i64.sub').set(at)
      for (const to of block.jumps) {
        code.get(at).i64(BigInt(to.start)).op('i64.eq')
        code.if(() => {
          this.#flags.state = state
          this.#done = done
          this.#accesses.places = places
          this.#edge(block, { block: to, offset: to.start })
        })
      }
      this.#flags.state = state
      this.#done = done
    }
    if (block.isDynamic) {
      // The map of the page says which entry it is, if any.
      code.get(at).i64(4096n).op('i64.lt_u')
      code.if(() => {
        code.get(LOCAL.MAP).get(at).op('i32.wrap_i64').op('i32.add').memory('i32.load8_u').tee(LOCAL.BLOCK)
        code.if(() => {
          code.get(LOCAL.BLOCK).i32(1).op('i32.sub').set(LOCAL.BLOCK)
          this.#flags.settle(this.#region.root.live, ALL_FLAGS)
          code.get(LOCAL.LEFT).i32(this.#done).op('i32.sub').set(LOCAL.LEFT)
          code.br(this.#labels.get(this.#region.root)!)
        })
      })
      this.#flags.state = state
      this.#done = done
    }
    code.get(LOCAL.FRAME)
    this.#emit.put(target)
    code.memory('i64.store', STATE.RIP)
    this.#leave('jump', STORED)
  }
}

function* effectsOf({ blocks }: Region): Generator<Effect> {
  for (const { units } of blocks) for (const { effects } of units) yield* effects
}

/** Single flags with their new values, but for those that nobody looks at. */
const wantedOf = (single: Unit['single'], wanted: number): { flag: Flag; node: Node }[] => {
  const found: { flag: Flag; node: Node }[] = []
  for (const [flag, node] of single) if (flag === 'df' || (wanted & flagBit(flag)) !== 0) found.push({ flag, node })
  return found
}
const NO_FLAGS: ReturnType<typeof wantedOf> = []

/** Will a register hold the node's value? */
const isKept = ({ registers }: Unit, node: Node): boolean => {
  for (const whole of registers.values())
    if (whole === node || (whole.op === 'i64.extend_i32_u' && whole.a === node)) return true
  return false
}
