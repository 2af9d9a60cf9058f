/** Numbers that follow from a seed. xorshift32: Marsaglia, "Xorshift RNGs". */
export class Chance {
  #state: number

  constructor(seed: bigint) {
    const mixed = BigInt.asUintN(64, (seed + 0x9e37_79b9_7f4a_7c15n) * 0xbf58_476d_1ce4_e5b9n)
    this.#state = Number((mixed >> 32n) ^ (mixed & 0xffff_ffffn)) >>> 0 || 1
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x >>> 0
    return this.#state % limit
  }
}
