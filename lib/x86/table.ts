/** The instruction set: one row per encoding, in the SDM's notation. Decoder, encoder and printer all read it. */
import { avx } from './table/avx.ts'
import { fpu } from './table/fpu.ts'
import { general } from './table/general.ts'
import { build, type Row } from './table/row.ts'
import { sse } from './table/sse.ts'
import { system } from './table/system.ts'

export type { OperandForm, Place, Row } from './table/row.ts'

export const table: readonly Row[] = build([...general, ...system, ...fpu, ...sse, ...avx])
