/**
 * REP MOVS and REP STOS as WebAssembly: page by page, what is short in pieces of 16 bytes, what is long by
 * memory.copy and memory.fill. The registers are exact whenever a page cannot be reached, where the interpreter goes on.
 */
import type { Size } from '#bits'
import type { Code } from '#wasm'
import type { Accesses } from './access.ts'
import type { Emitter } from './emit.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import type { Leave } from './sites.ts'
import { LOCAL } from './unit.ts'

/** What a REP instruction does; its elements have `size` bytes, RCX, RSI and RDI `addressSize`. */
export type Repeat = { readonly moves: boolean; readonly size: Size; readonly addressSize: 4 | 8 }

/** Bytes up to which a copy is inline: calling memory.copy or memory.fill costs about as much. */
const SHORT = 64
const RAX = LOCAL.GPR
export const [RCX, RSI, RDI] = [LOCAL.GPR + 1, LOCAL.GPR + 6, LOCAL.GPR + 7] as const

export const emitRepeat = (emit: Emitter, accesses: Accesses, repeat: Repeat, leave: Leave): void => {
  const { code } = emit
  const { moves, size, addressSize } = repeat
  const [to, from, length] = [emit.temp(32), moves ? emit.temp(32) : -1, emit.temp(32)]
  const narrow = (): Code => (addressSize === 4 ? code.i64(0xffff_ffffn).op('i64.and') : code)
  const pattern = moves ? -1 : emit.temp(64)
  if (!moves) {
    // The element, as often as it fits 8 bytes.
    const mask = (1n << BigInt(size * 8)) - 1n
    code.get(RAX)
    if (size < 8)
      code
        .i64(mask)
        .op('i64.and')
        .i64(0xffff_ffff_ffff_ffffn / mask)
        .op('i64.mul')
    code.set(pattern)
  }
  code.block(done => {
    code.get(RCX)
    narrow().op('i64.eqz').brIf(done)
    code.loop(again => {
      if (moves) {
        accesses.probe(addressIn(RSI, addressSize), size, 'read', leave)
        code.set(from)
      }
      accesses.probe(addressIn(RDI, addressSize), size, 'write', leave)
      code.set(to)
      chunk(code, length, size, addressSize, moves)
      accesses.logRange(to, length)
      if (moves) copy(code, { to, from, length, size, emit })
      else fill(code, { to, length, size, pattern, emit })
      step(code, length, size, addressSize, moves)
      code.get(RCX).op('i64.eqz').op('i32.eqz').brIf(again)
    })
  })
}

/** The address that a register holds. */
export const addressIn = (register: number, addressSize: 4 | 8): Node => {
  const node = n.local(register, 64, 64)
  return addressSize === 4 ? n.to64(n.to32(node)) : node
}

/** Puts into `length` the bytes of whole elements up to the end of the page (of either, for `both`), or of RCX. */
export const chunk = (code: Code, length: number, size: Size, addressSize: 4 | 8, both: boolean): void => {
  const shift = Math.log2(size)
  const offsetOf = (register: number): Code => code.get(register).op('i32.wrap_i64').i32(4095).op('i32.and')
  const all = (): Code => {
    code.get(RCX).op('i32.wrap_i64')
    return shift === 0 ? code : code.i32(shift).op('i32.shl')
  }
  code.i32(4096)
  offsetOf(RDI)
  if (both) {
    offsetOf(RSI)
    offsetOf(RDI)
    offsetOf(RSI)
    code.op('i32.gt_u').op('select')
  }
  code.op('i32.sub').i32(-size).op('i32.and').set(length)
  all().get(length)
  // RCX may count more bytes than 32 bits do.
  code.get(RCX)
  if (addressSize === 4) code.i64(0xffff_ffffn).op('i64.and')
  code.get(length).i32(shift).op('i32.shr_u').op('i64.extend_i32_u').op('i64.lt_u').op('select').set(length)
}

/** `length` bytes are done: RDI, for `both` RSI, and RCX. */
export const step = (code: Code, length: number, size: Size, addressSize: 4 | 8, both: boolean): void => {
  const narrow = (): Code => (addressSize === 4 ? code.i64(0xffff_ffffn).op('i64.and') : code)
  for (const register of both ? [RDI, RSI] : [RDI]) {
    code.get(register).get(length).op('i64.extend_i32_u').op('i64.add')
    narrow().set(register)
  }
  code.get(RCX).get(length).i32(Math.log2(size)).op('i32.shr_u').op('i64.extend_i32_u').op('i64.sub')
  narrow().set(RCX)
}

type Copy = { to: number; from: number; length: number; size: Size; emit: Emitter }
type Fill = { to: number; length: number; size: Size; pattern: number; emit: Emitter }

/** `at` plus `length`, for accesses that end there. */
const end = (code: Code, at: number, length: number): Code => code.get(at).get(length).op('i32.add')

