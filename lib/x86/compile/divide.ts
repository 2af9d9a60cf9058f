/** DIV of 128 bits by 64: where the upper half is 0 one instruction, else two steps of 32 bits. */
import type { Emitter } from './emit.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'

export type Divide = { readonly high: Node; readonly low: Node; readonly by: Node; readonly to: Node }

/**
 * The quotient, which fits 64 bits, of `high:low` by `by`. D. E. Knuth, "The Art of Computer Programming", vol. 2,
 * 4.3.1, algorithm D, with digits of 32 bits.
 */
export const emitDivide = (emit: Emitter, { high, low, by, to }: Divide): void => {
  const { code } = emit
  to.temp = emit.temp(64)
  if (n.isConst(high) && high.value === 0n) {
    emit.put(low)
    emit.put(by)
    code.op('i64.div_u').set(to.temp)
    return
  }
  const [h, l, v] = [high, low, by].map(node => {
    const local = emit.temp(64)
    emit.put(node)
    code.set(local)
    return local
  }) as [number, number, number]
  code.get(h).op('i64.eqz')
  code.if(
    () => code.get(l).get(v).op('i64.div_u').set(to.temp),
    () => long(emit, h, l, v, to.temp),
  )
}

const long = (emit: Emitter, h: number, l: number, v: number, to: number): void => {
  const { code } = emit
  const [shift, digit, rest, first] = [emit.temp(64), emit.temp(64), emit.temp(64), emit.temp(64)]
  const upper = (local: number) => code.get(local).i64(32n).op('i64.shr_u')
  // The divisor begins with a one; h:l goes along.
  code.get(v).op('i64.clz').set(shift)
  code.get(h).get(shift).op('i64.shl')
  code.get(l).i64(1n).op('i64.shr_u').i64(63n).get(shift).op('i64.sub').op('i64.shr_u').op('i64.or').set(h)
  code.get(l).get(shift).op('i64.shl').set(l)
  code.get(v).get(shift).op('i64.shl').set(v)
  upper(v).set(first)
  code.i64(0n).set(to).i64(2n).set(shift)
  // A digit of the quotient of h and the next 32 bits: guessed from the upper half of v, at most 2 too large.
  code.loop(next => {
    code.get(h).get(first).op('i64.div_u').tee(digit)
    code.get(first).op('i64.mul').set(rest)
    code.get(h).get(rest).op('i64.sub').set(rest)
    code.loop(again => {
      upper(digit).op('i64.eqz').op('i32.eqz')
      code.get(digit).get(v).i64(0xffff_ffffn).op('i64.and').op('i64.mul')
      code.get(rest).i64(32n).op('i64.shl')
      upper(l).op('i64.or').op('i64.gt_u').op('i32.or')
      code.if(() => {
        code.get(digit).i64(1n).op('i64.sub').set(digit)
        code.get(rest).get(first).op('i64.add').set(rest)
        upper(rest).op('i64.eqz').brIf(again)
      })
    })
    code.get(h).i64(32n).op('i64.shl')
    upper(l).op('i64.or').get(digit).get(v).op('i64.mul').op('i64.sub').set(h)
    code.get(l).i64(32n).op('i64.shl').set(l)
    code.get(to).i64(32n).op('i64.shl').get(digit).op('i64.or').set(to)
    code.get(shift).i64(1n).op('i64.sub').tee(shift).op('i64.eqz').op('i32.eqz').brIf(next)
  })
}
