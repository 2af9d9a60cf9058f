/** The language of a guest: each call appends to the function that is being built, and runs when the guest does. */
import { UCALL_ABORT, UCALL_DONE, UCALL_PRINTF, UCALL_SYNC } from '#abi'
import type { Gva, Size } from '#bits'
import { ALL_GPRS, fixed, maskOf, type Tdcalls, tdcallsOf, type Vmcalls, vmcallsOf } from './calls.ts'
import type { Op, Operand } from './ir.ts'
import type { GprName } from './leaves.ts'
import { Otherwise } from './otherwise.ts'
import { ExceptionFrame, Pointer } from './pointer.ts'
import { CC_SIGNED, CC_UNSIGNED, canonical, type Scope, widthOf } from './scope.ts'
import { type Place, placeOf, type Relation, type Site, type SiteKind } from './site.ts'
import {
  type IntType,
  i8,
  i16,
  i32,
  i64,
  type NameOf,
  type TypeName,
  type TypeOrSize,
  typeOf,
  u8,
  u16,
  u32,
  u64,
} from './types.ts'
import { branch, type Condition, GuestValueError, type In, operandIn, Value, Variable } from './value.ts'
import type { Workshop } from './workshop.ts'

/** `seen` against `want`, in this order. */
export type Assertions = {
  readonly [R in Relation]: <T extends TypeName>(seen: Value<T>, want: NoInfer<In<T>>, message?: string) => void
}

export type AsmOptions<O extends GprName> = {
  /** Registers to be set before. */
  readonly in?: { readonly [R in GprName]?: In<'u64'> }
  /** Registers whose values are wanted. */
  readonly out?: readonly O[]
  /** Registers that change beside those of `out`; every one where this is not given. */
  readonly clobbers?: readonly GprName[]
}

/** Values that fit in a ucall beside the site. */
const MOST_VALUES = 6

const TYPED = { u8, u16, u32, u64, i8, i16, i32, i64 } as const

export class GuestBuilder {
  readonly #shop: Workshop
  /** The function that is being built. */
  scope: Scope
  readonly tdcall: Tdcalls
  readonly vmcall: Vmcalls
  /** Stops the test where it does not hold. */
  readonly assert: Assertions
  /** Notes a failure and goes on. */
  readonly expect: Assertions

  constructor(shop: Workshop, scope: Scope) {
    this.#shop = shop
    this.scope = scope
    this.tdcall = tdcallsOf(this)
    this.vmcall = vmcallsOf(this)
    this.assert = this.#assertions('assert')
    this.expect = this.#assertions('expect')
  }

  // Values and variables.

  /** A constant of a type. */
  value<T extends TypeName>(type: IntType<T>, value: bigint | number): Value<T> {
    return new Value(this, type, operandIn(type, value))
  }
  u8 = (value: bigint | number): Value<'u8'> => this.value(TYPED.u8, value)
  u16 = (value: bigint | number): Value<'u16'> => this.value(TYPED.u16, value)
  u32 = (value: bigint | number): Value<'u32'> => this.value(TYPED.u32, value)
  u64 = (value: bigint | number): Value<'u64'> => this.value(TYPED.u64, value)
  i8 = (value: bigint | number): Value<'i8'> => this.value(TYPED.i8, value)
  i16 = (value: bigint | number): Value<'i16'> => this.value(TYPED.i16, value)
  i32 = (value: bigint | number): Value<'i32'> => this.value(TYPED.i32, value)
  i64 = (value: bigint | number): Value<'i64'> => this.value(TYPED.i64, value)

  /** A variable: `g.var(value)` takes the value's type, `g.var(u32, 0)` says it; u64 for a plain constant. */
  var<T extends TypeName>(type: IntType<T>, initial?: In<T>): Variable<T>
  var<T extends TypeName>(initial: Value<T>): Variable<T>
  var(initial?: bigint | number): Variable<'u64'>
  var(first?: IntType | Value | bigint | number, second?: In<TypeName>): Variable {
    const isPlain = first === undefined || typeof first === 'bigint' || typeof first === 'number'
    const type = isPlain ? u64 : first instanceof Value ? first.type : first
    const initial = isPlain || first instanceof Value ? (first ?? 0n) : (second ?? 0n)
    return new Variable(this, type, this.scope.variable(operandIn(type, initial as In<TypeName>)))
  }

