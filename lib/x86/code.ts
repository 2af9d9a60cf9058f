/**
 * Decoded instructions, kept by the content of the page they were decoded from: two frames with the same bytes share
 * them, so a second guest with the same code starts with it decoded. A write to a frame makes it forget its page.
 */
import { type Hpa, PAGE_SHIFT, PAGE_SIZE } from '#bits'
import type { ColdPages } from './cold/cold.ts'
import type { Compiled } from './compile/runtime.ts'
import { decode, type Refused } from './decode.ts'
import type { Insn, Mode } from './insn.ts'
import type { PhysicalMemory } from './memory.ts'
import type { Tlb } from './tlb.ts'

/** Pages kept for content, most of which no frame has any more. */
const MOST_PAGES = 4096
/** Of these, how many keep what the cold tier has of them: up to 20 KiB for each context. */
const MOST_IDLE = 256
/** A frame written this often while it held code is a page of data with some code in it: nothing of it is kept. */
const OFTEN = 255

/** What was decoded from one page of bytes. Instructions that go on in the next page are not in here. */
export class CodePage {
  readonly bytes: Uint8Array
  /** Is it found by its content, when a frame has that again? */
  readonly isShared: boolean
  readonly #index: Record<Mode, Uint16Array | undefined> = { 16: undefined, 32: undefined, 64: undefined }
  readonly #insns: (Insn | undefined)[] = [undefined]
  /** What is compiled of it; see compile/runtime.ts. */
  readonly compiled: Compiled = []
  /** What handlers execute of it; see cold/cold.ts. */
  readonly cold: ColdPages = []
  /** How many frames have it now. */
  frames = 0

  constructor(bytes: Uint8Array, isShared: boolean) {
    this.bytes = bytes
    this.isShared = isShared
  }

  /** The instruction at `offset`, or why there is none. `truncated`: it goes on in the next page. */
  at(offset: number, mode: Mode): Insn | Refused {
    const index = this.#index[mode]
    return (index !== undefined ? this.#insns[index[offset]!] : undefined) ?? this.#decode(offset, mode)
  }

  /** Has an instruction at `offset` been asked for? */
  isKnown(offset: number, mode: Mode): boolean {
    const index = this.#index[mode]
    return index !== undefined && index[offset] !== 0
  }

  #decode(offset: number, mode: Mode): Insn | Refused {
    const found = decode(this.bytes, offset, mode)
    if (typeof found === 'string') return found
    this.#index[mode] ??= new Uint16Array(PAGE_SIZE)
    // Each of the 3 x 4096 places is decoded at most once, so the numbers fit.
    this.#index[mode][offset] = this.#insns.push(found) - 1
    return found
  }
}

const hashOf = (words: Uint32Array, at: number): number => {
  let hash = 0x811c_9dc5
  for (let n = at; n < at + PAGE_SIZE / 4; n++) hash = Math.imul(hash ^ words[n]!, 0x0100_0193)
  return hash
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

/** The decoded pages of one machine, for all of its CPUs. */
export class CodeCache {
  /** Changes whenever a frame has forgotten its page. */
  version = 0
  /** Of all CPUs of the machine. */
  readonly tlbs = new Set<Tlb>()
  readonly #memory: PhysicalMemory
  readonly #words: Uint32Array
  readonly #byFrame = new Map<number, CodePage>()
  /** What frames were before they were written: a machine whose guests come one after the other has the same pages there again. */
  readonly #before = new Map<number, CodePage>()
  readonly #byHash = new Map<number, CodePage[]>()
  #pages = 0
  /** Pages that no frame has and whose blocks are kept, the longest idle first. */
  readonly #idle = new Set<CodePage>()

  constructor(memory: PhysicalMemory) {
    this.#memory = memory
    this.#words = new Uint32Array(memory.memory.buffer)
    const before = memory.onCodeWrite
    memory.onCodeWrite = frame => {
      this.#forget(frame)
      before(frame)
    }
  }

  #forget(frame: Hpa): void {
    this.version++
    const number = frame >>> PAGE_SHIFT
    const page = this.#byFrame.get(number)
    this.#byFrame.delete(number)
    if (page?.isShared === true) this.#before.set(number, page)
    if (page !== undefined && --page.frames === 0 && page.isShared && page.cold.length > 0) this.#rest(page)
  }

  /** No frame has the page any more: its blocks are kept until many others' are. */
  #rest(page: CodePage): void {
    this.#idle.add(page)
    if (this.#idle.size <= MOST_IDLE) return
    for (const oldest of this.#idle) {
      oldest.cold.length = 0
      this.#idle.delete(oldest)
      return
    }
  }

  /** The decoded page of what is in `frame` now. */
  page(frame: Hpa): CodePage {
    const number = frame >>> PAGE_SHIFT
    const known = this.#byFrame.get(number)
    if (known !== undefined) return known
    const bytes = this.#memory.u8.subarray(frame, frame + PAGE_SIZE)
    this.#memory.holdsCode[number] = 1
    for (const tlb of this.tlbs) tlb.dropWrites(frame)
    const page = this.#memory.rewrites[number]! < OFTEN ? this.#shared(frame, bytes) : new CodePage(bytes, false)
    this.#byFrame.set(number, page)
    page.frames++
    this.#idle.delete(page)
    return page
  }

  #shared(frame: Hpa, bytes: Uint8Array): CodePage {
    const before = this.#before.get(frame >>> PAGE_SHIFT)
    if (before !== undefined && isSame(before.bytes, bytes)) return before
    const hash = hashOf(this.#words, frame / 4)
    const same = this.#byHash.get(hash)
    const found = same?.find(page => isSame(page.bytes, bytes))
    if (found !== undefined) return found
    if (this.#pages++ === MOST_PAGES) {
      this.#byHash.clear()
      this.#before.clear()
      this.#idle.clear()
      this.#pages = 1
    }
    const page = new CodePage(bytes.slice(), true)
    const list = this.#byHash.get(hash)
    if (list === undefined) this.#byHash.set(hash, [page])
    else list.push(page)
    return page
  }
}

const caches = new WeakMap<PhysicalMemory, CodeCache>()
export const codeOf = (memory: PhysicalMemory): CodeCache => {
  const known = caches.get(memory) ?? new CodeCache(memory)
  caches.set(memory, known)
  return known
}
