/** bare: a machine with no operating system: an image that boots by itself, code from a file, single-instruction vectors. */
export { GPR_NAMES } from '#abi'
export { compileStats, compileWatch, type Feature, featureNamed, type VectorResult, vectors } from '#x86'
export { BadImage } from './bad.ts'
export { type FlatEnd, type FlatOptions, type FlatStop, type Range, runFlat, sayException } from './flat.ts'
export { BARE_FEATURES, BareMachine, type MachineEnd, type MachineOptions, type MachineStats } from './machine.ts'
