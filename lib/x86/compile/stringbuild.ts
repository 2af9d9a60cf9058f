/** String instructions with a REP prefix as the compiler has them: MOVS, STOS, CMPS and SCAS, in bulk. */
import { MOST_REPEATS } from '../bulk.ts'
import { sub } from '../flags.ts'
import { FS, type Insn } from '../insn.ts'
import { elementSize } from '../semantics/operands.ts'
import { STATE } from '../state.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import { type Control, type Effect, type FlagChange, unsupported } from './unit.ts'

/** What a string instruction may do to the unit that is being built; `offset` is its own. */
type StringDoors = {
  readonly offset: number
  readonly effect: (effect: Effect) => void
  readonly general: (r: number) => Node
}
/** The registers that its effect changes in place, and what else it changes. */
type Built = { readonly registers: readonly number[]; readonly flags?: FlagChange; readonly control?: Control }

/** Ascending and in flat segments, and not longer than what the interpreter does at once. */
export const buildRepeat = (i: Insn, d: StringDoors): Built => {
  const { semantics: name } = i.row
  const { addressSize } = i
  const scans = name === 'cmps' || name === 'scas'
  if ((name !== 'movs' && name !== 'stos' && !scans) || addressSize === 2) throw unsupported
  const from = i.operands.find(o => o.kind === 'mem' && o.base === 6)
  if (from?.kind === 'mem' && from.seg >= FS) throw unsupported
  const count = n.truncate(d.general(1), addressSize)
  const refused = n.either(n.frameByte(STATE.DF), n.no(n.atMost(count, n.number(MOST_REPEATS))))
  d.effect({ kind: 'leaveIf', condition: refused })
  // AL to RAX are read, not changed.
  if (name === 'stos' || name === 'scas') d.general(0)
  if (scans) return buildScan(i, name === 'cmps', addressSize, d)
  const moves = name === 'movs'
  d.effect({ kind: 'repeat', moves, size: elementSize(i), addressSize })
  return { registers: moves ? [1, 6, 7] : [1, 7] }
}

/** It jumps to itself while there is more to do. */
const buildScan = (i: Insn, compares: boolean, addressSize: 4 | 8, { offset, effect }: StringDoors): Built => {
  const size = elementSize(i)
  const operand = () => n.temp(size === 8 ? 64 : 32, size * 8)
  const [a, b, ran, again] = [operand(), operand(), n.temp(32, 1), n.temp(32, 1)]
  effect({ kind: 'scan', compares, whileEqual: i.rep !== 'repne', size, addressSize, a, b, ran, again })
  return {
    registers: compares ? [1, 6, 7] : [1, 7],
    flags: { rule: sub, size, a, b, r: n.sub(size, a, b), condition: ran },
    control: { kind: 'goto', offset, condition: again },
  }
}
