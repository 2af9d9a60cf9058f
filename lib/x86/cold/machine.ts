/**
 * What the CPUs of one machine share: the table of handlers, and the frames that records are in. Handlers are written in
 * batches, a module each, which all machines of the process instantiate when they need it.
 */
import { I32, I64, Module } from '#wasm'
import { LOCAL } from '../compile/build.ts'
import { SCRATCH } from '../compile/generate.ts'
import type { Cpu } from '../cpu.ts'
import type { PhysicalMemory } from '../memory.ts'
import { STATE } from '../state.ts'
import { dispatch } from './handler.ts'
import { ENTRY, FIRST_HANDLER, HEAD, JUMPS, LEFT_AT, NEVER, RECORD, RECORD_BYTES } from './record.ts'
import type { Handler } from './shapes.ts'
import { stats } from './stats.ts'

/** Its entries: the linear address of a block, 64 bits, and its head, 32 bits. */
export const JUMP_BYTES = 16
export const JUMP_ENTRIES = 256

/** Frames that records may take; then all are dropped, and made again as they are needed. */
const MOST_FRAMES = 2048
const FRAME = 4096

/** Functions of the runtime. */
export type Doors = {
  log(cpu: Cpu, host: number, size: number): void
  settle(cpu: Cpu): void
}

type Batch = { readonly module: WebAssembly.Module; readonly size: number }
const batches: Batch[] = []

const HANDLER_PARAMS = [I32, I32, I32, I32, I32] as const

const begin = (module: Module) => {
  module.importMemory('env', 'memory', 1, 65536)
  module.importTable('env', 'table', 1)
  const log = module.importFunc('env', 'log', module.type([I32, I32], []))
  const settle = module.importFunc('env', 'settle', module.type([], []))
  const type = module.type(HANDLER_PARAMS, [I32])
  const jumpType = module.type([I32, I32, I32, I64, I32], [I32])
  return { log, settle, type, jumpType }
}

/** What every machine has: leaving a block, putting flags in the frame, and branches that no link knows. */
const common = (): Batch => {
  const module = new Module()
  const { settle, type, jumpType } = begin(module)

  const leave = module.func(type)
  leave.code.get(LOCAL.FRAME).get(LOCAL.BLOCK).memory('i32.store', LEFT_AT)
  leave.code.get(LOCAL.FRAME).get(LOCAL.FRAME).memory('i64.load', STATE.RIP)
  leave.code.get(LOCAL.BLOCK).memory('i64.load16_u', RECORD.OFFSET).op('i64.add').memory('i64.store', STATE.RIP)
  leave.code.get(LOCAL.FRAME).get(LOCAL.LEFT).get(LOCAL.BLOCK).memory('i32.load8_u', RECORD.REFUND).op('i32.add')
  leave.code.memory('i32.store', SCRATCH.LEFT).i32(0)

  const settled = module.func(type)
  settled.code.get(LOCAL.FRAME).memory('i32.load', SCRATCH.RULE).i32(63).op('i32.and')
  settled.code.if(() => settled.code.call(settle))
  settled.code.get(LOCAL.BLOCK).i32(RECORD_BYTES).op('i32.add').set(LOCAL.BLOCK)
  dispatch(settled.code, type)

  const away = module.func(type)
  const jump = module.func(jumpType)
  away.code.get(LOCAL.FRAME).get(LOCAL.TLB).get(LOCAL.MASK)
  away.code.get(LOCAL.FRAME).memory('i64.load', STATE.RIP)
  away.code.get(LOCAL.BLOCK).memory('i64.load32_s', RECORD.TARGET_OFFSET).op('i64.add')
  away.code.get(LOCAL.LEFT).tailCall(jump.index)

  // Parameters 3 and 4 are the target and what is left; handlers have the record in 3.
  const { code } = jump
  const TARGET = 3
  const local = (): number => code.local(I32)
  const [entry, head, left, heat, record] = [local(), local(), local(), local(), local()]
  code
    .get(TARGET)
    .get(TARGET)
    .i64(12n)
    .op('i64.shr_u')
    .op('i64.xor')
    .op('i32.wrap_i64')
    .i32(JUMP_ENTRIES - 1)
  code.op('i32.and').i32(Math.log2(JUMP_BYTES)).op('i32.shl')
  code.get(LOCAL.FRAME).memory('i32.load', JUMPS).op('i32.add').tee(entry)
  code.memory('i64.load', 0).get(TARGET).op('i64.eq')
  code.if(() => {
    code.get(entry).memory('i32.load', 8).set(head)
    code.get(LOCAL.LEFT).get(head).memory('i32.load', HEAD.NEED).op('i32.sub').set(left)
    code.get(head).memory('i32.load', HEAD.HEAT).i32(1).op('i32.sub').set(heat)
    code.get(head).get(heat).memory('i32.store', HEAD.HEAT)
    code.get(left).get(heat).op('i32.or').i32(0).op('i32.ge_s')
    code.if(() => {
      code.get(LOCAL.FRAME).get(TARGET).i64(-4096n).op('i64.and').memory('i64.store', STATE.RIP)
      code.get(head).i32(RECORD_BYTES).op('i32.add').set(record)
      code.get(LOCAL.FRAME).get(LOCAL.TLB).get(LOCAL.MASK).get(record).get(left)
      code.get(record).memory('i32.load', RECORD.HANDLER).tailCallIndirect(type)
    })
  })
  code.get(LOCAL.FRAME).get(TARGET).memory('i64.store', STATE.RIP)
  code.get(LOCAL.FRAME).get(LOCAL.LEFT).memory('i32.store', SCRATCH.LEFT).i32(0)

  const run = module.func(type)
  dispatch(run.code, type)
  module.export('run', run.index)
  const entries: number[] = []
  entries[ENTRY.LEAVE] = leave.index
  entries[ENTRY.SETTLE] = settled.index
  entries[ENTRY.AWAY] = away.index
  entries[ENTRY.JUMP] = jump.index
  module.elements(0, entries)
  return { module: new WebAssembly.Module(module.finish()), size: FIRST_HANDLER }
}

