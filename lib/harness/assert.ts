/** The words a host asserts with, in the order (seen, want); the same as a guest's. */
import { hex } from '#bits'
import { writtenAt } from '#guest'
import { Errno, type ErrnoName } from '#kvm'
import type { Failure as FailureData } from '#reports'
import { show, showBytes, showFields } from './show.ts'
import { caller, siteOf } from './where.ts'

/** What can be compared whole. A guest's value is none of these: it is known only when the guest runs. */
export type Scalar = bigint | number | string | boolean | null | undefined | Uint8Array

/** The type of `T` without its literals, so that an exit's `bigint` may be compared with any bigint. */
export type Widen<T> = T extends bigint
  ? bigint
  : T extends number
    ? number
    : T extends string
      ? string
      : T extends boolean
        ? boolean
        : T

/** Part of a structure: what it does not name may be anything. A regular expression matches text. */
export type Pattern<T> = T extends string
  ? string | RegExp
  : T extends Scalar
    ? Widen<T>
    : T extends (...args: never[]) => unknown
      ? never
      : { readonly [K in keyof T]?: Pattern<T[K]> }

type Ordered = bigint | number

export type Words = {
  eq<T extends Scalar>(seen: T, want: Widen<NoInfer<T>>, message?: string): void
  ne<T extends Scalar>(seen: T, want: Widen<NoInfer<T>>, message?: string): void
  lt<T extends Ordered>(seen: T, want: Widen<NoInfer<T>>, message?: string): void
  le<T extends Ordered>(seen: T, want: Widen<NoInfer<T>>, message?: string): void
  gt<T extends Ordered>(seen: T, want: Widen<NoInfer<T>>, message?: string): void
  ge<T extends Ordered>(seen: T, want: Widen<NoInfer<T>>, message?: string): void
  /** The bits that `mask` selects: `seen & mask` is `want`. */
  bits(seen: bigint, mask: bigint, want: bigint, message?: string): void
  /** `low` to `high`, both included. */
  inRange<T extends Ordered>(seen: T, low: Widen<NoInfer<T>>, high: Widen<NoInfer<T>>, message?: string): void
  /** Byte for byte; a failure shows both in hex, with marks where they differ. */
  bytes(seen: Uint8Array, want: Uint8Array | readonly number[], message?: string): void
  /** `seen` fails with this errno, as an ioctl does. */
  errno(seen: () => unknown, want: ErrnoName, message?: string): void
  /** Every field that `want` names is as it says; arrays are as long as it says. */
  match<T extends object | string>(seen: T, want: Pattern<NoInfer<T>>, message?: string): void
  /** The same, but of an array `want` may name the first elements only. */
  matches<T extends object | string>(seen: T, want: Pattern<NoInfer<T>>, message?: string): void
}

/** Both sides as a failure shows them. `written`: their source texts, from those of the call's arguments. */
type Compared = {
  readonly op: string
  readonly seen: string
  readonly want: string
  readonly written?: (args: readonly string[]) => readonly [string, string]
}

