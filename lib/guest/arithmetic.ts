/** Shifts, divisions and extensions: operations with registers of their own to machine code. */
import type { Reg, Operand as X86Operand } from '#x86'
import { R10, R11, RAX, RCX, RDX } from './allocate.ts'
import type { Code } from './code.ts'
import type { Op, Operand } from './ir.ts'
import { imm, type Places, reg } from './places.ts'

/** A constant in R10. */
export const forced = (places: Places, a: Operand, size: number): Reg => {
  places.into(R10, a)
  return reg(R10, size)
}

export const emitShift = (code: Code, places: Places, op: Extract<Op, { op: 'shift' }>): void => {
  const name = op.name.toUpperCase()
  if (typeof op.b === 'bigint') {
    const to = places.target(op.dst, R11)
    places.into(to, op.a)
    code.op(name, reg(to, op.size), imm(op.b & BigInt(op.size * 8 - 1), 1))
    places.store(op.dst, to)
    return
  }
  let to = places.target(op.dst, R11)
  if (to === RCX || to === places.register(op.b)) to = R11
  places.into(to, op.a)
  places.into(RCX, op.b)
  code.op(name, reg(to, op.size), reg(RCX, 1))
  places.store(op.dst, to)
}

export const emitDivide = (code: Code, places: Places, op: Extract<Op, { op: 'divide' }>): void => {
  let by: X86Operand
  const rb = places.register(op.b)
  if (typeof op.b === 'bigint' || rb === RAX || rb === RDX) {
    places.into(R11, op.b)
    by = reg(R11, op.size)
  } else by = rb >= 0 ? reg(rb, op.size) : places.slot(op.b, op.size)
  places.into(RAX, op.a)
  if (op.signed) code.op(op.size === 8 ? 'CQO' : 'CDQ')
  else code.op('XOR', reg(RDX, 4), reg(RDX, 4))
  code.op(op.signed ? 'IDIV' : 'DIV', by)
  places.store(op.dst, op.name === 'div' ? RAX : RDX)
}

export const emitExtend = (code: Code, places: Places, op: Extract<Op, { op: 'extend' }>): void => {
  const to = places.target(op.dst, R11)
  const source = places.source(op.a, op.from, R11)
  const from = source.kind === 'imm' ? forced(places, op.a, op.from) : source
  if (op.from === 4) {
    if (op.signed && op.size === 8) code.op('MOVSXD', reg(to, 8), from)
    else code.op('MOV', reg(to, 4), from)
  } else code.op(op.signed ? 'MOVSX' : 'MOVZX', reg(to, op.signed ? op.size : 4), from)
  places.store(op.dst, to)
}
