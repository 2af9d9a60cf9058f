/** The TDX module's ABI: leaves, statuses, operands, structures, metadata, CPUID and MSR virtualization tables. */
export * from './tdx/cpuid.ts'
export * from './tdx/leaf.ts'
export * from './tdx/metadata.ts'
export * from './tdx/msr.ts'
export * from './tdx/name.ts'
export * from './tdx/operand.ts'
export * from './tdx/params.ts'
export * from './tdx/status.ts'
