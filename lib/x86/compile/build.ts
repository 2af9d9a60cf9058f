/**
 * The compiler's reading of the semantics: one instruction becomes what it does to memory, in order, and then the new
 * registers and flags, which all appear at once when nothing can fault any more.
 */
import type { Size } from '#bits'
import type { CallName } from '../calls.ts'
import type { FlagRule } from '../flags.ts'
import type { Imm, Insn, Mem, Operand, Reg, Rel, Seg } from '../insn.ts'
import type { PackedName } from '../packed.ts'
import { semantics } from '../semantics/index.ts'
import { STATE } from '../state.ts'
import type { Flag, Tier } from '../tier.ts'
import type { Context } from './context.ts'
import { buildDivide } from './dividebuild.ts'
import { canonical, MemoryBuilder } from './memorybuild.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import * as simd from './simd.ts'
import { buildRepeat } from './stringbuild.ts'
import {
  type Control,
  type Effect,
  FIRST_VEC,
  FLAGS,
  type FlagChange,
  flagBit,
  isTorn,
  LOCAL,
  type Unit,
  Unsupported,
  unsupported,
} from './unit.ts'
import { buildBlend, buildFloat, buildPacked, buildSigns, type VectorDoors } from './vectorbuild.ts'
import { type Doors, isStored, x87Call } from './x87build.ts'

const registerNodes = Array.from({ length: 16 }, (_, i) => n.local(LOCAL.GPR + i, 64, 64))
const vectorNodes = Array.from({ length: 32 }, (_, i) => n.local(FIRST_VEC + i, 128, 128))
const pageBase = n.local(LOCAL.BASE, 64, 64)

/** Flags that a condition code reads, by its upper three bits. */
const CC_READS = [['of'], ['cf'], ['zf'], ['cf', 'zf'], ['sf'], ['pf'], ['sf', 'of'], ['zf', 'sf', 'of']].map(flags =>
  flags.reduce((bits, flag) => bits | flagBit(flag as Flag), 0),
)
/**
 * Another way to name what an instruction's bytes name: where it is given, registers and immediates are not those of the
 * instruction itself but of whatever is executed. See cold/slots.ts.
 */
export interface Operands {
  read(from: Reg): Node
  write(to: Reg, value: Node, condition: Node | undefined): void
  immediate(from: Imm): Node
  address(of: Mem): Node
  /** Offset in the segment of the following instruction, and of the target of a branch out of the page. */
  next(): Node
  target(): Node
}

/** Calls that do nothing in a context where they are allowed. */
const NOTHING: readonly CallName[] = ['pause']

export class Builder implements Tier<Node, Node> {
  readonly stackSize: 2 | 4 | 8
  readonly #doors: Doors & VectorDoors
  readonly #context: Context
  #insn: Insn
  #offset = 0
  #effects: Effect[] = []
  #last: Effect[] = []
  #registers = new Map<number, Node>()
  #vectors = new Map<number, Node>()
  #flags: FlagChange | undefined
  #single = new Map<Flag, Node>()
  #control: Control | undefined
  #pending: Node[] = []
  #reads = 0
  #uses = 0
  #vectorUses = 0
  /** Inside `when`: the condition. */
  #condition: Node | undefined
  readonly #operands: Operands | undefined
  readonly #memory: MemoryBuilder
  /** The addresses that were asked for. */
  readonly #addressOf = new Map<Mem, Node>()

