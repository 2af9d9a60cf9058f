/** bare: a machine with no operating system: an image that boots by itself, code from a file, single-instruction vectors. */
export { BadImage } from './bad.ts'
export { BARE_FEATURES, BareMachine, type MachineEnd, type MachineOptions, type MachineStats } from './machine.ts'
