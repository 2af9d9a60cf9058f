/** The run loop: fetch, decode, execute, and what happens between instructions. */
import { DR6_BS, RFLAGS_RF, RFLAGS_TF, VECTOR_DB, VECTOR_GP, VECTOR_UD } from '#abi'
import { type Hpa, hpa } from '#bits'
import { breakBefore } from './breakpoint.ts'
import { repeatInBulk } from './bulk.ts'
import { type CodeCache, type CodePage, codeOf } from './code.ts'
import type { Cold } from './cold/cold.ts'
import { isCalm } from './compile/links.ts'
import { lockstep } from './compile/lockstep.ts'
import { type Compiler, type Entry, enter, watch } from './compile/runtime.ts'
import type { Cpu } from './cpu.ts'
import { decode, type Refused } from './decode.ts'
import { Fault, Leave, vmExit } from './fault.ts'
import { CS, type Insn } from './insn.ts'
import { execute } from './interpret.ts'
import { deliverFault, deliverPending } from './interrupt.ts'
import { lookup } from './mmu.ts'
import { withoutFeature } from './older.ts'
import { STATE } from './state.ts'
import { TLB_DELTA_WORD, TLB_ENTRY_WORDS } from './tlb.ts'
import { EXIT_REASON_PREEMPTION_TIMER, EXIT_REASON_TDCALL, type VmExit } from './vmx.ts'

/** Time in a guest is counted: every retired instruction is one tick of the TSC. */
export const TICKS_PER_INSTRUCTION = 1

const LONGEST = 15
const RIP = STATE.RIP / 4
const NEXT = STATE.NEXT / 4
const CS_BASE = STATE.BASES / 4 + CS * 2
const TF = Number(RFLAGS_TF)
const RF = Number(RFLAGS_RF)

/** Pages that a CPU fetches from, good while the code cache has not changed. A ucall goes to and fro between two. */
const PAGES = 8
const NO_FRAMES: readonly number[] = Array.from({ length: PAGES }, () => -1)

export class Fetch {
  readonly cache: CodeCache
  version = -1
  /** Numbers of frames, by their low bits. */
  readonly #frames = NO_FRAMES.slice()
  readonly #pages: CodePage[] = []
  /** The one that came last. */
  page: CodePage | undefined

  constructor(cpu: Cpu) {
    this.cache = codeOf(cpu.memory)
  }

