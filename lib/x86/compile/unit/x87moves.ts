/** Of the x87 unit: what moves and says, without computing. */
import type { Module } from '#wasm'
import { STATE } from '../../state.ts'
import type { Node } from '../node.ts'
import * as n from '../node.ts'
import { begin } from './writer.ts'
import { C0, C1, C2, C3, c, exponentOf, not0, PENDING, signOf, Unit } from './x87unit.ts'

/** Each clears C1 as the interpreter's does. */
export const writeMoves = (module: Module): Record<string, number> => {
  const made: Record<string, number> = {}
  const write = (name: string, params: readonly (32 | 64)[], body: (u: Unit, ...rest: Node[]) => void): void => {
    const { index, w, params: nodes } = begin(module, [32, ...params], [32])
    body(new Unit(w, nodes[0]!), ...nodes.slice(1))
    w.put(c(0))
    made[name] = index
  }
  const clearC1 = (u: Unit): void => u.setStatus(n.and(u.status, c(0xffff & ~C1)))
  write('constant', [64, 32], (u, m, se) => u.push({ m: m!, se: se! }, 0))
  write('fxch', [32], (u, i) => {
    const top = u.top()
    const other = u.physical(top, i!)
    u.need(n.or(u.bit(top), u.bit(other)))
    const [first, second] = [u.at(top), u.at(other)]
    const [a, b] = [u.read(first), u.read(second)]
    u.write(first, b)
    u.write(second, a)
    clearC1(u)
  })
  write('fstReg', [32, 32], (u, i, pops) => {
    const top = u.top()
    const other = u.physical(top, i!)
    u.need(u.bit(top))
    const v = u.read(u.at(top))
    u.write(u.at(other), v)
    const tags = u.w.load('i32.load8_u', u.frame, STATE.FTW)
    u.w.store('i32.store8', u.frame, STATE.FTW, n.or(tags, u.bit(other)))
    clearC1(u)
    u.w.if(pops!, () => u.pop(top))
  })
  /** FCHS and FABS: exponent and sign AND one, XOR another number. */
  write('sign', [32, 32], (u, kept, turned) => {
    const top = u.top()
    u.need(u.bit(top))
    const at = u.at(top)
    const { se } = u.read(at)
    u.w.store('i32.store16', at, STATE.X87 + 8, n.xor(n.and(se, kept!), turned!))
    clearC1(u)
  })
  write('fcmov', [32, 32], (u, i, moves) => {
    const top = u.top()
    const other = u.physical(top, i!)
    u.need(n.or(u.bit(top), u.bit(other)))
    u.w.if(moves!, () => u.write(u.at(top), u.read(u.at(other))))
  })
  write('fpop', [], u => u.pop(u.top()))
  write('ffree', [32], (u, i) => {
    const tags = u.w.load('i32.load8_u', u.frame, STATE.FTW)
    u.w.store('i32.store8', u.frame, STATE.FTW, n.and(tags, n.xor(u.bit(u.physical(u.top(), i!)), c(0xff))))
  })
  write('turn', [32], (u, by) => {
    const next = n.shl(4, n.and(n.add(4, n.shr(4, u.status, c(11)), by!), c(7)), c(11))
    u.setStatus(n.or(n.and(u.status, c(0xffff & ~(C1 | 0x3800))), next))
  })
  write('fxam', [], u => {
    const top = u.top()
    const tags = u.w.load('i32.load8_u', u.frame, STATE.FTW)
    const v = u.read(u.at(top))
    const exponent = exponentOf(v.se)
    const isInfinite = n.isZero(n.shl(8, v.m, c(1)))
    const special = n.select(isInfinite, c(C2 | C0), c(C0))
    const whole = n.select(n.bit(v.m, 63), n.select(n.equal(exponent, c(0x7fff)), special, c(C2)), c(0))
    const least = n.select(n.isZero(v.m), c(C3), c(C3 | C2))
    const kind = n.select(n.isZero(exponent), least, whole)
    const used = n.and(tags, u.bit(top))
    const found = n.select(n.isZero(used), c(C3 | C0), kind)
    const kept = n.and(u.status, c(0xffff & ~(C0 | C1 | C2 | C3)))
    u.setStatus(n.or(n.or(kept, found), n.shl(4, signOf(v.se), c(9))))
  })
  write('fldcw', [32], (u, value) => {
    const control = u.w.let(n.or(n.and(value!, c(0x1f3f)), c(0x40)))
    u.w.store('i32.store16', u.frame, STATE.FCW, control)
    const waits = not0(n.and(n.and(u.status, n.xor(control, c(0xffff))), c(0x3f)))
    u.setStatus(n.or(n.and(u.status, c(0xffff & ~PENDING)), n.select(waits, c(PENDING), c(0))))
  })
  write('fnclex', [], u => u.setStatus(n.and(u.status, c(0x7f00))))
  return made
}
