/** DIV and IDIV as the compiler has them. */
import type { Size } from '#bits'
import type { Node } from './node.ts'
import * as n from './node.ts'
import type { Effect } from './unit.ts'

/** Divisions that fault are the interpreter's, and signed ones that need more than 64 bits. */
export const buildDivide = (
  size: Size,
  high: Node,
  low: Node,
  by: Node,
  signed: boolean,
  effect: (effect: Effect) => void,
): { quotient: Node; remainder: Node } => {
  const leaveIf = (condition: Node) => effect({ kind: 'leaveIf', condition })
  const cut = (node: Node) => n.truncate(node, size)
  // A multiplication costs less than a second division.
  const both = (quotient: Node, dividend: Node) => {
    const remainder = n.sub(8, n.to64(dividend), n.mul(8, n.to64(quotient), n.to64(by)))
    return { quotient: cut(quotient), remainder: cut(remainder) }
  }
  if (!signed) {
    // A quotient that does not fit, and a divisor of 0, are one comparison.
    leaveIf(n.no(n.below(high, by)))
    if (size === 8) {
      const quotient = n.temp(64, 64)
      effect({ kind: 'divide', high: n.to64(high), low: n.to64(low), by: n.to64(by), to: quotient })
      return both(quotient, low)
    }
    const dividend = n.or(n.shl(8, n.to64(high), n.number(size * 8)), n.to64(low))
    return both(n.divide('div_u', dividend, by), dividend)
  }
  leaveIf(n.isZero(by))
  leaveIf(n.no(n.equal(high, n.sar(size, low, n.number(size * 8 - 1)))))
  const least = n.constant(1n << BigInt(size * 8 - 1))
  const minusOne = n.constant((1n << BigInt(size * 8)) - 1n)
  leaveIf(n.both(n.equal(low, least), n.equal(by, minusOne)))
  const [dividend, divisor] = [n.signExtend(low, size, 8), n.signExtend(by, size, 8)]
  const quotient = n.divide('div_s', dividend, divisor)
  return { quotient: cut(quotient), remainder: cut(n.sub(8, n.to64(dividend), n.mul(8, quotient, n.to64(divisor)))) }
}
