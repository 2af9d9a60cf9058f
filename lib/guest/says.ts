/** What a guest says to its host: each word is a site that the host keeps, and the numbers that travel. */
import { UCALL_ABORT, UCALL_BUFFER_LEN, UCALL_DONE, UCALL_PRINTF, UCALL_SYNC } from '#abi'
import { CC_SIGNED, CC_UNSIGNED, canonical, widthOf } from './scope.ts'
import type { Place, Relation, Site, SiteKind } from './site.ts'
import { placeOf } from './site.ts'
import { type TypeName, u64 } from './types.ts'
import { type Builder, type In, operandIn, Value } from './value.ts'

/** `seen` against `want`, in this order. */
export type Assertions = {
  readonly [R in Relation]: <T extends TypeName>(seen: Value<T>, want: NoInfer<In<T>>, message?: string) => void
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
  readonly #builder: Builder
  readonly #sites: Site[]
  readonly assert: Assertions
  readonly expect: Assertions

  constructor(builder: Builder, sites: Site[]) {
    this.#builder = builder
    this.#sites = sites
    this.assert = this.#assertions('assert')
    this.expect = this.#assertions('expect')
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
    return words
  }

  /** Nothing where `seen relation want`; else the host hears of it. */
  check<T extends TypeName>(
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
