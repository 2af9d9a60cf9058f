/**
 * The function that executes records: a loop around a table of branches, with the handlers as its pieces. There is one, the
 * same for all machines of the process, and it is put together anew when handlers come. Handler n stands n blocks deep,
 * counted from the outside, so what was written of it once is good for ever.
 */
import { Code, F32, F64, I32, I64, Module, V128, type ValueType } from '#wasm'
import { SCRATCH } from '../compile/sites.ts'
import { LOCAL } from '../compile/unit.ts'
import { STATE } from '../state.ts'
import { enterBlock, follow, IMPORT, LABEL, LABELS, TARGET } from './handler.ts'
import { ENTRY, JUMP_BYTES, JUMP_ENTRIES, JUMPS, LEFT_AT, RECORD, RECORD_BYTES } from './record.ts'
import { forgetShapes, type Handler } from './shapes.ts'
import { stats } from './stats.ts'

/** The locals behind `TARGET`, by type; those that repetitions have general registers in are where regions have them. */
const LOCALS: readonly (readonly [ValueType, number])[] = [
  [I32, LOCAL.GPR - TARGET - 1],
  [I64, 16],
  [I32, 24],
  [I64, 24],
  [V128, 32],
  [F32, 8],
  [F64, 8],
]
/** What handlers may use for themselves. */
const FREE: ReadonlyMap<ValueType, readonly number[]> = (() => {
  const free = new Map<ValueType, number[]>()
  let at = TARGET + 1
  for (const [k, [type, count]] of LOCALS.entries()) {
    const places = Array.from({ length: count }, (_, n) => at + n)
    at += count
    if (k !== 1) free.set(type, [...(free.get(type) ?? []), ...places])
  }
  return free
})()
/** Handlers at most; then all are forgotten. */
const MOST_HANDLERS = 1024

class TooMany extends Error {
  override readonly name = 'TooMany'
}

const pool = (): ((type: ValueType) => number) => {
  const used = new Map<ValueType, number>()
  return type => {
    const n = used.get(type) ?? 0
    used.set(type, n + 1)
    const local = FREE.get(type)?.[n]
    if (local === undefined) throw new TooMany(`a handler wants more than ${n} locals of type ${type}`)
    return local
  }
}

/** What handler `n` writes; one that wants more locals than there are leaves its instructions to the interpreter. */
const piece = (n: number, write: (code: Code) => void): Uint8Array => {
  const code = new Code(0, LABELS + n, pool())
  try {
    write(code)
    return code.piece()
  } catch (error) {
    if (!(error instanceof TooMany)) throw error
    return piece(n, leave => leave.br(LABEL.LEAVE))
  }
}

const first = (): Uint8Array[] => {
  const pieces: Uint8Array[] = []
  pieces[ENTRY.LEAVE] = piece(ENTRY.LEAVE, code => code.br(LABEL.LEAVE))
  pieces[ENTRY.SETTLE] = piece(ENTRY.SETTLE, code => {
    code.get(LOCAL.FRAME).memory('i32.load', SCRATCH.RULE).i32(63).op('i32.and')
    code.if(() => code.call(IMPORT.SETTLE))
    code.get(LOCAL.BLOCK).i32(RECORD_BYTES).op('i32.add').set(LOCAL.BLOCK).br(LABEL.NEXT)
  })
  pieces[ENTRY.GO] = piece(ENTRY.GO, follow)
  return pieces
}

let pieces: Uint8Array[] = []
/** For memory that is shared, and for other. */
const modules = new Map<boolean, WebAssembly.Module>()
/** Changes when all handlers have been forgotten. */
export let era = 0

/** The function's module as it is now. */
export const dispatcher = (shared: boolean): WebAssembly.Module => {
  const module = modules.get(shared) ?? new WebAssembly.Module(build(shared))
  modules.set(shared, module)
  return module
}