  at(frame: Hpa): CodePage {
    const { cache } = this
    if (cache.version !== this.version) {
      this.#frames.fill(-1)
      this.version = cache.version
    }
    const number = frame >>> 12
    const slot = number & (PAGES - 1)
    if (this.#frames[slot] === number) return this.#pages[slot]!
    const page = cache.page(frame)
    this.page = page
    this.#pages[slot] = page
    this.#frames[slot] = number
    return page
  }
}

/** Linear address of RIP. */
const linearRip = (cpu: Cpu): bigint => (cpu.mode === 64 ? cpu.rip : (cpu.rip + cpu.segments[CS]!.base) & 0xffff_ffffn)

/** Host address of the instruction at RIP. A place that may not be executed from faults here. */
const fetchAt = (cpu: Cpu): Hpa => {
  const { words } = cpu
  let low = words[RIP]!
  let high = words[RIP + 1]!
  if (cpu.mode !== 64) {
    low = (low + words[CS_BASE]!) >>> 0
    high = 0
  }
  const { words: tlb, mask } = cpu.tlb
  const at = ((low >>> 12) & mask) * TLB_ENTRY_WORDS
  if (tlb[at + 4] === (low & ~0xfff) >>> 0 && tlb[at + 5] === high) {
    return hpa((low + tlb[at + TLB_DELTA_WORD]!) >>> 0)
  }
  if (cpu.mode === 64 && !cpu.isCanonical(cpu.rip)) cpu.raise(VECTOR_GP, 0)
  return lookup(cpu, linearRip(cpu), 'fetch', cpu.key)
}

/** An instruction that begins in one page and ends in the next: the second page is only asked for when it is needed. */
const decodeAcross = (cpu: Cpu, host: Hpa): Insn | Refused => {
  const inFirst = 4096 - (host & 0xfff)
  const linear = linearRip(cpu) + BigInt(inFirst)
  const next = lookup(cpu, BigInt.asUintN(cpu.mode === 64 ? 64 : 32, linear), 'fetch', cpu.key)
  const bytes = new Uint8Array(LONGEST)
  bytes.set(cpu.memory.u8.subarray(host, host + inFirst))
  bytes.set(cpu.memory.u8.subarray(next, next + LONGEST - inFirst), inFirst)
  return decode(bytes, 0, cpu.mode)
}

const refused = (cpu: Cpu, why: Refused): never => (why === 'invalid' ? cpu.raise(VECTOR_UD) : cpu.raise(VECTOR_GP, 0))

/** Host address of RIP, which lies within the limit of CS. */
const place = (cpu: Cpu): Hpa => {
  if (cpu.breakpoints !== undefined) breakBefore(cpu, cpu.breakpoints)
  if (cpu.mode !== 64 && cpu.words[RIP]! > cpu.segments[CS]!.limit) cpu.raise(VECTOR_GP, 0)
  return fetchAt(cpu)
}

/** The instruction at RIP, decoded. */
const fetch = (cpu: Cpu, host: Hpa): Insn => {
  const limit = cpu.segments[CS]!.limit
  const limited = cpu.mode !== 64 && limit !== 0xffff_ffff
  let found = cpu.fetch.at(hpa(host - (host & 0xfff))).at(host & 0xfff, cpu.mode)
  if (typeof found === 'string') {
    if (found === 'truncated') found = decodeAcross(cpu, host)
    if (typeof found === 'string') return refused(cpu, found)
  }
  if (limited && cpu.words[RIP]! + found.length - 1 > limit) cpu.raise(VECTOR_GP, 0)
  return found
}

/** The instruction at RIP. Throws the fault that fetching it meets with. */
export const instructionAtRip = (cpu: Cpu): Insn => fetch(cpu, place(cpu))

/** Did the instruction just executed load SS, so that debug traps wait? */
const holdsTraps = (cpu: Cpu): boolean => cpu.shadow === 'mov-ss'

/** #DB after an instruction. What it pushes has RF set while a repeated instruction has more to do. */
const trap = (cpu: Cpu, stays: boolean): never => {
  const bits = BigInt(cpu.met) | (cpu.isStepping ? DR6_BS : 0n)
  cpu.met = 0
  cpu.isStepping = false
  throw new Fault(VECTOR_DB, undefined, undefined, bits, !stays)
}

/** For `--stats`. */
const count = (counts: Map<string, number>, { row }: Insn): void => {
  counts.set(row.semantics, (counts.get(row.semantics) ?? 0) + 1)
}

/** One instruction, start to end. The exit, where it does nothing but leave. */
const one = (cpu: Cpu, host = place(cpu)): VmExit | undefined => {
  const insn = fetch(cpu, host)
  const { words } = cpu
  cpu.insn = insn
  if (watch.interpreted !== undefined) count(watch.interpreted, insn)
  const low = words[RIP]! + insn.length
  words[NEXT] = low
  words[NEXT + 1] = low > 0xffff_ffff && cpu.mode === 64 ? words[RIP + 1]! + 1 : words[RIP + 1]!
  const flags = words[STATE.SYSTEM_FLAGS / 4]!
  cpu.isStepping = (flags & TF) !== 0
  cpu.shadow = 'none'
  const { feature } = insn.row
  if (feature === '' || cpu.features.has(feature)) {
    if (insn.rep === '' || !repeatInBulk(cpu, insn)) execute(cpu, insn)
  } else execute(cpu, withoutFeature(insn) ?? cpu.raise(VECTOR_UD))
  if (cpu.exit !== undefined) {
    const { exit } = cpu
    cpu.exit = undefined
    cpu.insn = undefined
    return exit
  }
  // RF lasts for one instruction, other than the one that loads it.
  if ((flags & RF) !== 0) words[STATE.SYSTEM_FLAGS / 4] = words[STATE.SYSTEM_FLAGS / 4]! & ~RF
  // A REP instruction that stays where it is counts when it ends.
  const stays = words[NEXT] === words[RIP] && words[NEXT + 1] === words[RIP + 1] && insn.rep !== ''
  words[RIP] = words[NEXT]!
  words[RIP + 1] = words[NEXT + 1]!
  cpu.insn = undefined
  if (!stays) cpu.instructions++
  if ((cpu.isStepping || cpu.met !== 0) && !holdsTraps(cpu)) trap(cpu, stays)
  return undefined
}

/** The TDCALL at RIP, which is known to leave: what `one` comes to. */
const tdcall = (cpu: Cpu, length: number): VmExit => {
  const { words } = cpu
  const low = words[RIP]! + length
  words[NEXT] = low
  words[NEXT + 1] = low > 0xffff_ffff ? words[RIP + 1]! + 1 : words[RIP + 1]!
  cpu.shadow = 'none'
  const { interpreted } = watch
  if (interpreted !== undefined) interpreted.set('tdcall', (interpreted.get('tdcall') ?? 0) + 1)
  return vmExit(EXIT_REASON_TDCALL, { instructionLength: length })
}

/** Answers what ended an instruction early: delivers a fault, returns the exit of a leave. */
const answer = (cpu: Cpu, thrown: unknown): VmExit | undefined => {
  cpu.insn = undefined
  cpu.exit = undefined
  cpu.isStepping = false
  cpu.met = 0
  if (thrown instanceof Leave) return thrown.exit
  if (!(thrown instanceof Fault)) throw thrown
  try {
    deliverFault(cpu, thrown)
  } catch (leave) {
    if (leave instanceof Leave) return leave.exit
    throw leave
  }
  return undefined
}

/** Runs at most `budget` instructions and deliveries. */
export const run = (cpu: Cpu, budget: number): VmExit => {
  cpu.followStage()
  cpu.follow()
  return cpu.tier === 'interpret' ? interpret(cpu, budget) : compiled(cpu, budget)
}

/** Runs what is compiled or predecoded, and interprets the rest. */
const compiled = (cpu: Cpu, budget: number): VmExit => {
  const { words } = cpu
  let left = budget
  let jumped = true
  for (;;) {
    try {
      for (;;) {
        if (cpu.pending.length !== 0) deliverPending(cpu)
        if (left-- <= 0) return vmExit(EXIT_REASON_PREEMPTION_TIMER)
        const known = cpu.compiler?.links.next()
        let count = known === undefined ? 0 : runEntry(cpu, known, left + 1)
        if (known === undefined) {
          const length = cpu.compiler?.links.tdcall() ?? 0
          if (length !== 0) return tdcall(cpu, length)
        }
        const host = count > 0 ? hpa(0) : place(cpu)
        if (known === undefined) count = runCompiled(cpu, cpu.compiler, cpu.cold, host, jumped, left + 1)
        if (count > 0) {
          left -= count - 1
          jumped = true
          continue
        }
        const from = words[RIP]!
        const exit = one(cpu, host)
        if (exit !== undefined) {
          if (exit.reason === EXIT_REASON_TDCALL) cpu.compiler?.links.addTdcall(exit.instructionLength)
          return exit
        }
        jumped = (words[RIP]! - from) >>> 0 > LONGEST
      }
    } catch (thrown) {
      const exit = answer(cpu, thrown)
      if (exit !== undefined) return exit
      jumped = true
    }
  }
}

/** Runs compiled or predecoded code at `host`, if there is any: the number of instructions, at most `left`. */
const runCompiled = (
  cpu: Cpu,
  compiler: Compiler | undefined,
  cold: Cold | undefined,
  host: Hpa,
  jumped: boolean,
  left: number,
): number => {
  if (!isCalm(cpu)) return 0
  const offset = host & 0xfff
  const page = cpu.fetch.at(hpa(host - offset))
  const entry = compiler?.find(page, offset, jumped)
  if (entry === undefined) return cold === undefined ? 0 : runCold(cpu, compiler, cold, page, offset, left)
  compiler?.links.add(entry)
  return runEntry(cpu, entry, left)
}

const runEntry = (cpu: Cpu, entry: Entry, left: number): number =>
  cpu.tier === 'lockstep' ? checked(cpu, entry, left) : enter(cpu, entry, left)

// Closures are made in functions of their own: what they hold would be kept for every run otherwise.
const checked = (cpu: Cpu, entry: Entry, left: number): number => lockstep(cpu, () => enter(cpu, entry, left))
const checkedCold = (cpu: Cpu, cold: Cold, head: number, left: number): number =>
  lockstep(cpu, () => cold.run(head, left))

const runCold = (
  cpu: Cpu,
  compiler: Compiler | undefined,
  cold: Cold,
  page: CodePage,
  offset: number,
  left: number,
): number => {
  const head = cold.head(page, offset)
  if (head === 0) return 0
  if (compiler !== undefined && cold.isHot(head)) {
    compiler.heat(offset)
    const entry = compiler.find(page, offset, true)
    if (entry !== undefined) {
      cold.replace(head)
      return enter(cpu, entry, left)
    }
    cold.cool(head)
  }
  return cpu.tier === 'coldstep' ? checkedCold(cpu, cold, head, left) : cold.run(head, left)
}

/** One instruction in the interpreter, and nothing around it. */
export const interpretOne = (cpu: Cpu): VmExit | undefined => one(cpu)

const interpret = (cpu: Cpu, budget: number): VmExit => {
  let left = budget
  for (;;) {
    try {
      for (;;) {
        if (cpu.pending.length !== 0) deliverPending(cpu)
        if (left-- <= 0) return vmExit(EXIT_REASON_PREEMPTION_TIMER)
        const exit = one(cpu)
        if (exit !== undefined) return exit
      }
    } catch (thrown) {
      const exit = answer(cpu, thrown)
      if (exit !== undefined) return exit
    }
  }
}

/** One instruction, and the events before it; an exception is delivered, which is a step of its own. */
export const step = (cpu: Cpu): VmExit | undefined => {
  cpu.followStage()
  cpu.refresh()
  try {
    if (cpu.pending.length !== 0) deliverPending(cpu)
    const host = place(cpu)
    if (runCompiled(cpu, cpu.stepper, cpu.coldStepper, host, true, 1) > 0) return undefined
    return one(cpu, host)
  } catch (thrown) {
    return answer(cpu, thrown)
  }
}

/** See `Cpu.advance`. A single-step trap that is due then comes before the next instruction. */
export const advance = (cpu: Cpu, length: number): void => {
  const { words } = cpu
  const low = words[RIP]! + length
  words[RIP] = low
  if (low > 0xffff_ffff && cpu.mode === 64) words[RIP + 1] = words[RIP + 1]! + 1
  cpu.instructions++
  cpu.shadow = 'none'
  const flags = cpu.systemFlags
  if ((flags & (RF | TF)) === 0) return
  cpu.systemFlags = flags & ~RF
  if ((flags & TF) !== 0) {
    cpu.dr[6] = cpu.dr[6]! | DR6_BS
    cpu.pending.unshift({ vector: VECTOR_DB, kind: 'exception' })
  }
}
