/** The branches that may follow a `when`. */
import type { Scope } from './scope.ts'
import { type Builder, branch, type Condition, GuestValueError, type Value } from './value.ts'

/** What follows a `when`. */
export class Otherwise {
  readonly #g: Builder
  readonly #scope: Scope
  /** Ends of the branches so far: each jumps over the rest of the chain, once there is a rest. */
  readonly #gaps: readonly number[]
  readonly #length: number

  constructor(g: Builder, not: number, earlier: readonly number[] = []) {
    const { scope } = g
    this.#g = g
    this.#scope = scope
    this.#gaps = [...earlier, scope.fn.ops.length]
    scope.emit({ op: 'nop' })
    scope.emit({ op: 'label', label: not })
    if (earlier.length > 0) this.#join(earlier)
    this.#length = scope.fn.ops.length
  }
  /** What these branches end in goes on from here. */
  #join(gaps: readonly number[]): void {
    const label = this.#scope.label()
    for (const gap of gaps) this.#scope.fn.ops[gap] = { op: 'jump', label }
    this.#scope.emit({ op: 'label', label })
  }
  #mustFollow(word: string): void {
    if (this.#g.scope !== this.#scope || this.#scope.fn.ops.length !== this.#length)
      throw new GuestValueError(`${word} follows its when at once`)
  }

  otherwise(body: () => void): void {
    this.#mustFollow('otherwise')
    body()
    this.#join(this.#gaps)
  }
  /** Another condition, worked out only where the ones before did not hold. */
  orWhen(condition: () => Condition | Value, body: () => void): Otherwise {
    this.#mustFollow('orWhen')
    const not = this.#scope.label()
    branch(this.#g, condition(), false, not)
    body()
    return new Otherwise(this.#g, not, this.#gaps)
  }
}
