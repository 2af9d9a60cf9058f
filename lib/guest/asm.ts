/** Options of an asm block. */
import type { GprName } from './leaves.ts'
import type { In } from './value.ts'

export type AsmOptions<O extends GprName> = {
  /** Registers to be set before. */
  readonly in?: { readonly [R in GprName]?: In<'u64'> }
  /** Registers whose values are wanted. */
  readonly out?: readonly O[]
  /** Registers that change beside those of `out`; every one where this is not given. */
  readonly clobbers?: readonly GprName[]
}
