/** Loops and switches of a guest. */
import type { TypeName } from './types.ts'
import { type Builder, branch, type Condition, GuestValueError, type In, Value } from './value.ts'

/** A value or several, and what is done where the switch's value is one of them. */
export type Cases<T extends TypeName> = readonly (readonly [is: In<T> | readonly In<T>[], body: () => void])[]

/** The first case that `value` is one of, else `otherwise`. */
export const choose = <T extends TypeName>(
  g: Builder,
  value: Value<T>,
  cases: Cases<T>,
  otherwise: (() => void) | undefined,
): void => {
  const { scope } = g
  const end = scope.label()
  const seen = value.copy()
  for (const [is, body] of cases) {
    const wanted: readonly In<T>[] = typeof is === 'object' && !(is instanceof Value) ? is : [is]
    const [hit, next] = [scope.label(), scope.label()]
    for (const one of wanted.slice(0, -1)) branch(g, seen.eq(one), true, hit)
    const last = wanted.at(-1)
    if (last === undefined) throw new GuestValueError('a case of a switch needs a value')
    branch(g, seen.eq(last), false, next)
    if (wanted.length > 1) scope.emit({ op: 'label', label: hit })
    body()
    scope.emit({ op: 'jump', label: end })
    scope.emit({ op: 'label', label: next })
  }
  otherwise?.()
  scope.emit({ op: 'label', label: end })
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
