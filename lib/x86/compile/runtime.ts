/**
 * Compiled code at run time: which places are hot, entering a region, and what it left behind.
 */
import type { CodePage } from '../code.ts'
import { stats as cold } from '../cold/stats.ts'
import type { Cpu } from '../cpu.ts'
import { Fault, Leave } from '../fault.ts'
import type { PhysicalMemory } from '../memory.ts'
import { lookup } from '../mmu.ts'
import { STATE } from '../state.ts'
import { TLB_ENTRY_WORDS, TLB_FRAME_WORD, TLB_WORD } from '../tlb.ts'
import { type Context, contextOf } from './context.ts'
import { Entries } from './entries.ts'
import { settle } from './flagstate.ts'
import { generate } from './generate.ts'
import { help, helps, LEFT_BEFORE } from './help.ts'
import { Links } from './links.ts'
import { listRegion } from './listing.ts'
import { type Region, regionAt } from './region.ts'
import { DYNAMIC, type Missed, SCRATCH, type Sites, STORED, type Way } from './sites.ts'
import { forget, liveOf, share, sharedOf } from './store.ts'
import { logStore } from './storelog.ts'
import { type Made, moduleOf, type Shared } from './translation.ts'
import { unitsOf } from './units.ts'

/**
 * `auto` compiles what is hot, `compile` everything at once, `cold` nothing: all runs in handlers. `lockstep` and
 * `coldstep` check what `compile` and `cold` do against the interpreter.
 */
export type TierName = 'interpret' | 'cold' | 'compile' | 'auto' | 'lockstep' | 'coldstep'

const TIERS: readonly string[] = ['interpret', 'cold', 'compile', 'auto', 'lockstep', 'coldstep']
const isTier = (name: string | undefined): name is TierName => name !== undefined && TIERS.includes(name)

/** The tier of CPUs that are not told: what SEAMLESS_TIER in the environment says, or `auto`. */
export const usualTier = (): TierName => {
  const name = process.env['SEAMLESS_TIER']
  return isTier(name) ? name : 'auto'
}

const RULE = STATE.RULE / 4
/** Jumps to a place before it is compiled. */
const HOT = 60
/** Instructions after which a region comes back: V8 replaces its baseline code only between calls. */
const SLICE = 200_000
/** Computed jumps out of regions, but inside the page, before the regions are made anew with their targets. */
const STRAYS = 100
/** Accesses looked up at once that cross into another page, before each is looked up by itself. */
const CROSSINGS = 50
/**
 * Misses after which an instruction that does not come further is the interpreter's: the page it finds costs it another
 * one, which is in the same place of the TLB.
 */
const STUCK = 4
/** Instructions for each move of a window at least. */
const SCATTERED = 80
/** Times that windows could not be opened before they are given up. */
const WITHOUT = 1000
/** Entries that a map has room for. */
const MOST_ENTRIES = 255
/** Most instructions of a region. */
const MOST = 1500
/** The same where everything is compiled, were it ever executed or not. */
const FEW = 100

type Run = (frame: number, tlb: number, mask: number, block: number, left: number, map: number) => number

export type Entry = {
  readonly run: Run
  readonly block: number
  /** Flags that are read here before they are set: these are worked out before it is entered. */
  readonly live: number
  readonly sites: Sites
  readonly windows: Made['windows']
  /** Frame that says for each offset of the page which entry (plus 1) is there; 0: none is needed. */
  readonly map: number
  /** Where its region was begun. */
  readonly start: number
  readonly page: CodePage
  readonly code: PageCode
  /** It has not been made anew, nor gone to make room. */
  isLive: boolean
}