  constructor(context: Context, insn: Insn, operands?: Operands) {
    this.#context = context
    this.#operands = operands
    this.stackSize = context.stackSize
    this.#doors = {
      context,
      effect: effect => this.#effect(effect),
      last: effect => this.#last.push(effect),
      setFlag: (flag, to) => this.setFlag(flag, to),
      result: (name, args, width) => this.#result(name, args, width),
      here: () => n.add(8, pageBase, n.number(this.#offset)),
    }
    this.#memory = new MemoryBuilder({
      context,
      effect: effect => this.#effect(effect),
      anyhow: effect => this.#effects.push(effect),
      condition: () => this.#condition,
      isForSlots: operands !== undefined,
    })
    this.#insn = insn
  }

  /** The unit of an instruction at `offset` of its page; `undefined` where the interpreter has to take it. */
  build(insn: Insn, offset: number): Unit | undefined {
    const { semantics: key, feature } = insn.row
    if (!Object.hasOwn(semantics, key)) return undefined
    if (feature !== '' && !this.#context.features.has(feature)) return undefined
    this.#insn = insn
    this.#offset = offset
    this.#effects = []
    this.#last = []
    this.#registers = new Map()
    this.#vectors = new Map()
    this.#flags = undefined
    this.#single = new Map()
    this.#control = undefined
    this.#pending = []
    this.#reads = 0
    this.#uses = 0
    this.#vectorUses = 0
    this.#condition = undefined
    this.#memory.begin()
    this.#addressOf.clear()
    try {
      semantics[key]!<Node, Node>(this, insn)
    } catch (error) {
      if (error instanceof Unsupported) return undefined
      throw error
    }
    this.#effects.push(...this.#last)
    if (isTorn(this.#effects)) return undefined
    return {
      insn,
      offset,
      effects: this.#effects,
      registers: this.#registers,
      vectors: this.#vectors,
      flags: this.#flags,
      single: this.#single,
      control: this.#control,
      pending: this.#pending,
      reads: this.#reads,
      uses: this.#uses,
      vectorUses: this.#vectorUses,
      isCall: key === 'call',
    }
  }

  #effect(effect: Effect): void {
    if (this.#condition !== undefined) throw unsupported
    this.#effects.push(effect)
  }

  constant(value: bigint): Node {
    return n.constant(value)
  }

  // Operands and memory

  read(from: Operand): Node {
    switch (from.kind) {
      case 'reg':
        return this.#readRegister(from)
      case 'mem':
        return this.load(from.seg, this.address(from), from.size as Size)
      case 'imm':
        return this.#operands?.immediate(from) ?? n.constant(from.value)
      case 'rel':
      case 'far':
        throw unsupported
    }
  }

  write(to: Operand, value: Node): void {
    if (to.kind === 'reg') this.#writeRegister(to, value)
    else if (to.kind === 'mem') this.store(to.seg, this.address(to), to.size as Size, value)
    else throw unsupported
  }

  update(operand: Operand, change: (old: Node) => Node): void {
    if (operand.kind === 'mem') this.modify(operand.seg, this.address(operand), operand.size as Size, change)
    else this.write(operand, change(this.read(operand)))
  }

  #gpr(index: number): Node {
    const written = this.#registers.get(index)
    if (written !== undefined) return written
    this.#uses |= 1 << index
    return registerNodes[index]!
  }

  #vector(index: number): Node {
    const written = this.#vectors.get(index)
    if (written !== undefined) return written
    this.#vectorUses |= 1 << index
    return vectorNodes[index]!
  }

  #readRegister(r: Reg): Node {
    if (this.#operands !== undefined) return this.#operands.read(r)
    if (r.file === 'gpr') return n.truncate(this.#gpr(r.index), r.size as Size)
    if (r.file === 'high') return n.truncate(n.shr(8, this.#gpr(r.index), n.number(8)), 1)
    if (r.file === 'vec') {
      const low = this.#vector(r.index)
      return r.size === (32 as number) ? simd.pair(low, this.#vector(r.index + 16)) : low
    }
    if (r.file === 'mm') return n.make('cell', 64, 64, undefined, undefined, undefined, STATE.X87 + r.index * 10)
    throw unsupported
  }

  #writeRegister(r: Reg, value: Node): void {
    if (this.#operands !== undefined) {
      this.#operands.write(r, value, this.#condition)
      return
    }
    if (r.file === 'vec' && this.#condition !== undefined) {
      this.#vectorIf(this.#condition, r.index, simd.half(value, 0))
      if (this.#insn.vectorLength !== 0) this.#vectorIf(this.#condition, r.index + 16, simd.half(value, 1))
      return
    }
    if (r.file === 'vec') {
      this.#vectors.set(r.index, this.#loadedVector(value) ?? simd.half(value, 0))
      if (this.#insn.vectorLength !== 0) this.#vectors.set(r.index + 16, simd.half(value, 1))
      return
    }
    if (r.file === 'mm' && this.#condition === undefined) {
      // When nothing can leave any more; exponent and sign become ones.
      const at = STATE.X87 + r.index * 10
      this.#last.push({ kind: 'frame', at, size: 8, value: simd.lane(value, 0, 8) })
      this.#last.push({ kind: 'frame', at: at + 8, size: 2, value: n.number(0xffff) })
      return
    }
    let whole: Node
    if (r.file === 'gpr' && r.size >= 4) whole = n.to64(value)
    else if (r.file === 'gpr' || r.file === 'high') {
      const [hole, shift] = r.file === 'high' ? [0xff00n, 8] : r.size === 2 ? [0xffffn, 0] : [0xffn, 0]
      const kept = n.and(this.#gpr(r.index), n.constant(0xffff_ffff_ffff_ffffn ^ hole))
      whole = n.or(kept, n.to64(n.shl(4, value, n.number(shift))))
    } else throw unsupported
    this.#setGpr(r.index, n.to64(whole))
  }

  /** What was just loaded to be all there is in a vector register is loaded as a vector. */
  #loadedVector(value: Node): Node | undefined {
    const last = this.#effects.at(-1)
    if (last?.kind !== 'load' || last.to !== value || last.size < 4 || last.size > 8) return undefined
    const to = n.temp(128, 128)
    this.#effects[this.#effects.length - 1] = { ...last, to }
    return to
  }

  #vectorIf(condition: Node, index: number, value: Node): void {
    this.#vectors.set(index, n.make('select', 128, 128, value, this.#vector(index), condition))
  }

  #setGpr(index: number, whole: Node): void {
    const condition = this.#condition
    this.#registers.set(index, condition === undefined ? whole : n.to64(n.select(condition, whole, this.#gpr(index))))
  }

  address(m: Mem): Node {
    if (this.#operands !== undefined) return this.#operands.address(m)
    const known = !this.#memory.isSettled || this.#registers.size > 0 ? undefined : this.#addressOf.get(m)
    if (known !== undefined) return known
    const made = this.#made(m)
    this.#addressOf.set(m, made)
    return made
  }

  #made(m: Mem): Node {
    let at = n.constant(BigInt.asUintN(64, m.disp))
    if (m.ripRelative) {
      const end = BigInt(this.#offset + this.#insn.length) + m.disp
      at = n.add(8, pageBase, n.constant(BigInt.asUintN(64, end)))
    }
    if (m.index >= 0) {
      const shift = m.scale === 8 ? 3 : m.scale === 4 ? 2 : m.scale === 2 ? 1 : 0
      const index = n.shl(8, this.#gpr(m.index), n.number(shift))
      at = m.base >= 0 ? n.add(8, n.add(8, this.#gpr(m.base), index), at) : n.add(8, index, at)
    } else if (m.base >= 0) at = n.add(8, this.#gpr(m.base), at)
    return n.truncate(at, m.addressSize)
  }

  load(seg: Seg, offset: Node, size: Size): Node {
    return this.#memory.load(seg, offset, size)
  }

  store(seg: Seg, offset: Node, size: Size, value: Node): void {
    this.#memory.store(seg, offset, size, value)
  }

  modify(seg: Seg, offset: Node, size: Size, change: (old: Node) => Node): void {
    this.#memory.modify(seg, offset, size, change)
  }

  settle(seg: Seg, offset: Node, size: number): void {
    this.#memory.settle(seg, offset, size)
  }

  // Arithmetic

  readonly add = n.add
  readonly sub = n.sub
  readonly mul = n.mul
  readonly mulHigh = n.mulHigh
  readonly and = n.and
  readonly or = n.or
  readonly xor = n.xor
  readonly not = n.not
  readonly shl = n.shl
  readonly shr = n.shr
  readonly sar = n.sar
  readonly signExtend = n.signExtend
  readonly truncate = n.truncate
  readonly popcount = n.popcount
  readonly leadingZeros = n.leadingZeros
  readonly trailingZeros = n.trailingZeros
  readonly byteSwap = n.byteSwap

  divide(size: Size, high: Node, low: Node, by: Node, signed: boolean): { quotient: Node; remainder: Node } {
    return buildDivide(size, high, low, by, signed, this.#doors.effect)
  }

  modulo(value: Node, by: number): Node {
    return n.truncate(n.divide('rem_u', value, n.number(by)), 1)
  }

  // Conditions

  readonly equal = n.equal
  readonly isZero = n.isZero
  readonly below = n.below
  readonly less = n.less
  readonly bit = n.bit
  readonly parity = n.parity
  readonly no = n.no
  readonly both = n.both
  readonly either = n.either
  readonly differ = n.differ
  readonly select = n.select
  always(known: boolean): Node {
    return n.number(known ? 1 : 0)
  }
  asValue(a: Node): Node {
    return a
  }

  when(condition: Node, then: () => void, otherwise?: () => void): void {
    if (n.isConst(condition)) {
      if (condition.value === 1n) then()
      else otherwise?.()
      return
    }
    if (this.#condition !== undefined) throw unsupported
    this.#condition = condition
    then()
    if (otherwise !== undefined) {
      this.#condition = n.no(condition)
      otherwise()
    }
    this.#condition = undefined
  }

  raiseIf(condition: Node, _vector: number, _errorCode?: number): void {
    if (n.isConst(condition)) {
      if (condition.value === 1n) throw unsupported
      return
    }
    this.#effect({ kind: 'leaveIf', condition })
  }

  // Flags

  flags(rule: FlagRule, size: Size, a: Node, b: Node, r: Node): void {
    if (this.#flags !== undefined || this.#single.size !== 0) throw unsupported
    this.#flags = { rule, size, a, b, r, condition: this.#condition }
  }

  flag(name: Flag): Node {
    if (name === 'df') return n.frameByte(STATE.DF)
    const changed = this.#flags
    if (changed !== undefined && changed.condition === undefined && this.#single.size === 0) {
      const { rule, size, a, b, r } = changed
      if (rule[name] !== undefined) return n.to32(rule[name]<Node, Node>(this, size, a, b, r))
    }
    if (changed !== undefined || this.#single.size !== 0) throw unsupported
    return this.#waiting('flag', FLAGS.indexOf(name), flagBit(name))
  }

  #waiting(op: 'flag' | 'cc', which: number, reads: number): Node {
    this.#reads |= reads
    const node = n.make(op, 32, 1, undefined, undefined, undefined, which)
    this.#pending.push(node)
    return node
  }

  setFlag(name: Flag, to: Node): void {
    if (this.#condition !== undefined || this.#flags?.condition !== undefined) throw unsupported
    this.#single.set(name, to)
  }

  holds(cc: number): Node {
    if (this.#flags !== undefined || this.#single.size !== 0) throw unsupported
    return this.#waiting('cc', cc, CC_READS[cc >> 1]!)
  }

  // Control flow

  next(size: Size): Node {
    if (this.#operands !== undefined) return n.truncate(this.#operands.next(), size)
    return n.truncate(n.add(8, pageBase, n.number(this.#offset + this.#insn.length)), size)
  }

  branch(to: Rel, size: Size): void {
    if (this.#control !== undefined || size < (this.#context.mode === 64 ? 8 : 4)) throw unsupported
    const offset = this.#offset + this.#insn.length + Number(to.disp)
    this.#control = { kind: 'goto', offset, condition: this.#condition }
    if ((offset < 0 || offset > 4095) && this.#context.mode === 64)
      this.#effects.push({ kind: 'leaveIf', condition: n.no(canonical(this.#away(offset))) })
  }

  /** The offset in the segment of what is outside the page. */
  #away(offset: number): Node {
    return this.#operands?.target() ?? n.add(8, pageBase, n.constant(BigInt.asUintN(64, BigInt(offset))))
  }

  jump(to: Node, size: Size): void {
    if (this.#control !== undefined || this.#condition !== undefined) throw unsupported
    if (size < (this.#context.mode === 64 ? 8 : 4)) throw unsupported
    if (this.#context.mode === 64) this.#effect({ kind: 'leaveIf', condition: n.no(canonical(to)) })
    this.#control = { kind: 'jump', target: n.to64(to), condition: undefined }
  }

  repeat(i: Insn, body: () => Node): void {
    if (i.rep === '') body()
    else this.#repeat(i)
  }

  #repeat(i: Insn): void {
    const { offset, effect } = { offset: this.#offset, effect: this.#doors.effect }
    const { registers, flags, control } = buildRepeat(i, { offset, effect, general: r => this.#gpr(r) })
    for (const r of registers) this.#registers.set(r, this.#gpr(r))
    if (flags !== undefined) this.#flags = flags
    if (control !== undefined) this.#control = control
  }

  // SIMD

  packed(name: PackedName, bytes: number, a: Node, b: Node, imm: number): Node {
    return buildPacked(name, bytes, a, b, imm, this.#doors)
  }
  /** The result of a function that cannot fail. */
  #result(name: string, args: readonly Node[], width: 32 | 64 | 128 | 'f32' | 'f64'): Node {
    if (this.#operands !== undefined) throw unsupported
    const to = n.temp(width, width === 'f32' ? 32 : width === 'f64' ? 64 : width)
    const whole = args.map(arg => (arg.width === 'pair' ? simd.to128(arg) : arg))
    this.#effect({ kind: 'unit', name, args: whole, fails: false, to })
    return to
  }
  float(name: string, bytes: number, a: Node, b: Node, imm: number, addend?: Node): Node {
    return buildFloat(name, bytes, a, b, imm, addend, this.#doors)
  }
  readonly signs = buildSigns
  readonly blend = buildBlend
  lane(a: Node, at: number, size: number): Node {
    // Of what FST stores: itself, and the mark that it is to be stored.
    if (isStored(a)) return at === 0 ? a : n.number(1)
    return simd.lane(a, at, size)
  }
  readonly withLane = simd.withLane

  call(name: CallName, a?: Node, b?: Node, c?: Node): Node {
    if (NOTHING.includes(name)) return n.number(0)
    if (name === 'requireSse' && this.#context.sse) return n.number(0)
    if (name === 'requireAvx' && this.#context.avx) return n.number(0)
    if (name === 'crc32' && a !== undefined && b !== undefined && c !== undefined && n.isConst(c)) {
      const to = n.temp(32, 32)
      this.#effect({ kind: 'crc', crc: n.to64(a), data: n.to64(b), bytes: Number(c.value), to })
      return to
    }
    const made = this.#operands === undefined ? x87Call(name, a, b, c, this.#doors) : undefined
    if (made !== undefined) return made
    if ((name === 'pext' || name === 'pdep') && a !== undefined && b !== undefined)
      return this.#result(name, [n.to64(a), n.to64(b)], 64)
    if (name === 'stmxcsr') return n.frameWord(STATE.MXCSR)
    if (
      name === 'requireAligned' &&
      a !== undefined &&
      b !== undefined &&
      c !== undefined &&
      n.isConst(a) &&
      n.isConst(c)
    ) {
      const linear = this.#memory.linear(Number(a.value) as Seg, b)
      this.#effect({ kind: 'leaveIf', condition: n.no(n.isZero(n.and(linear, n.constant(c.value - 1n)))) })
      return n.number(0)
    }
    throw unsupported
  }
}