/** Entries of the table that are taken. */
let entries = FIRST_HANDLER

/** Writes handlers that are not there yet. */
export const writeHandlers = (handlers: readonly Handler[]): void => {
  const from = performance.now()
  const module = new Module()
  const imports = begin(module)
  const functions: number[] = []
  for (const [k, handler] of handlers.entries()) {
    const { index, code } = module.func(imports.type)
    handler.write(code, imports)
    handler.index = entries + k
    functions.push(index)
  }
  module.elements(entries, functions)
  const bytes = module.finish()
  if (batches.length === 0) batches.push(common())
  batches.push({ module: new WebAssembly.Module(bytes), size: entries + handlers.length })
  entries += handlers.length
  stats.batches++
  stats.handlers += handlers.length
  stats.bytes += bytes.length
  stats.ms += performance.now() - from
}

type Run = (frame: number, tlb: number, mask: number, record: number, left: number) => number

/** Which CPU runs handlers now. */
let current: Cpu | undefined

export class Machine {
  /** Changes when all records have been dropped. */
  generation = 0
  /** A head that is never entered: where branches go whose target is not known. */
  readonly nowhere: number
  #run: Run | undefined
  readonly #memory: PhysicalMemory
  readonly #env: Record<string, ((...args: never[]) => unknown) | WebAssembly.Memory | WebAssembly.Table>
  readonly #table = new WebAssembly.Table({ element: 'anyfunc', initial: 256 })
  #instances = 0
  readonly #frames: number[] = []
  #frame = -1
  #used = FRAME

  constructor(memory: PhysicalMemory, doors: Doors) {
    this.#memory = memory
    this.#env = {
      memory: memory.memory,
      table: this.#table,
      log: (host: number, size: number): void => doors.log(current!, host, size),
      settle: (): void => doors.settle(current!),
    }
    this.nowhere = this.room(1)
    const words = new Uint32Array(memory.memory.buffer, this.nowhere, RECORD_BYTES / 4)
    words[HEAD.NEED / 4] = NEVER
    words[HEAD.HEAT / 4] = NEVER
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
    this.generation++
    this.#frame = 0
    this.#used = RECORD_BYTES
  }

  /** Runs from a record on, for as many instructions as are left behind its block. */
  run(cpu: Cpu, tlb: number, mask: number, record: number, left: number): void {
    if (this.#instances < batches.length) this.#instantiate()
    const before = current
    current = cpu
    this.#run!(cpu.frame, tlb, mask, record, left)
    current = before
  }

  #instantiate(): void {
    for (; this.#instances < batches.length; this.#instances++) {
      const { module, size } = batches[this.#instances]!
      const more = size - this.#table.length
      if (more > 0) this.#table.grow(Math.max(more, this.#table.length))
      const instance = new WebAssembly.Instance(module, { env: this.#env })
      if (this.#instances === 0) this.#run = instance.exports['run'] as unknown as Run
    }
  }
}
