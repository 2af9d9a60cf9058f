/** What a guest says to its host: each word is a site that the host keeps, and the numbers that travel. */
import { UCALL_ABORT, UCALL_BUFFER_LEN, UCALL_DONE, UCALL_PRINTF, UCALL_SYNC } from '#abi'
import type { GuestBuilder } from './builder.ts'
import { CC_SIGNED, CC_UNSIGNED, canonical, widthOf } from './scope.ts'
import type { Place, Relation, Site, SiteKind } from './site.ts'
import { placeOf } from './site.ts'
import type { Bytes, Cell } from './struct.ts'
import { type TypeName, u8, u64 } from './types.ts'
import { type In, operandIn, Value } from './value.ts'

/** `seen` against `want`, in this order. */
export type Assertions = {
  readonly [R in Relation]: <T extends TypeName>(seen: Value<T>, want: NoInfer<In<T>>, message?: string) => void
} & {
  /** The bits that `mask` selects: `seen & mask` is `want`. */
  bits<T extends TypeName>(seen: Value<T>, mask: NoInfer<In<T>>, want: NoInfer<In<T>>, message?: string): void
  /** `low` to `high`, both included. */
  inRange<T extends TypeName>(seen: Value<T>, low: NoInfer<In<T>>, high: NoInfer<In<T>>, message?: string): void
  /** Memory from an address on, byte for byte; a failure shows both in hex, with marks where they differ. */
  bytes(at: In<'u64'>, want: Uint8Array | readonly number[], message?: string): void
  /**
   * Every field that `want` names, of a leaf's results or of a structure in memory, is as it says; structures in it and arrays
   * too. They are compared as a whole: a failure shows all of them, with marks where they differ.
   */
  match<S extends Readable>(seen: S, want: WantedFields<NoInfer<S>>, message?: string): void
  /** The same: a guest's structures have no other. */
  matches<S extends Readable>(seen: S, want: WantedFields<NoInfer<S>>, message?: string): void
}

/** Values by name, or cells of memory that hold them. */
type Readable = { readonly [field: string]: unknown }
type Wanted<S> =
  S extends Value<infer T>
    ? In<T>
    : S extends { get(): Value<infer T> }
      ?
          | In<T>
          | ([keyof S] extends [keyof Cell] ? never : { readonly [K in Exclude<keyof S, keyof Cell>]?: Wanted<S[K]> })
      : S extends { readonly length: number; at(index: never): infer E }
        ? readonly Wanted<E>[]
        : S extends Bytes
          ? never
          : WantedFields<S>
type WantedFields<S> = { readonly [K in keyof S]?: Wanted<S[K]> }

/** What a field is, value by value: its name as a reader sees it, what is there, what is wanted. */
type Compared = readonly [name: string, seen: Value, want: In<TypeName>]

const isElements = (member: unknown): member is { readonly length: number; at(index: number): unknown } =>
  typeof member === 'object' && member !== null && 'at' in member && 'length' in member

const comparedIn = (name: string, member: unknown, want: unknown): Compared[] => {
  if (member instanceof Value) return [[name, member, want as In<TypeName>]]
  if (typeof member !== 'object' || member === null) throw new RangeError(`match: there is no ${name}`)
  const isNumber = want instanceof Value || typeof want !== 'object'
  if (isNumber && 'get' in member) return [[name, (member as { get(): Value }).get(), want as In<TypeName>]]
  if (isElements(member)) {
    if (!Array.isArray(want) || want.length > member.length)
      throw new RangeError(`match: ${name} is an array of ${member.length}`)
    return want.flatMap((one, n) => comparedIn(`${name}[${n}]`, member.at(n), one))
  }
  if (isNumber) throw new RangeError(`match: ${name} is a structure or bytes`)
  return Object.entries(want as object).flatMap(([field, one]) =>
    comparedIn(name === '' ? field : `${name}.${field}`, (member as Readable)[field], one),
  )
}

/** A string of the guest that a `%s` prints: read when it is said, up to a NUL or `max` bytes. */
export class GuestString {
  readonly words: readonly Value<'u64'>[]
  /** `words` are its bytes, eight at a time. */
  constructor(words: readonly Value<'u64'>[]) {
    this.words = words
  }
}

/** Values that fit in a ucall beside the site: those of `args`, and what its buffer holds behind them. */
export const MOST_VALUES = 6 + UCALL_BUFFER_LEN / 8

export class Says {
  readonly #builder: GuestBuilder
  readonly #sites: Site[]
  #assert: Assertions | undefined
  #expect: Assertions | undefined

  constructor(builder: GuestBuilder, sites: Site[]) {
    this.#builder = builder
    this.#sites = sites
  }

  get assert(): Assertions {
    this.#assert ??= this.#assertions('assert')
    return this.#assert
  }
  get expect(): Assertions {
    this.#expect ??= this.#assertions('expect')
    return this.#expect
  }