/** What is compiled of one page in one context. */
class PageCode {
  readonly context: Context
  readonly entries = new Entries()
  readonly heat = new Uint16Array(4096)
  /** Where computed jumps went that left their region, how many did, and how many more may before something is done. */
  readonly targets = new Set<number>()
  strays = 0
  patience = STRAYS
  /** Where a page was looked up for several accesses that were in two, and how often. */
  readonly crossings = new Map<number, number>()
  /** Sums of registers whose accesses go from page to page; and how often no page was known to begin with. */
  readonly scattered = new Set<string>()
  without = 0
  /** Instructions since the moves of windows are counted. */
  watched = 0

  /** Modules that machines with the same code made. */
  readonly shared: Shared | undefined

  constructor(context: Context, shared: Shared | undefined) {
    this.context = context
    this.shared = shared
  }
}
/** By number of the context. */
export type Compiled = (PageCode | undefined)[]

/** For `--stats`. */
export const stats = {
  /** Compiled, and taken from another machine. */
  regions: 0,
  shared: 0,
  instructions: 0,
  bytes: 0,
  ms: 0,
  entered: 0,
  retired: 0,
  /** Why regions were left. */
  exits: { slice: 0, edge: 0, jump: 0, access: 0, case: 0 } satisfies Record<Way, number>,
  /** What the interpreter did in place, for compiled code. */
  helps,
  /** The cold tier's. */
  cold,
}

/** What `--stats` and `--listing` ask for beyond that, which costs time. */
export const watch: {
  /** Milliseconds in compiled code, where they are to be measured. */
  compiledMs: number | undefined
  /** Milliseconds in handlers, likewise. */
  coldMs: number | undefined
  /** How often the interpreter took an instruction, by its name, where that is to be counted. */
  interpreted: Map<string, number> | undefined
  /** Is told of every region that is compiled, and of every block of the cold tier. */
  listing: ((text: string) => void) | undefined
} = { compiledMs: undefined, coldMs: undefined, interpreted: undefined, listing: undefined }

/** What runs now; `from` less the instructions that are left is how many were retired since `cpu.instructions` was right. */
const running: { cpu: Cpu | undefined; entry: Entry | undefined; from: number } = {
  cpu: undefined,
  entry: undefined,
  from: 0,
}

const importsOf = (memory: PhysicalMemory) => ({
  env: {
    memory: memory.memory,
    log: (host: number, size: number): void => logStore(memory, host, size),
    help: (n: number, left: number): number => {
      const { cpu, entry, from } = running
      const { offset, flags } = entry!.sites.helped[n]!
      const insn = entry!.page.at(offset, entry!.code.context.mode)
      return typeof insn === 'string' ? LEFT_BEFORE : help(cpu!, insn, from - left, flags)
    },
  },
})
const importsByMemory = new WeakMap<PhysicalMemory, ReturnType<typeof importsOf>>()

const NONE: ReadonlySet<number> = new Set()

/** Does it compute where it goes on, beyond where its own calls come back to? */
const jumpsAway = ({ blocks }: Region): boolean =>
  blocks.some(({ units, jumps }) => jumps.length === 0 && units.at(-1)!.control?.kind === 'jump')

/**
 * Makes the region around a place. One that computes where it goes on has the places that this was found to be as entries, and
 * what is around them in it; `strays`: because it left for them too often.
 */
const compile = (cpu: Cpu, page: CodePage, code: PageCode, offset: number, all: boolean, strays = false): void => {
  const from = performance.now()
  const { context, targets, crossings } = code
  const isWide = (at: number): boolean => (crossings.get(at) ?? 0) < CROSSINGS
  const seen = all ? () => true : (at: number) => page.isKnown(at, context.mode)
  const alone = strays ? undefined : regionAt(page, offset, context, { seen, targets: NONE })
  const region =
    strays || (alone !== undefined && targets.size > 0 && jumpsAway(alone))
      ? regionAt(page, offset, context, { seen, targets })
      : alone
  if (region === undefined) return
  const { bytes, sites, windows, calls, recipes } = generate(region, context, isWide, code.scattered)
  const made: Made = {
    bytes,
    module: undefined,
    sites,
    windows,
    calls,
    recipes,
    start: offset,
    entries: region.entries.map(({ start }) => start),
    live: region.entries.map(({ live }) => live),
    dynamic: region.dynamic,
  }
  if (code.shared !== undefined) share(code.shared, made)
  install(cpu, page, code, made)
  if (watch.listing !== undefined) watch.listing(listRegion(region, cpu.rip - (cpu.rip & 0xfffn), bytes))
  stats.regions++
  stats.instructions += region.units
  stats.bytes += bytes.length
  stats.ms += performance.now() - from
}

