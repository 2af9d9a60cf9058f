/** Random numbers by a seed: splitmix64, the same rule by which real-cpu.c fills its memory. */
const MASK = 0xffff_ffff_ffff_ffffn

export class Chance {
  #state: bigint

  constructor(seed: bigint) {
    this.#state = seed & MASK
  }
  /** 64 random bits. */
  word(): bigint {
    this.#state = (this.#state + 0x9e37_79b9_7f4a_7c15n) & MASK
    let z = this.#state
    z = ((z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & MASK
    z = ((z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn) & MASK
    return z ^ (z >> 31n)
  }
  /** A number from 0 to below `limit`. */
  below(limit: number): number {
    return Number(this.word() % BigInt(limit))
  }
  /** True once in `n` times. */
  once(n: number): boolean {
    return this.below(n) === 0
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }
  fill(words: BigUint64Array): void {
    for (let n = 0; n < words.length; n++) words[n] = this.word()
  }
}
