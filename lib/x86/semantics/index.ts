/** The meaning of every instruction there is, by the key in its row of the table. */
import type { Semantics } from '../tier.ts'
import * as arith from './arith.ts'
import { avx } from './avx.ts'
import * as bcd from './bcd.ts'
import * as bit from './bit.ts'
import * as branch from './branch.ts'
import { masked } from './gather.ts'
import * as logic from './logic.ts'
import * as move from './move.ts'
import * as segment from './segment.ts'
import * as shift from './shift.ts'
import { simd } from './simd.ts'
import { simdfloat } from './simdfloat.ts'
import { simdmove } from './simdmove.ts'
import { simdstring } from './simdstring.ts'
import * as stack from './stack.ts'
import * as string from './string.ts'
import * as system from './system.ts'
import { x87 } from './x87.ts'

export const semantics: Readonly<Record<string, Semantics>> = {
  ...arith,
  ...avx,
  ...bcd,
  ...bit,
  ...branch,
  ...logic,
  ...masked,
  ...move,
  ...segment,
  ...shift,
  ...simd,
  ...simdfloat,
  ...simdmove,
  ...simdstring,
  ...stack,
  ...string,
  ...system,
  ...x87,
  in: system.in_,
}
