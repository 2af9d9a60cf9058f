/** Atomic operations of a guest: locked read-modify-write, with what was there before where that is wanted. */
import type { GuestBuilder } from './builder.ts'
import { type NameOf, type TypeName, type TypeOrSize, typeOf, u32, u64 } from './types.ts'
import { Condition, type In, operandIn, Value } from './value.ts'

/** Part of a register of `size` bytes, by its letter. */
const part = (letter: 'a' | 'c', size: number): string =>
  size === 8 ? `r${letter}x` : size === 4 ? `e${letter}x` : size === 2 ? `${letter}x` : `${letter}l`

export type Atomic = ReturnType<typeof atomicOf>

export const atomicOf = (g: GuestBuilder) => {
  const address = (at: In<'u64'>) => g.scope.address(operandIn(u64, at))
  const modify =
    (name: 'add' | 'sub' | 'and' | 'or' | 'xor') =>
    <T extends TypeOrSize>(at: In<'u64'>, type: T, value: In<NameOf<T>>): void => {
      const t = typeOf(type)
      g.scope.emit({ op: 'modify', name, size: t.size, a: operandIn(t, value), address: address(at), lock: true })
    }
  const exchange =
    (name: 'xadd' | 'xchg') =>
    <T extends TypeOrSize>(at: In<'u64'>, type: T, value: In<NameOf<T>>): Value<NameOf<T>> => {
      const t = typeOf(type)
      const dst = g.scope.vreg()
      g.scope.emit({ op: 'exchange', name, size: t.size, dst, a: operandIn(t, value), address: address(at) })
      const read = t.signed && t.size < 4 ? g.scope.convert(dst, u32, t) : dst
      return new Value(g, t, read)
    }
  const bit =
    (name: 'bts' | 'btr' | 'btc') =>
    (at: In<'u64'>, n: In<'u64'>): Condition => {
      const text = `lock ${name} qword ptr [rdx], rcx\nsetc al\nmovzx eax, al`
      const { rax } = g.asm(text, { in: { rdx: at, rcx: n }, out: ['rax'], clobbers: [] })
      return new Condition(g, Value.operand(rax))
    }
  return {
    add: modify('add'),
    sub: modify('sub'),
    and: modify('and'),
    or: modify('or'),
    xor: modify('xor'),
    /** LOCK XADD: adds, and gives what was there. */
    fetchAdd: exchange('xadd'),
    /** XCHG: stores, and gives what was there. */
    exchange: exchange('xchg'),
    /** LOCK CMPXCHG: stores `desired` where `expected` was; `old` is what was there either way. */
    compareExchange<T extends TypeOrSize>(
      at: In<'u64'>,
      type: T,
      expected: In<NameOf<T>>,
      desired: In<NameOf<T>>,
    ): { readonly old: Value<NameOf<T>>; readonly swapped: Condition } {
      const t = typeOf(type)
      const wide = (value: In<TypeName>) => new Value(g, t, operandIn(t, value as In<NameOf<T>>)).as(u64)
      const wanted = wide(expected)
      const text = `lock cmpxchg [rdx], ${part('c', t.size)}\nsetz cl\nmovzx ecx, cl`
      const ins = { rax: wanted, rcx: wide(desired), rdx: at }
      const { rax, rcx } = g.asm(text, { in: ins, out: ['rax', 'rcx'], clobbers: [] })
      return { old: rax.as(t), swapped: new Condition(g, Value.operand(rcx)) }
    },
    /** LOCK BTS of bit `n` from `at` on: was it set? */
    testAndSet: bit('bts'),
    /** LOCK BTR. */
    testAndReset: bit('btr'),
    /** LOCK BTC. */
    testAndComplement: bit('btc'),
  }
}
