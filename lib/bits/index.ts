/** bits: integers, bit fields and byte layouts. */
export * from './address.ts'
export * from './coverage.ts'
export * from './elf.ts'
export * from './errors.ts'
export * from './int.ts'
export * from './layout.ts'
