/** Loops and switches of a guest. */
import { numberOf } from './scope.ts'
import { type IntType, i64, type TypeName, u64 } from './types.ts'
import { type Builder, branch, type Condition, GuestValueError, type In, operandIn, Value } from './value.ts'

/** A value or several, and what is done where the switch's value is one of them. */
export type Cases<T extends TypeName> = readonly (readonly [is: In<T> | readonly In<T>[], body: () => void])[]

/** The first case that `value` is one of, else `otherwise`: by a table of addresses where the values lie close together. */
export const choose = <T extends TypeName>(
  g: Builder,
  value: Value<T>,
  cases: Cases<T>,
  otherwise: (() => void) | undefined,
): void => {
  const { scope } = g
  const end = scope.label()
  const seen = value.copy()
  const wanted = cases.map(([is]): readonly In<T>[] => (typeof is === 'object' && !(is instanceof Value) ? is : [is]))
  if (wanted.some(({ length }) => length === 0)) throw new GuestValueError('a case of a switch needs a value')
  const labels = cases.map(() => scope.label())
  const rest = scope.label()
  const table = tableOf(seen.type, wanted)
  if (table === undefined)
    for (const [n, values] of wanted.entries()) for (const one of values) branch(g, seen.eq(one), true, labels[n]!)
  else {
    const index = seen
      .as(seen.type.signed ? i64 : u64)
      .sub(table.least)
      .as(u64)
    branch(g, index.gt(BigInt(table.cases.length - 1)), true, rest)
    const [to, a] = [table.cases.map(n => labels[n] ?? rest), Value.operand(index)]
    scope.emit({ op: 'table', a, labels: to })
  }
  if (table === undefined) scope.emit({ op: 'jump', label: rest })
  for (const [n, [, body]] of cases.entries()) {
    scope.emit({ op: 'label', label: labels[n]! })
    body()
    scope.emit({ op: 'jump', label: end })
  }
  scope.emit({ op: 'label', label: rest })
  otherwise?.()
  scope.emit({ op: 'label', label: end })
}

/** Fewer are compared one by one; a table that is mostly empty is none. */
const [FEWEST, EMPTIEST] = [5, 4]

/** For each value from `least` on the number of its case, -1 for none. */
const tableOf = (type: IntType, wanted: readonly (readonly In<TypeName>[])[]) => {
  const numbers = new Map<bigint, number>()
  for (const [n, values] of wanted.entries())
    for (const one of values) {
      if (one instanceof Value) return undefined
      const number = numberOf(type, operandIn(type, one) as bigint)
      if (!numbers.has(number)) numbers.set(number, n)
    }
  const sorted = [...numbers.keys()].sort((a, b) => (a < b ? -1 : 1))
  const [least = 0n, most = 0n] = [sorted[0], sorted.at(-1)]
  const length = most - least + 1n
  if (sorted.length < FEWEST || length > BigInt(EMPTIEST * sorted.length)) return undefined
  return { least, cases: Array.from({ length: Number(length) }, (_, n) => numbers.get(least + BigInt(n)) ?? -1) }
}

/** `body` again and again: while `condition` holds, looked at first where the loop may be empty. */
export const loop = (
  g: Builder,
  body: () => void,
  step: (() => void) | undefined,
  condition: (() => Condition | Value) | undefined,
  mayBeEmpty: boolean,
): void => {
  const { scope } = g
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
  else branch(g, condition(), true, again)
  scope.emit({ op: 'endloop' })
  scope.emit({ op: 'label', label: leave })
}
