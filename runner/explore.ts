/** What a run asks of its tests beyond running them: other interleavings, limits, traces. A failure names its own seed. */
import type { CollectedTest, Outcome, RunOptions } from '#harness'
import { type Event, isOk } from '#reports'
import { testSeed } from './seed.ts'

export type Extra = {
  /** Interleavings to try of tests with several vCPUs. */
  readonly explore?: number
  /** Guest instructions of a test that does not say. */
  readonly instructions?: number
  /** What is traced: exits, tdcalls, ... */
  readonly trace?: readonly string[]
  /** Where core files of failing guests go. */
  readonly dump?: string
}

/** What `--trace` takes; the range is of guest virtual addresses, or a symbol's name. */
export const TRACES = ['exits', 'tdcalls', 'seamcalls', 'ioctls', 'instructions', 'memory=FROM-TO', 'memory=SYMBOL']

export const isTrace = (text: string): boolean =>
  /^memory=(0x[0-9a-f]+-0x[0-9a-f]+|[a-z_]\w*)$/i.test(text) || (TRACES.includes(text) && !text.includes('='))

export type Tried = Omit<Outcome, 'isInterleaved'> & { readonly seed?: string }

type Way = Pick<RunOptions, 'emit'> & {
  /** The run's. */
  readonly seed: string
  /** Milliseconds of one interleaving; 0 is no limit. */
  readonly timeout: number
  readonly extra: Extra
}

/**
 * Runs a test with the run's seed, and with those after it while they pass and interleave its vCPUs anew. What is said
 * is that of the last one tried; the instructions are those of all.
 */
export const explored = async (test: CollectedTest, { seed, timeout, extra, emit }: Way): Promise<Tried> => {
  const { explore = 1, instructions, trace, dump } = extra
  const rest = {
    timeout,
    ...(instructions === undefined ? {} : { instructions }),
    ...(trace === undefined ? {} : { trace }),
    ...(dump === undefined ? {} : { dump }),
  }
  let total = 0
  for (let tried = 1; ; tried++) {
    const own = seedAfter(seed, tried - 1)
    const said: Event[] = []
    const began = performance.now()
    const { isInterleaved, ...outcome } = await test.run({
      ...rest,
      seed: testSeed(own, test.name),
      deadline: () => timeout > 0 && performance.now() - began > timeout,
      emit: explore > 1 ? event => said.push(event) : emit,
    })
    total += outcome.instructions
    const isLast = tried >= explore || isInterleaved !== true || !isOk(outcome.status)
    if (!isLast) continue
    const isOther = tried > 1 && !isOk(outcome.status)
    for (const event of said)
      emit(isOther && event.type === 'failure' ? { ...event, failure: { ...event.failure, seed: own } } : event)
    if (!isOther) return { ...outcome, instructions: total }
    return { reason: `interleaving ${tried} of ${explore}, seed ${own}`, ...outcome, instructions: total, seed: own }
  }
}

/** The n-th seed after the run's. */
const seedAfter = (seed: string, n: number): string =>
  n === 0 ? seed : `0x${BigInt.asUintN(64, BigInt(seed) + BigInt(n)).toString(16)}`
