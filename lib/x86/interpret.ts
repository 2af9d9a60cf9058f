/** The plain reading of the semantics: a value is a bigint and everything happens now. The reference for other tiers. */

import { mask, NotModelled, type Size, signExtend, signed, wrap } from '#bits'
import { type CallName, calls } from './calls.ts'
import type { Cpu } from './cpu.ts'
import type { FlagRule } from './flags.ts'
import type { Insn, Mem, Operand, Rel, Seg } from './insn.ts'
import { floatValue, packedValue, readWide, writeWide } from './lanes.ts'
import { checkTarget, linearOf } from './linear.ts'
import type { PackedName } from './packed.ts'
import { addressOf, readRegister, writeRegister } from './registerfile.ts'
import { semantics } from './semantics/index.ts'
import { type Row, table } from './table.ts'
import type { Flag, Semantics, Tier } from './tier.ts'

const ALL = 0xffff_ffff_ffff_ffffn
const WIDTH: Record<Size, bigint> = { 1: 8n, 2: 16n, 4: 32n, 8: 64n }
/** Even parity of a byte. */
const PARITY = Uint8Array.from({ length: 256 }, (_, n) => {
  let ones = 0
  for (let rest = n; rest !== 0; rest >>= 1) ones += rest & 1
  return (ones & 1) ^ 1
})
/** Iterations of a REP instruction before it lets the run loop look for events. */
const REPEATS = 65536
const TF = 0x100n

class Interpreter implements Tier<bigint, boolean> {
  cpu: Cpu
  insn: Insn

  constructor(cpu: Cpu, insn: Insn) {
    this.cpu = cpu
    this.insn = insn
  }

  get stackSize(): 2 | 4 | 8 {
    return this.cpu.stackSize
  }

  constant(value: bigint): bigint {
    return value
  }

  read(from: Operand): bigint {
    switch (from.kind) {
      case 'reg':
        return readRegister(this.cpu, from)
      case 'mem': {
        const size = from.size as Size
        const at = linearOf(this.cpu, from.seg, this.address(from), size, 'read')
        return size <= 8 ? this.cpu.read(at, size) : readWide(this.cpu, at, size)
      }
      case 'imm':
        return from.value
      case 'rel':
      case 'far':
        throw new NotModelled(`${this.insn.row.mnemonic}: a ${from.kind} operand read as a value`)
    }
  }

  write(to: Operand, value: bigint): void {
    if (to.kind === 'reg') writeRegister(this.cpu, to, value, this.insn.vectorLength !== 0)
    else if (to.kind === 'mem') {
      const size = to.size as Size
      const at = linearOf(this.cpu, to.seg, this.address(to), size, 'write')
      if (size <= 8) this.cpu.write(at, size, value)
      else writeWide(this.cpu, at, size, value)
    } else throw new NotModelled(`${this.insn.row.mnemonic}: a ${to.kind} operand as a destination`)
  }

  update(operand: Operand, change: (old: bigint) => bigint): void {
    if (operand.kind === 'mem') this.modify(operand.seg, this.address(operand), operand.size as Size, change)
    else this.write(operand, change(this.read(operand)))
  }

  packed(name: PackedName, bytes: number, a: bigint, b: bigint, imm: number): bigint {
    return packedValue(name, bytes, a, b, imm)
  }

  float(name: string, bytes: number, a: bigint, b: bigint, imm: number, addend = 0n): bigint {
    return floatValue(this.cpu, name, bytes, a, b, imm, addend)
  }

  signs(a: bigint, bytes: number, size: 1 | 4 | 8): bigint {
    let signs = 0n
    for (let n = 0; n < bytes / size; n++) signs |= ((a >> BigInt((n + 1) * size * 8 - 1)) & 1n) << BigInt(n)
    return signs
  }

  blend(mask: bigint, bytes: number, size: 1 | 4 | 8, then: bigint, otherwise: bigint): bigint {
    const lane = (1n << BigInt(size * 8)) - 1n
    let chosen = 0n
    for (let n = 0; n < bytes / size; n++)
      if ((mask >> BigInt((n + 1) * size * 8 - 1)) & 1n) chosen |= lane << BigInt(n * size * 8)
    return (then & chosen) | (otherwise & ~chosen)
  }

  lane(a: bigint, n: number, size: number): bigint {
    return BigInt.asUintN(size * 8, a >> BigInt(n * size * 8))
  }

  withLane(a: bigint, n: number, size: number, lane: bigint): bigint {
    const shift = BigInt(n * size * 8)
    return (a & ~(((1n << BigInt(size * 8)) - 1n) << shift)) | (lane << shift)
  }

  address(m: Mem): bigint {
    return addressOf(this.cpu, m, this.insn.length)
  }

  load(seg: Seg, offset: bigint, size: Size): bigint {
    return this.cpu.read(linearOf(this.cpu, seg, offset, size, 'read'), size)
  }

