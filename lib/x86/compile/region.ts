/**
 * Which instructions are compiled together: from a hot place, along branches, calls and what follows, as long as it is
 * in one page. The result is a graph of blocks, made fit for structured control flow.
 */
import type { CodePage } from '../code.ts'
import { Builder } from './build.ts'
import type { Context } from './context.ts'
import { helped } from './helped.ts'
import { flagsOf } from './recipe.ts'
import { ALL_FLAGS, type Unit } from './unit.ts'

/** Where execution goes on: a block, or (the region being left) an offset from the page. */
export type Target = { readonly block: Block | undefined; readonly offset: number }

export class Block {
  readonly start: number
  readonly units: Unit[] = []
  /** What follows where nothing jumps; `undefined` after an unconditional jump. */
  next: Target | undefined
  /** Where its `goto` goes. */
  taken: Target | undefined
  /** Where its computed jump may go, as far as that is known. */
  jumps: readonly Block[] = []
  /** Its computed jump may go to any entry, by way of the root. */
  isDynamic = false

  // The graph
  order = -1
  dominator: Block | undefined
  readonly dominated: Block[] = []
  readonly preds: Block[] = []
  isLoop = false
  /** Entered from more than one place, or from outside. */
  isMerge = false
  isEntry = false
  /** Flags that are read before they are set. */
  live = 0
  /** Edges to these go by way of the root, which makes the graph reducible. */
  readonly throughRoot = new Set<Block>()

  constructor(start: number) {
    this.start = start
  }

  get successors(): Block[] {
    const found: Block[] = []
    if (this.taken?.block !== undefined) found.push(this.taken.block)
    if (this.next?.block !== undefined) found.push(this.next.block)
    for (const block of this.jumps) found.push(block)
    return found
  }

  get isHead(): boolean {
    return this.isMerge || this.isLoop
  }

  /** Here it is looked at whether the region may go on: every way round comes by such a block. */
  get isChecked(): boolean {
    return this.isLoop || this.isEntry
  }
}

export type Region = {
  /** Without units; its successors are the entries. */
  readonly root: Block
  readonly entries: readonly Block[]
  readonly blocks: readonly Block[]
  readonly units: number
  /** Computed jumps go by way of the root to any entry. */
  readonly dynamic: boolean
}

/** Instructions after which execution does not go on behind them, among those that are not compiled. */
const ENDS = new Set('iret iretd iretq sysret sysexit jmpfar retfar ud2 ud0 ud1 ud'.split(' '))
/** Return points that a RET compares with before it gives up. */
const MOST_JUMPS = 12

/**
 * The flags that a unit wants to know, those in `wanted` being looked at after it. Where a rule takes the place of
 * another without naming all its flags, the rest has to be put somewhere.
 */
export const readsOf = (unit: Unit, wanted: number): number => {
  const { flags } = unit
  if (flags === undefined) return unit.reads
  const mask = flagsOf(flags.rule)
  return (wanted & mask) === 0 ? unit.reads : unit.reads | (wanted & ~mask)
}
/** The flags that may be seen from outside before a unit, `visible` being those after it. */
export const visibleBefore = (unit: Unit, visible: number): number =>
  unit.effects.length > 0 ? ALL_FLAGS : visible & ~killsOf(unit)

/** The flags that a unit sets whatever happens. */
export const killsOf = (unit: Unit): number => {
  const { flags, single } = unit
  let kills = flags === undefined || flags.condition !== undefined ? 0 : flagsOf(flags.rule)
  if (single.size > 0) for (const flag of single.keys()) kills |= bitOf(flag)
  return kills
}
const bitOf = (flag: string): number => 1 << ['cf', 'pf', 'af', 'zf', 'sf', 'of'].indexOf(flag)

/** What is known of a page's code from having run it. */
export type Experience = {
  /** Was the instruction ever executed? What was not is not compiled either. */
  readonly seen: (offset: number) => boolean
  /** Where computed jumps went. */
  readonly targets: ReadonlySet<number>
}

