/** tdx: the TDX module: SEAMCALL and TDCALL leaves over TDR, TDCS, TDVPS, SEPT and PAMT. */
export { explainSept, type SeptEntry } from './explain.ts'
export { invariants } from './invariants.ts'
export type { LogicalProcessor } from './leaf.ts'
export { type ModuleOptions, type ModuleState, TdxModule } from './module.ts'
export { type Cmr, nativeCpuid, type Platform, SAPPHIRE_RAPIDS } from './platform.ts'
export { type RegisterValues, SeamcallRegs, WORD } from './registers.ts'
export { Td } from './td.ts'
export type { Vcpu, VeInfo } from './vcpu.ts'