  store(seg: Seg, offset: bigint, size: Size, value: bigint): void {
    this.cpu.write(linearOf(this.cpu, seg, offset, size, 'write'), size, value)
  }

  modify(seg: Seg, offset: bigint, size: Size, change: (old: bigint) => bigint): void {
    const { cpu } = this
    const at = linearOf(cpu, seg, offset, size, 'write')
    cpu.settleWrite(at, size)
    cpu.write(at, size, change(cpu.read(at, size)))
  }

  settle(seg: Seg, offset: bigint, size: number): void {
    this.cpu.settleWrite(linearOf(this.cpu, seg, offset, size, 'write'), size)
  }

  add(size: Size, a: bigint, b: bigint): bigint {
    return wrap(a + b, size)
  }

  sub(size: Size, a: bigint, b: bigint): bigint {
    return wrap(a - b, size)
  }

  mul(size: Size, a: bigint, b: bigint): bigint {
    return wrap(a * b, size)
  }

  mulHigh(size: Size, a: bigint, b: bigint, asSigned: boolean): bigint {
    const product = asSigned ? signed(a, size) * signed(b, size) : a * b
    return wrap(product >> WIDTH[size], size)
  }

  divide(
    size: Size,
    high: bigint,
    low: bigint,
    by: bigint,
    asSigned: boolean,
  ): { quotient: bigint; remainder: bigint } {
    if (by === 0n) this.cpu.raise(0)
    const whole = (high << WIDTH[size]) | low
    const dividend = asSigned ? BigInt.asIntN(size * 16, whole) : whole
    const divisor = asSigned ? signed(by, size) : by
    const quotient = dividend / divisor
    if (quotient !== (asSigned ? signed(quotient, size) : wrap(quotient, size))) this.cpu.raise(0)
    return { quotient: wrap(quotient, size), remainder: wrap(dividend % divisor, size) }
  }

  modulo(value: bigint, by: number): bigint {
    return value % BigInt(by)
  }

  and(a: bigint, b: bigint): bigint {
    return a & b
  }

  or(a: bigint, b: bigint): bigint {
    return a | b
  }

  xor(a: bigint, b: bigint): bigint {
    return a ^ b
  }

  not(size: Size, a: bigint): bigint {
    return a ^ mask(size)
  }

  shl(size: Size, a: bigint, count: bigint): bigint {
    return (a << count) & mask(size)
  }

  shr(_size: Size, a: bigint, count: bigint): bigint {
    return a >> count
  }

  sar(size: Size, a: bigint, count: bigint): bigint {
    return wrap(signed(a, size) >> count, size)
  }

  signExtend(a: bigint, from: Size, to: Size): bigint {
    return signExtend(a, from, to)
  }

  truncate(a: bigint, size: Size): bigint {
    return a & mask(size)
  }

  popcount(a: bigint): bigint {
    let ones = 0n
    for (let rest = a; rest !== 0n; rest &= rest - 1n) ones++
    return ones
  }

  leadingZeros(size: Size, a: bigint): bigint {
    const high = Math.clz32(Number(a >> 32n))
    const all = high < 32 ? high : 32 + Math.clz32(Number(a & 0xffff_ffffn))
    return BigInt(all - 64 + size * 8)
  }

  trailingZeros(size: Size, a: bigint): bigint {
    return a === 0n ? WIDTH[size] : 63n - this.leadingZeros(8, a & -a)
  }

  byteSwap(size: Size, a: bigint): bigint {
    let swapped = 0n
    for (let n = 0, rest = a; n < size; n++, rest >>= 8n) swapped = (swapped << 8n) | (rest & 0xffn)
    return swapped
  }

  equal(a: bigint, b: bigint): boolean {
    return a === b
  }

  isZero(a: bigint): boolean {
    return a === 0n
  }

  below(a: bigint, b: bigint): boolean {
    return a < b
  }

  less(size: Size, a: bigint, b: bigint): boolean {
    return signed(a, size) < signed(b, size)
  }

  bit(a: bigint, n: number): boolean {
    return (a & ONE_BIT[n]!) !== 0n
  }

  parity(a: bigint): boolean {
    return PARITY[Number(a & 0xffn)] === 1
  }

  always(known: boolean): boolean {
    return known
  }

  no(a: boolean): boolean {
    return !a
  }

  both(a: boolean, b: boolean): boolean {
    return a && b
  }

  either(a: boolean, b: boolean): boolean {
    return a || b
  }

  differ(a: boolean, b: boolean): boolean {
    return a !== b
  }

  asValue(a: boolean): bigint {
    return a ? 1n : 0n
  }

  select(condition: boolean, then: bigint, otherwise: bigint): bigint {
    return condition ? then : otherwise
  }

  when(condition: boolean, then: () => void, otherwise?: () => void): void {
    if (condition) then()
    else otherwise?.()
  }

