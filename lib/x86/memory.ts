/** Physical memory: the bytes of the machine, and the frames they are handed out in. */
import { type Hpa, hpa, NotModelled, PAGE_SHIFT, PAGE_SIZE, readUint, type Size, writeUint } from '#bits'

const WASM_PAGE = 65536
/** What a machine gets unless told otherwise; the operating system backs only what is touched. */
const DEFAULT_BYTES = 2 ** 31

/** The address space is reserved once, so that views never move; where that much is refused, half is tried. */
const reserve = (bytes: number, shared: boolean): WebAssembly.Memory => {
  for (let size = bytes; size >= 2 ** 26; size /= 2) {
    try {
      const pages = size / WASM_PAGE
      return new WebAssembly.Memory({ initial: pages, maximum: pages, shared })
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
    }
  }
  throw new NotModelled(`a machine with less than 64 MiB of memory (asked for ${bytes} bytes)`)
}

/**
 * The machine's memory. Frame 0 is never handed out, so that HPA 0 can mean "none".
 * Frames are zero when handed out and zeroed again when given back.
 * All writes go through here, so that code made from a frame can be dropped when the frame changes.
 */
export class PhysicalMemory {
  readonly memory: WebAssembly.Memory
  /**
   * As other threads might have it, which V8 does not count as ours: two gigabytes of its own make it look for garbage at once,
   * for 7 to 18 ms. But it fills and copies such memory ten times as slowly, where that is done from here.
   */
  readonly isShared: boolean
  readonly u8: Uint8Array
  readonly words: Uint32Array
  readonly view: DataView
  readonly frames: number
  /** Frames handed out and not yet given back. */
  used = 0
  /** 1 where something was made (decoded, compiled) from the frame's bytes. */
  readonly holdsCode: Uint8Array
  /** Called once when a frame that holds code is written; the mark is cleared first. */
  onCodeWrite: (frame: Hpa) => void = () => {}
  /** How often a frame was written while it held code, since it was handed out; stops at 255. */
  readonly rewrites: Uint8Array
  #next = 1
  readonly #free: number[] = []
  /** Runs given back whole: length to first frames. */
  readonly #runs = new Map<number, number[]>()

  constructor(bytes = DEFAULT_BYTES, isShared = false) {
    this.isShared = isShared
    this.memory = reserve(bytes, isShared)
    this.u8 = new Uint8Array(this.memory.buffer)
    this.words = new Uint32Array(this.memory.buffer)
    this.view = new DataView(this.memory.buffer)
    this.frames = this.u8.length / PAGE_SIZE
    this.holdsCode = new Uint8Array(this.frames)
    this.rewrites = new Uint8Array(this.frames)
  }

  /** A zeroed 4 KiB frame. Throws `OutOfMemory` when the machine has none left. */
  allocate(): Hpa {
    const frame = this.#free.pop() ?? (this.#next < this.frames ? this.#next++ : this.#fromRun())
    if (frame === undefined) throw new OutOfMemory(this.frames)
    this.used++
    return hpa(frame * PAGE_SIZE)
  }

  /** A frame for the machine's own records: not counted as used, and never given back. */
  reserve(): Hpa {
    const frame = this.allocate()
    this.used--
    return frame
  }

  /** Memory is short: a run that nobody uses is broken up. */
  #fromRun(): number | undefined {
    for (const [count, runs] of this.#runs) {
      const first = runs.pop()
      if (first === undefined) continue
      for (let i = count - 1; i > 0; i--) this.#free.push(first + i)
      return first
    }
    return undefined
  }

  /** `count` zeroed frames in a row, aligned to `align` bytes. They are given back one by one, or by `freeRun`. */
  allocateRun(count: number, align = PAGE_SIZE): Hpa {
    const step = align / PAGE_SIZE
    const kept = this.#runs.get(count)
    const last = kept?.at(-1)
    if (kept !== undefined && last !== undefined && last % step === 0) {
      kept.pop()
      this.used += count
      return hpa(last * PAGE_SIZE)
    }
    const first = Math.ceil(this.#next / step) * step
    if (first + count > this.frames) throw new OutOfMemory(this.frames)
    for (let frame = this.#next; frame < first; frame++) this.#free.push(frame)
    this.#next = first + count
    this.used += count
    return hpa(first * PAGE_SIZE)
  }

  /** Gives all of a run back, to be the next run of that length. */
  freeRun(first: Hpa, count: number): void {
    this.fill(first, count * PAGE_SIZE, 0)
    this.rewrites.fill(0, first / PAGE_SIZE, first / PAGE_SIZE + count)
    this.used -= count
    const kept = this.#runs.get(count)
    if (kept === undefined) this.#runs.set(count, [first / PAGE_SIZE])
    else kept.push(first / PAGE_SIZE)
  }

  /** Gives a frame back; its content is gone. */
  free(frame: Hpa): void {
    this.fill(frame, PAGE_SIZE, 0)
    this.rewrites[frame >>> PAGE_SHIFT] = 0
    this.used--
    this.#free.push(frame >>> PAGE_SHIFT)
  }

  read(at: Hpa | number, size: Size): bigint {
    return readUint(this.view, at, size)
  }

  /** Writes within one frame. */
  write(at: Hpa | number, size: Size, value: bigint): void {
    writeUint(this.view, at, size, value)
    this.wrote(at)
  }

  /** A copy of the bytes. */
  bytes(at: Hpa | number, length: number): Uint8Array {
    return this.u8.slice(at, at + length)
  }

  /** Copies bytes in; may span frames that follow each other. */
  set(at: Hpa | number, bytes: Uint8Array): void {
    this.u8.set(bytes, at)
    this.#wroteRange(at, bytes.length)
  }

  fill(at: Hpa | number, length: number, byte: number): void {
    this.u8.fill(byte, at, at + length)
    this.#wroteRange(at, length)
  }

  /** Says that the frame at `at` was written by other means than this class. */
  wrote(at: Hpa | number): void {
    const frame = Math.floor(at / PAGE_SIZE)
    if (this.holdsCode[frame] === 1) {
      this.holdsCode[frame] = 0
      if (this.rewrites[frame]! < 255) this.rewrites[frame] = this.rewrites[frame]! + 1
      this.onCodeWrite(hpa(frame * PAGE_SIZE))
    }
  }

  #wroteRange(at: number, length: number): void {
    for (let page = at - (at % PAGE_SIZE); page < at + length; page += PAGE_SIZE) this.wrote(page)
  }
}

/** The machine has no frame left. */
export class OutOfMemory extends Error {
  override readonly name = 'OutOfMemory'
  constructor(frames: number) {
    super(`the machine is out of memory: all ${frames} frames (${(frames * PAGE_SIZE) / 2 ** 20} MiB) are in use`)
  }
}