/** Makes a module's region one that `cpu` can enter. */
const install = (cpu: Cpu, page: CodePage, code: PageCode, made: Made): void => {
  const { bytes, sites, start, entries, live: lives, dynamic, windows, calls } = made
  const { memory } = cpu
  const plain = importsByMemory.get(memory) ?? importsOf(memory)
  importsByMemory.set(memory, plain)
  const imports = calls ? { ...plain, unit: unitsOf(memory) } : plain
  const run = new WebAssembly.Instance(moduleOf(made), imports).exports['run'] as unknown as Run
  const live = liveOf(memory)
  const map = dynamic ? live.map() : undefined
  const own: [number, Entry][] = []
  for (const [block, offset] of entries.entries()) {
    if (map !== undefined && block < MOST_ENTRIES) memory.u8[map + offset] = block + 1
    if (offset !== start && !dynamic && code.entries.at(offset) !== undefined) continue
    const entry: Entry = {
      run,
      block,
      live: lives[block]!,
      sites,
      windows,
      map: map ?? 0,
      start,
      page,
      code,
      isLive: true,
    }
    code.entries.set(offset, entry)
    own.push([offset, entry])
  }
  const drop = (): void => {
    for (const [offset, entry] of own) {
      if (!entry.isLive) continue
      code.entries.set(offset, undefined)
      code.heat[offset] = 0
    }
  }
  live.add({ size: bytes.length, map, drop })
}

/** What one CPU needs to find its compiled code quickly. */
export class Compiler {
  readonly #cpu: Cpu
  readonly #hot: number
  readonly #logs: boolean
  readonly #most: number
  #page: CodePage | undefined
  #code: PageCode | undefined
  /** The last place asked for is hot, but the interpreter's: what follows it counts as jumped to. */
  #refused = false
  /** Where it is known what follows. */
  readonly links: Links

  constructor(cpu: Cpu, tier: TierName, most = tier === 'auto' ? MOST : FEW) {
    this.#cpu = cpu
    this.links = new Links(cpu)
    this.#hot = tier === 'auto' ? HOT : 0
    this.#logs = tier === 'lockstep'
    this.#most = most
  }

