/** What a random number generator gives the module: a deterministic stream from the run's seed. */

const M = 0xffff_ffff_ffff_ffffn

/** SplitMix64. Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014. */
export class Random {
  #state: bigint

  constructor(seed: bigint) {
    this.#state = seed & M
  }

  /** 64 random bits. */
  next(): bigint {
    this.#state = (this.#state + 0x9e37_79b9_7f4a_7c15n) & M
    let z = this.#state
    z = ((z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & M
    z = ((z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn) & M
    return z ^ (z >> 31n)
  }

  /** 256 random bits, as four 64-bit words. */
  next256(): bigint[] {
    return [this.next(), this.next(), this.next(), this.next()]
  }
}
