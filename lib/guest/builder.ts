/** The language of a guest: each call appends to the function that is being built, and runs when the guest does. */
import type { Gva, Layout, Shape, Size } from '#bits'
import { type Apic, apicOf } from './apic.ts'
import type { AsmOptions } from './asm.ts'
import { type Atomic, atomicOf } from './atomic.ts'
import { memcmp, memcpy, memset, stringAt } from './block.ts'
import { ALL_GPRS, fixed, maskOf, type Tdcalls, tdcallsOf, type Vmcalls, vmcallsOf } from './calls.ts'
import { type Cases, choose, loop } from './control.ts'
import { type Cpu, cpuOf } from './cpu.ts'
import { catchFault, expectFault, type Fault, type FaultName, user, vcpuIndex } from './fault.ts'
import { type Io, ioOf } from './io.ts'
import type { Op } from './ir.ts'
import type { GprName } from './leaves.ts'
import { Otherwise } from './otherwise.ts'
import { ExceptionFrame, Pointer } from './pointer.ts'
import { type Assertions, type GuestString, Says } from './says.ts'
import type { Scope } from './scope.ts'
import { placeOf } from './site.ts'
import { type Struct, structAt } from './struct.ts'
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

const TYPED = { u8, u16, u32, u64, i8, i16, i32, i64 } as const

export class GuestBuilder {
  readonly #shop: Workshop
  readonly #says: Says
  readonly #io: Io
  /** The function that is being built. */
  scope: Scope
  #tdcall: Tdcalls | undefined
  #vmcall: Vmcalls | undefined
  #atomic: Atomic | undefined
  #apic: Apic | undefined
  /** The processor's instructions. */
  readonly cpu: Cpu

  constructor(shop: Workshop, scope: Scope) {
    this.#shop = shop
    this.scope = scope
    this.#says = new Says(this, shop.sites)
    this.#io = ioOf(this, this.#says, shop.isTd, shop.sharedBit)
    this.cpu = cpuOf(this)
  }

  // Words that not all guests use are made when one does.

  /** Stops the test where it does not hold. */
  get assert(): Assertions {
    return this.#says.assert
  }
  /** Notes a failure and goes on. */
  get expect(): Assertions {
    return this.#says.expect
  }