const copy = (code: Code, { to, from, length, size, emit }: Copy): void => {
  const distance = emit.temp(32)
  code.get(to).get(from).op('i32.sub').tee(distance).i32(1).op('i32.sub')
  code.get(length).i32(1).op('i32.sub').op('i32.lt_u')
  code.if(
    // What was written is read again.
    () => elements(code, { to, from, length, size, emit }),
    () =>
      short(
        code,
        length,
        size,
        bytes => pieces(code, bytes, { to, from, length, emit }),
        () => code.get(to).get(from).get(length).copy(),
      ),
  )
}

export const LOAD = { 1: 'i32.load8_u', 2: 'i32.load16_u', 4: 'i32.load', 8: 'i64.load' } as const
const STORE = { 1: 'i32.store8', 2: 'i32.store16', 4: 'i32.store', 8: 'i64.store' } as const

const elements = (code: Code, { to, from, length, size, emit }: Copy): void => {
  const at = emit.temp(32)
  code.i32(0).set(at)
  code.loop(again => {
    code.get(to).get(at).op('i32.add')
    code.get(from).get(at).op('i32.add').memory(LOAD[size]).memory(STORE[size])
    code.get(at).i32(size).op('i32.add').tee(at).get(length).op('i32.lt_u').brIf(again)
  })
}

/**
 * What to do by length: a length from 2^k to 2^(k+1) is two pieces of 2^k bytes, one from either end; from 32 to 64
 * four pieces of 16.
 */
const short = (code: Code, length: number, size: Size, piece: (bytes: number) => void, long: () => void): void => {
  const upTo = (bytes: number, then: () => void, otherwise: () => void): void => {
    code.get(length).i32(bytes).op('i32.le_u')
    code.if(then, otherwise)
  }
  const below = (bytes: number): void => {
    if (bytes <= size || bytes === 1) piece(bytes)
    else
      upTo(
        bytes - 1,
        () => below(bytes / 2),
        () => piece(bytes),
      )
  }
  upTo(
    SHORT,
    () =>
      upTo(
        32,
        () => below(16),
        () => piece(32),
      ),
    long,
  )
}

/** Reads both ends, then writes them: the ranges may overlap downwards. */
const pieces = (code: Code, bytes: number, { to, from, length, emit }: Omit<Copy, 'size'>): void => {
  if (bytes >= 16) {
    const parts = bytes === 32 ? 4 : 2
    const kept = Array.from({ length: parts }, () => emit.temp(128))
    const place = (at: number, part: number): number => {
      if (part < parts / 2) {
        code.get(at)
        return part * 16
      }
      end(code, at, length)
        .i32((parts - part) * 16)
        .op('i32.sub')
      return 0
    }
    for (const [part, local] of kept.entries()) {
      const offset = place(from, part)
      code.vectorMemory('load', offset).set(local)
    }
    for (const [part, local] of kept.entries()) {
      const offset = place(to, part)
      code.get(local).vectorMemory('store', offset)
    }
    return
  }
  const width = bytes as Size
  const [first, last] = [emit.temp(bytes === 8 ? 64 : 32), emit.temp(bytes === 8 ? 64 : 32)]
  code.get(from).memory(LOAD[width]).set(first)
  end(code, from, length).i32(bytes).op('i32.sub').memory(LOAD[width]).set(last)
  code.get(to).get(first).memory(STORE[width])
  end(code, to, length).i32(bytes).op('i32.sub').get(last).memory(STORE[width])
}

const fill = (code: Code, { to, length, size, pattern, emit }: Fill): void => {
  const wide = emit.temp(128)
  // i64x2.splat
  const splat = (): Code => code.get(pattern).simd(0x12).set(wide)
  const piece = (bytes: number): void => {
    if (bytes >= 16) {
      splat()
      const parts = bytes === 32 ? 2 : 1
      for (let part = 0; part < parts; part++) {
        code
          .get(to)
          .get(wide)
          .vectorMemory('store', part * 16)
        end(code, to, length)
          .i32((part + 1) * 16)
          .op('i32.sub')
          .get(wide)
          .vectorMemory('store')
      }
      return
    }
    const width = bytes as Size
    const value = (): Code => (bytes === 8 ? code.get(pattern) : code.get(pattern).op('i32.wrap_i64'))
    code.get(to)
    value().memory(STORE[width])
    end(code, to, length).i32(bytes).op('i32.sub')
    value().memory(STORE[width])
  }
  const bytewise = (): void => {
    code.get(to).get(pattern).op('i32.wrap_i64').get(length).fill()
  }
  const long = (): void => {
    if (size === 1) {
      bytewise()
      return
    }
    // All bytes are alike where turning them changes nothing.
    code.get(pattern).get(pattern).i64(8n).op('i64.rotl').op('i64.eq')
    code.if(bytewise, () => {
      const at = emit.temp(32)
      splat()
      end(code, to, length).i32(16).op('i32.sub').get(wide).vectorMemory('store')
      code.i32(0).set(at)
      code.loop(again => {
        code.get(to).get(at).op('i32.add').get(wide).vectorMemory('store')
        code.get(at).i32(16).op('i32.add').tee(at)
        code.get(length).i32(16).op('i32.sub').op('i32.lt_u').brIf(again)
      })
    })
  }
  short(code, length, size, piece, long)
}
