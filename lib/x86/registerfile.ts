/** Register operands read and written as plain values, and where memory operands are. */
import { mask, NotModelled, type Size } from '#bits'
import type { Cpu } from './cpu.ts'
import type { Mem, Reg, Seg } from './insn.ts'
import { gather, scatter } from './lanes.ts'

export const readRegister = (cpu: Cpu, r: Reg): bigint => {
  switch (r.file) {
    case 'gpr': {
      const whole = cpu.gpr[r.index]!
      return r.size === 8 ? whole : whole & mask(r.size as Size)
    }
    case 'high':
      return (cpu.gpr[r.index]! >> 8n) & 0xffn
    case 'seg':
      return BigInt(cpu.segments[r.index as Seg]!.selector)
    case 'mm':
      return gather(cpu.x87.regs, r.index * 10, 8)
    case 'vec':
      return gather(cpu.vec, r.index * 32, r.size)
    case 'cr':
    case 'dr':
    case 'st':
      throw new NotModelled(`reading a register of file ${r.file} as an operand`)
  }
}

/** A write of four bytes clears the upper half; a VEX encoding (`vex`) clears what is above a vector operand. */
export const writeRegister = (cpu: Cpu, r: Reg, value: bigint, vex: boolean): void => {
  const { gpr } = cpu
  switch (r.file) {
    case 'gpr':
      if (r.size >= 4) gpr[r.index] = value
      else gpr[r.index] = (gpr[r.index]! & ~mask(r.size as Size)) | value
      return
    case 'high':
      gpr[r.index] = (gpr[r.index]! & ~0xff00n) | (value << 8n)
      return
    case 'mm': {
      const { regs } = cpu.x87
      scatter(regs, r.index * 10, 8, value)
      regs[r.index * 10 + 8] = 0xff
      regs[r.index * 10 + 9] = 0xff
      return
    }
    case 'vec':
      scatter(cpu.vec, r.index * 32, vex ? 32 : 16, value)
      return
    case 'seg':
    case 'cr':
    case 'dr':
    case 'st':
      throw new NotModelled(`writing a register of file ${r.file} as an operand`)
  }
}

/** The offset of a memory operand inside its segment; `length` is the instruction's. */
export const addressOf = (cpu: Cpu, m: Mem, length: number): bigint => {
  const { gpr } = cpu
  let at = m.disp
  if (m.ripRelative) at += cpu.rip + BigInt(length)
  if (m.base >= 0) at += gpr[m.base]!
  if (m.index >= 0) at += m.scale === 1 ? gpr[m.index]! : gpr[m.index]! * BigInt(m.scale)
  return m.addressSize === 8 ? BigInt.asUintN(64, at) : at & (m.addressSize === 4 ? 0xffff_ffffn : 0xffffn)
}
