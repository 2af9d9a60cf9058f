/** Seeds: a run has one, every test has its own made from it, so that a test alone does what it did in the run. */
import { UsageError } from './errors.ts'

/** The seed of a run that names none: runs are the same until someone asks for another. */
export const DEFAULT_SEED = '0x5eed'

const MASK = 0xffff_ffff_ffff_ffffn

/** A seed as the user writes it, a 64-bit number or `random`, in hex. Throws `UsageError`. */
export const parseSeed = (text: string): string => {
  if (text === 'random') return `0x${crypto.getRandomValues(new BigUint64Array(1))[0]!.toString(16)}`
  if (!/^(0x[0-9a-f]+|[0-9]+)$/i.test(text) || BigInt(text) > MASK)
    throw new UsageError(`--seed ${text}: not a 64-bit number, nor "random"`)
  return `0x${BigInt(text).toString(16)}`
}

/** A test's seed: FNV-1a over the run's seed and the test's name. */
export const testSeed = (seed: string, name: string): bigint => {
  let hash = 0xcbf2_9ce4_8422_2325n ^ BigInt(seed)
  for (const byte of new TextEncoder().encode(name)) hash = ((hash ^ BigInt(byte)) * 0x100_0000_01b3n) & MASK
  return hash
}