  get tdcall(): Tdcalls {
    this.#tdcall ??= tdcallsOf(this)
    return this.#tdcall
  }
  get vmcall(): Vmcalls {
    this.#vmcall ??= vmcallsOf(this)
    return this.#vmcall
  }
  get atomic(): Atomic {
    this.#atomic ??= atomicOf(this)
    return this.#atomic
  }
  /** The local APIC, in x2APIC mode. */
  get apic(): Apic {
    this.#apic ??= apicOf(this, this.#says, this.#shop.isTd)
    return this.#apic
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

  load<T extends TypeOrSize>(at: In<'u64'>, type: T): Value<NameOf<T>> {
    const t = typeOf(type)
    return new Value(this, t, this.scope.load(t, this.scope.address(operandIn(u64, at))))
  }
  store<T extends TypeOrSize>(at: In<'u64'>, type: T, value: In<NameOf<T>>): void {
    const t = typeOf(type)
    this.scope.store(t.size, this.scope.address(operandIn(u64, at)), operandIn(t, value))
  }
  /** Memory from an address on, as an array of `type`. */
  ptr<T extends TypeOrSize>(at: In<'u64'>, type: T): Pointer<NameOf<T>> {
    const address = at instanceof Value ? at : this.value(u64, at)
    return new Pointer(this, typeOf(type), address)
  }
  /** The structure at an address, with the layout that the host knows it by. */
  struct<S extends Shape>(layout: Layout<S>, at: In<'u64'>): Struct<S> {
    return structAt(this, layout, at)
  }
  /** Memory of the image for a structure; shared memory is in the host's sight. */
  place<S extends Shape>(name: string, layout: Layout<S>, options: { shared?: boolean } = {}): Struct<S> {
    return structAt(this, layout, this.memory(name, layout.size, { ...options, align: Math.max(16, layout.align) }))
  }
  /** Memory of the image, one structure for each vCPU, the same wherever this name is said; gives that of the vCPU that runs this. */
  perVcpu<S extends Shape>(name: string, layout: Layout<S>, options: { shared?: boolean } = {}): Struct<S> {
    const { kept, vcpus } = this.#shop
    const at =
      kept.get(name) ?? this.memory(name, layout.size * vcpus, { ...options, align: Math.max(16, layout.align) })
    kept.set(name, at)
    return structAt(this, layout, this.vcpuIndex().mul(BigInt(layout.size)).add(at).copy())
  }
  /** The number of the vCPU that runs this. */
  vcpuIndex(): Value<'u64'> {
    return vcpuIndex(this, this.#shop)
  }
  /** Copies `n` bytes; the blocks do not overlap. */
  memcpy(to: In<'u64'>, from: In<'u64'>, n: In<'u64'>): void {
    memcpy(this, to, from, n)
  }
  memset(to: In<'u64'>, byte: In<'u8'>, n: In<'u64'>): void {
    memset(this, to, byte, n)
  }
  /** The difference of the first two bytes that differ, 0 where none do. */
  memcmp(a: In<'u64'>, b: In<'u64'>, n: In<'u64'>): Value<'i32'> {
    return memcmp(this, a, b, n)
  }
  /** The text at an address for a `%s`: read now, up to its NUL, at most `max` bytes, all of them readable. */
  string(at: In<'u64'>, max = 64): GuestString {
    return stringAt(this, at, max)
  }
  /** Text in the image's memory, NUL-terminated. */
  text(text: string): Gva {
    return this.memory(`text${this.#texts++}`, new TextEncoder().encode(`${text}\0`))
  }
  #texts = 0
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
  /** The first case that the value is one of, else `otherwise`. No case falls through into the next. */
  switch<T extends TypeName>(value: Value<T>, cases: Cases<T>, otherwise?: () => void): void {
    choose(this, value, cases, otherwise)
  }
  /** Runs `body` n times; `i` counts from 0. */
  repeat(n: In<'u64'>, body: (i: Value<'u64'>) => void): void {
    const count = n instanceof Value ? n.copy() : n
    const i = this.var(u64, 0n)
    loop(
      this,
      () => body(i),
      () => i.set(i.add(1n)),
      () => i.lt(count),
      count instanceof Value || BigInt(count) === 0n,
    )
  }
  /** Runs `body` until it says `leave`. */
  loop(body: () => void): void {
    loop(this, body, undefined, undefined, false)
  }
  while(condition: () => Condition | Value, body: () => void): void {
    loop(this, body, undefined, condition, true)
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

  /** As `onException`, for an interrupt: its end is told to the local APIC (x2APIC EOI) behind `body`. */
  onInterrupt(vector: number, body: (frame: ExceptionFrame) => void): void {
    if (vector < 32) throw new RangeError(`vector ${vector}: interrupts have 32 to 255`)
    this.onException(vector, frame => {
      body(frame)
      this.apic.eoi()
    })
  }
  /** `body` faults, with this exception: else the test fails. The guest goes on behind `body`. */
  expectFault(name: FaultName, body: () => void): Fault {
    return expectFault(this, this.#shop, this.#says, name, body, placeOf(this.expectFault))
  }
  /** The first fault of `body`; its vector is NO_FAULT where there was none. The guest goes on behind `body`. */
  catchFault(body: () => void): Fault {
    return catchFault(this, this.#shop, undefined, body)
  }
  /** `body` in ring 3. It may use memory and assert; TDCALLs and I/O of its own fault. */
  user(body: () => void): void {
    user(this, this.#shop, body)
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
    this.#io.out(port, size, value, placeOf(this.out))
  }
  /** Port input of 1, 2 or 4 bytes, by TDVMCALL in a TD: a status that is not success fails the test here. */
  in<S extends Size>(port: In<'u64'>, size: S): Value<NameOf<S>> {
    return this.#io.in(port, size, placeOf(this.in))
  }
  /** Reads a shared GPA (the shared bit is added) by TDVMCALL. */
  mmioRead<S extends Size>(gpa: In<'u64'>, size: S): Value<NameOf<S>> {
    return this.#io.mmioRead(gpa, size, placeOf(this.mmioRead))
  }
  /** Writes a shared GPA (the shared bit is added) by TDVMCALL. */
  mmioWrite<S extends Size>(gpa: In<'u64'>, size: S, value: In<NameOf<S>>): void {
    this.#io.mmioWrite(gpa, size, value, placeOf(this.mmioWrite))
  }
  /** The GPA with the bit that makes it shared. */
  sharedGpa(gpa: bigint): bigint {
    return gpa | this.#shop.sharedBit
  }

  /** Halts until an interrupt comes: TDVMCALL Instruction.HLT in a TD, HLT in an ordinary VM. Interrupts have to be on. */
  halt(): void {
    this.#io.halt(placeOf(this.halt))
  }

  // What the host hears.

  /** GUEST_SYNC: values for the host, the first one usually a stage. */
  sync(...values: readonly In<TypeName>[]): void {
    this.#says.sync(values, placeOf(this.sync))
  }
  /** GUEST_PRINTF: the format stays on the host, the values travel. */
  printf(format: string, ...values: readonly (In<TypeName> | GuestString)[]): void {
    this.#says.printf(format, values, placeOf(this.printf))
  }
  /** GUEST_FAIL. */
  fail(message: string): void {
    this.#says.fail(message, placeOf(this.fail))
  }
  /** GUEST_DONE. */
  done(): void {
    this.#says.done(placeOf(this.done))
  }
  /** GUEST_UCALL_NONE: an exit without a message. */
  ucallNone(): void {
    this.scope.emit({ op: 'bare' })
  }
  /** For `build.ts`: what a guest says that ran off its end. */
  ranOff(message: string): void {
    this.#says.end(message)
  }
}
