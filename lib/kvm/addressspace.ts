/** The host process's memory: host virtual addresses over the machine's frames. */
import {
  type Hpa,
  type Hva,
  hex,
  hpa,
  hva,
  type Layout,
  PAGE_SHIFT,
  PAGE_SIZE,
  readUint,
  type Size,
  type struct,
  type Values,
  writeUint,
} from '#bits'
import type { PhysicalMemory } from '#x86'
import { Errno } from './errno.ts'
import { drop, type OpenFile } from './file.ts'

/** First and last page number that mmap hands out: where Linux puts mappings, below the 47-bit limit. */
const FIRST_PAGE = 0x7000_0000_0000 / PAGE_SIZE
const LAST_PAGE = 0x7fff_ffff_f000 / PAGE_SIZE
const CHUNK = 512

/** Pages [start, end) that mmap gave out. */
type Area = {
  readonly start: number
  readonly end: number
  /** A mapping of a file's own pages: frames that belong to the file. Anonymous memory has none. */
  readonly file: OpenFile | undefined
  /** Page number at which the file's first page would be. */
  readonly origin: number
}

type Shape = Parameters<typeof struct>[1]

const NO_CHUNK: Uint32Array = new Uint32Array(0)

/** A value on its way into two pages. */
const word = new DataView(new ArrayBuffer(8))

const isEmpty = (chunk: Uint32Array): boolean => {
  for (let i = 0; i < CHUNK; i++) if (chunk[i] !== 0) return false
  return true
}

/** Empty chunks of address spaces that needed them once. */
const spare: Uint32Array[] = []
const MOST_SPARE = 64

/**
 * Anonymous memory gets a zeroed frame on first touch. Addresses are deterministic: the lowest hole that fits.
 * Sizes are bytes, addresses are HVAs; an access to what is not mapped is EFAULT.
 */
export class AddressSpace {
  /** Told before pages [start, end) go away, as Linux's MMU notifiers tell KVM. */
  onUnmap: (start: number, end: number) => void = () => {}
  readonly #memory: PhysicalMemory
  /** By start; they do not overlap. */
  #areas: Area[] = []
  /** Page table: page number / 512 to 512 frame numbers, 0 where none. */
  readonly #chunks = new Map<number, Uint32Array>()
  #lastKey = -1
  #lastChunk = NO_CHUNK

  constructor(memory: PhysicalMemory) {
    this.#memory = memory
  }

  /** Anonymous memory of `bytes`, rounded up to pages. EINVAL, ENOMEM. */
  mmap(bytes: number): Hva {
    return this.#map(bytes, undefined)
  }

  /** Maps a file's own frames; the mapping holds a reference to the file. */
  mapFile(file: OpenFile, frames: readonly Hpa[]): Hva {
    const at = this.#map(frames.length * PAGE_SIZE, file)
    const first = Number(at) / PAGE_SIZE
    for (const [i, frame] of frames.entries()) this.#setFrame(first + i, frame >>> PAGE_SHIFT)
    file.references++
    return at
  }

  /** A page of a mapped file comes or, without a frame, goes: what touches it then gets EFAULT (SIGBUS of a process). */
  setFilePage(file: OpenFile, index: number, frame: Hpa | undefined): void {
    for (const area of this.#areas) {
      const page = area.origin + index
      if (area.file !== file || page < area.start || page >= area.end) continue
      this.onUnmap(page, page + 1)
      this.#setFrame(page, frame === undefined ? 0 : frame >>> PAGE_SHIFT)
    }
  }

