/** From operations with their registers to machine code. */
import { UCALL_ABORT } from '#abi'
import { type Size, signed } from '#bits'
import { type Allocation, ARGUMENTS, allocate, CALLEE_SAVED, R10, R11, RAX, RSP } from './allocate.ts'
import { emitDivide, emitExtend, emitShift, forced } from './arithmetic.ts'
import { assembled } from './assembled.ts'
import type { Code } from './code.ts'
import { type Address, type Fn, NOT, type Op, type Operand, SWAPPED, type Width } from './ir.ts'
import { imm, isShort, mem, Places, reg } from './places.ts'
import { simplify } from './simplify.ts'

/** What a function's code refers to outside itself. */
export type Outside = {
  /** Label of a function of the image. */
  readonly fn: (number: number) => number
  /** Addresses of the runtime's entries: ucall with its arguments on the stack, and the bare one. */
  readonly ucall: bigint
  readonly bare: bigint
}

/** Appends `fn`, whose first byte gets `label`. */
export const emit = (fn: Fn, code: Code, label: number, outside: Outside): void => {
  simplify(fn)
  new Emitter(fn, allocate(fn), code, outside).emit(label)
}

class Emitter {
  readonly #fn: Fn
  readonly #at: Allocation
  readonly #code: Code
  readonly #outside: Outside
  readonly #labels: number[]
  readonly #cold: (() => void)[] = []
  readonly #saved: number[]
  readonly #frame: number
  readonly #places: Places

