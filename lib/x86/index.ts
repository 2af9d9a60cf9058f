/** x86: one CPU, bytes to instructions, instructions to effects, GVA to GPA, faults and exits. */
export * from './assemble.ts'
export * from './decode.ts'
export * from './encode.ts'
export * from './insn.ts'
export { nameOf, registerNamed, registers } from './register.ts'
export { type OperandForm, type Place, type Row, table } from './table.ts'
