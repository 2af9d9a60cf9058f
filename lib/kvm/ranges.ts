/** A set of page numbers, kept as ranges: guest memory is many pages in few runs. */

/** Ranges are [start, end), sorted, and neither overlap nor touch. */
export class Ranges {
  #starts: number[] = []
  #ends: number[] = []

  /** Index of the first range that ends after `page`. */
  #after(page: number): number {
    let low = 0
    let high = this.#ends.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#ends[middle]! > page) high = middle
      else low = middle + 1
    }
    return low
  }

  has(page: number): boolean {
    const i = this.#after(page)
    return i < this.#starts.length && this.#starts[i]! <= page
  }

  add(start: number, end: number): void {
    const first = this.#after(start - 1)
    let last = first
    let from = start
    let to = end
    while (last < this.#starts.length && this.#starts[last]! <= end) {
      from = Math.min(from, this.#starts[last]!)
      to = Math.max(to, this.#ends[last]!)
      last++
    }
    this.#starts.splice(first, last - first, from)
    this.#ends.splice(first, last - first, to)
  }

  delete(start: number, end: number): void {
    const first = this.#after(start)
    let last = first
    const starts: number[] = []
    const ends: number[] = []
    while (last < this.#starts.length && this.#starts[last]! < end) {
      if (this.#starts[last]! < start) {
        starts.push(this.#starts[last]!)
        ends.push(start)
      }
      if (this.#ends[last]! > end) {
        starts.push(end)
        ends.push(this.#ends[last]!)
      }
      last++
    }
    this.#starts.splice(first, last - first, ...starts)
    this.#ends.splice(first, last - first, ...ends)
  }

  /** The ranges, in order. */
  *[Symbol.iterator](): Generator<[start: number, end: number]> {
    for (const [i, start] of this.#starts.entries()) yield [start, this.#ends[i]!]
  }
}
