/** Addresses of one kind of an image's memory, and what is to be there. */
import { type Gva, gva } from '#bits'
import { type Segment, wholePages } from './image.ts'

const FAR_SIZE = 0x1000_0000n
const NOTHING: Uint8Array = new Uint8Array(0)

/** `bytes` may be shorter than what ends at `end`; the rest is zero. */
export type Chunk = { readonly gva: Gva; readonly bytes: Uint8Array; readonly end: bigint }

/** Hands out addresses of one kind of memory: near while there is room, else far away. */
export class Region {
  readonly chunks: Chunk[] = []
  readonly #name: string
  readonly #near: { at: bigint; readonly end: bigint }
  readonly #far: { at: bigint; readonly end: bigint }

  constructor(name: string, near: bigint, end: bigint, far: bigint) {
    this.#name = name
    this.#near = { at: near, end }
    this.#far = { at: far, end: far + FAR_SIZE }
  }

  take(size: number, align: number, bytes = NOTHING): Gva {
    return (
      this.#takeIn(this.#near, size, align, bytes) ?? this.#takeIn(this.#far, size, align, bytes) ?? this.#refuse(size)
    )
  }

  #takeIn(
    place: { at: bigint; readonly end: bigint },
    size: number,
    align: number,
    bytes: Uint8Array,
  ): Gva | undefined {
    const up = BigInt(align)
    const at = ((place.at + up - 1n) / up) * up
    if (at + BigInt(size) > place.end) return undefined
    place.at = at + BigInt(size)
    this.chunks.push({ gva: gva(at), bytes, end: place.at })
    return gva(at)
  }

  #refuse(size: number): never {
    throw new RangeError(`${this.#name}: ${size} more bytes do not fit`)
  }

  /** What is in memory that was taken before. */
  put(at: Gva, bytes: Uint8Array): void {
    this.chunks.push({ gva: at, bytes, end: at + BigInt(bytes.length) })
  }

  /** Chunks that share or touch pages, joined. */
  segments(shared: boolean): Segment[] {
    const found: { gva: bigint; end: bigint; chunks: Chunk[] }[] = []
    for (const chunk of this.chunks.toSorted((a, b) => (a.gva < b.gva ? -1 : a.gva > b.gva ? 1 : 0))) {
      const last = found.at(-1)
      if (last !== undefined && chunk.gva <= BigInt(wholePages(Number(last.end)))) {
        last.end = chunk.end
        last.chunks.push(chunk)
      } else found.push({ gva: chunk.gva & ~0xfffn, end: chunk.end, chunks: [chunk] })
    }
    return found.map(({ gva: at, end, chunks }, i) => {
      const used = chunks.findLast(c => c.bytes.length > 0)
      const bytes = new Uint8Array(used === undefined ? 0 : Number(used.gva - at) + used.bytes.length)
      for (const c of chunks) if (c.bytes.length > 0) bytes.set(c.bytes, Number(c.gva - at))
      const name = `${this.#name}${i === 0 ? '' : i}`
      return {
        name,
        gva: gva(at),
        bytes,
        size: wholePages(Number(end - at)),
        shared,
        writable: true,
        executable: false,
      }
    })
  }
}
