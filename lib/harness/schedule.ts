/** Several vCPUs at once: one runs at a time, for as long as the test's seed says. A seed is an interleaving. */
import { Chance } from './chance.ts'

/** What became of a slice: what was waited for, or why the vCPU stopped before. */
export type Sliced<T> = { readonly outcome: T } | 'preempted' | 'halted'

/** A vCPU that runs until something happens. */
type Waiter = {
  /** Runs for at most this many instructions; without a number, to the end. Throws what ends the waiting. */
  readonly run: (slice: number | undefined) => Sliced<unknown>
  readonly resolve: (outcome: never) => void
  readonly reject: (thrown: unknown) => void
  isHalted: boolean
}

/** Lengths of slices: 1 to 2^n instructions. Short ones find what happens between two instructions, long ones go far. */
const LENGTHS = [0, 1, 2, 3, 5, 8, 12] as const
const LONGEST = 20
/** Slices after which nothing has happened and they become twice as long: a guest that computes for long comes to its end. */
const PATIENCE = 1024

/** Lets everything that waits for a promise go on first. */
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

export class Schedule {
  readonly #chance: Chance
  /** In turns, or any that the seed says. */
  readonly #inTurns: boolean
  readonly #shortest: number
  readonly #waiting: Waiter[] = []
  #next = 0
  #running: Promise<void> | undefined
  /** Has the seed decided anything? */
  isInterleaved = false

  constructor(seed: bigint) {
    this.#chance = new Chance(seed)
    this.#inTurns = this.#chance.below(2) === 0
    this.#shortest = LENGTHS[this.#chance.below(LENGTHS.length)] ?? 0
  }

  /** Runs a vCPU together with all others that wait at the same moment. */
  add<T>(run: (slice: number | undefined) => Sliced<T>): Promise<T> {
    const promise = new Promise<T>((resolve, reject) => {
      this.#waiting.push({ run, resolve, reject, isHalted: false })
    })
    // Whoever forgets to await hears of it all the same: the test's trial has noted the failure.
    promise.catch(() => {})
    this.#running ??= this.#run()
    return promise
  }

  /** Nothing runs any more: what still waits has come to its end, or is given up. */
  async settle(isOver: boolean): Promise<void> {
    if (isOver) this.#waiting.length = 0
    await this.#running
  }

  async #run(): Promise<void> {
    // Those that are called in the same breath come along.
    await undefined
    let slices = 0
    while (this.#waiting.length > 0) {
      const alone = this.#waiting.length === 1
      const waiter = this.#pick()
      const length = Math.min(LONGEST, this.#shortest + Math.floor(slices++ / PATIENCE))
      const slice = alone ? undefined : 1 + this.#chance.below(2 ** length)
      this.isInterleaved ||= !alone
      if (!this.#step(waiter, slice)) continue
      slices = 0
      if (this.#waiting.length > 0) await turn()
    }
    this.#running = undefined
  }

  #pick(): Waiter {
    const count = this.#waiting.length
    const index = count === 1 ? 0 : this.#inTurns ? this.#next++ % count : this.#chance.below(count)
    return this.#waiting[index]!
  }

  /** Is its waiting over? */
  #step(waiter: Waiter, slice: number | undefined): boolean {
    try {
      let sliced = waiter.run(slice)
      waiter.isHalted = sliced === 'halted'
      // Whoever runs may have woken the others.
      if (sliced === 'preempted') for (const other of this.#waiting) other.isHalted = false
      // Nobody is left who could: it says so itself.
      if (this.#waiting.every(({ isHalted }) => isHalted)) sliced = waiter.run(undefined)
      if (typeof sliced === 'string') return false
      waiter.resolve(sliced.outcome as never)
    } catch (thrown) {
      waiter.reject(thrown)
    }
    this.#waiting.splice(this.#waiting.indexOf(waiter), 1)
    return true
  }
}
