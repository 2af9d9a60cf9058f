/**
 * The cold tier at run time: code that is not compiled yet, or never will be, as records that handlers execute. See
 * docs/decisions/0006-cold-tier.md.
 */
import type { CodePage } from '../code.ts'
import { type Context, contextOf } from '../compile/context.ts'
import { settle } from '../compile/flagstate.ts'
import { reaches, type TierName, watch } from '../compile/runtime.ts'
import { SCRATCH } from '../compile/sites.ts'
import { logStore } from '../compile/storelog.ts'
import type { Cpu } from '../cpu.ts'
import type { PhysicalMemory } from '../memory.ts'
import { STATE } from '../state.ts'
import { TLB_ENTRY_WORDS } from '../tlb.ts'
import { CODE_FRAME, ColdPage, type Into, layBlock, listBlock, type Step } from './block.ts'
import { era, writeHandlers } from './dispatch.ts'
import { type FlagsAt, UNKNOWN } from './handler.ts'
import { type Doors, Machine } from './machine.ts'
import {
  HEAD,
  JUMP_BYTES,
  JUMP_ENTRIES,
  JUMPS,
  LEFT_AT,
  MISSED,
  MOST_IN_BLOCK,
  NEVER,
  RECORD,
  RECORD_BYTES,
} from './record.ts'
import { type Handler, Shapes } from './shapes.ts'
import { stats } from './stats.ts'

const RIP = STATE.RIP / 4
const NEXT = STATE.NEXT / 4

/** Of `auto`: times that the interpreter takes an instruction before its block is made, and that it does so for want of handlers. */
const AFTER = 4
const DEBT = 50_000
/** Entries of a block before it is compiled. */
const HOT = 1000

const doors: Doors = {
  log: (cpu, host, size) => logStore(cpu.memory, host, size),
  settle,
}

/**
 * Looks up what an access of `size` bytes (negative: a write) did not find in the TLB: whether it would find it now, and the
 * code is still what it was: a walk sets accessed and dirty bits, maybe in a page with code.
 */
const found = (cpu: Cpu, size: number): boolean => {
  const { version } = cpu.fetch.cache
  const at = SCRATCH.LINEAR / 4
  const low = cpu.words[at]!
  const linear = BigInt(low) | (BigInt(cpu.words[at + 1]!) << 32n)
  if ((low & 0xfff) + Math.abs(size) > 4096 || !cpu.isCanonical(linear)) return false
  return reaches(cpu, linear, size < 0) && version === cpu.fetch.cache.version
}

const machines = new WeakMap<PhysicalMemory, Machine>()
const machineOf = (memory: PhysicalMemory): Machine => {
  const known = machines.get(memory) ?? new Machine(memory, doors)
  machines.set(memory, known)
  return known
}

/** There is no block, because the interpreter has to take its first instruction. */
const REFUSED = -1

/**
 * Handlers that blocks wait for, and how often one had to be done without: they are written all at once when they would have
 * been worth it.
 */
const wanted = new Set<Handler>()
let debt = 0
/** What handlers the first batch shall have is looked at when so much of its debt is there. */
const COLLECTED_FROM = 3 / 4
/** A block waits for handlers: one of the numbers below REFUSED, another one each time that handlers were written. */
const waits = (): number => -2 - stats.batches

/** By number of the context. */
export type ColdPages = (ColdPage | undefined)[]

/** By number of the context, as long as handlers are not forgotten. */
let shapesOf: (Shapes | undefined)[] = []
let shapesOfEra = 0
const shapesFor = (context: Context): Shapes => {
  if (shapesOfEra !== era) {
    shapesOfEra = era
    shapesOf = []
  }
  const known = shapesOf[context.id] ?? new Shapes(context)
  shapesOf[context.id] = known
  return known
}

/** How a tier uses the cold tier. */
export type ColdOptions = {
  /** Times that the interpreter takes an instruction before its block is made. */
  readonly after: number
  /** Times that the interpreter takes an instruction for want of handlers before they are written. */
  readonly debt: number
  /** Entries of a block before it is hot; `NEVER`: nothing gets hot. */
  readonly heat: number
  /** Most instructions of a block. */
  readonly most: number
  /** Stores are logged. */
  readonly logs: boolean
}

