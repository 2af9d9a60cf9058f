/** The words a host asserts with, in the order (seen, want); the same as a guest's. */
import { hex } from '#bits'
import { sourceOf } from '#guest'
import { Errno, type ErrnoName } from '#kvm'
import type { Failure as FailureData } from '#reports'
import { show, showFields } from './show.ts'
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
  /** `seen` fails with this errno, as an ioctl does. */
  errno(seen: () => unknown, want: ErrnoName, message?: string): void
  /** Every field that `want` names is as it says. */
  match<T extends object | string>(seen: T, want: Pattern<NoInfer<T>>, message?: string): void
}

type Compared = { readonly op: string; readonly seen: string; readonly want: string; readonly mask?: bigint }

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
  return {
    eq: compare('eq', isSame),
    ne: compare('ne', (seen, want) => !isSame(seen, want)),
    lt: order('lt', (seen, want) => seen < want),
    le: order('le', (seen, want) => seen <= want),
    gt: order('gt', (seen, want) => seen > want),
    ge: order('ge', (seen, want) => seen >= want),
    bits: (seen, mask, want, message) =>
      check((seen & mask) === want, message, () => ({
        op: 'bits',
        seen: hex(seen & mask),
        want: hex(want),
        mask,
      })),
    errno: (seen, want, message) => {
      const code = errnoOf(seen)
      check(code === want, message, () => ({ op: 'errno', seen: code ?? 'no error', want }))
    },
    match: (seen, want, message) =>
      check(matches(seen, want), message, () => {
        if (typeof seen === 'string') return { op: 'match', seen: show(seen), want: show(want) }
        return { op: 'match', seen: showFields(named(seen, want)), want: showFields(want) }
      }),
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

const matches = (seen: unknown, want: unknown): boolean => {
  if (want instanceof RegExp) return typeof seen === 'string' && want.test(seen)
  if (want instanceof Uint8Array) return seen instanceof Uint8Array && isSame(seen, want)
  if (typeof want !== 'object' || want === null) return Object.is(seen, want)
  return (
    typeof seen === 'object' && seen !== null && Object.entries(want).every(([key, w]) => matches(at(seen, key), w))
  )
}

const at = (value: object, key: string): unknown => (value as Readonly<Record<string, unknown>>)[key]

/** The fields of `seen` that `want` names, in its order: what the two are compared by. */
const named = (seen: unknown, want: unknown): unknown => {
  if (typeof seen !== 'object' || seen === null || seen instanceof Uint8Array) return seen
  if (typeof want !== 'object' || want === null || want instanceof RegExp) return seen
  const picked = Object.entries(want).map(([key, w]) => [key, named(at(seen, key), w)] as const)
  return Array.isArray(seen) ? picked.map(([, value]) => value) : Object.fromEntries(picked)
}

const comparison = ({ op, seen, want, mask }: Compared, message = ''): FailureData => {
  const place = caller()
  const { path: file = '', line = 0, column = 0 } = place ?? {}
  const written = sourceOf({ number: 0, kind: 'assert', file, line, column })
  // The second argument of `bits` is the mask: its sides are the masked value and what was wanted of it.
  const seenText = mask === undefined ? written?.seen : `${written?.seen} & ${written?.want}`
  return {
    kind: 'assertion',
    side: 'host',
    message,
    comparison: {
      op: mask === undefined && op !== 'errno' ? op : 'eq',
      seen: { source: seenText ?? '', value: seen },
      want: { source: (mask === undefined ? written?.want : undefined) ?? '', value: want },
    },
    steps: [],
    ...(place === undefined ? {} : { site: siteOf(place) }),
  }
}
