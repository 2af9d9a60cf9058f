/** The instruction set: one row per encoding, in the SDM's notation. Decoder, encoder and printer all read it. */
import { avx } from './table/avx.ts'
import { fpu } from './table/fpu.ts'
import { general } from './table/general.ts'
import { build, type Row } from './table/row.ts'
import { sse } from './table/sse.ts'
import { system } from './table/system.ts'

export type { OperandForm, Place, Row } from './table/row.ts'

/**
 * Whether the processor at hand has what `feature` names is not asked here.
 *
 * Not modelled: EVEX and with it AVX-512, AMX, GFNI, AVX-VNNI and the later VEX extensions, TSX, MPX, user interrupts,
 * shadow stacks, ENQCMD: their opcodes raise #UD or are reserved NOPs, as on a processor that lacks them.
 */
export const table: readonly Row[] = build([...general, ...system, ...fpu, ...sse, ...avx])