const collect = (page: CodePage, start: number, context: Context, { seen, targets }: Experience) => {
  const units = new Map<number, Unit | undefined>()
  const leaders = new Set([start])
  const entries = new Set([start])
  const returns = new Set<number>()
  const waiting = [start, ...targets]
  for (const at of targets) {
    leaders.add(at)
    entries.add(at)
  }
  const lead = (offset: number): void => {
    if (offset < 0 || offset > 4095) return
    leaders.add(offset)
    waiting.push(offset)
  }
  let builder: Builder | undefined
  let count = 0
  for (let from = waiting.shift(); from !== undefined; from = waiting.shift()) {
    for (let at = from; at < 4096; ) {
      if (units.has(at)) {
        leaders.add(at)
        break
      }
      if (count >= context.most || !seen(at)) break
      const insn = page.at(at, context.mode)
      if (typeof insn === 'string') break
      builder ??= new Builder(context, insn)
      const unit = builder.build(insn, at) ?? helped(insn, at, context)
      units.set(at, unit)
      const next = at + insn.length
      if (unit === undefined) {
        if (!ENDS.has(insn.row.semantics) && next < 4096 && context.most > 1) {
          entries.add(next)
          lead(next)
        }
        break
      }
      count++
      const { control } = unit
      if (control === undefined) {
        at = next
        continue
      }
      if (control.condition !== undefined) lead(next)
      const outside = control.kind === 'jump' || control.offset < 0 || control.offset > 4095
      if (unit.isCall) {
        if (next < 4096) returns.add(next)
        if (outside && next < 4096 && context.most > 1) entries.add(next)
        lead(next)
      }
      if (control.kind === 'goto') lead(control.offset)
      break
    }
  }
  return { units, leaders, entries, returns, count }
}

/**
 * Keeps the innermost loop around `start`, with what it calls: outer loops become regions of their own when what is
 * behind this one is hot. In a nest of loops V8 has no registers left for the innermost, and does not unroll it.
 */
const keepLoop = (blocks: Map<number, Block>, start: number): void => {
  let [low, high] = [0, 4096]
  for (const { start: from, taken, units } of blocks.values()) {
    const last = units.at(-1)!
    if (taken?.block === undefined || last.isCall || taken.offset > from) continue
    if (taken.offset <= start && start <= last.offset && last.offset - taken.offset < high - low)
      [low, high] = [taken.offset, last.offset]
  }
  if (high === 4096) return
  const isInside = ({ start: at }: Block): boolean => at >= low && at <= high
  const kept = new Set<Block>()
  const waiting = [blocks.get(start)!]
  for (let block = waiting.pop(); block !== undefined; block = waiting.pop()) {
    if (kept.has(block)) continue
    kept.add(block)
    const calls = block.units.at(-1)!.isCall
    for (const to of block.successors) if (!isInside(block) || calls || isInside(to)) waiting.push(to)
  }
  const cut = (target: Target | undefined): Target | undefined =>
    target?.block === undefined || kept.has(target.block) ? target : { block: undefined, offset: target.offset }
  for (const [at, block] of blocks) {
    if (!kept.has(block)) blocks.delete(at)
    block.next = cut(block.next)
    block.taken = cut(block.taken)
    block.jumps = block.jumps.filter(to => kept.has(to))
  }
}

/** The region around `start`; `undefined` where nothing there can be compiled. */
export const regionAt = (
  page: CodePage,
  start: number,
  context: Context,
  experience: Experience = { seen: () => true, targets: new Set() },
): Region | undefined => {
  const { units, leaders, entries, returns, count } = collect(page, start, context, experience)
  if (units.get(start) === undefined) return undefined
  const blocks = new Map<number, Block>()
  for (const at of [...leaders].sort((a, b) => a - b)) if (units.get(at) !== undefined) blocks.set(at, new Block(at))
  const target = (offset: number): Target => ({ block: blocks.get(offset), offset })
  const comeBack = [...returns].map(at => blocks.get(at)).filter(block => block !== undefined)
  for (const block of blocks.values()) {
    for (let at = block.start; ; ) {
      const unit = units.get(at)
      if (unit === undefined) {
        block.next = target(at)
        break
      }
      block.units.push(unit)
      const { control } = unit
      at += unit.insn.length
      if (control !== undefined) {
        if (control.condition !== undefined) block.next = target(at)
        if (control.kind === 'goto') block.taken = target(control.offset)
        else if (unit.insn.row.semantics === 'ret' && comeBack.length <= MOST_JUMPS) block.jumps = comeBack
        break
      }
      if (blocks.has(at)) {
        block.next = target(at)
        break
      }
    }
  }
  if (experience.targets.size === 0) keepLoop(blocks, start)
  const root = new Block(-1)
  const first = [...entries].map(at => blocks.get(at)).filter(block => block !== undefined)
  const dynamic = experience.targets.size > 0
  if (dynamic)
    for (const block of blocks.values()) if (block.units.at(-1)!.control?.kind === 'jump') block.isDynamic = true
  return shape({ root, entries: first, blocks: [...blocks.values()], units: count, dynamic })
}

