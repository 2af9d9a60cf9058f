/**
 * REP CMPS and REP SCAS as WebAssembly, as far as one page goes: then the instruction jumps to itself. So whatever can
 * fault stands before anything changes, and the registers and flags are those of whole iterations.
 */
import type { Size } from '#bits'
import type { Code } from '#wasm'
import type { Accesses } from './access.ts'
import type { Emitter } from './emit.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import { addressIn, chunk, LOAD, RCX, RDI, RSI, step } from './repeat.ts'
import type { Leave } from './sites.ts'
import { LOCAL } from './unit.ts'

export type Scan = {
  /** CMPS: the first operand is at RSI. */
  readonly compares: boolean
  /** REPE. */
  readonly whileEqual: boolean
  readonly size: Size
  readonly addressSize: 4 | 8
  /** The last operands compared; for SCAS, `a` is the accumulator. */
  readonly a: Node
  readonly b: Node
  /** RCX was not 0; there is more to do. */
  readonly ran: Node
  readonly again: Node
}

export const emitScan = (emit: Emitter, accesses: Accesses, scan: Scan, leave: Leave): void => {
  const { code } = emit
  const { compares, whileEqual, size, addressSize, a, b } = scan
  const narrow = (): Code => (addressSize === 4 ? code.i64(0xffff_ffffn).op('i64.and') : code)
  const [to, from, length, at] = [emit.temp(32), emit.temp(32), emit.temp(32), emit.temp(32)]
  const [ran, again, first, second] = [emit.temp(32), emit.temp(32), emit.temp(a.width), emit.temp(b.width)]
  const wide = size === 8 ? 'i64' : 'i32'
  const goesOn = (): Code =>
    code
      .get(first)
      .get(second)
      .op(`${wide}.${whileEqual ? 'eq' : 'ne'}`)
  if (!compares) {
    emit.put(size === 8 ? n.local(LOCAL.GPR, 64, 64) : n.truncate(n.local(LOCAL.GPR, 64, 64), size))
    code.set(first)
  }
  code.i32(0).set(again)
  code.get(RCX)
  narrow().op('i64.eqz').op('i32.eqz').tee(ran)
  code.if(() => {
    if (compares) {
      accesses.probe(addressIn(RSI, addressSize), size, 'read', leave)
      code.set(from)
    }
    accesses.probe(addressIn(RDI, addressSize), size, 'read', leave)
    code.set(to)
    chunk(code, length, size, addressSize, compares)
    code.i32(0).set(at)
    code.loop(more => {
      if (compares) code.get(from).get(at).op('i32.add').memory(LOAD[size]).set(first)
      code.get(to).get(at).op('i32.add').memory(LOAD[size]).set(second)
      code.get(at).i32(size).op('i32.add').tee(at).get(length).op('i32.lt_u')
      goesOn().op('i32.and').brIf(more)
    })
    step(code, at, size, addressSize, compares)
    code.get(RCX).op('i64.eqz').op('i32.eqz')
    goesOn().op('i32.and').tee(again)
    // It counts when it ends.
    code.get(LOCAL.LEFT).op('i32.add').set(LOCAL.LEFT)
  })
  a.temp = first
  b.temp = second
  scan.ran.temp = ran
  scan.again.temp = again
}
