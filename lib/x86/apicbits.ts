/** 256 bits, one for each vector: IRR, ISR and TMR of a local APIC. */
export class Bits256 {
  readonly #words = new Uint32Array(8)

  /** The highest bit that is set, 0 where none is. */
  get highest(): number {
    for (let n = 7; n >= 0; n--) {
      const word = this.#words[n]!
      if (word !== 0) return n * 32 + 31 - Math.clz32(word)
    }
    return 0
  }
  word(n: number): number {
    return this.#words[n]!
  }
  load(n: number, word: number): void {
    this.#words[n] = word
  }
  set(n: number): void {
    this.#words[n >> 5] = this.#words[n >> 5]! | (1 << (n & 31))
  }
  reset(n: number): void {
    this.#words[n >> 5] = this.#words[n >> 5]! & ~(1 << (n & 31))
  }
  clear(): void {
    this.#words.fill(0)
  }
}
