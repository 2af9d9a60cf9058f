/**
 * A region as one WebAssembly function: structured control flow from the dominator tree (N. Ramsey, "Beyond Relooper"),
 * registers in locals, flags as recipes, the TLB looked up inline.
 *
 * Wherever the region is left, the registers are those before an instruction: the number of the place ("site") says
 * which, how many instructions of the path were done, and what recipe the flags follow.
 */
import { type Code, I32, I64, type Label, Module, V128 } from '#wasm'
import { STATE } from '../state.ts'
import { TLB_DELTA_WORD, TLB_ENTRY_WORDS, TLB_WORD } from '../tlb.ts'
import { ALL_FLAGS, Builder, type Effect, FIRST_VEC, FLAGS, flagBit, LOCAL, type Unit } from './build.ts'
import type { Context } from './context.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import { conditionOf, flagsOf, inputs, type Recipe, recipeFor } from './recipe.ts'
import { type Block, killsOf, type Region, readsOf, type Target, visibleBefore } from './region.ts'

/** Where things of compiled code are in the state frame, behind the registers. */
export const SCRATCH = { LEFT: 0x400, RULE: 0x404, FLAG_A: 0x408, FLAG_B: 0x410, FLAG_R: 0x418 } as const
/** Offset of a site that has stored RIP itself. */
export const STORED = -0x8000_0000
/** Rule of a site where the function knows the recipe, at run time. */
export const DYNAMIC = -1

/** Places where the region is left, by number. */
export type Sites = {
  /** RIP, from the beginning of the page. */
  readonly offsets: number[]
  /** Instructions to take from what is left. */
  readonly done: number[]
  /** Number of the recipe times 64 plus the flags that follow from it. */
  readonly rules: number[]
}

export type Generated = { readonly bytes: Uint8Array<ArrayBuffer>; readonly sites: Sites }

/** Where the flags are: all in locals, but for those in `lazy`, which follow from `recipe`; unless that is not known. */
type FlagState = { readonly known: boolean; readonly recipe: Recipe | undefined; readonly lazy: number }
const UNKNOWN: FlagState = { known: false, recipe: undefined, lazy: 0 }
const encode = ({ recipe, lazy }: FlagState): number => (recipe === undefined ? 0 : recipe.id * 64 + lazy)

const LOADS: Record<number, 'i32.load8_u' | 'i32.load16_u' | 'i32.load' | 'i64.load'> = {
  1: 'i32.load8_u',
  2: 'i32.load16_u',
  4: 'i32.load',
  8: 'i64.load',
}
const STORES: Record<number, 'i32.store8' | 'i32.store16' | 'i32.store' | 'i64.store'> = {
  1: 'i32.store8',
  2: 'i32.store16',
  4: 'i32.store',
  8: 'i64.store',
}
const INDEX_SHIFT = 12 - Math.log2(TLB_ENTRY_WORDS * 4)

export const generate = (region: Region, context: Context): Generated => new Generator(region, context).run()

class Generator {
  readonly #region: Region
  readonly #context: Context
  readonly #builder: Builder
  readonly #sites: Sites = { offsets: [], done: [], rules: [] }
  #code!: Code
  #miss = 0
  #log = 0
  #exit: Label = 0
  /** Labels that the head of a block can be reached by: its loop, or the end of a WebAssembly block. */
  readonly #labels = new Map<Block, Label>()
  readonly #free: Record<32 | 64 | 128, number[]> = { 32: [], 64: [], 128: [] }
  readonly #taken: Record<32 | 64 | 128, number[]> = { 32: [], 64: [], 128: [] }
  #state: FlagState = UNKNOWN
  /** Instructions since `left` was brought up to date. */
  #done = 0
  #unit!: Unit
  readonly #needs = new Map<Block, number>()
  readonly #seen = new Map<Block, number>()