  #map(bytes: number, file: OpenFile | undefined): Hva {
    if (!(bytes > 0)) throw new Errno('EINVAL', `mmap: length ${bytes} is not positive`)
    const pages = Math.ceil(bytes / PAGE_SIZE)
    // An unmapped page stays between two areas, so that running off the end of one is noticed.
    let start = FIRST_PAGE
    let index = 0
    for (const area of this.#areas) {
      if (start + pages < area.start) break
      start = area.end + 1
      index++
    }
    if (start + pages > LAST_PAGE) throw new Errno('ENOMEM', `mmap: no room for ${bytes} bytes of address space`)
    this.#areas.splice(index, 0, { start, end: start + pages, file, origin: start })
    return hva(BigInt(start) * 4096n)
  }

  /** Takes pages out of the address space; their frames are free again. EINVAL where `at` is not page aligned. */
  munmap(at: Hva, bytes: number): void {
    const start = Number(at) / PAGE_SIZE
    if (!Number.isInteger(start) || !(bytes > 0)) {
      throw new Errno('EINVAL', `munmap: ${bytes} bytes at ${hex(at)} are not whole pages`)
    }
    const end = start + Math.ceil(bytes / PAGE_SIZE)
    const kept: Area[] = []
    const closed: OpenFile[] = []
    for (const area of this.#areas) {
      const from = Math.max(start, area.start)
      const to = Math.min(end, area.end)
      if (from >= to) {
        kept.push(area)
        continue
      }
      this.onUnmap(from, to)
      this.#drop(from, to, area.file === undefined)
      let pieces = 0
      if (area.start < from) pieces = kept.push({ ...area, end: from })
      if (to < area.end) pieces = kept.push({ ...area, start: to })
      if (area.file !== undefined && pieces === 0) closed.push(area.file)
      else if (area.file !== undefined && area.start < from && to < area.end) area.file.references++
    }
    this.#areas = kept
    for (const file of closed) drop(file)
  }

  /** Unmaps everything, as a process that ends does. */
  unmapAll(): void {
    for (const area of [...this.#areas])
      this.munmap(hva(BigInt(area.start) * 4096n), (area.end - area.start) * PAGE_SIZE)
  }

  /** Is every page of [at, at + bytes) mapped? */
  isMapped(at: Hva, bytes: number): boolean {
    let page = Math.floor(Number(at) / PAGE_SIZE)
    const end = Math.ceil((Number(at) + bytes) / PAGE_SIZE)
    for (const area of this.#areas) {
      if (area.end <= page) continue
      if (area.start > page) return false
      page = area.end
      if (page >= end) return true
    }
    return page >= end
  }

  #area(page: number): Area | undefined {
    let low = 0
    let high = this.#areas.length - 1
    while (low <= high) {
      const middle = (low + high) >>> 1
      const area = this.#areas[middle]!
      if (page < area.start) high = middle - 1
      else if (page >= area.end) low = middle + 1
      else return area
    }
    return undefined
  }

  #chunk(page: number): Uint32Array | undefined {
    const key = Math.floor(page / CHUNK)
    if (key === this.#lastKey) return this.#lastChunk
    const chunk = this.#chunks.get(key)
    if (chunk === undefined) return undefined
    this.#lastKey = key
    this.#lastChunk = chunk
    return chunk
  }

  #setFrame(page: number, frame: number): void {
    const key = Math.floor(page / CHUNK)
    let chunk = this.#chunks.get(key)
    if (chunk === undefined) {
      chunk = spare.pop() ?? new Uint32Array(CHUNK)
      this.#chunks.set(key, chunk)
    }
    chunk[page % CHUNK] = frame
  }

  #drop(start: number, end: number, free: boolean): void {
    for (let key = Math.floor(start / CHUNK); key * CHUNK < end; key++) {
      const chunk = this.#chunks.get(key)
      if (chunk === undefined) continue
      const from = Math.max(start - key * CHUNK, 0)
      const to = Math.min(end - key * CHUNK, CHUNK)
      for (let i = from; i < to; i++) {
        if (chunk[i] !== 0 && free) this.#memory.free(hpa(chunk[i]! * PAGE_SIZE))
        chunk[i] = 0
      }
      if (isEmpty(chunk)) {
        this.#chunks.delete(key)
        if (spare.length < MOST_SPARE) spare.push(chunk)
        if (key === this.#lastKey) this.#lastKey = -1
      }
    }
  }

  /** Where the byte at `at` is in the machine's memory; first touch gives the page its frame. EFAULT. */
  hpa(at: Hva): Hpa {
    return this.place(Number(at))
  }

  /** The same for an address as a number, which those of a process are exactly. */
  place(address: number): Hpa {
    const page = Math.floor(address / PAGE_SIZE)
    const frame = this.#chunk(page)?.[page % CHUNK]
    if (frame !== undefined && frame !== 0) return hpa(frame * PAGE_SIZE + (address - page * PAGE_SIZE))
    const area = this.#area(page)
    if (area === undefined) throw new Errno('EFAULT', `no memory is mapped at host address ${hex(address)}`)
    if (area.file !== undefined)
      throw new Errno('EFAULT', `the page of a ${area.file.kind} at host address ${hex(address)} is private`)
    const fresh = this.#memory.allocate()
    this.#setFrame(page, fresh >>> PAGE_SHIFT)
    return hpa(fresh + (address - page * PAGE_SIZE))
  }

  /** A copy of `length` bytes. */
  read(at: Hva, length: number): Uint8Array {
    const out = new Uint8Array(length)
    for (let done = 0; done < length; ) {
      const from = this.hpa(hva(at + BigInt(done)))
      const count = Math.min(length - done, PAGE_SIZE - (from % PAGE_SIZE))
      out.set(this.#memory.u8.subarray(from, from + count), done)
      done += count
    }
    return out
  }

  /** `length` bytes for a look: in place where they lie in one page, good until that is written or goes. */
  peek(at: Hva, length: number): Uint8Array {
    const from = this.hpa(at)
    return (from % PAGE_SIZE) + length <= PAGE_SIZE
      ? this.#memory.u8.subarray(from, from + length)
      : this.read(at, length)
  }

  write(at: Hva, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const to = this.hpa(hva(at + BigInt(done)))
      const count = Math.min(bytes.length - done, PAGE_SIZE - (to % PAGE_SIZE))
      this.#memory.set(to, bytes.subarray(done, done + count))
      done += count
    }
  }

  /** The unsigned integer of `size` bytes at `at`. */
  load(at: Hva, size: Size): bigint {
    const from = this.hpa(at)
    if ((from % PAGE_SIZE) + size <= PAGE_SIZE) return this.#memory.read(from, size)
    return readUint(new DataView(this.read(at, size).buffer), 0, size)
  }

  store(at: Hva, size: Size, value: bigint): void {
    const to = this.hpa(at)
    if ((to % PAGE_SIZE) + size <= PAGE_SIZE) {
      this.#memory.write(to, size, value)
      return
    }
    writeUint(word, 0, size, value)
    this.write(at, new Uint8Array(word.buffer, 0, size))
  }

  /** Reads a structure. */
  get<S extends Shape>(layout: Layout<S>, at: Hva): Values<S> {
    const from = this.hpa(at)
    if ((from % PAGE_SIZE) + layout.size <= PAGE_SIZE) return layout.read(this.#memory.view, from)
    return layout.read(new DataView(this.read(at, layout.size).buffer), 0)
  }

  /** Writes a structure: the named fields, and zero in all others. */
  put<S extends Shape>(layout: Layout<S>, at: Hva, values: Partial<Values<S>>): void {
    const to = this.hpa(at)
    if ((to % PAGE_SIZE) + layout.size > PAGE_SIZE) {
      this.write(at, layout.encode(values))
      return
    }
    this.#memory.fill(to, layout.size, 0)
    layout.write(this.#memory.view, to, values)
  }

  /** Writes the named fields of a structure; the others keep their bytes. */
  set<S extends Shape>(layout: Layout<S>, at: Hva, values: Partial<Values<S>>): void {
    const to = this.hpa(at)
    if ((to % PAGE_SIZE) + layout.size <= PAGE_SIZE) {
      layout.write(this.#memory.view, to, values)
      this.#memory.wrote(to)
      return
    }
    const whole = this.read(at, layout.size)
    layout.write(new DataView(whole.buffer), 0, values)
    this.write(at, whole)
  }
}