/** Words that hand what does not hold to `fail`. */
export const words = (fail: (data: FailureData) => void): Words => {
  const check = (holds: boolean, message: string | undefined, compared: () => Compared): void => {
    if (!holds) fail(comparison(compared(), message))
  }
  const compare =
    (op: string, holds: (seen: Scalar, want: Scalar) => boolean) => (seen: Scalar, want: Scalar, message?: string) =>
      check(holds(seen, want), message, () => ({ op, seen: show(seen), want: show(want) }))
  const order = (op: string, holds: (seen: Ordered, want: Ordered) => boolean) =>
    compare(op, (seen, want) => isOrdered(seen) && isOrdered(want) && holds(seen, want))
  const structures = (seen: object | string, want: unknown, isWhole: boolean, message: string | undefined): void =>
    check(matches(seen, want, isWhole), message, () => {
      if (typeof seen === 'string') return { op: 'match', seen: show(seen), want: show(want) }
      return { op: 'match', seen: showFields(named(seen, want, isWhole)), want: showFields(want) }
    })
  return {
    eq: compare('eq', isSame),
    ne: compare('ne', (seen, want) => !isSame(seen, want)),
    lt: order('lt', (seen, want) => seen < want),
    le: order('le', (seen, want) => seen <= want),
    gt: order('gt', (seen, want) => seen > want),
    ge: order('ge', (seen, want) => seen >= want),
    bits: (seen, mask, want, message) =>
      check((seen & mask) === want, message, () => ({
        op: 'eq',
        seen: hex(seen & mask),
        want: hex(want),
        written: ([value, bits, wanted]) => [`${value} & ${bits}`, wanted ?? ''],
      })),
    inRange: (seen, low, high, message) =>
      check(seen >= low && seen <= high, message, () => ({
        op: 'inRange',
        seen: show(seen),
        want: `${show(low)} to ${show(high)}`,
        written: ([value, from, to]) => [value ?? '', `${from} to ${to}`],
      })),
    bytes: (seen, want, message) => {
      const wanted = want instanceof Uint8Array ? want : Uint8Array.from(want)
      check(isSame(seen, wanted), message, () => ({ op: 'bytes', seen: showBytes(seen), want: showBytes(wanted) }))
    },
    errno: (seen, want, message) => {
      const code = errnoOf(seen)
      check(code === want, message, () => ({ op: 'eq', seen: code ?? 'no error', want }))
    },
    match: (seen, want, message) => structures(seen, want, true, message),
    matches: (seen, want, message) => structures(seen, want, false, message),
  }
}

const errnoOf = (call: () => unknown): ErrnoName | undefined => {
  try {
    call()
    return undefined
  } catch (error) {
    if (error instanceof Errno) return error.code
    throw error
  }
}

const isOrdered = (value: Scalar): value is Ordered => typeof value === 'bigint' || typeof value === 'number'

const isSame = (seen: Scalar, want: Scalar): boolean =>
  seen instanceof Uint8Array && want instanceof Uint8Array
    ? seen.length === want.length && seen.every((byte, at) => byte === want[at])
    : Object.is(seen, want)

/** `isWhole`: arrays are as long as `want` has them. */
const matches = (seen: unknown, want: unknown, isWhole: boolean): boolean => {
  if (want instanceof RegExp) return typeof seen === 'string' && want.test(seen)
  if (want instanceof Uint8Array) return seen instanceof Uint8Array && isSame(seen, want)
  if (typeof want !== 'object' || want === null) return Object.is(seen, want)
  if (typeof seen !== 'object' || seen === null) return false
  if (isWhole && Array.isArray(want) && Array.isArray(seen) && want.length !== seen.length) return false
  return Object.entries(want).every(([key, w]) => matches(at(seen, key), w, isWhole))
}

const at = (value: object, key: string): unknown => (value as Readonly<Record<string, unknown>>)[key]

/** The part of `seen` that `want` speaks of, in its order: what the two are compared by. */
const named = (seen: unknown, want: unknown, isWhole: boolean): unknown => {
  if (typeof seen !== 'object' || seen === null || seen instanceof Uint8Array) return seen
  if (typeof want !== 'object' || want === null || want instanceof RegExp) return seen
  const picked = Object.entries(want).map(([key, w]) => [key, named(at(seen, key), w, isWhole)] as const)
  if (!Array.isArray(seen)) return Object.fromEntries(picked)
  return [...picked.map(([, value]) => value), ...(isWhole ? seen.slice(picked.length) : [])]
}

const comparison = ({ op, seen, want, written }: Compared, message = ''): FailureData => {
  const place = caller()
  const { path: file = '', line = 0, column = 0 } = place ?? {}
  const args = writtenAt({ file, line, column })
  const [seenText = '', wantText = ''] = args === undefined ? [] : (written?.(args) ?? args)
  return {
    kind: 'assertion',
    side: 'host',
    message,
    comparison: { op, seen: { source: seenText, value: seen }, want: { source: wantText, value: want } },
    steps: [],
    ...(place === undefined ? {} : { site: siteOf(place) }),
  }
}
