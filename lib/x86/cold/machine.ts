/** What the CPUs of one machine share: the function that executes records, and the frames that these are in. */
import type { Cpu } from '../cpu.ts'
import type { PhysicalMemory } from '../memory.ts'
import { dispatcher, era } from './dispatch.ts'
import { HEAD, NEVER, RECORD_BYTES } from './record.ts'
import { stats } from './stats.ts'

/** Frames that records may take; then all are dropped, and made again as they are needed. */
const MOST_FRAMES = 1024
const FRAME = 4096

/** Functions of the runtime. */
export type Doors = {
  log(cpu: Cpu, host: number, size: number): void
  settle(cpu: Cpu): void
}

type Run = (frame: number, tlb: number, mask: number, record: number, left: number) => number

/** Which CPU runs handlers now. */
let current: Cpu | undefined

export class Machine {
  /** A head that is never entered: where branches go whose target is not known. */
  readonly nowhere: number
  readonly #memory: PhysicalMemory
  readonly #env: Record<string, ((...args: never[]) => unknown) | WebAssembly.Memory>
  #module: WebAssembly.Module | undefined
  #run: Run | undefined
  #dropped = 0
  readonly #frames: number[] = []
  #frame = -1
  #used = FRAME

  constructor(memory: PhysicalMemory, doors: Doors) {
    this.#memory = memory
    this.#env = {
      memory: memory.memory,
      log: (host: number, size: number): void => doors.log(current!, host, size),
      settle: (): void => doors.settle(current!),
    }
    this.nowhere = this.room(1)
    const words = new Uint32Array(memory.memory.buffer, this.nowhere, RECORD_BYTES / 4)
    words[HEAD.NEED / 4] = NEVER
    words[HEAD.HEAT / 4] = NEVER
  }

  /** Changes when all records have been dropped, or mean nothing any more. */
  get generation(): number {
    return this.#dropped + era
  }

  /** Room for so many records in a row. */
  room(records: number): number {
    const bytes = records * RECORD_BYTES
    if (this.#used + bytes > FRAME) this.#nextFrame()
    const at = this.#frames[this.#frame]! + this.#used
    this.#used += bytes
    return at
  }

  #nextFrame(): void {
    this.#frame++
    this.#used = 0
    if (this.#frame < this.#frames.length) return
    if (this.#frame < MOST_FRAMES) {
      this.#frames.push(this.#memory.reserve())
      return
    }
    // The first record of the first frame is `nowhere`.
    this.#dropped++
    stats.dropped++
    this.#frame = 0
    this.#used = RECORD_BYTES
  }

  /** Runs from a record on, for as many instructions as are left behind its block. */
  run(cpu: Cpu, tlb: number, mask: number, record: number, left: number): void {
    const module = dispatcher(this.#memory.isShared)
    if (module !== this.#module) {
      this.#module = module
      this.#run = new WebAssembly.Instance(module, { env: this.#env }).exports['run'] as unknown as Run
    }
    const before = current
    current = cpu
    this.#run!(cpu.frame, tlb, mask, record, left)
    current = before
  }
}
