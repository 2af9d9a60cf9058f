/** linux: a user-mode Linux: static programs on one CPU, and the system calls they make. */
export { ElfError } from '#bits'
export { compileStats, compileWatch, type Keeper, keepTranslations, rehearse, saveTranslations } from '#x86'
export { Process, type ProcessOptions } from './process.ts'
export { type ProgramEnd, type ProgramStats, runProgram } from './run.ts'
export { CALLS, type World } from './syscalls.ts'