  constructor(fn: Fn, at: Allocation, code: Code, outside: Outside) {
    this.#fn = fn
    this.#at = at
    this.#code = code
    this.#places = new Places(at, code)
    this.#outside = outside
    this.#labels = Array.from({ length: fn.labels }, () => code.label())
    const fixed = fn.ops.reduce((mask, op) => (op.op === 'fixed' ? mask | op.clobbers : mask), at.used)
    this.#saved = fn.entry ? [] : CALLEE_SAVED.filter(r => (fixed & (1 << r)) !== 0)
    // RSP is 8 modulo 16 at the entry and has to be 0 modulo 16 at a call, which an asm block may make as well.
    const odd = (this.#saved.length + at.slots + 1) % 2
    const calls = fn.ops.some(op => op.op === 'call' || (op.op === 'fixed' && 'text' in op.code))
    this.#frame = (at.slots + (calls ? odd : 0)) * 8
  }

  emit(label: number): void {
    const code = this.#code
    code.place(label)
    for (const r of this.#saved) code.op('PUSH', reg(r, 8))
    if (this.#frame > 0) code.op('SUB', reg(RSP, 8), imm(BigInt(this.#frame), 8))
    for (const op of this.#fn.ops) {
      this.#mark(op, op.op === 'ucall')
      this.#op(op)
    }
    for (const cold of this.#cold) cold()
  }

  /** From here on the code is `op`'s. */
  #mark(op: Op, isReport = false): void {
    const place = this.#fn.places?.get(op)
    if (place !== undefined) this.#code.mark(place, isReport)
  }

  // Operations.

  #op(op: Op): void {
    const code = this.#code
    switch (op.op) {
      case 'move':
        this.#move(op.dst, op.a)
        return
      case 'binary':
        this.#binary(op)
        return
      case 'shift':
        emitShift(code, this.#places, op)
        return
      case 'divide':
        emitDivide(code, this.#places, op)
        return
      case 'unary': {
        const to = this.#places.target(op.dst, R11)
        this.#places.into(to, op.a)
        code.op(op.name === 'neg' ? 'NEG' : 'NOT', reg(to, op.size))
        this.#places.store(op.dst, to)
        return
      }
      case 'extend':
        emitExtend(code, this.#places, op)
        return
      case 'set':
        this.#set(op)
        return
      case 'branch':
        code.jcc(this.#compare(op.cc, op.size, op.a, op.b), this.#labels[op.label]!)
        return
      case 'jump':
        code.jump(this.#labels[op.label]!)
        return
      case 'table':
        this.#table(op)
        return
      case 'label':
        code.place(this.#labels[op.label]!)
        return
      case 'loop':
      case 'endloop':
      case 'nop':
        return
      case 'load': {
        const to = this.#places.target(op.dst, R11)
        const from = this.#places.memory(op.address, op.size)
        if (op.size >= 4) code.op('MOV', reg(to, op.size), from)
        else code.op(op.signed ? 'MOVSX' : 'MOVZX', reg(to, 4), from)
        this.#places.store(op.dst, to)
        return
      }
      case 'store':
        this.#toMemory('MOV', op.size, op.address, op.a, false)
        return
      case 'modify':
        this.#toMemory(op.name.toUpperCase(), op.size, op.address, op.a, op.lock)
        return
      case 'exchange': {
        const to = this.#places.memory(op.address, op.size)
        if (to.base === R10 || to.index === R10) this.#code.op('LEA', reg(R10, 8), { ...to, size: 0 })
        this.#places.into(R11, op.a)
        const place = to.base === R10 || to.index === R10 ? mem(op.size, R10, 0n) : to
        if (op.name === 'xadd') code.locked('XADD', place, reg(R11, op.size))
        else code.op('XCHG', place, reg(R11, op.size))
        if (op.size < 4) code.op('MOVZX', reg(R11, 4), reg(R11, op.size))
        else if (op.size === 4) code.op('MOV', reg(R11, 4), reg(R11, 4))
        this.#places.store(op.dst, R11)
        return
      }
      case 'address': {
        const to = this.#places.target(op.dst, R11)
        code.op('LEA', reg(to, 8), this.#places.memory(op.address, 0))
        this.#places.store(op.dst, to)
        return
      }
      case 'call':
        this.#call(op)
        return
      case 'parameters':
        this.#places.results(op.outs.map((v, i) => [ARGUMENTS[i]!, v] as const))
        return
      case 'return':
        if (op.a !== undefined) this.#places.into(RAX, op.a)
        if (this.#frame > 0) code.op('ADD', reg(RSP, 8), imm(BigInt(this.#frame), 8))
        for (const r of this.#saved.toReversed()) code.op('POP', reg(r, 8))
        code.op('RET')
        return
      case 'fixed':
        this.#places.inputs(op.ins)
        code.raw('bytes' in op.code ? op.code.bytes : assembled(op.code.text))
        this.#places.results(op.outs)
        return
      case 'check':
        this.#check(op)
        return
      case 'ucall':
        this.#ucall(op.command, op.args, op.resume)
        return
      case 'function': {
        const to = this.#places.target(op.dst, R11)
        code.address(to, this.#outside.fn(op.fn))
        this.#places.store(op.dst, to)
        return
      }
      case 'where': {
        const to = this.#places.target(op.dst, R11)
        code.address(to, this.#labels[op.label]!)
        this.#places.store(op.dst, to)
        return
      }
      case 'bare':
        code.call(this.#outside.bare)
        return
    }
  }

  #move(dst: number, a: Operand): void {
    const place = this.#at.place[dst]!
    if (place >= 0) this.#places.into(place, a)
    else if (typeof a === 'bigint' && isShort(a, 8)) this.#code.op('MOV', this.#places.slot(dst, 8), imm(a, 8))
    else this.#places.store(dst, this.#places.in(a, R11))
  }

  #binary(op: Extract<Op, { op: 'binary' }>): void {
    const code = this.#code
    const { name, size } = op
    let { a, b } = op
    const commutes = name !== 'sub'
    if (commutes && typeof a === 'bigint') [a, b] = [b, a]
    const place = this.#at.place[op.dst]!
    const [ra, rb] = [this.#places.register(a), this.#places.register(b)]
    // In its slot, where the first operand is the same one.
    if (place < 0 && name !== 'mul' && typeof a === 'number' && this.#at.place[a] === place) {
      let source = this.#places.source(b, size, R11)
      if (source.kind === 'mem') {
        code.op('MOV', reg(R11, size), source)
        source = reg(R11, size)
      }
      // Of 4 bytes too: the upper half of a slot is zero, as that of a register is.
      code.op(name.toUpperCase(), this.#places.slot(op.dst, size), source)
      return
    }
    if (name === 'mul') {
      const to = this.#places.target(op.dst, R11)
      if (typeof b === 'bigint' && isShort(b, size) && typeof a === 'number') {
        code.op('IMUL', reg(to, size), ra >= 0 ? reg(ra, size) : this.#places.slot(a, size), imm(b, size))
      } else if (to === rb && ra !== rb) code.op('IMUL', reg(to, size), this.#places.source(a, size, R10))
      else {
        const source = this.#places.source(b, size, R10)
        this.#places.into(to, a)
        code.op('IMUL', reg(to, size), source.kind === 'imm' ? forced(this.#places, b, size) : source)
      }
      this.#places.store(op.dst, to)
      return
    }
    let to = this.#places.target(op.dst, R11)
    // Three operands by LEA, where no move would be saved.
    if (place >= 0 && to !== ra && to !== rb && ra >= 0 && size === 8 && name === 'add') {
      const constant = typeof b === 'bigint' && isShort(b, 8) ? signed(b, 8) : undefined
      if (rb >= 0 || constant !== undefined) {
        code.op('LEA', reg(to, 8), constant === undefined ? mem(0, ra, 0n, rb) : mem(0, ra, constant))
        return
      }
    }
    if (place >= 0 && to !== ra && ra >= 0 && size === 8 && name === 'sub' && typeof b === 'bigint') {
      const negated = BigInt.asUintN(64, -b)
      if (isShort(negated, 8)) {
        code.op('LEA', reg(to, 8), mem(0, ra, signed(negated, 8)))
        return
      }
    }
    if (to === rb && to !== ra) {
      if (commutes) {
        code.op(name.toUpperCase(), reg(to, size), this.#places.source(a, size, R11))
        this.#places.store(op.dst, to)
        return
      }
      to = R11
    }
    const source = this.#places.source(b, size, R10)
    this.#places.into(to, a)
    code.op(name.toUpperCase(), reg(to, size), source)
    this.#places.store(op.dst, to)
  }

  /** Compares, and gives the code under which `cc` holds: the operands may have to change sides. */
  #compare(
    cc: Op extends infer O ? (O extends { cc: infer C } ? C : never) : never,
    size: Width,
    a: Operand,
    b: Operand,
  ) {
    const code = this.#code
    if (typeof a === 'bigint' && typeof b === 'number') return this.#compareOrdered(SWAPPED[cc], size, b, a)
    if (typeof a === 'bigint') {
      code.op('CMP', reg(this.#places.in(a, R10), size), this.#places.source(b, size, R11))
      return cc
    }
    return this.#compareOrdered(cc, size, a, b)
  }
  #compareOrdered<C>(cc: C, size: Width, a: number, b: Operand): C {
    const code = this.#code
    const ra = this.#places.register(a)
    if (b === 0n && ra >= 0) {
      code.op('TEST', reg(ra, size), reg(ra, size))
      return cc
    }
    const source = this.#places.source(b, size, R11)
    if (ra >= 0) code.op('CMP', reg(ra, size), source)
    else if (source.kind === 'mem') code.op('CMP', reg(this.#places.in(a, R10), size), source)
    else code.op('CMP', this.#places.slot(a, size), source)
    return cc
  }

  #set(op: Extract<Op, { op: 'set' }>): void {
    const code = this.#code
    const to = this.#places.target(op.dst, R10)
    const isApart = to !== this.#places.register(op.a) && to !== this.#places.register(op.b) && to !== R10
    if (isApart) code.op('XOR', reg(to, 4), reg(to, 4))
    const cc = this.#compare(op.cc, op.size, op.a, op.b)
    code.op(`SET${cc}`, reg(to, 1))
    if (!isApart) code.op('MOVZX', reg(to, 4), reg(to, 1))
    this.#places.store(op.dst, to)
  }

  #toMemory(mnemonic: string, size: Size, address: Address, a: Operand, lock: boolean): void {
    const code = this.#code
    const to = this.#places.memory(address, size)
    let source = this.#places.source(a, size, R11)
    if (source.kind === 'mem') {
      this.#places.into(R11, a)
      source = reg(R11, size)
    }
    if (lock) code.locked(mnemonic, to, source)
    else code.op(mnemonic, to, source)
  }

  // Calls.

  #call(op: Extract<Op, { op: 'call' }>): void {
    const code = this.#code
    const extra = op.args.slice(ARGUMENTS.length)
    const padding = extra.length % 2
    if (padding > 0) {
      code.op('SUB', reg(RSP, 8), imm(8n, 8))
      this.#places.pushed += 8
    }
    for (const a of extra.toReversed()) this.#places.push(a)
    const target = op.target
    const byRegister = typeof target !== 'object' && typeof target !== 'bigint'
    const ins: [number, Operand][] = op.args.slice(0, ARGUMENTS.length).map((a, i) => [ARGUMENTS[i]!, a])
    if (byRegister) ins.push([R11, target])
    this.#places.inputs(ins)
    if (typeof target === 'object') code.call(this.#outside.fn(target.fn))
    else if (typeof target === 'bigint') code.call(target)
    else code.op('CALL', reg(R11, 8))
    const bytes = 8 * (extra.length + padding)
    if (bytes > 0) code.op('ADD', reg(RSP, 8), imm(BigInt(bytes), 8))
    this.#places.pushed -= bytes
    if (op.dst >= 0) this.#places.store(op.dst, RAX)
  }

  /** The runtime's own convention: command and count, then arguments, all on the stack; every register is kept. */
  #ucall(command: number, args: readonly Operand[], resume: boolean): void {
    const code = this.#code
    const again = code.label()
    code.place(again)
    for (let n = args.length - 1; n >= 0; n--) this.#places.push(args[n]!)
    this.#places.push(BigInt(command | (args.length << 8)))
    code.call(this.#outside.ucall)
    const bytes = 8 * (args.length + 1)
    code.op('ADD', reg(RSP, 8), imm(BigInt(bytes), 8))
    this.#places.pushed -= bytes
    // A host that runs a guest on after an abort hears the same again.
    if (!resume) code.jump(again)
  }

  #table({ a, labels }: Extract<Op, { op: 'table' }>): void {
    const code = this.#code
    const table = code.label()
    code.jumpBy(this.#places.in(a, R10), table)
    this.#cold.push(() => {
      code.place(table)
      for (const label of labels) code.pointer(this.#labels[label]!)
    })
  }

  #check(op: Extract<Op, { op: 'check' }>): void {
    const code = this.#code
    const cold = code.label()
    const on = code.label()
    code.jcc(NOT[this.#compare(op.cc, op.size, op.a, op.b)], cold)
    code.place(on)
    this.#cold.push(() => {
      code.place(cold)
      this.#mark(op, true)
      this.#ucall(UCALL_ABORT, [BigInt(op.site), op.a, op.b], op.resume)
      if (op.resume) code.jump(on)
    })
  }
}
