/** Hardware task switches, which a VMM sees and nobody else needs. SDM Vol. 3A, "Task Management". */
import { VECTOR_GP } from '#abi'
import { NotModelled } from '#bits'
import type { Cpu } from './cpu.ts'
import { isLong } from './segments.ts'
import { EXIT_REASON_TASK_SWITCH } from './vmx.ts'

/** Source of a task switch, numbered as in the exit qualification. SDM Vol. 3C, "Exit Qualification for Task Switches". */
const SOURCE = { call: 0n, iret: 1n, jump: 2n, gate: 3n } as const

/**
 * A task switch leaves the guest; in IA-32e mode there is none (#GP).
 * Not modelled: task switches of a CPU that is not virtualized.
 */
export const switchTask = (cpu: Cpu, selector: number, source: keyof typeof SOURCE): never => {
  if (isLong(cpu)) cpu.raise(VECTOR_GP, selector & 0xfffc)
  if (cpu.controls === undefined) throw new NotModelled('hardware task switch')
  return cpu.leave(EXIT_REASON_TASK_SWITCH, BigInt(selector) | (SOURCE[source] << 30n))
}