/** Orders the blocks and finds dominators and loops; edges that are not reducible are sent through the root. */
const shape = (region: Region): Region => {
  const { root } = region
  let entries = [...region.entries]
  for (;;) {
    root.jumps = entries
    const all = order(root)
    dominators(all)
    const bad = all.find(from => edges(from).some(to => to.order <= from.order && !dominates(to, from)))
    if (bad === undefined) {
      mark(all)
      liveness(all)
      return { ...region, entries, blocks: all.slice(1) }
    }
    for (const to of edges(bad)) {
      if (to.order > bad.order || dominates(to, bad)) continue
      bad.throughRoot.add(to)
      if (!entries.includes(to)) entries = [...entries, to]
    }
  }
}

/** Edges as the structured code has them. */
const edges = (from: Block): Block[] =>
  from.throughRoot.size === 0 ? from.successors : from.successors.filter(to => !from.throughRoot.has(to))

/** Reverse postorder from the root. */
const order = (root: Block): Block[] => {
  const done: Block[] = []
  const seen = new Set<Block>([root])
  const stack: { block: Block; rest: Block[] }[] = [{ block: root, rest: edges(root) }]
  while (stack.length > 0) {
    const top = stack.at(-1)!
    const to = top.rest.pop()
    if (to === undefined) {
      done.push(top.block)
      stack.pop()
    } else if (!seen.has(to)) {
      seen.add(to)
      stack.push({ block: to, rest: edges(to) })
    }
  }
  done.reverse()
  for (const [n, block] of done.entries()) {
    block.order = n
    block.dominator = undefined
    block.preds.length = 0
    block.dominated.length = 0
  }
  for (const from of done) for (const to of edges(from)) to.preds.push(from)
  return done
}

/** Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm". */
const dominators = (all: readonly Block[]): void => {
  const root = all[0]!
  root.dominator = root
  for (let changed = true; changed; ) {
    changed = false
    for (const block of all.slice(1)) {
      let found: Block | undefined
      for (const pred of block.preds) {
        if (pred.dominator === undefined) continue
        found = found === undefined ? pred : common(found, pred)
      }
      if (block.dominator !== found) {
        block.dominator = found
        changed = true
      }
    }
  }
}
const common = (a: Block, b: Block): Block => {
  let [x, y] = [a, b]
  while (x !== y) {
    while (x.order > y.order) x = x.dominator!
    while (y.order > x.order) y = y.dominator!
  }
  return x
}
const dominates = (a: Block, b: Block): boolean => {
  let at = b
  while (at.order > a.order) at = at.dominator!
  return at === a
}

const mark = (all: readonly Block[]): void => {
  const root = all[0]!
  for (const block of all.slice(1)) {
    block.dominator!.dominated.push(block)
    block.isLoop = block.preds.some(pred => pred.order >= block.order)
    block.isEntry = block.preds.includes(root)
    block.isMerge = block.preds.filter(pred => pred.order < block.order).length > 1 || block.isEntry
  }
  root.isLoop = all.some(block => block.isDynamic || block.throughRoot.size > 0)
}

/** Flags that are live where a block begins. */
const liveness = (all: readonly Block[]): void => {
  const root = all[0]!
  for (let changed = true; changed; ) {
    changed = false
    for (const block of [...all].reverse()) {
      let live = 0
      let visible = ALL_FLAGS
      for (const to of block.successors) live |= to.live
      if (block.isDynamic) live |= root.live
      for (let n = block.units.length - 1; n >= 0; n--) {
        const unit = block.units[n]!
        live = (live & ~killsOf(unit)) | readsOf(unit, live | visible)
        visible = visibleBefore(unit, visible)
      }
      if (live !== block.live) {
        block.live = live
        changed = true
      }
    }
  }
}