/** Writes handlers that are not there yet. False: all have been forgotten, and must be found again. */
export const writeHandlers = (handlers: readonly Handler[]): boolean => {
  const from = performance.now()
  const isFull = pieces.length + handlers.length > MOST_HANDLERS
  if (pieces.length === 0 || isFull) pieces = first()
  if (isFull) {
    era++
    forgetShapes()
    return false
  }
  for (const handler of handlers) {
    const n = pieces.length
    pieces.push(piece(n, code => handler.write(code)))
    handler.index = n
  }
  modules.clear()
  stats.batches++
  stats.handlers += handlers.length
  stats.ms += performance.now() - from
  return true
}

const build = (shared: boolean): Uint8Array<ArrayBuffer> => {
  const made = new Module()
  made.importMemory('env', 'memory', 1, 65536, shared)
  made.importFunc('env', 'log', made.type([I32, I32], []))
  made.importFunc('env', 'settle', made.type([], []))
  const { index, code } = made.func(made.type([I32, I32, I32, I32, I32], [I32]))
  code.local(I64)
  for (const [type, count] of LOCALS) for (let n = 0; n < count; n++) code.local(type)
  const [entry, head, left, heat] = [TARGET + 1, TARGET + 2, TARGET + 3, TARGET + 4]

  code.loop(again => {
    code.block(() => {
      code.block(() => {
        code.block(() => {
          code.loop(() => handlers(code))
          code.op('unreachable')
        })
        // AWAY: the link of a branch is of no use.
        code.get(LOCAL.FRAME).memory('i64.load', STATE.RIP)
        code.get(LOCAL.BLOCK).memory('i64.load32_s', RECORD.TARGET_OFFSET).op('i64.add').set(TARGET)
      })
      // JUMP: perhaps the block is known.
      code.get(TARGET).get(TARGET).i64(7n).op('i64.shr_u').op('i64.xor').op('i32.wrap_i64')
      code
        .i32(JUMP_ENTRIES - 1)
        .op('i32.and')
        .i32(Math.log2(JUMP_BYTES))
        .op('i32.shl')
      code.get(LOCAL.FRAME).memory('i32.load', JUMPS).op('i32.add').tee(entry)
      code.memory('i64.load', 0).get(TARGET).op('i64.eq')
      code.if(() => {
        code.get(entry).memory('i32.load', 8).set(head)
        enterBlock(code, head, left, heat, () => {
          code.get(LOCAL.FRAME).get(TARGET).i64(-4096n).op('i64.and').memory('i64.store', STATE.RIP)
          code.br(again)
        })
      })
      code.get(LOCAL.FRAME).get(TARGET).memory('i64.store', STATE.RIP)
      code.get(LOCAL.FRAME).get(LOCAL.LEFT).memory('i32.store', SCRATCH.LEFT).i32(0).op('return')
    })
    // LEAVE
    code.get(LOCAL.FRAME).get(LOCAL.BLOCK).memory('i32.store', LEFT_AT)
    code.get(LOCAL.FRAME).get(LOCAL.FRAME).memory('i64.load', STATE.RIP)
    code.get(LOCAL.BLOCK).memory('i64.load16_u', RECORD.OFFSET).op('i64.add').memory('i64.store', STATE.RIP)
    code.get(LOCAL.FRAME).get(LOCAL.LEFT).get(LOCAL.BLOCK).memory('i32.load8_u', RECORD.REFUND).op('i32.add')
    code.memory('i32.store', SCRATCH.LEFT).i32(0).op('return')
  })
  code.op('unreachable')
  made.export('run', index)
  const bytes = made.finish()
  stats.bytes = bytes.length
  return bytes
}

/** The table of branches, and behind each of its blocks, the innermost first, the last handler that is left. */
const handlers = (code: Code): void => {
  const count = pieces.length
  const nest = (n: number): void => {
    if (n === count) {
      code.get(LOCAL.BLOCK).memory('i32.load', RECORD.HANDLER)
      const targets = pieces.map((_, k) => LABELS + k)
      code.brTable(targets, LABELS)
      return
    }
    code.block(() => nest(n + 1))
    code.raw(pieces[n]!)
  }
  nest(0)
}