  constructor(region: Region, context: Context) {
    this.#region = region
    this.#context = context
    this.#builder = new Builder(context, region.entries[0]!.units[0]!.insn)
  }

  run(): Generated {
    const module = new Module()
    module.importMemory('env', 'memory', 1, 65536)
    this.#miss = module.importFunc('env', 'miss', module.type([I64, I32], [I32]))
    if (this.#context.logs) this.#log = module.importFunc('env', 'log', module.type([I32, I32], []))
    const { index, code } = module.func(module.type([I32, I32, I32, I32, I32, I32], [I32]))
    this.#code = code
    for (const type of [I32, I32, I64, I64, I64, I64, I32, I32, I32, I32, I32, I32] as const) code.local(type)
    for (let r = LOCAL.GPR; r < FIRST_VEC; r++) code.local(I64)

    let vectorsWritten = 0
    let vectorsUsed = 0
    let written = 0
    let used = 0
    for (const { units } of this.#region.blocks)
      for (const unit of units) {
        used |= unit.uses
        vectorsUsed |= unit.vectorUses
        for (const r of unit.vectors.keys()) vectorsWritten |= 1 << r
        for (const r of unit.registers.keys()) written |= 1 << r
      }
    used |= written
    vectorsUsed |= vectorsWritten
    if (vectorsUsed !== 0) for (let r = 0; r < 16; r++) code.local(V128)
    const each = (mask: number, act: (r: number) => void) => {
      for (let r = 0; r < 16; r++) if ((mask & (1 << r)) !== 0) act(r)
    }
    code.get(LOCAL.FRAME).memory('i64.load', STATE.RIP).i64(-4096n).op('i64.and').set(LOCAL.BASE)
    each(used, r =>
      code
        .get(LOCAL.FRAME)
        .memory('i64.load', STATE.GPR + r * 8)
        .set(LOCAL.GPR + r),
    )
    each(vectorsUsed, r =>
      code
        .get(LOCAL.FRAME)
        .vectorMemory('load', STATE.VEC + r * 32)
        .set(FIRST_VEC + r),
    )
    for (let f = 0; f < 6; f++)
      code
        .get(LOCAL.FRAME)
        .memory('i32.load8_u', FLAG_AT[f]!)
        .set(LOCAL.FLAG + f)
    code.block(exit => {
      this.#exit = exit
      this.#tree(this.#region.root, UNKNOWN, 0)
    })
    each(vectorsWritten, r =>
      code
        .get(LOCAL.FRAME)
        .get(FIRST_VEC + r)
        .vectorMemory('store', STATE.VEC + r * 32),
    )
    each(written, r =>
      code
        .get(LOCAL.FRAME)
        .get(LOCAL.GPR + r)
        .memory('i64.store', STATE.GPR + r * 8),
    )
    for (let f = 0; f < 6; f++)
      code
        .get(LOCAL.FRAME)
        .get(LOCAL.FLAG + f)
        .memory('i32.store8', FLAG_AT[f]!)
    code.get(LOCAL.FRAME).get(LOCAL.FLAG_A).memory('i64.store', SCRATCH.FLAG_A)
    code.get(LOCAL.FRAME).get(LOCAL.FLAG_B).memory('i64.store', SCRATCH.FLAG_B)
    code.get(LOCAL.FRAME).get(LOCAL.FLAG_R).memory('i64.store', SCRATCH.FLAG_R)
    code.get(LOCAL.FRAME).get(LOCAL.RULE).memory('i32.store', SCRATCH.RULE)
    code.get(LOCAL.FRAME).get(LOCAL.LEFT).memory('i32.store', SCRATCH.LEFT)
    code.get(LOCAL.SITE)
    module.export('run', index)
    return { bytes: module.finish(), sites: this.#sites }
  }

  // Control flow

  /** Instructions on the longest way from the head of a block to where `left` is looked at again. */
  #need(block: Block): number {
    const known = this.#needs.get(block)
    if (known !== undefined) return known
    let most = 0
    for (const to of block.dominated) if (!to.isHead) most = Math.max(most, this.#need(to))
    const need = block.units.length + most
    this.#needs.set(block, need)
    return need
  }

  /** Flags that may be seen from outside before they are set, from the head of a block that continues another. */
  #visible(block: Block): number {
    const known = this.#seen.get(block)
    if (known !== undefined) return known
    let visible = this.#visibleAfter(block)
    for (let k = block.units.length - 1; k >= 0; k--) {
      visible = visibleBefore(block.units[k]!, visible)
    }
    this.#seen.set(block, visible)
    return visible
  }

  #visibleAfter(block: Block): number {
    let visible = 0
    for (const to of [block.taken, block.next]) {
      if (to === undefined) continue
      const inline = to.block !== undefined && !to.block.isHead && !block.throughRoot.has(to.block)
      visible |= inline ? this.#visible(to.block!) : ALL_FLAGS
    }
    return block.taken === undefined && block.next === undefined ? ALL_FLAGS : visible
  }

  #tree(block: Block, state: FlagState, done: number): void {
    const merges = block.dominated.filter(to => to.isMerge).sort((a, b) => b.order - a.order)
    if (!block.isLoop) {
      this.#within(block, merges, state, done)
      return
    }
    this.#code.loop(again => {
      this.#labels.set(block, again)
      this.#within(block, merges, state, done)
    })
  }

  /** `block` with what it dominates: the blocks that several ways lead to come behind it. */
  #within(block: Block, merges: readonly Block[], state: FlagState, done: number): void {
    const [last, ...rest] = merges
    if (last === undefined) {
      this.#block(block, state, done)
      return
    }
    this.#code.block(end => {
      this.#labels.set(last, end)
      this.#within(block, rest, state, done)
    })
    this.#tree(last, UNKNOWN, 0)
  }

  #block(block: Block, state: FlagState, done: number): void {
    const code = this.#code
    const { root, entries } = this.#region
    if (block === root) {
      code.get(LOCAL.BLOCK).brTable(
        entries.map(entry => this.#labels.get(entry)!),
        this.#labels.get(entries[0]!)!,
      )
      return
    }
    this.#state = state
    this.#done = done
    if (block.isHead) {
      this.#state = UNKNOWN
      this.#done = 0
      code.get(LOCAL.LEFT).i32(this.#need(block)).op('i32.lt_s')
      code.if(() => this.#leave(block.start))
    }
    const after = this.#wanted(block)
    for (const [k, unit] of block.units.entries()) {
      this.#instruction(unit, after[k]!)
      const { control } = unit
      if (control === undefined) this.#done++
    }
    const last = block.units.at(-1)!
    if (last.control === undefined) this.#edge(block, block.next!)
  }

  /** After each unit: the flags that code reads before they are set again, and those that may be seen at an exit. */
  #wanted(block: Block): { live: number; visible: number }[] {
    const wanted: { live: number; visible: number }[] = []
    let live = 0
    for (const to of block.successors) live |= to.live
    if (block.isDynamic) live |= this.#region.root.live
    let visible = this.#visibleAfter(block)
    for (let k = block.units.length - 1; k >= 0; k--) {
      const unit = block.units[k]!
      wanted[k] = { live, visible }
      live = (live & ~killsOf(unit)) | readsOf(unit, live | visible)
      visible = visibleBefore(unit, visible)
    }
    return wanted
  }

  /** Goes on at `to`, from behind `this.#done` instructions. */
  #edge(from: Block, to: Target): void {
    const code = this.#code
    const { block } = to
    if (block === undefined) {
      this.#leave(to.offset)
      return
    }
    if (!block.isHead && !from.throughRoot.has(block)) {
      this.#tree(block, this.#state, this.#done)
      return
    }
    this.#settleFlags(block.live)
    if (this.#done > 0) code.get(LOCAL.LEFT).i32(this.#done).op('i32.sub').set(LOCAL.LEFT)
    this.#jumpTo(from, block)
  }

  #jumpTo(from: Block, block: Block): void {
    const code = this.#code
    if (from.throughRoot.has(block)) {
      code.i32(this.#region.entries.indexOf(block)).set(LOCAL.BLOCK)
      code.br(this.#labels.get(this.#region.root)!)
    } else if (block.isMerge || block.order <= from.order) code.br(this.#labels.get(block)!)
    else this.#tree(block, UNKNOWN, 0)
  }

  /** Puts flags that are read further on into their locals, and says which recipe the others follow. */
  #settleFlags(live: number): void {
    const code = this.#code
    const { known, lazy } = this.#state
    if (!known) return
    this.#flagsToLocals(live & lazy)
    code.i32(encode(this.#state)).set(LOCAL.RULE)
  }

  #flagsToLocals(which: number): void {
    const batch: [Node, number][] = []
    for (const [f, flag] of FLAGS.entries())
      if ((which & flagBit(flag)) !== 0) batch.push([this.#flag(f), LOCAL.FLAG + f])
    this.#assign(batch)
  }

  #leave(offset: number, done = this.#done): void {
    const { offsets, rules } = this.#sites
    offsets.push(offset)
    this.#sites.done.push(done)
    rules.push(this.#state.known ? encode(this.#state) : DYNAMIC)
    this.#code
      .i32(offsets.length - 1)
      .set(LOCAL.SITE)
      .br(this.#exit)
  }

  // Nodes

  #temp(width: 32 | 64 | 128): number {
    const found = this.#free[width].pop() ?? this.#code.local(width === 32 ? I32 : width === 64 ? I64 : V128)
    this.#taken[width].push(found)
    return found
  }

  #release(): void {
    for (const width of [32, 64, 128] as const) this.#free[width].push(...this.#taken[width].splice(0))
  }

  #count(node: Node): void {
    if (node.as !== undefined) {
      this.#count(node.as)
      return
    }
    if (node.uses++ > 0) return
    if (node.a !== undefined) this.#count(node.a)
    if (node.b !== undefined) this.#count(node.b)
    if (node.c !== undefined) this.#count(node.c)
  }

  /** Writes the node's value to the stack. */
  #put(node: Node): void {
    const code = this.#code
    if (node.as !== undefined) {
      this.#put(node.as)
      return
    }
    if (node.temp >= 0) {
      code.get(node.temp)
      return
    }
    switch (node.op) {
      case 'const':
        if (node.width === 64) code.i64(node.value)
        else code.i32(Number(node.value))
        return
      case 'local':
        code.get(node.n)
        return
      case 'temp':
        throw new Error('a value is used before the effect that makes it')
      case 'flag':
      case 'cc':
        throw new Error(`${node.op} without a meaning`)
      case 'simd':
        if (node.a !== undefined) this.#put(node.a)
        if (node.b !== undefined) this.#put(node.b)
        code.simd(node.n, node.lanes)
        break
      case 'frame':
        code.get(LOCAL.FRAME).memory(node.width === 32 ? 'i32.load8_u' : 'i64.load', node.n)
        break
      default:
        if (node.a !== undefined) this.#put(node.a)
        if (node.b !== undefined) this.#put(node.b)
        if (node.c !== undefined) this.#put(node.c)
        code.op(node.op)
    }
    if (node.uses > 1) {
      node.temp = this.#temp(node.width)
      code.tee(node.temp)
    }
  }

  /** A node's value in a local of its own, to be used as often as one likes. */
  #keep(node: Node): Node {
    const from = node.as ?? node
    if (from.op === 'const') return from
    this.#put(from)
    const at = this.#temp(from.width)
    this.#code.set(at)
    return n.local(at, from.width, from.bits)
  }

  /** New values of locals, all at once. */
  #assign(batch: readonly (readonly [Node, number])[]): void {
    for (const [node] of batch) this.#count(node)
    for (const [node] of batch) this.#put(node)
    for (let k = batch.length - 1; k >= 0; k--) this.#code.set(batch[k]![1])
  }

  // Flags

  readonly #places = (place: 0 | 1 | 2): Node => {
    const { size } = this.#state.recipe!
    return n.local(LOCAL.FLAG_A + place, 64, size * 8)
  }

  #flag(f: number): Node {
    const { known, recipe, lazy } = this.#state
    if (!known || recipe === undefined || (lazy & (1 << f)) === 0) return n.local(LOCAL.FLAG + f, 32, 1)
    const { a, b, r } = inputs(this.#builder, recipe, this.#places)
    return n.to32(recipe.rule[FLAGS[f]!]!<Node, Node>(this.#builder, recipe.size, a, b, r))
  }

  #condition(cc: number): Node {
    const { known, recipe, lazy } = this.#state
    if (known && recipe !== undefined && lazy === ALL_FLAGS) {
      const simple = conditionOf<Node, Node>(this.#builder, recipe, cc, this.#places)
      if (simple !== undefined) return simple
    }
    const [cf, , , zf, sf, of] = [0, 1, 2, 3, 4, 5].map(f => () => this.#flag(f))
    const pf = () => this.#flag(1)
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

  // Instructions

  #instruction(unit: Unit, after: { live: number; visible: number }): void {
    const code = this.#code
    this.#unit = unit
    for (const node of unit.pending) node.as = node.op === 'cc' ? this.#condition(node.n) : this.#flag(node.n)

    // What is needed, and how often.
    for (const effect of unit.effects) this.#countEffect(effect)
    const flags = unit.flags
    const wanted = after.live | after.visible
    const change = flags !== undefined && (wanted & flagsOf(flags.rule)) !== 0 ? flags : undefined
    const made = change === undefined ? undefined : recipeFor(change)
    for (const slot of made?.slots ?? []) if (slot !== undefined) this.#count(slot)
    if (change?.condition !== undefined) this.#count(change.condition)
    for (const node of unit.registers.values()) this.#count(node)
    for (const node of unit.vectors.values()) this.#count(node)
    const singles = [...unit.single].filter(([flag]) => flag === 'df' || (wanted & flagBit(flag)) !== 0)
    for (const [, node] of singles) this.#count(node)
    const { control } = unit
    if (control?.condition !== undefined) this.#count(control.condition)
    if (control?.kind === 'jump') this.#count(control.target)

    for (const effect of unit.effects) this.#effect(effect)

    // Nothing leaves before the next instruction from here on.
    let condition: Node | undefined
    if (control?.condition !== undefined) condition = this.#keep(control.condition)
    let target: Node | undefined
    if (control?.kind === 'jump') target = this.#keep(control.target)

    const batch: [Node, number][] = []
    // Flags that change in between must not be seen by the registers' new values.
    const early = change?.condition !== undefined
    for (const [r, node] of unit.registers) batch.push([early ? this.#keep(node) : node, LOCAL.GPR + r])
    for (const [r, node] of unit.vectors) batch.push([early ? this.#keep(node) : node, FIRST_VEC + r])
    const old = this.#state
    let next = old
    if (change !== undefined && made !== undefined) {
      const mask = flagsOf(change.rule)
      if (change.condition !== undefined) {
        next = this.#conditionalFlags(change.condition, made, mask, after.live)
      } else {
        // Flags that the rule does not name leave the old recipe.
        if (old.known)
          for (const [f, flag] of FLAGS.entries()) {
            const bit = flagBit(flag)
            if ((old.lazy & bit & ~mask & wanted) === 0) continue
            const node = this.#flag(f)
            this.#count(node)
            batch.push([node, LOCAL.FLAG + f])
          }
        for (const [place, slot] of made.slots.entries())
          if (slot !== undefined) batch.push([n.to64(slot), LOCAL.FLAG_A + place])
        next = { known: true, recipe: made.recipe, lazy: mask }
      }
    }
    let singleMask = 0
    for (const [flag, node] of singles) {
      if (flag === 'df') {
        code.get(LOCAL.FRAME)
        this.#put(node)
        code.memory('i32.store8', STATE.DF)
        continue
      }
      batch.push([n.to32(node), LOCAL.FLAG + FLAGS.indexOf(flag)])
      singleMask |= flagBit(flag)
    }
    for (const [node] of batch) this.#put(node)
    for (let k = batch.length - 1; k >= 0; k--) code.set(batch[k]![1])
    if (singleMask !== 0) {
      if (next.known) next = { ...next, lazy: next.lazy & ~singleMask }
      else code.get(LOCAL.RULE).i32(~singleMask).op('i32.and').set(LOCAL.RULE)
    }
    this.#state = next
    if (control === undefined) {
      this.#release()
      return
    }

    this.#done++
    const block = this.#blockOf(unit)
    const [state, done] = [this.#state, this.#done]
    if (control.kind === 'jump') {
      this.#computed(block, target!)
      this.#release()
      return
    }
    this.#release()
    if (condition === undefined) {
      this.#edge(block, block.taken!)
      return
    }
    const branch = (to: Target) => () => {
      this.#state = state
      this.#done = done
      this.#edge(block, to)
    }
    if (condition.op === 'const') {
      branch(condition.value === 1n ? block.taken! : block.next!)()
      return
    }
    this.#put(condition)
    code.if(branch(block.taken!), branch(block.next!))
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
    const [state, done] = [this.#state, this.#done]
    const at = this.#temp(64)
    if (block.jumps.length > 0 || block.isDynamic) {
      this.#put(target)
      code.get(LOCAL.BASE).op('i64.sub').set(at)
      for (const to of block.jumps) {
        code.get(at).i64(BigInt(to.start)).op('i64.eq')
        code.if(() => {
          this.#state = state
          this.#done = done
          this.#edge(block, { block: to, offset: to.start })
        })
      }
      this.#state = state
      this.#done = done
    }
    if (block.isDynamic) {
      // The map of the page says which entry it is, if any.
      code.get(at).i64(4096n).op('i64.lt_u')
      code.if(() => {
        code.get(LOCAL.MAP).get(at).op('i32.wrap_i64').op('i32.add').memory('i32.load8_u').tee(LOCAL.BLOCK)
        code.if(() => {
          code.get(LOCAL.BLOCK).i32(1).op('i32.sub').set(LOCAL.BLOCK)
          this.#settleFlags(this.#region.root.live)
          code.get(LOCAL.LEFT).i32(this.#done).op('i32.sub').set(LOCAL.LEFT)
          code.br(this.#labels.get(this.#region.root)!)
        })
      })
      this.#state = state
      this.#done = done
    }
    code.get(LOCAL.FRAME)
    this.#put(target)
    code.memory('i64.store', STATE.RIP)
    this.#leave(STORED)
  }

  /** Flags that change only where `condition` holds: from here on only the function knows which recipe it is. */
  #conditionalFlags(condition: Node, made: ReturnType<typeof recipeFor>, mask: number, live: number): FlagState {
    const code = this.#code
    const holds = this.#keep(condition)
    const slots = made.slots.map(slot => (slot === undefined ? undefined : n.to64(this.#keep(slot))))
    if (this.#state.known) {
      this.#flagsToLocals(this.#state.lazy & (live | ~mask))
      code.i32(encode({ ...this.#state, lazy: this.#state.lazy & mask })).set(LOCAL.RULE)
    }
    this.#put(holds)
    code.if(() => {
      const batch: [Node, number][] = []
      for (const [place, slot] of slots.entries()) if (slot !== undefined) batch.push([slot, LOCAL.FLAG_A + place])
      this.#assign(batch)
      const next = { known: true, recipe: made.recipe, lazy: mask }
      code.i32(encode(next)).set(LOCAL.RULE)
      this.#state = next
      this.#flagsToLocals(live & mask)
    })
    return UNKNOWN
  }

  // Effects

  #countEffect(effect: Effect): void {
    if (effect.kind === 'leaveIf') this.#count(effect.condition)
    else if (effect.kind === 'loadHost' || effect.kind === 'storeHost') this.#count(effect.host)
    else this.#count(effect.at)
    if (effect.kind === 'store' || effect.kind === 'storeHost') this.#count(effect.value)
  }

  #effect(effect: Effect): void {
    const code = this.#code
    switch (effect.kind) {
      case 'leaveIf':
        if (effect.condition.op === 'const' && effect.condition.value === 0n) return
        this.#put(effect.condition)
        code.if(() => this.#leave(this.#unit.offset))
        return
      case 'load': {
        const host = this.#probe(effect.at, effect.size, 'read')
        code.get(host)
        if (effect.size === 16) code.vectorMemory('load')
        else code.memory(LOADS[effect.size]!)
        this.#bind(effect.to)
        return
      }
      case 'store': {
        const host = this.#probe(effect.at, effect.size, 'write')
        this.#store(() => code.get(host), effect.size, effect.value)
        return
      }
      case 'probe':
        effect.to.temp = this.#probe(effect.at, effect.size, 'write')
        return
      case 'loadHost':
        this.#put(effect.host)
        code.memory(LOADS[effect.size]!)
        this.#bind(effect.to)
        return
      case 'storeHost':
        this.#store(() => this.#put(effect.host), effect.size, effect.value)
    }
  }

  #bind(node: Node): void {
    node.temp = this.#temp(node.width)
    this.#code.set(node.temp)
  }

  #store(host: () => void, size: number, value: Node): void {
    const code = this.#code
    if (this.#context.logs) {
      host()
      code.i32(size).call(this.#log)
    }
    host()
    if (size === 16) {
      this.#put(value)
      code.vectorMemory('store')
      return
    }
    const wide = size === 8
    const node = wide ? n.to64(value) : n.to32(value)
    this.#put(node)
    code.memory(STORES[size]!)
  }

  /** The host address, in a local, of `size` bytes at a linear address. */
  #probe(at: Node, size: number, access: 'read' | 'write'): number {
    const code = this.#code
    const [linear, entry, host] = [this.#temp(64), this.#temp(32), this.#temp(32)]
    this.#put(at)
    code.set(linear)
    code.get(linear).op('i32.wrap_i64').i32(INDEX_SHIFT).op('i32.shr_u').get(LOCAL.MASK).op('i32.and')
    code.get(LOCAL.TLB).op('i32.add').tee(entry)
    code.memory('i64.load', TLB_WORD[access] * 4)
    code.get(linear)
    if (size > 1) code.i64(BigInt(size - 1)).op('i64.add')
    code.i64(-4096n).op('i64.and')
    if (this.#context.key !== 0) code.i64(BigInt(this.#context.key)).op('i64.or')
    code.op('i64.ne')
    code.if(
      () => {
        code
          .get(linear)
          .i32(size | (access === 'write' ? 256 : 0))
          .call(this.#miss)
          .tee(host)
        code
          .i32(-1)
          .op('i32.eq')
          .if(() => this.#leave(this.#unit.offset))
      },
      () => {
        code
          .get(entry)
          .memory('i32.load', TLB_DELTA_WORD * 4)
          .get(linear)
          .op('i32.wrap_i64')
          .op('i32.add')
          .set(host)
      },
    )
    return host
  }
}

const FLAG_AT = [STATE.CF, STATE.PF, STATE.AF, STATE.ZF, STATE.SF, STATE.OF]
