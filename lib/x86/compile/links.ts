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
  /** RIP and length of the TDCALL that left the guest last, 0: of none. A guest has few of them. */
  #tdcallLow = 0
  #tdcallHigh = 0
  #tdcallLength = 0
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
    if (!this.#holds()) return undefined
    const cpu = this.#cpu
    const low = cpu.words[RIP]!
    const slot = slotOf(low)
    if (this.#rips[2 * slot] !== low || this.#rips[2 * slot + 1] !== cpu.words[RIP + 1]) return undefined
    const entry = this.#entries[slot]
    // It may have been made anew, or have gone to make room.
    return entry?.isLive === true ? entry : undefined
  }

  /** The length of the TDCALL at RIP that leaves the guest; 0: it is not known to be one. */
  tdcall(): number {
    const { words, cpl, controls } = this.#cpu
    if (words[RIP] !== this.#tdcallLow || words[RIP + 1] !== this.#tdcallHigh) return 0
    return cpl === 0 && controls !== undefined && this.#holds() ? this.#tdcallLength : 0
  }

  #holds(): boolean {
    const cpu = this.#cpu
    return (
      cpu.context === this.#context &&
      cpu.tlb.generation === this.#tlb &&
      cpu.fetch.cache.version === this.#code &&
      this.#context !== undefined &&
      isCalm(cpu)
    )
  }

  /** This is the entry at RIP. */
  add(entry: Entry): void {
    if (!this.#follow()) return
    const { words } = this.#cpu
    const low = words[RIP]!
    const slot = slotOf(low)
    this.#rips[2 * slot] = low
    this.#rips[2 * slot + 1] = words[RIP + 1]!
    this.#entries[slot] = entry
  }

  /** The instruction at RIP is a TDCALL that leaves the guest. One in two pages would have to ask for both. */
  addTdcall(length: number): void {
    const { words } = this.#cpu
    const low = words[RIP]!
    if ((low & 0xfff) + length > 4096 || !this.#follow()) return
    this.#tdcallLow = low
    this.#tdcallHigh = words[RIP + 1]!
    this.#tdcallLength = length
  }

  /** Forgets what was good for another state; whether this is one that anything can be said about. */
  #follow(): boolean {
    const { context, tlb, fetch, mode } = this.#cpu
    if (mode !== 64 || context === null || context === undefined) return false
    if (context === this.#context && tlb.generation === this.#tlb && fetch.cache.version === this.#code) return true
    this.#entries.fill(undefined)
    this.#tdcallLength = 0
    this.#context = context
    this.#tlb = tlb.generation
    this.#code = fetch.cache.version
    return true
  }
}
