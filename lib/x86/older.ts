/** What the bytes of a newer instruction mean to a processor that does not have it. */
import type { Insn } from './insn.ts'
import { table } from './table.ts'

/** LZCNT and TZCNT are BSR and BSF, whose F3 counts for nothing. SDM Vol. 2A, "LZCNT", Vol. 2B, "TZCNT". */
const OLDER: Readonly<Record<string, string>> = { lzcnt: 'bsr', tzcnt: 'bsf' }

const known = new WeakMap<Insn, Insn>()

/** The instruction that a processor without `insn.row.feature` sees; undefined: none, #UD. */
export const withoutFeature = (insn: Insn): Insn | undefined => {
  const name = OLDER[insn.row.semantics]
  if (name === undefined) return undefined
  const before = known.get(insn)
  if (before !== undefined) return before
  const row = table.find(row => row.semantics === name && row.operandSize === insn.row.operandSize)
  if (row === undefined) return undefined
  const older = { ...insn, row }
  known.set(insn, older)
  return older
}
