/** IN and OUT: who may, and the exit that they are. */
import { DESCRIPTOR_TSS, DESCRIPTOR_TSS_BUSY, RFLAGS_IOPL, VECTOR_GP } from '#abi'
import type { Size } from '#bits'
import type { Cpu } from './cpu.ts'
import { isProtected, typeOf } from './segments.ts'
import { EXIT_REASON_IO_INSTRUCTION } from './vmx.ts'

/** IOPL, else the I/O permission bitmap of the TSS. SDM Vol. 1, "I/O Permission Bit Map". */
export const allowPort = (cpu: Cpu, port: number, size: Size): void => {
  if (!isProtected(cpu)) return
  if (cpu.cpl <= Number((BigInt(cpu.systemFlags) & RFLAGS_IOPL) >> 12n)) return
  const { tr } = cpu
  const type = typeOf(tr.rights)
  const refuse = () => cpu.raise(VECTOR_GP, 0)
  if ((type !== DESCRIPTOR_TSS && type !== DESCRIPTOR_TSS_BUSY) || tr.limit < 103) refuse()
  const at = Number(cpu.readSystem(tr.base + 102n, 2)) + (port >> 3)
  // Two bytes are read whatever the size, so both must lie in the TSS.
  if (at + 1 > tr.limit) refuse()
  const map = Number(cpu.readSystem(tr.base + BigInt(at), 2)) >> (port & 7)
  if ((map & ((1 << size) - 1)) !== 0) refuse()
}

/** SDM Vol. 3C, "Exit Qualification for I/O Instructions". */
const ioQualification = (cpu: Cpu, port: number, size: Size, isIn: boolean): bigint => {
  const { insn } = cpu
  const isString = isStringIo(cpu)
  const isRepeated = isString && insn?.rep !== ''
  const isImmediate = insn?.operands.some(operand => operand.kind === 'imm') ?? false
  const flags = (isIn ? 8 : 0) | (isString ? 16 : 0) | (isRepeated ? 32 : 0) | (isImmediate ? 64 : 0)
  return BigInt(port * 0x1_0000 + (size - 1 + flags))
}
const isStringIo = (cpu: Cpu): boolean => {
  const name = cpu.insn?.row.semantics
  return name === 'ins' || name === 'outs'
}

/** SDM Vol. 2A, "IN". With no one at the port of a bare machine, that is an exit too. */
export const in_ = (cpu: Cpu, port: number, size: Size): bigint => {
  allowPort(cpu, port, size)
  if (cpu.controls?.io || cpu.ports === undefined) {
    return cpu.leave(EXIT_REASON_IO_INSTRUCTION, ioQualification(cpu, port, size, true))
  }
  cpu.met |= cpu.breakpoints?.ports(port, size) ?? 0
  return cpu.ports.in(port, size)
}

/** SDM Vol. 2B, "OUT". */
export const out = (cpu: Cpu, port: number, size: Size, value: bigint): void => {
  allowPort(cpu, port, size)
  if (!cpu.controls?.io && cpu.ports !== undefined) {
    cpu.met |= cpu.breakpoints?.ports(port, size) ?? 0
    cpu.ports.out(port, size, value)
    return
  }
  const qualification = ioQualification(cpu, port, size, false)
  if (isStringIo(cpu)) cpu.leave(EXIT_REASON_IO_INSTRUCTION, qualification)
  else cpu.end(EXIT_REASON_IO_INSTRUCTION, qualification)
}

// Flags