  raiseIf(condition: boolean, vector: number, errorCode?: number): void {
    if (condition) this.cpu.raise(vector, errorCode)
  }

  flags(rule: FlagRule, size: Size, a: bigint, b: bigint, r: bigint): void {
    const { cpu } = this
    if (rule.cf !== undefined) cpu.cf = rule.cf<bigint, boolean>(this, size, a, b, r)
    if (rule.pf !== undefined) cpu.pf = rule.pf<bigint, boolean>(this, size, a, b, r)
    if (rule.af !== undefined) cpu.af = rule.af<bigint, boolean>(this, size, a, b, r)
    if (rule.zf !== undefined) cpu.zf = rule.zf<bigint, boolean>(this, size, a, b, r)
    if (rule.sf !== undefined) cpu.sf = rule.sf<bigint, boolean>(this, size, a, b, r)
    if (rule.of !== undefined) cpu.of = rule.of<bigint, boolean>(this, size, a, b, r)
  }

  flag(name: Flag): boolean {
    return this.cpu[name]
  }

  setFlag(name: Flag, to: boolean): void {
    this.cpu[name] = to
  }

  holds(cc: number): boolean {
    const { cpu } = this
    return this.#pair(cpu, cc >> 1) !== ((cc & 1) === 1)
  }

  #pair(cpu: Cpu, which: number): boolean {
    switch (which) {
      case 0:
        return cpu.of
      case 1:
        return cpu.cf
      case 2:
        return cpu.zf
      case 3:
        return cpu.cf || cpu.zf
      case 4:
        return cpu.sf
      case 5:
        return cpu.pf
      case 6:
        return cpu.sf !== cpu.of
      default:
        return cpu.zf || cpu.sf !== cpu.of
    }
  }

  next(size: Size): bigint {
    return wrap(this.cpu.rip + BigInt(this.insn.length), size)
  }

  branch(to: Rel, size: Size): void {
    this.jump(wrap(this.cpu.rip + BigInt(this.insn.length) + to.disp, size), size)
  }

  jump(to: bigint, _size: Size): void {
    checkTarget(this.cpu, to)
    this.cpu.next = to
  }

  repeat(i: Insn, body: () => boolean): void {
    if (i.rep === '') {
      body()
      return
    }
    const { cpu } = this
    const { gpr } = cpu
    const width = i.addressSize * 8
    const oneStep = (cpu.rflags & TF) !== 0n
    let left = BigInt.asUintN(width, gpr[1]!)
    if (left === 0n) return
    for (let n = 0; ; n++) {
      const goOn = body()
      left--
      gpr[1] = i.addressSize === 2 ? (gpr[1]! & ~0xffffn) | left : left
      if (left === 0n || !goOn) return
      if (oneStep || n === REPEATS || cpu.met !== 0) {
        cpu.next = cpu.rip
        return
      }
    }
  }

  call(name: CallName, a = 0n, b = 0n, c = 0n): bigint {
    const value = calls[name](this.cpu, a, b, c)
    return typeof value === 'bigint' ? value : 0n
  }
}

const ONE_BIT = Array.from({ length: 64 }, (_, n) => (1n << BigInt(n)) & ALL)

/** Rows of the table whose meaning is not written yet, by their keys: they raise #UD, and CPUID must not show them. */
export const missing = (): string[] => [
  ...new Set(table.map(row => row.semantics).filter(key => !Object.hasOwn(semantics, key))),
]

/** What is not there is an invalid opcode. */
const invalid: Semantics = t => t.raiseIf(t.always(true), 6)
/** By number of the row. */
const meanings: (Semantics | undefined)[] = []
const meaning = (row: Row): Semantics => {
  const found = Object.hasOwn(semantics, row.semantics) ? semantics[row.semantics] : undefined
  const known = found ?? invalid
  meanings[row.number] = known
  return known
}

let tier: Interpreter | undefined

/** The tier of plain values, for whoever has something to work out: the instruction is no matter then. */
export const evaluate = (cpu: Cpu): Tier<bigint, boolean> => {
  reader ??= new Interpreter(cpu, undefined as never)
  reader.cpu = cpu
  return reader
}
let reader: Interpreter | undefined

/** The CPU is closed: nothing of it is kept. */
export const forget = (cpu: Cpu): void => {
  if (tier?.cpu === cpu) tier = undefined
  if (reader?.cpu === cpu) reader = undefined
}

/**
 * Executes one decoded instruction: `cpu.rip` is at it and `cpu.next` behind it. Throws `Fault` or `Leave` with the
 * state as before the instruction, or as after the last whole iteration of a string instruction.
 */
export const execute = (cpu: Cpu, insn: Insn): void => {
  tier ??= new Interpreter(cpu, insn)
  tier.cpu = cpu
  tier.insn = insn
  const known = meanings[insn.row.number] ?? meaning(insn.row)
  known(tier, insn)
}
