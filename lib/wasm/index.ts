/** wasm: writes WebAssembly modules; knows nothing of x86. */
export * from './code.ts'
export * from './module.ts'
export * from './opcodes.ts'
export { textOf } from './text.ts'
