/** A stack as far transfers and event delivery use it: pushes and pops that only move a private stack pointer. */
import { RIGHTS, VECTOR_SS } from '#abi'
import { ones, type Size, wrap } from '#bits'
import type { Cpu } from './cpu.ts'
import { SS } from './insn.ts'
import * as mmu from './mmu.ts'
import { isLong, withinLimit } from './segments.ts'
import { KEY_SMAP, KEY_SUPERVISOR, KEY_USER } from './tlb.ts'

/** The hidden part of an SS. */
type StackSegment = { readonly base: bigint; readonly limit: number; readonly rights: number }

/** What a pushed or popped word is put in and out of; RSP is committed by whoever made it. */
export class Stack {
  readonly #cpu: Cpu
  readonly #segment: StackSegment
  readonly #width: 2 | 4 | 8
  readonly #key: number
  readonly #errorCode: number
  pointer: bigint

  /**
   * `width`: bytes of the stack pointer that count. `cpl`: the privilege its accesses have. `errorCode`: of #SS where
   * the stack is too small.
   */
  constructor(cpu: Cpu, segment: StackSegment, pointer: bigint, width: 2 | 4 | 8, cpl: number, errorCode = 0) {
    this.#cpu = cpu
    this.#segment = segment
    this.#width = width
    this.#errorCode = errorCode
    const smap = (cpu.cr4 & (1n << 21n)) !== 0n && (cpu.systemFlags & (1 << 18)) === 0
    this.#key = cpl === 3 ? KEY_USER : smap ? KEY_SMAP : KEY_SUPERVISOR
    this.pointer = pointer
  }

  #linear(offset: bigint, size: Size): bigint {
    const cpu = this.#cpu
    if (this.#width === 8) {
      const last = BigInt.asUintN(64, offset + BigInt(size - 1))
      if (!cpu.isCanonical(offset) || !cpu.isCanonical(last)) cpu.raise(VECTOR_SS, this.#errorCode)
      return offset
    }
    const { base, limit, rights } = this.#segment
    if (!withinLimit(rights, limit, Number(offset), size)) cpu.raise(VECTOR_SS, this.#errorCode)
    return BigInt.asUintN(isLong(cpu) ? 64 : 32, base + offset) & ones(32)
  }

  #moved(by: number): bigint {
    const narrow = wrap(this.pointer + BigInt(by), this.#width)
    return this.#width === 2 ? (this.pointer & ~0xffffn) | narrow : narrow
  }

  #offset(): bigint {
    return wrap(this.pointer, this.#width)
  }

  push(value: bigint, size: 2 | 4 | 8): void {
    this.pointer = this.#moved(-size)
    const at = this.#linear(this.#offset(), size)
    this.#cpu.watch(at, size, 'write')
    mmu.writeLinear(this.#cpu, at, size, wrap(value, size), this.#key)
  }

  pop(size: 2 | 4 | 8): bigint {
    const at = this.#linear(this.#offset(), size)
    this.#cpu.watch(at, size, 'read')
    const value = mmu.readLinear(this.#cpu, at, size, this.#key)
    this.pointer = this.#moved(size)
    return value
  }

  release(bytes: number): void {
    this.pointer = this.#moved(bytes)
  }
}

/** Bytes of the stack pointer that a stack segment uses outside 64-bit mode. */
export const widthOf = (rights: number): 2 | 4 => ((rights & RIGHTS.DB) !== 0 ? 4 : 2)

/** The stack the CPU is on. */
export const currentStack = (cpu: Cpu, errorCode = 0): Stack =>
  new Stack(cpu, cpu.segments[SS]!, cpu.gpr[4]!, cpu.stackSize, cpu.cpl, errorCode)