  /** A place of the page that was last looked at is hot. */
  heat(offset: number): void {
    const heat = this.#code?.heat
    if (heat !== undefined && heat[offset]! < this.#hot) heat[offset] = this.#hot
  }

  /** The code at an offset of a page, if there is any; `jumped`: execution came here by a jump. */
  find(page: CodePage, offset: number, jumped: boolean): Entry | undefined {
    const cpu = this.#cpu
    const isHead = jumped || this.#refused
    this.#refused = false
    if (cpu.context === undefined) {
      cpu.context = contextOf(cpu, this.#logs, this.#most) ?? null
      this.#page = undefined
    }
    if (cpu.context === null) return undefined
    if (page !== this.#page) {
      this.#page = page
      this.#code = page.compiled[cpu.context.id] ??= this.#codeOf(page, cpu.context)
    }
    const code = this.#code!
    const entry = code.entries.at(offset)
    if (entry !== undefined || (!isHead && this.#hot !== 0)) return entry
    const heat = code.heat[offset]!
    if (heat > this.#hot) {
      this.#refused = true
      return undefined
    }
    code.heat[offset] = heat + 1
    // Another machine may have found it hot.
    const made = heat === 0 ? code.shared?.modules.get(offset) : undefined
    if (made !== undefined) {
      install(cpu, page, code, made)
      stats.shared++
    } else if (heat === this.#hot) compile(cpu, page, code, offset, this.#hot === 0)
    return code.entries.at(offset)
  }

  /**
   * Makes one region of a page's places, reached by computed jumps, without waiting for any of them to get hot: random code
   * would hardly live to see it.
   */
  prepare(page: CodePage, start: number, targets: Iterable<number>): void {
    this.find(page, start, false)
    const code = this.#code
    if (code === undefined || page !== this.#page) return
    for (const target of targets) code.targets.add(target)
    compile(this.#cpu, page, code, start, true)
  }

  #codeOf(page: CodePage, context: Context): PageCode {
    return new PageCode(context, this.#hot === 0 ? undefined : sharedOf(page, context, this.#cpu.memory))
  }
}

/** A computed jump has left the region: where that is often to the same page, the regions there become one. */
const stray = (cpu: Cpu, { code, page, start }: Entry, low: number, high: number): void => {
  const { words } = cpu
  const to = words[STATE.RIP / 4]!
  if ((to ^ low) >>> 12 !== 0 || words[STATE.RIP / 4 + 1] !== high) return
  code.targets.add(to & 0xfff)
  if (++code.strays < code.patience) return
  code.strays = 0
  code.patience *= 4
  compile(cpu, page, code, start, false, true)
}

/** A region was made under an assumption that does not hold. */
const anew = (cpu: Cpu, { sites, page, code, start }: Entry): void => {
  if (code.shared !== undefined) forget(code.shared, sites)
  for (const [offset, entry] of code.entries)
    if (entry.sites === sites) {
      code.entries.set(offset, undefined)
      code.heat[offset] = 0
    }
  compile(cpu, page, code, start, false)
}

/** Tells compiled code a page to begin its windows with: one that it may read, and write if need be. */
const openWindows = (cpu: Cpu): boolean => {
  const { words, tlb } = cpu
  const known = tlb.writable(words[STATE.GPR / 4 + 8]!)
  if (known < 0) return false
  words[SCRATCH.PAGE / 4] = tlb.words[known + TLB_WORD.write]!
  words[SCRATCH.PAGE / 4 + 1] = tlb.words[known + TLB_WORD.write + 1]!
  words[SCRATCH.PAGE_FRAME / 4] = tlb.words[known + TLB_FRAME_WORD]!
  return true
}

/** Windows that moved too often, in about as many instructions as a slice has, are none. */
const closeWindows = (cpu: Cpu, entry: Entry, done: number): void => {
  const { words } = cpu
  const { windows, code } = entry
  code.watched += done
  const isOver = code.watched >= SLICE
  if (isOver) code.watched = 0
  let scattered = false
  for (const [n, { key }] of windows.entries()) {
    if (words[SCRATCH.SCATTER / 4 + n]! > SLICE / SCATTERED) {
      code.scattered.add(key)
      scattered = true
    }
    if (isOver) words[SCRATCH.SCATTER / 4 + n] = 0
  }
  if (scattered) anew(cpu, entry)
}

/** Looks up a page for the TLB: whether compiled code may access it. */
export const reaches = (cpu: Cpu, linear: bigint, writes: boolean): boolean => {
  try {
    const host = lookup(cpu, linear, writes ? 'write' : 'read', cpu.key, true)
    return host >= 0 && !(writes && cpu.memory.holdsCode[host >>> 12] !== 0)
  } catch (error) {
    // The interpreter meets it again, and answers it.
    if (error instanceof Fault || error instanceof Leave) return false
    throw error
  }
}

/**
 * Looks up what an access did not find in the TLB: whether it would find it now, and the code is still what it was. A walk
 * sets accessed and dirty bits, maybe in a page with code.
 */
const refill = (cpu: Cpu, entry: Entry, offset: number, { size, length, writes }: Missed): boolean => {
  const { words } = cpu
  const { code } = entry
  const at = SCRATCH.LINEAR / 4
  const linear = BigInt(words[at]!) | (BigInt(words[at + 1]!) << 32n)
  if (!cpu.isCanonical(linear)) return false
  if (Number(linear & 0xfffn) + length > 4096) {
    if (length === size) return false
    const times = (code.crossings.get(offset) ?? 0) + 1
    code.crossings.set(offset, times)
    // What is accessed here is often in two pages: each access asks for itself.
    if (times >= CROSSINGS) anew(cpu, entry)
    return false
  }
  const { version } = cpu.fetch.cache
  return reaches(cpu, linear, writes) && version === cpu.fetch.cache.version
}

/** Runs compiled code for at most `left` instructions; how many it was. */
export const enter = (cpu: Cpu, entry: Entry, left: number): number => {
  const { words } = cpu
  let count = 0
  let stuck = 0
  for (let next: Entry | undefined = entry; next !== undefined && count < left; ) {
    const slice = Math.min(left - count, SLICE)
    const { sites, code, windows }: Entry = next
    if (windows.length > 0 && !openWindows(cpu)) {
      // A guest that writes nothing has no windows.
      if (++code.without >= WITHOUT) {
        for (const { key } of windows) code.scattered.add(key)
        anew(cpu, next)
      }
      break
    }
    running.cpu = cpu
    running.entry = next
    running.from = slice + count
    const site = once(cpu, next, slice)
    const done: number = slice - words[SCRATCH.LEFT / 4]! + sites.done[site]!
    count += done
    if (windows.length > 0) closeWindows(cpu, next, done)
    stuck = done > 0 ? 0 : stuck + 1
    const missed: Missed | undefined = sites.missed[site]
    if (missed === undefined) next = done > 0 ? cpu.compiler?.links.next() : undefined
    else {
      const isThere: boolean = stuck < STUCK && refill(cpu, next, sites.offsets[site]!, missed)
      next = isThere ? code.entries.at(sites.offsets[site]!) : undefined
    }
  }
  cpu.instructions += count
  if (count > 0) cpu.shadow = 'none'
  stats.retired += count
  return count
}

/** One by one: an object that is asked by name costs several times as much, for every region that is left. */
const countExit = (way: Way): void => {
  const { exits } = stats
  if (way === 'edge') exits.edge++
  else if (way === 'jump') exits.jump++
  else if (way === 'access') exits.access++
  else if (way === 'slice') exits.slice++
  else exits.case++
}

/** Runs a region once: the site where it was left. */
const once = (cpu: Cpu, entry: Entry, slice: number): number => {
  const { words } = cpu
  const low = words[STATE.RIP / 4]!
  const high = words[STATE.RIP / 4 + 1]!
  const page = low - (low & 0xfff)
  if ((words[RULE]! & entry.live) !== 0) settle(cpu)
  const from = watch.compiledMs === undefined ? 0 : performance.now()
  const site = entry.run(cpu.frame, cpu.tlb.frame, cpu.tlb.mask * (TLB_ENTRY_WORDS * 4), entry.block, slice, entry.map)
  if (watch.compiledMs !== undefined) watch.compiledMs += performance.now() - from
  const { sites } = entry
  const offset = sites.offsets[site]!
  if (offset !== STORED) {
    const at = page + offset
    words[STATE.RIP / 4] = at
    if (at > 0xffff_ffff || at < 0) {
      words[STATE.RIP / 4 + 1] = cpu.mode === 64 ? words[STATE.RIP / 4 + 1]! + (at < 0 ? -1 : 1) : 0
    }
  } else stray(cpu, entry, low, high)
  const rule = sites.rules[site]!
  if (rule !== DYNAMIC) words[RULE] = rule
  stats.entered++
  countExit(sites.ways[site]!)
  return site
}
