/** Random numbers by a seed: splitmix64, the same rule by which real-cpu.c fills its memory. In halves, without a bigint. */

const cell = new BigUint64Array(1)
const half = new Uint32Array(cell.buffer)
const [GAMMA_HIGH, GAMMA_LOW] = [0x9e37_79b9, 0x7f4a_7c15]

let high = 0
let low = 0
/** `high:low` times a constant, its low 64 bits. */
const times = (byHigh: number, byLow: number): void => {
  const [a0, a1] = [low & 0xffff, low >>> 16]
  const [b0, b1] = [byLow & 0xffff, byLow >>> 16]
  const first = a0 * b0
  const middle = a0 * b1 + a1 * b0 + Math.floor(first / 65536)
  const upper = a1 * b1 + Math.floor(middle / 65536)
  high = (upper + Math.imul(high, byLow) + Math.imul(low, byHigh)) | 0
  low = (middle << 16) | (first & 0xffff) | 0
}
/** `high:low` exclusive-or itself, shifted right. */
const fold = (by: number): void => {
  low ^= (low >>> by) | (high << (32 - by))
  high ^= high >>> by
}

export class Chance {
  #high: number
  #low: number

  constructor(seed: bigint) {
    cell[0] = seed
    this.#low = half[0]!
    this.#high = half[1]!
  }
  /** The next 64 bits, in `high` and `low`. */
  #next(): void {
    const sum = this.#low + GAMMA_LOW
    this.#high = (this.#high + GAMMA_HIGH + (sum > 0xffff_ffff ? 1 : 0)) >>> 0
    this.#low = sum >>> 0
    high = this.#high | 0
    low = this.#low | 0
    fold(30)
    times(0xbf58_476d, 0x1ce4_e5b9)
    fold(27)
    times(0x94d0_49bb, 0x1331_11eb)
    fold(31)
  }
  /** 64 random bits. */
  word(): bigint {
    this.#next()
    half[0] = low
    half[1] = high
    return cell[0]!
  }
  /** A number from 0 to below `limit`, which is below 2^26. */
  below(limit: number): number {
    this.#next()
    return (((high >>> 0) % limit) * (0x1_0000_0000 % limit) + ((low >>> 0) % limit)) % limit
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