/** The cold tier of one CPU. */
export class Cold {
  readonly #cpu: Cpu
  readonly #machine: Machine
  readonly #options: ColdOptions
  readonly #words: Uint32Array
  readonly #into: Into
  #page: CodePage | undefined
  #code: ColdPage | undefined
  #context: Context | undefined
  /** The cache of computed jumps, and what it was filled for. */
  #jumps = 0
  #jumpsFor = { tlb: -1, code: -1, generation: -1, context: -1 }

  constructor(cpu: Cpu, options: ColdOptions) {
    this.#cpu = cpu
    this.#options = options
    this.#machine = machineOf(cpu.memory)
    this.#words = new Uint32Array(cpu.memory.memory.buffer)
    this.#into = { memory: cpu.memory, machine: this.#machine, heat: options.heat, most: options.most }
  }

  close(): void {
    if (this.#jumps !== 0) this.#cpu.memory.free(this.#jumps as never)
    this.#jumps = 0
  }

  /** The head of the block at an offset of a page, made if it is time to; 0: none. */
  head(page: CodePage, offset: number): number {
    const context = this.#contextNow()
    if (context === null) return 0
    if (page !== this.#page || context !== this.#context) {
      this.#page = page
      this.#context = context
      page.cold[context.id] ??= new ColdPage()
      this.#code = page.cold[context.id]
    }
    const code = this.#code!
    if (code.generation !== this.#machine.generation) code.restart(this.#machine.generation)
    const head = code.heads[offset]!
    if (head > 0) return head
    if (head === REFUSED) return 0
    if (head !== 0 && head === waits() && ++debt < this.#options.debt) return 0
    const visits = code.visits[offset]!
    if (visits < this.#options.after) {
      code.visits[offset] = visits + 1
      return 0
    }
    // Short programs end before, and need not know what their handlers would have been.
    if (stats.batches === 0 && debt < this.#options.debt * COLLECTED_FROM) {
      debt++
      return 0
    }
    return this.#make(page, code, offset, context)
  }

  /** The compiler's, where there is one: it has just been asked. */
  #contextNow(): Context | null {
    const cpu = this.#cpu
    const { logs, most } = this.#options
    const { context } = cpu
    if (context === null || (context !== undefined && (cpu.compiler !== undefined || context.most === most)))
      return context
    cpu.context = contextOf(cpu, logs, most) ?? null
    return cpu.context
  }

  #make(page: CodePage, code: ColdPage, offset: number, context: Context): number {
    const from = performance.now()
    const steps = this.#steps(page, code, offset, context)
    if (steps.length === 0) {
      code.setHead(offset, REFUSED)
      return 0
    }
    const before = wanted.size
    for (const { handler } of steps) if (handler.index < 0) wanted.add(handler)
    if (wanted.size > before || steps.some(({ handler }) => handler.index < 0)) {
      if (debt < this.#options.debt) {
        code.setHead(offset, waits())
        return 0
      }
      const written = writeHandlers([...wanted])
      wanted.clear()
      debt = 0
      if (!written) code.restart(this.#machine.generation)
      return this.#make(page, code, offset, context)
    }
    const head = layBlock(this.#into, code, offset, steps)
    if (watch.listing !== undefined) watch.listing(listBlock(steps, this.#cpu.rip & ~0xfffn))
    stats.blocks++
    stats.records += steps.length
    stats.ms += performance.now() - from
    return head
  }

  /** The instructions of a block: as far as there are handlers, up to an unconditional jump. */
  #steps(page: CodePage, code: ColdPage, start: number, context: Context): Step[] {
    const steps: Step[] = []
    code.shapes ??= shapesFor(context)
    let flags: FlagsAt = UNKNOWN
    for (let at = start; at < CODE_FRAME && steps.length < this.#options.most; ) {
      const insn = page.at(at, context.mode)
      if (typeof insn === 'string') break
      const handler = code.shapes.find(insn, at, flags === UNKNOWN ? 0 : flags)
      if (handler === null) break
      const settles = flags === UNKNOWN && handler.asksForFlags
      if (settles) flags = 0
      steps.push({ insn, offset: at, handler, settles })
      flags = handler.flagsAfter(flags)
      at += insn.length
      if (handler.ends === 'ends') break
    }
    return steps
  }

  /** Has the block been entered often enough to be compiled? */
  isHot(head: number): boolean {
    return (this.#words[(head + HEAD.HEAT) / 4]! | 0) <= 0
  }

  /** It is not compiled after all, or not by this tier. */
  cool(head: number): void {
    this.#words[(head + HEAD.HEAT) / 4] = NEVER
  }

  /** There is compiled code for it: branches to it leave. */
  replace(head: number): void {
    this.#words[(head + HEAD.NEED) / 4] = NEVER
  }

  /** Executes from the head of a block on, at most `left` instructions; how many it was. */
  run(head: number, left: number): number {
    const need = this.#words[(head + HEAD.NEED) / 4]!
    if (need > left) return 0
    const cpu = this.#cpu
    const frame = cpu.words
    this.#remember(head)
    frame[NEXT] = 0
    frame[NEXT + 1] = 0
    let record = head + RECORD_BYTES
    let rest = left - need
    for (let last = -1; ; ) {
      frame[RIP] = frame[RIP]! & ~0xfff
      frame[MISSED / 4] = 0
      const { tlb } = cpu
      const from = watch.coldMs === undefined ? 0 : performance.now()
      this.#machine.run(cpu, tlb.frame, tlb.mask * (TLB_ENTRY_WORDS * 4), record, rest)
      if (watch.coldMs !== undefined) watch.coldMs += performance.now() - from
      rest = frame[SCRATCH.LEFT / 4]!
      const missed = frame[MISSED / 4]! | 0
      // An instruction that finds one page at the cost of another is the interpreter's.
      if (missed === 0 || rest === last || !found(cpu, missed)) break
      last = rest
      record = frame[LEFT_AT / 4]!
      rest -= cpu.memory.u8[record + RECORD.REFUND]!
    }
    if (cpu.mode !== 64) frame[RIP + 1] = 0
    const count = left - rest
    cpu.instructions += count
    if (count > 0) cpu.shadow = 'none'
    stats.entered++
    stats.retired += count
    return count
  }

  /** The block at RIP is found by computed jumps from now on, until what it was found by changes. */
  #remember(head: number): void {
    const cpu = this.#cpu
    const words = this.#words
    const last = this.#jumpsFor
    if (this.#jumps === 0) {
      this.#jumps = cpu.memory.allocate()
      cpu.words[JUMPS / 4] = this.#jumps
    }
    const code = cpu.fetch.cache.version
    const { generation } = this.#machine
    if (
      last.tlb !== cpu.tlb.generation ||
      last.code !== code ||
      last.generation !== generation ||
      last.context !== this.#context!.id
    ) {
      // No block is at the last address of all, which no instruction can be at with another after it.
      words.fill(0xffff_ffff, this.#jumps / 4, this.#jumps / 4 + (JUMP_ENTRIES * JUMP_BYTES) / 4)
      last.tlb = cpu.tlb.generation
      last.code = code
      last.generation = generation
      last.context = this.#context!.id
    }
    const low = cpu.words[RIP]!
    const high = cpu.words[RIP + 1]!
    const slot = (low ^ (low >>> 7)) & (JUMP_ENTRIES - 1)
    const at = (this.#jumps + slot * JUMP_BYTES) / 4
    words[at] = low
    words[at + 1] = high
    words[at + 2] = head
  }
}

const ALL: ColdOptions = { after: 0, debt: 0, heat: NEVER, most: MOST_IN_BLOCK, logs: false }

/** What a tier has the cold tier for: running, and single steps. */
export const coldOptions = (tier: TierName): readonly [ColdOptions | undefined, ColdOptions | undefined] => {
  switch (tier) {
    case 'cold':
      // What is executed once is interpreted here too.
      return [
        { ...ALL, after: 2, debt: 500 },
        { ...ALL, most: 1 },
      ]
    case 'coldstep':
      return [
        { ...ALL, logs: true },
        { ...ALL, logs: true, most: 1 },
      ]
    case 'auto':
      return [{ ...ALL, after: AFTER, debt: DEBT, heat: HOT }, undefined]
    case 'interpret':
    case 'compile':
    case 'lockstep':
      return [undefined, undefined]
  }
}
