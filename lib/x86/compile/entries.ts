/** The entries of a page's compiled code by offset. */
import type { Entry } from './runtime.ts'

/** An array with holes would be a dictionary, looked at for every region that is entered. */
export class Entries {
  /** Place in `#list` plus 1, by offset; made with the first entry. */
  #places: Uint16Array | undefined
  readonly #list: (Entry | undefined)[] = []

  at(offset: number): Entry | undefined {
    const place = this.#places === undefined ? 0 : this.#places[offset]!
    return place === 0 ? undefined : this.#list[place - 1]
  }

  /** The entry at an offset from now on, or that there is none; the one before is not live any more. */
  set(offset: number, entry: Entry | undefined): void {
    this.#places ??= new Uint16Array(4096)
    const place = this.#places[offset]!
    if (place === 0) {
      if (entry !== undefined) this.#places[offset] = this.#list.push(entry)
      return
    }
    const before = this.#list[place - 1]
    if (before !== undefined) before.isLive = false
    this.#list[place - 1] = entry
  }

  /** Those there are, in the order of their offsets. */
  *[Symbol.iterator](): Generator<readonly [offset: number, entry: Entry]> {
    if (this.#places === undefined) return
    for (const [offset, place] of this.#places.entries()) {
      const entry = place === 0 ? undefined : this.#list[place - 1]
      if (entry !== undefined) yield [offset, entry]
    }
  }
}
