/**
 * Random bytes as code, in every mode and in rings 0 and 3: whatever they are, a run ends in an exit, within its budget.
 * A JavaScript error is a bug of ours; only what names a gap (`NotModelled`) may end a run otherwise.
 */
import { NotModelled } from '#bits'
import type { TierName } from '../compile/runtime.ts'
import { Chance } from './chance.ts'
import { Loops } from './loops.ts'
import { anyBytes, anySetup, CODE, Machine, type Setup } from './machine.ts'

/** One run that went wrong. */
export type Crash = { readonly number: number; readonly setup: Setup; readonly bytes: string; readonly error: unknown }
export type FuzzResult = {
  readonly runs: number
  readonly crashes: readonly Crash[]
  /** Instructions retired in all. */
  readonly instructions: number
  /** Exits by reason; `gap NAME` for what is not modelled. */
  readonly ends: ReadonlyMap<string, number>
}

const BUDGET = 64
const LENGTH = 24

type Run = { readonly setup: Setup; readonly bytes: Uint8Array; readonly go: () => string[] }

/** Code that runs once: the same number and seed give the same run, and the reason of its exit. */
export class Once {
  readonly #machine: Machine

  constructor(tier: TierName) {
    this.#machine = new Machine(tier)
  }

  get instructions(): number {
    return this.#machine.cpu.instructions
  }

  run(seed: bigint, number: number): Run {
    const chance = new Chance((seed << 40n) + BigInt(number))
    const setup = anySetup(chance)
    const bytes = anyBytes(chance, LENGTH)
    const go = () => {
      this.#machine.set(CODE, bytes)
      this.#machine.start(chance, setup)
      return [String(this.#machine.cpu.run(BUDGET).reason)]
    }
    return { setup, bytes, go }
  }
}

const tell = (
  from: number,
  count: number,
  machine: { readonly instructions: number; run(seed: bigint, number: number): Run },
  seed: bigint,
): FuzzResult => {
  const crashes: Crash[] = []
  const ends = new Map<string, number>()
  const tally = (end: string) => ends.set(end, (ends.get(end) ?? 0) + 1)
  for (let number = from; number < from + count; number++) {
    const { setup, bytes, go } = machine.run(seed, number)
    try {
      for (const end of go()) tally(end)
    } catch (error) {
      if (error instanceof NotModelled) tally(`gap ${error.message}`)
      else crashes.push({ number, setup, bytes: Buffer.from(bytes).toString('hex'), error })
    }
  }
  return { runs: count, crashes, instructions: machine.instructions, ends }
}

/** Runs `count` of them and says how they ended. */
export const fuzz = (count: number, seed: bigint, tier: TierName = 'interpret', from = 0): FuzzResult =>
  tell(from, count, new Once(tier), seed)

/** Runs `count` images of fragments, see loops.ts; with `against`, in two tiers that must agree. */
export const fuzzLoops = (
  count: number,
  seed: bigint,
  tier: TierName = 'auto',
  against: TierName | undefined = undefined,
  from = 0,
): FuzzResult => tell(from, count, new Loops(tier, against), seed)