  #site(kind: SiteKind, place: Place, rest: Partial<Site> = {}): number {
    const number = this.#sites.length
    this.#sites.push({ number, kind, ...place, ...rest })
    return number
  }

  #assertions(kind: 'assert' | 'expect'): Assertions {
    const words = {} as Record<Relation, Assertions[Relation]>
    for (const relation of Object.keys(CC_SIGNED) as Relation[]) {
      const word: Assertions[Relation] = (seen, want, message) =>
        this.check(kind, relation, seen, want, placeOf(word), message)
      words[relation] = word
    }
    const match = (called: (...args: never[]) => unknown, seen: Readable, want: object, message?: string): void => {
      this.#match(kind, comparedIn('', seen, want), placeOf(called), message)
    }
    const rest: Omit<Assertions, Relation> = {
      bits: (seen, mask, want, message) =>
        this.check(kind, 'eq', seen.and(mask), want, placeOf(rest.bits), message, { word: 'bits' }),
      inRange: (seen, low, high, message) => {
        const place = placeOf(rest.inRange)
        this.check(kind, 'ge', seen, low, place, message, { word: 'inRange' })
        this.check(kind, 'le', seen, high, place, message, { word: 'inRange' })
      },
      bytes: (at, want, message) => this.#bytes(kind, at, Uint8Array.from(want), placeOf(rest.bytes), message),
      match: (seen, want, message) => match(rest.match, seen, want, message),
      matches: (seen, want, message) => match(rest.matches, seen, want, message),
    }
    return { ...words, ...rest }
  }

  #bytes(kind: 'assert' | 'expect', at: In<'u64'>, bytes: Uint8Array, place: Place, message: string | undefined): void {
    const g = this.#builder
    const said = message === undefined ? {} : { message }
    const site = this.#site(kind, place, { word: 'bytes', bytes, types: ['u64', 'u64'], ...said })
    const wanted = g.memory(`bytes${site}`, bytes)
    const from = at instanceof Value ? at : g.value(u64, at)
    const i = g.var(u64, 0n)
    const length = BigInt(bytes.length)
    g.loop(() => {
      g.when(i.eq(length), () => g.leave())
      g.when(g.load(i.add(from), u8).ne(g.load(i.add(wanted), u8)), () => g.leave())
      i.set(i.add(1n))
    })
    g.when(i.ne(length), () =>
      g.scope.emit({
        op: 'ucall',
        command: UCALL_ABORT,
        args: [BigInt(site), Value.operand(from), Value.operand(i)],
        resume: kind === 'expect',
      }),
    )
  }

  /** Nothing where all are as wanted; else the host hears of all of them. */
  #match(kind: 'assert' | 'expect', all: readonly Compared[], place: Place, message: string | undefined): void {
    if (all.length * 2 > MOST_VALUES)
      throw new RangeError(`match: ${all.length} fields, at most ${MOST_VALUES / 2} are compared at once`)
    const { scope } = this.#builder
    const types = all.map(([, { type }]) => type.name)
    const fields = all.map(([name]) => name)
    const said = message === undefined ? {} : { message }
    const site = this.#site(kind, place, { word: 'match', fields, types: [...types, ...types], ...said })
    const operands = all.map(([, seen, want]) => [Value.operand(seen), operandIn(seen.type, want)] as const)
    const [differs, on] = [scope.label(), scope.label()]
    for (const [n, [a, b]] of operands.entries())
      scope.emit({ op: 'branch', cc: 'NE', size: widthOf(all[n]![1].type), a, b, label: differs })
    scope.emit({ op: 'jump', label: on })
    scope.emit({ op: 'label', label: differs })
    const args = [BigInt(site), ...operands.map(([a]) => a), ...operands.map(([, b]) => b)]
    scope.emit({ op: 'ucall', command: UCALL_ABORT, args, resume: kind === 'expect' })
    scope.emit({ op: 'label', label: on })
  }

  /** Nothing where `seen relation want`; else the host hears of it. */
  check<T extends TypeName>(
    kind: 'assert' | 'expect',
    relation: Relation,
    seen: Value<T>,
    want: In<T>,
    place: Place,
    message: string | undefined,
    rest: Partial<Site> = {},
  ): void {
    const { type } = seen
    const site = this.#site(kind, place, {
      ...rest,
      relation,
      types: [type.name, type.name],
      ...(message === undefined ? {} : { message }),
    })
    this.#builder.scope.emit({
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
    this.#builder.scope.emit({ op: 'ucall', command, args: [BigInt(site), ...args], resume: command !== UCALL_ABORT })
  }

  sync(values: readonly In<TypeName>[], place: Place): void {
    this.#report('sync', UCALL_SYNC, values, place)
  }
  printf(format: string, values: readonly (In<TypeName> | GuestString)[], place: Place): void {
    const strings: Record<number, number> = {}
    const flat: In<TypeName>[] = []
    for (const value of values)
      if (value instanceof GuestString) {
        strings[flat.length] = value.words.length
        flat.push(...value.words)
      } else flat.push(value)
    const rest = Object.keys(strings).length === 0 ? {} : { strings }
    this.#report('printf', UCALL_PRINTF, flat, place, { format, ...rest })
  }
  fail(message: string, place: Place): void {
    this.#report('fail', UCALL_ABORT, [], place, { message })
  }
  done(place: Place): void {
    this.#report('done', UCALL_DONE, [], place)
  }
  end(message: string): void {
    this.#report('end', UCALL_ABORT, [], { file: '', line: 0, column: 0 }, { message })
  }
}
