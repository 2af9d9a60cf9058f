/** Small improvements of a function's operations, each only where nothing in between could tell the difference. */
import type { Size } from '#bits'
import { type Address, eachDefinition, eachUse, type Fn, isPure, type Op } from './ir.ts'

const NOP: Op = { op: 'nop' }

const count = (fn: Fn): { uses: Int32Array; definitions: Int32Array } => {
  const uses = new Int32Array(fn.vregs)
  const definitions = new Int32Array(fn.vregs)
  const use = (v: number) => uses[v]!++
  const define = (v: number) => definitions[v]!++
  for (const op of fn.ops) {
    eachUse(op, use)
    eachDefinition(op, define)
  }
  return { uses, definitions }
}

const sameAddress = (a: Address, b: Address): boolean =>
  a.base === b.base && a.index === b.index && a.scale === b.scale && a.disp === b.disp

/** Simplifies in place: dead temporaries go, `t = a + b; x = t` becomes `x = a + b`, load-add-store one operation. */
export const simplify = (fn: Fn): void => {
  const { ops } = fn
  const { uses, definitions } = count(fn)
  const release = (v: number) => uses[v]!--
  const drop = (i: number) => {
    eachUse(ops[i]!, release)
    ops[i] = NOP
  }

  for (let i = ops.length - 1; i >= 0; i--) {
    const op = ops[i]!
    if (isPure(op) && 'dst' in op && uses[op.dst] === 0) {
      drop(i)
      continue
    }
    if (op.op === 'fixed') {
      // Results nobody reads stay where they are: the register is lost all the same.
      const outs = op.outs.filter(([, v]) => uses[v]! > 0)
      if (outs.length < op.outs.length) ops[i] = { ...op, outs }
      continue
    }
    if (op.op === 'call') {
      if (op.dst >= 0 && uses[op.dst] === 0) op.dst = -1
      continue
    }
    // The operation before this one that is still there.
    let before = i - 1
    while (before >= 0 && ops[before]!.op === 'nop') before--
    const previous = ops[before]
    if (previous === undefined) continue

    if (op.op === 'move' && typeof op.a === 'number' && uses[op.a] === 1 && definitions[op.a] === 1) {
      if ('dst' in previous && previous.dst === op.a) {
        previous.dst = op.dst
        ops[i] = NOP
      }
    } else if (op.op === 'jump' && nextLabels(ops, i, op.label)) ops[i] = NOP
    else if (op.op === 'store' && typeof op.a === 'number' && uses[op.a] === 1 && definitions[op.a] === 1) {
      const load = loadBefore(ops, before)
      if (
        previous.op === 'binary' &&
        previous.dst === op.a &&
        previous.name !== 'mul' &&
        load?.op === 'load' &&
        load.dst === previous.a &&
        load.dst !== previous.b &&
        uses[load.dst] === 1 &&
        definitions[load.dst] === 1 &&
        load.size === op.size &&
        load.size === (previous.size as Size) &&
        sameAddress(load.address, op.address)
      ) {
        ops[i] = { op: 'modify', name: previous.name, size: op.size, a: previous.b, address: op.address, lock: false }
        ops[before] = NOP
        ops[ops.indexOf(load, Math.max(0, before - WINDOW))] = NOP
      }
    }
  }
  let kept = 0
  for (const op of ops) if (op.op !== 'nop') ops[kept++] = op
  ops.length = kept
}

const WINDOW = 8

const loadBefore = (ops: readonly Op[], at: number): Op | undefined => {
  for (let i = at - 1; i >= Math.max(0, at - WINDOW); i--) if (ops[i]!.op !== 'nop') return ops[i]
  return undefined
}

/** Does `label` follow `at` with nothing but labels in between? */
const nextLabels = (ops: readonly Op[], at: number, label: number): boolean => {
  for (let i = at + 1; i < ops.length; i++) {
    const op = ops[i]!
    if (op.op === 'label') {
      if (op.label === label) return true
    } else if (op.op !== 'nop' && op.op !== 'endloop') return false
  }
  return false
}
