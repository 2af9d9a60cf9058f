/** What a region has in locals, and where the state frame has it: registers, vector registers, and flags as recipes. */
import type { Code } from '#wasm'
import { STATE } from '../state.ts'
import { encode, type FlagState } from './flags.ts'
import type { Block } from './region.ts'
import { SCRATCH } from './sites.ts'
import { FIRST_VEC, LOCAL, type Unit } from './unit.ts'

/** Registers by number, as masks; vector registers' upper halves from number 16 on. */
export type Registers = { readonly general: number; readonly vectors: number }

/** What the blocks read or write, and what they write. */
export const registersIn = (blocks: readonly Block[]): { readonly used: Registers; readonly written: Registers } => {
  const [used, written] = [
    { general: 0, vectors: 0 },
    { general: 0, vectors: 0 },
  ]
  for (const { units } of blocks)
    for (const unit of units) {
      used.general |= unit.uses
      used.vectors |= unit.vectorUses
      for (const r of unit.vectors.keys()) written.vectors |= 1 << r
      for (const r of unit.registers.keys()) written.general |= 1 << r
    }
  used.general |= written.general
  used.vectors |= written.vectors
  return { used, written }
}

const numbersOf = (values: ReadonlyMap<number, unknown>): number => {
  let mask = 0
  for (const r of values.keys()) mask |= 1 << r
  return mask
}
/** What the interpreter reads for a unit that it does in place, and what it writes. */
export const readOf = ({ uses, vectorUses }: Unit): Registers => ({ general: uses, vectors: vectorUses })
export const writtenOf = ({ registers, vectors }: Unit): Registers => ({
  general: numbersOf(registers),
  vectors: numbersOf(vectors),
})

const each = (mask: number, act: (r: number) => void): void => {
  for (let r = 0; r < 32; r++) if ((mask & (1 << r)) !== 0) act(r)
}
/** Where a vector register is, or (from number 16 on) the upper half of one. */
const vectorAt = (r: number): number => STATE.VEC + (r & 15) * 32 + (r >> 4) * 16

export const loadRegisters = (code: Code, { general, vectors }: Registers): void => {
  each(general, r =>
    code
      .get(LOCAL.FRAME)
      .memory('i64.load', STATE.GPR + r * 8)
      .set(LOCAL.GPR + r),
  )
  each(vectors, r =>
    code
      .get(LOCAL.FRAME)
      .vectorMemory('load', vectorAt(r))
      .set(FIRST_VEC + r),
  )
}
export const storeGeneral = (code: Code, { general }: Registers): void =>
  each(general, r =>
    code
      .get(LOCAL.FRAME)
      .get(LOCAL.GPR + r)
      .memory('i64.store', STATE.GPR + r * 8),
  )
export const storeVectors = (code: Code, { vectors }: Registers): void =>
  each(vectors, r =>
    code
      .get(LOCAL.FRAME)
      .get(FIRST_VEC + r)
      .vectorMemory('store', vectorAt(r)),
  )

const FLAG_AT = [STATE.CF, STATE.PF, STATE.AF, STATE.ZF, STATE.SF, STATE.OF]

/** The flags' bytes. */
export const loadFlags = (code: Code): void => {
  for (const [f, at] of FLAG_AT.entries())
    code
      .get(LOCAL.FRAME)
      .memory('i32.load8_u', at)
      .set(LOCAL.FLAG + f)
}
/** What flags that are yet to be worked out follow from, and how. */
export const loadRecipe = (code: Code): void => {
  code.get(LOCAL.FRAME).memory('i64.load', SCRATCH.FLAG_A).set(LOCAL.FLAG_A)
  code.get(LOCAL.FRAME).memory('i64.load', SCRATCH.FLAG_B).set(LOCAL.FLAG_B)
  code.get(LOCAL.FRAME).memory('i64.load', SCRATCH.FLAG_R).set(LOCAL.FLAG_R)
  code.get(LOCAL.FRAME).memory('i32.load', SCRATCH.RULE).set(LOCAL.RULE)
}
/** The flags' bytes, and what others follow from. */
export const storeFlags = (code: Code): void => {
  for (const [f, at] of FLAG_AT.entries())
    code
      .get(LOCAL.FRAME)
      .get(LOCAL.FLAG + f)
      .memory('i32.store8', at)
  code.get(LOCAL.FRAME).get(LOCAL.FLAG_A).memory('i64.store', SCRATCH.FLAG_A)
  code.get(LOCAL.FRAME).get(LOCAL.FLAG_B).memory('i64.store', SCRATCH.FLAG_B)
  code.get(LOCAL.FRAME).get(LOCAL.FLAG_R).memory('i64.store', SCRATCH.FLAG_R)
}
/** How they follow from it, as it is known here. */
export const storeRule = (code: Code, state: FlagState): void => {
  code.get(LOCAL.FRAME)
  if (state.known) code.i32(encode(state))
  else code.get(LOCAL.RULE)
  code.memory('i32.store', SCRATCH.RULE)
}