  // Memory.

  #address(at: In<'u64'>): Operand {
    return operandIn(u64, at)
  }
  load<T extends TypeOrSize>(at: In<'u64'>, type: T): Value<NameOf<T>> {
    const t = typeOf(type)
    return new Value(this, t, this.scope.load(t, this.scope.address(this.#address(at))))
  }
  store<T extends TypeOrSize>(at: In<'u64'>, type: T, value: In<NameOf<T>>): void {
    const t = typeOf(type)
    this.scope.store(t.size, this.scope.address(this.#address(at)), operandIn(t, value))
  }
  /** LOCK XADD: adds, and gives what was there. */
  fetchAdd<T extends TypeOrSize>(at: In<'u64'>, type: T, value: In<NameOf<T>>): Value<NameOf<T>> {
    return this.#exchange('xadd', at, type, value)
  }
  /** XCHG: stores, and gives what was there. */
  exchange<T extends TypeOrSize>(at: In<'u64'>, type: T, value: In<NameOf<T>>): Value<NameOf<T>> {
    return this.#exchange('xchg', at, type, value)
  }
  #exchange<T extends TypeOrSize>(
    name: 'xadd' | 'xchg',
    at: In<'u64'>,
    type: T,
    value: In<NameOf<T>>,
  ): Value<NameOf<T>> {
    const t = typeOf(type)
    const dst = this.scope.vreg()
    const address = this.scope.address(this.#address(at))
    this.scope.emit({ op: 'exchange', name, size: t.size, dst, a: operandIn(t, value), address })
    const read = t.signed && t.size < 4 ? this.scope.convert(dst, TYPED.u32, t) : dst
    return new Value(this, t, read)
  }
  /** Memory from an address on, as an array of `type`. */
  ptr<T extends TypeOrSize>(at: In<'u64'>, type: T): Pointer<NameOf<T>> {
    const address = at instanceof Value ? at : this.value(u64, at)
    return new Pointer(this, typeOf(type), address)
  }
  /** Memory of the image, zero or with these bytes; shared memory is in the host's sight. */
  memory(name: string, size: number | Uint8Array, options: { shared?: boolean; align?: number } = {}): Gva {
    const bytes = typeof size === 'number' ? undefined : size
    return this.#shop.memory(name, typeof size === 'number' ? size : size.length, {
      shared: options.shared ?? false,
      ...(bytes === undefined ? {} : { bytes }),
      ...(options.align === undefined ? {} : { align: options.align }),
    })
  }

  // Control.

  when(condition: Condition | Value, body: () => void): Otherwise {
    const scope = this.scope
    const not = scope.label()
    branch(this, condition, false, not)
    body()
    return new Otherwise(this, not)
  }
  /** Runs `body` n times; `i` counts from 0. */
  repeat(n: In<'u64'>, body: (i: Value<'u64'>) => void): void {
    const count = n instanceof Value ? n.copy() : n
    const i = this.var(u64, 0n)
    this.#loop(
      () => body(i),
      () => i.set(i.add(1n)),
      () => i.lt(count),
      count instanceof Value || BigInt(count) === 0n,
    )
  }
  /** Runs `body` until it says `leave`. */
  loop(body: () => void): void {
    this.#loop(body, undefined, undefined, false)
  }
  while(condition: () => Condition | Value, body: () => void): void {
    this.#loop(body, undefined, condition, true)
  }
  #loop(
    body: () => void,
    step: (() => void) | undefined,
    condition: (() => Condition | Value) | undefined,
    mayBeEmpty: boolean,
  ): void {
    const { scope } = this
    const [again, next, test, leave] = [scope.label(), scope.label(), scope.label(), scope.label()]
    scope.emit({ op: 'loop' })
    if (mayBeEmpty) scope.emit({ op: 'jump', label: test })
    scope.emit({ op: 'label', label: again })
    scope.loops.push({ next, leave })
    body()
    scope.loops.pop()
    scope.emit({ op: 'label', label: next })
    step?.()
    scope.emit({ op: 'label', label: test })
    if (condition === undefined) scope.emit({ op: 'jump', label: again })
    else branch(this, condition(), true, again)
    scope.emit({ op: 'endloop' })
    scope.emit({ op: 'label', label: leave })
  }
  /** Out of the innermost loop. */
  leave(): void {
    this.scope.emit({ op: 'jump', label: this.#innermost('leave').leave })
  }
  /** On with the innermost loop's next round. */
  next(): void {
    this.scope.emit({ op: 'jump', label: this.#innermost('next').next })
  }
  #innermost(word: string) {
    const loop = this.scope.loops.at(-1)
    if (loop === undefined) throw new GuestValueError(`g.${word}() stands outside of any loop`)
    return loop
  }

  /** A System V function; its body is built after the caller's, so that functions may call each other and themselves. */
  function<const P extends readonly IntType[], R extends TypeName>(
    name: string,
    parameters: P,
    result: IntType<R>,
    body: (...args: { [I in keyof P]: Value<P[I] extends IntType<infer N> ? N : never> }) => void,
  ): (...args: { [I in keyof P]: In<P[I] extends IntType<infer N> ? N : never> }) => Value<R>
  function<const P extends readonly IntType[]>(
    name: string,
    parameters: P,
    body: (...args: { [I in keyof P]: Value<P[I] extends IntType<infer N> ? N : never> }) => void,
  ): (...args: { [I in keyof P]: In<P[I] extends IntType<infer N> ? N : never> }) => void
  function(
    name: string,
    parameters: readonly IntType[],
    result: IntType | ((...args: Value[]) => void),
    body?: (...args: Value[]) => void,
  ): (...args: In<TypeName>[]) => Value | undefined {
    const type = typeof result === 'function' ? undefined : result
    const run = typeof result === 'function' ? result : body!
    if (parameters.length > 6) throw new RangeError(`${name}: at most 6 parameters travel in registers`)
    const number = this.#shop.declare(name, parameters, type, scope => {
      const outer = this.scope
      this.scope = scope
      const outs = parameters.map(() => scope.vreg())
      scope.emit({ op: 'parameters', outs })
      run(...parameters.map((p, i) => new Variable(this, p, this.#narrow(p, outs[i]!))))
      if (type === undefined) scope.emit({ op: 'return', a: undefined })
      else if (scope.fn.ops.at(-1)?.op !== 'return')
        this.ranOff(`${name} ran off its end: it never said g.return(value)`)
      this.scope = outer
    })
    return (...args) => this.#call({ fn: number }, parameters, type, args)
  }
  /** What came in a register from elsewhere has anything above its type. System V AMD64 ABI, "Parameter Passing". */
  #narrow(type: IntType, v: number): number {
    if (type.size === 8) return v
    const wide = this.scope.convert(v, TYPED.u64, type)
    return typeof wide === 'number' ? wide : v
  }
  #call(
    target: Extract<Op, { op: 'call' }>['target'],
    parameters: readonly IntType[],
    result: IntType | undefined,
    args: readonly In<TypeName>[],
  ): Value | undefined {
    if (args.length !== parameters.length)
      throw new RangeError(`a function of ${parameters.length} parameters is called with ${args.length}`)
    const dst = result === undefined ? -1 : this.scope.vreg()
    this.scope.emit({ op: 'call', target, dst, args: args.map((a, i) => operandIn(parameters[i]!, a)) })
    return result === undefined ? undefined : new Value(this, result, this.#narrow(result, dst))
  }
  /** Calls System V code at an address: an ELF's or an asm block's. */
  call<R extends TypeName = 'u64'>(at: In<'u64'>, args: readonly In<'u64'>[] = [], result?: IntType<R>): Value<R> {
    const type = (result ?? u64) as IntType<R>
    const target = operandIn(u64, at)
    return this.#call(
      target,
      args.map(() => u64),
      type,
      args as readonly In<TypeName>[],
    ) as Value<R>
  }
  /**
   * From here on an exception or interrupt runs `body`, in every vCPU of the TD, and then goes on where the frame says.
   * The body is a function of its own: what it needs of the guest's it takes from memory.
   */
  onException(vector: number, body: (frame: ExceptionFrame) => void): void {
    if (!(vector >= 0 && vector < 256)) throw new RangeError(`vector ${vector}: there are 0 to 255`)
    const number = this.#shop.declare(`exception${vector}`, [u64], undefined, scope => {
      const outer = this.scope
      this.scope = scope
      const frame = scope.vreg()
      scope.emit({ op: 'parameters', outs: [frame] })
      body(new ExceptionFrame(this, new Value(this, u64, frame)))
      scope.emit({ op: 'return', a: undefined })
      this.scope = outer
    })
    const dst = this.scope.vreg()
    this.scope.emit({ op: 'function', dst, fn: number })
    this.scope.store(8, this.scope.address(this.#shop.handlers + BigInt(8 * vector)), dst)
  }

  return(value?: Value | bigint | number): void {
    const { result } = this.scope
    if (this.scope.fn.entry) throw new GuestValueError('a guest has nobody to return to: end it with g.done()')
    if ((value === undefined) !== (result === undefined))
      throw new GuestValueError(`${this.scope.fn.name} returns ${result?.name ?? 'nothing'}`)
    this.scope.emit({ op: 'return', a: value === undefined ? undefined : operandIn(result!, value as In<TypeName>) })
  }

  // Instructions.

  /** Intel-syntax text. Registers by options; without `clobbers` every register is taken to change. */
  asm<O extends GprName = never>(
    text: string | TemplateStringsArray,
    ...rest: readonly (AsmOptions<O> | string | bigint | number)[]
  ): { readonly [R in O]: Value<'u64'> } {
    const isTemplate = typeof text !== 'string'
    const options = (isTemplate ? {} : (rest[0] ?? {})) as AsmOptions<O>
    const written = isTemplate ? String.raw({ raw: text }, ...rest) : text
    const ins = (Object.entries(options.in ?? {}) as [GprName, In<'u64'>][]).map(
      ([name, value]) => [name, operandIn(u64, value)] as const,
    )
    const clobbers = options.clobbers === undefined ? ALL_GPRS : maskOf(...options.clobbers)
    return fixed(this, { text: written }, ins, options.out ?? [], clobbers)
  }

  /** Port output of 1, 2 or 4 bytes, by TDVMCALL in a TD: a status that is not success fails the test here. */
  out<S extends Size>(port: In<'u64'>, size: S, value: In<NameOf<S>>): void {
    const t = typeOf(size)
    const data = new Value(this, t, operandIn(t, value)).as(u64)
    if (!this.#shop.isTd) {
      const register = portRegister(size)
      this.asm(`out dx, ${register}`, { in: { rax: data, rdx: port }, clobbers: [] })
      return
    }
    const { status } = this.vmcall.io({ size: BigInt(size), direction: 1n, port, data })
    this.#succeeded(status, placeOf(this.out), 'TDVMCALL Instruction.IO (write)')
  }
  /** Port input of 1, 2 or 4 bytes, by TDVMCALL in a TD: a status that is not success fails the test here. */
  in<S extends Size>(port: In<'u64'>, size: S): Value<NameOf<S>> {
    const t = typeOf(size)
    if (!this.#shop.isTd) {
      const register = portRegister(size)
      const { rax } = this.asm(`in ${register}, dx`, { in: { rdx: port, rax: 0n }, out: ['rax'], clobbers: [] })
      return rax.as(t)
    }
    const { status, data } = this.vmcall.io({ size: BigInt(size), direction: 0n, port })
    this.#succeeded(status, placeOf(this.in), 'TDVMCALL Instruction.IO (read)')
    return data.as(t)
  }
  /** Reads a shared GPA (the shared bit is added) by TDVMCALL. */
  mmioRead<S extends Size>(gpa: In<'u64'>, size: S): Value<NameOf<S>> {
    const { status, data } = this.vmcall.mmio({ size: BigInt(size), direction: 0n, gpa: this.#shared(gpa) })
    this.#succeeded(status, placeOf(this.mmioRead), 'TDVMCALL #VE.RequestMMIO (read)')
    return data.as(typeOf(size))
  }
  /** Writes a shared GPA (the shared bit is added) by TDVMCALL. */
  mmioWrite<S extends Size>(gpa: In<'u64'>, size: S, value: In<NameOf<S>>): void {
    const t = typeOf(size)
    const data = new Value(this, t, operandIn(t, value)).as(u64)
    const { status } = this.vmcall.mmio({ size: BigInt(size), direction: 1n, gpa: this.#shared(gpa), data })
    this.#succeeded(status, placeOf(this.mmioWrite), 'TDVMCALL #VE.RequestMMIO (write)')
  }
  #shared(gpa: In<'u64'>): In<'u64'> {
    return gpa instanceof Value ? gpa.or(this.#shop.sharedBit) : BigInt(gpa) | this.#shop.sharedBit
  }
  /** The GPA with the bit that makes it shared. */
  sharedGpa(gpa: bigint): bigint {
    return gpa | this.#shop.sharedBit
  }
  #succeeded(status: Value<'u64'>, place: Place, what: string): void {
    this.#check('assert', 'eq', status, 0n, place, `${what}: status`)
  }

  // What the host hears.

  #site(kind: SiteKind, place: Place, rest: Partial<Site> = {}): number {
    const number = this.#shop.sites.length
    this.#shop.sites.push({ number, kind, ...place, ...rest })
    return number
  }
  #assertions(kind: 'assert' | 'expect'): Assertions {
    const words = {} as Record<Relation, Assertions[Relation]>
    for (const relation of Object.keys(CC_SIGNED) as Relation[]) {
      const word: Assertions[Relation] = (seen, want, message) =>
        this.#check(kind, relation, seen, want, placeOf(word), message)
      words[relation] = word
    }
    return words
  }
  #check<T extends TypeName>(
    kind: 'assert' | 'expect',
    relation: Relation,
    seen: Value<T>,
    want: In<T>,
    place: Place,
    message: string | undefined,
  ): void {
    const { type } = seen
    const site = this.#site(kind, place, {
      relation,
      types: [type.name, type.name],
      ...(message === undefined ? {} : { message }),
    })
    this.scope.emit({
      op: 'check',
      cc: (type.signed ? CC_SIGNED : CC_UNSIGNED)[relation],
      size: widthOf(type),
      a: Value.operand(seen),
      b: operandIn(type, want),
      site,
      resume: kind === 'expect',
    })
  }
  #report(
    kind: SiteKind,
    command: number,
    values: readonly In<TypeName>[],
    place: Place,
    rest: Partial<Site> = {},
  ): void {
    if (values.length > MOST_VALUES)
      throw new RangeError(`${values.length} values: a ucall carries ${MOST_VALUES} beside its site`)
    const types = values.map(v => (v instanceof Value ? v.type : u64))
    const site = this.#site(kind, place, { types: types.map(t => t.name), ...rest })
    const args = values.map((v, i) => (v instanceof Value ? Value.operand(v) : canonical(types[i]!, BigInt(v))))
    this.scope.emit({ op: 'ucall', command, args: [BigInt(site), ...args], resume: command !== UCALL_ABORT })
  }
  /** GUEST_SYNC: up to 6 values for the host, the first one usually a stage. */
  sync(...values: readonly In<TypeName>[]): void {
    this.#report('sync', UCALL_SYNC, values, placeOf(this.sync))
  }
  /** GUEST_PRINTF: the format stays on the host, the values travel. */
  printf(format: string, ...values: readonly In<TypeName>[]): void {
    this.#report('printf', UCALL_PRINTF, values, placeOf(this.printf), { format })
  }
  /** GUEST_FAIL. */
  fail(message: string): void {
    this.#report('fail', UCALL_ABORT, [], placeOf(this.fail), { message })
  }
  /** GUEST_DONE. */
  done(): void {
    this.#report('done', UCALL_DONE, [], placeOf(this.done))
  }
  /** GUEST_UCALL_NONE: an exit without a message. */
  ucallNone(): void {
    this.scope.emit({ op: 'bare' })
  }
  /** For `build.ts`: what a guest says that ran off its end. */
  ranOff(message: string): void {
    this.#report('end', UCALL_ABORT, [], { file: '', line: 0, column: 0 }, { message })
  }
}

/** Part of RAX that IN and OUT of `size` bytes move. */
const portRegister = (size: Size): string => {
  const found = { 1: 'al', 2: 'ax', 4: 'eax', 8: undefined }[size]
  if (found === undefined) throw new RangeError(`port I/O of ${size} bytes: there is 1, 2 and 4`)
  return found
}
