/**
 * REP MOVS and REP STOS a page at a time: what their semantics do element by element, for the common case of ascending
 * addresses in flat segments. SDM Vol. 1, "Fast-String Operation".
 */

import { RFLAGS_AC, RFLAGS_TF } from '#abi'
import type { Cpu } from './cpu.ts'
import { DS, ES, type Insn, type Seg } from './insn.ts'
import { linearOf } from './linear.ts'
import { lookup } from './mmu.ts'
import { elementSize } from './semantics/operands.ts'

/** Iterations of a REP instruction before the run loop looks for events; see `repeat` in interpret.ts. */
export const MOST_REPEATS = 65537
const REFUSED = Number(RFLAGS_AC | RFLAGS_TF)

const isFlat = (cpu: Cpu, seg: Seg): boolean => cpu.mode === 64 || cpu.segments[seg]!.limit === 0xffff_ffff

/** Does as much of the instruction as the interpreter would at once; false where it has to. */
export const repeatInBulk = (cpu: Cpu, insn: Insn): boolean => {
  const { semantics } = insn.row
  if (semantics !== 'movs' && semantics !== 'stos') return false
  if (cpu.df || cpu.breakpoints !== undefined || (cpu.systemFlags & REFUSED) !== 0 || insn.addressSize === 2)
    return false
  const moves = semantics === 'movs'
  const found = insn.operands.find(o => o.kind === 'mem' && o.base === 6)
  const from: Seg = found?.kind === 'mem' ? found.seg : DS
  if (!isFlat(cpu, ES) || (moves && !isFlat(cpu, from))) return false
  const size = elementSize(insn)
  const width = insn.addressSize * 8
  const { gpr } = cpu
  let left = BigInt.asUintN(width, gpr[1]!)
  if (left === 0n) return true
  for (let room = MOST_REPEATS; ; ) {
    const to = BigInt.asUintN(width, gpr[7]!)
    const at = BigInt.asUintN(width, gpr[6]!)
    const source = moves ? linearOf(cpu, from, at, size, 'read') : 0n
    const first = moves ? lookup(cpu, source, 'read', cpu.key) : 0
    const target = linearOf(cpu, ES, to, size, 'write')
    const inTarget = 4096 - Number(target & 0xfffn)
    const inSource = moves ? 4096 - Number(source & 0xfffn) : 4096
    let count = Math.min(Math.floor(Math.min(inTarget, inSource) / size), room)
    if (left < BigInt(count)) count = Number(left)
    const host = count === 0 ? -1 : lookup(cpu, target, 'write', cpu.key)
    if (count > 0 && host >= 0 && first >= 0 && !(moves && host > first && host < first + size)) {
      if (moves) copy(cpu.memory.u8, host, first, count * size)
      else fill(cpu.memory.u8, host, count * size, size, gpr[0]!)
      cpu.memory.wrote(host)
    } else {
      count = 1
      cpu.write(target, size, moves ? cpu.read(source, size) : BigInt.asUintN(size * 8, gpr[0]!))
    }
    const bytes = BigInt(count * size)
    left -= BigInt(count)
    room -= count
    gpr[7] = BigInt.asUintN(width, to + bytes)
    if (moves) gpr[6] = BigInt.asUintN(width, at + bytes)
    gpr[1] = left
    if (left === 0n) return true
    if (room === 0) {
      cpu.next = cpu.rip
      return true
    }
  }
}

/** As byte by byte upwards: where the ranges overlap, what was written is read again. */
const copy = (u8: Uint8Array, to: number, from: number, length: number): void => {
  const distance = to - from
  if (distance <= 0 || distance >= length) {
    u8.copyWithin(to, from, from + length)
    return
  }
  for (let done = 0; done < length; done += distance)
    u8.copyWithin(to + done, from + done, from + done + Math.min(distance, length - done))
}

const fill = (u8: Uint8Array, to: number, length: number, size: number, value: bigint): void => {
  if (size === 1) {
    u8.fill(Number(value & 0xffn), to, to + length)
    return
  }
  for (let n = 0; n < size; n++) u8[to + n] = Number((value >> BigInt(8 * n)) & 0xffn)
  for (let done = size; done < length; done *= 2) u8.copyWithin(to + done, to, to + Math.min(done, length - done))
}
