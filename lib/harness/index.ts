/** harness: what a selftest imports: test, fixture, td, assert. */
// The numbers of the specifications under their own names.
export * from '#abi'

export { array, bitFields, bytes, type Layout, nested, type Size, struct } from '#bits'
export {
  c,
  elf,
  flat,
  type GuestBuilder,
  type GuestFunction,
  i8,
  i16,
  i32,
  i64,
  NO_FAULT,
  type Struct,
  u8,
  u16,
  u32,
  u64,
  type Value,
  X2APIC,
} from '#guest'
export type { Pattern, Scalar, Words } from './assert.ts'
export { type Collected, type CollectedTest, collect, type Outcome, type RunOptions } from './collect.ts'
export type { Context } from './context.ts'
export type { Exit, IoExit, MmioExit, Outcomes, Reason, Ucall } from './exits.ts'
export { Failure } from './failure.ts'
export { type Measured, type MeasuredPage, onMeasured, recompute } from './measured.ts'
export type { AnyOptions, Map, TdOptions, VmOptions } from './options.ts'
export { allowMsrs, readCpuid, readMsr, writeMsr } from './query.ts'
export { rehearse } from './rehearse.ts'
export { type Shared, shared } from './shared.ts'
export { type OneVcpuSuite, oneVcpuSuite } from './suite.ts'
export type { Td, Where } from './td.ts'
export { type Fixture, type FixtureOptions, fixture, type TestOptions, test, type Variants } from './test.ts'
export { standing } from './trial.ts'
export { type Kind, kinds, product, shapes, transports, vcpus } from './variants.ts'
export type { Vcpu } from './vcpu.ts'
