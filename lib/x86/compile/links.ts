/**
 * Where compiled code goes on: entries by RIP, so that one region follows the other without a look at page tables, code and
 * heat. Good for one state of the TLB, the machine's code and the context, in 64-bit mode.
 */
import { RFLAGS_RF, RFLAGS_TF } from '#abi'
import type { Cpu } from '../cpu.ts'
import { STATE } from '../state.ts'
import type { Context } from './context.ts'
import type { Entry } from './runtime.ts'

const RIP = STATE.RIP / 4
const TF_RF = Number(RFLAGS_TF | RFLAGS_RF)
const SLOTS = 64
/** RIPs that are near each other, and those at the same offset of pages, have slots of their own. */
const slotOf = (low: number): number => (low ^ (low >>> 12) ^ (low >>> 6)) & (SLOTS - 1)

const NONE: readonly undefined[] = Array.from({ length: SLOTS }, () => undefined)

/** Tables of CPUs that are no more: making them is a fifth of making a CPU. */
const spare: { readonly rips: Uint32Array; readonly entries: (Entry | undefined)[] }[] = []
const MOST_SPARE = 16

/** Is there nothing that wants to be looked at before each instruction? */
export const isCalm = (cpu: Cpu): boolean =>
  cpu.pending.length === 0 && (cpu.words[STATE.SYSTEM_FLAGS / 4]! & TF_RF) === 0

export class Links {
  readonly #cpu: Cpu
  /** RIP in halves. */
  readonly #rips: Uint32Array
  readonly #entries: (Entry | undefined)[]
  #tlb = -1
  #code = -1
  #context: Context | undefined

  constructor(cpu: Cpu) {
    this.#cpu = cpu
    const { rips, entries } = spare.pop() ?? { rips: new Uint32Array(SLOTS * 2), entries: NONE.slice() }
    this.#rips = rips
    this.#entries = entries
  }

  /** The CPU is no more: its tables are the next one's, which looks at no RIP before it has forgotten the entries. */
  close(): void {
    this.#context = undefined
    this.#entries.fill(undefined)
    if (spare.length < MOST_SPARE) spare.push({ rips: this.#rips, entries: this.#entries })
  }

  /** The entry at RIP, where it is known, and nothing wants to be looked at before each instruction. */
  next(): Entry | undefined {
    const cpu = this.#cpu
    if (
      cpu.context !== this.#context ||
      cpu.tlb.generation !== this.#tlb ||
      cpu.fetch.cache.version !== this.#code ||
      this.#context === undefined ||
      !isCalm(cpu)
    )
      return undefined
    const low = cpu.words[RIP]!
    const slot = slotOf(low)
    if (this.#rips[2 * slot] !== low || this.#rips[2 * slot + 1] !== cpu.words[RIP + 1]) return undefined
    const entry = this.#entries[slot]
    // It may have been made anew, or have gone to make room.
    return entry?.isLive === true ? entry : undefined
  }

  /** This is the entry at RIP. */
  add(entry: Entry): void {
    const cpu = this.#cpu
    const { context, tlb, fetch, words } = cpu
    if (cpu.mode !== 64 || context === null || context === undefined) return
    if (context !== this.#context || tlb.generation !== this.#tlb || fetch.cache.version !== this.#code) {
      this.#entries.fill(undefined)
      this.#context = context
      this.#tlb = tlb.generation
      this.#code = fetch.cache.version
    }
    const low = words[RIP]!
    const slot = slotOf(low)
    this.#rips[2 * slot] = low
    this.#rips[2 * slot + 1] = words[RIP + 1]!
    this.#entries[slot] = entry
  }
}
