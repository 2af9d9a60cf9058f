/**
 * The registers of one CPU, in one frame of machine memory, so that compiled code reaches them by address.
 * Everything that only system instructions touch (control registers, selectors, limits) is a plain field of `Cpu`.
 */
import { RIGHTS } from '#abi'
import type { Hpa } from '#bits'
import type { PhysicalMemory } from './memory.ts'

/** Byte offsets in the state frame. */
export const STATE = {
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15. */
  GPR: 0x000,
  RIP: 0x080,
  /** RIP of the following instruction; a branch writes its target here. */
  NEXT: 0x088,
  /** One byte each, 0 or 1. */
  CF: 0x090,
  PF: 0x091,
  AF: 0x092,
  ZF: 0x093,
  SF: 0x094,
  OF: 0x095,
  DF: 0x096,
  /** The other bits of RFLAGS, 32 bits; the seven above and the fixed bit are clear here. */
  SYSTEM_FLAGS: 0x098,
  /** ES CS SS DS FS GS LDTR TR, 8 bytes each. */
  BASES: 0x0a0,
  /** HPA of the TLB's table for the code that runs (32 bits) and index mask of its entries (32 bits). */
  TLB: 0x0e0,
  TLB_MASK: 0x0e4,
  MXCSR: 0x0ec,
  FCW: 0x0f0,
  FSW: 0x0f2,
  /** Abridged as in FXSAVE: bit i set where physical register Ri is not empty. */
  FTW: 0x0f4,
  /** Last x87 opcode, 11 bits. */
  FOP: 0x0f6,
  PKRU: 0x0f8,
  /** Last x87 instruction and operand: offset 8 bytes, selector 2 bytes (at +8). */
  FIP: 0x100,
  FDP: 0x110,
  /** R0 … R7, 10 bytes each. */
  X87: 0x140,
  /** YMM0 … YMM15, 32 bytes each. */
  VEC: 0x200,
  /**
   * Flags that are yet to be worked out, 32 bits: number of the recipe times 64 plus a bit for each (CF PF AF ZF SF OF). The bytes
   * above do not hold for them. What the recipe follows from is in the scratch words of compiled code.
   */
  RULE: 0x404,
} as const

/** CF PF AF ZF SF DF OF of a state frame and the bit that is always set, where RFLAGS has them. */
export const statusFlags = (frame: Uint8Array): number =>
  2 |
  frame[STATE.CF]! |
  (frame[STATE.PF]! << 2) |
  (frame[STATE.AF]! << 4) |
  (frame[STATE.ZF]! << 6) |
  (frame[STATE.SF]! << 7) |
  (frame[STATE.DF]! << 10) |
  (frame[STATE.OF]! << 11)

export const setStatusFlags = (frame: Uint8Array, rflags: number): void => {
  frame[STATE.CF] = rflags & 1
  frame[STATE.PF] = (rflags >> 2) & 1
  frame[STATE.AF] = (rflags >> 4) & 1
  frame[STATE.ZF] = (rflags >> 6) & 1
  frame[STATE.SF] = (rflags >> 7) & 1
  frame[STATE.DF] = (rflags >> 10) & 1
  frame[STATE.OF] = (rflags >> 11) & 1
}

/** Selector, base, byte limit and VMX access rights of one segment register. The base lives in the state frame. */
export class SegmentRegister {
  selector = 0
  limit = 0xffff
  rights: number = RIGHTS.UNUSABLE
  readonly #base: BigUint64Array
  readonly #at: number

  constructor(base: BigUint64Array, at: number) {
    this.#base = base
    this.#at = at
  }

  get base(): bigint {
    return this.#base[this.#at]!
  }

  set base(value: bigint) {
    this.#base[this.#at] = value
  }

  set(selector: number, base: bigint, limit: number, rights: number): void {
    this.selector = selector
    this.base = base
    this.limit = limit
    this.rights = rights
  }
}

/** The x87 state. SDM Vol. 1, "x87 FPU Execution Environment". */
export class X87 {
  /** Physical registers R0 … R7, 10 bytes each. */
  readonly regs: Uint8Array
  readonly #view: DataView

  constructor(memory: PhysicalMemory, frame: Hpa) {
    this.regs = memory.u8.subarray(frame + STATE.X87, frame + STATE.X87 + 80)
    this.#view = new DataView(memory.u8.buffer, frame, STATE.X87 + 80)
  }

  /** The 80 bits of a physical register. */
  get(register: number): bigint {
    const at = STATE.X87 + register * 10
    return (BigInt(this.#view.getUint16(at + 8, true)) << 64n) | this.#view.getBigUint64(at, true)
  }
  set(register: number, value: bigint): void {
    const at = STATE.X87 + register * 10
    this.#view.setBigUint64(at, value, true)
    this.#view.setUint16(at + 8, Number(value >> 64n), true)
  }

  get fcw(): number {
    return this.#view.getUint16(STATE.FCW, true)
  }
  set fcw(value: number) {
    this.#view.setUint16(STATE.FCW, value, true)
  }
  get fsw(): number {
    return this.#view.getUint16(STATE.FSW, true)
  }
  set fsw(value: number) {
    this.#view.setUint16(STATE.FSW, value, true)
  }
  get ftw(): number {
    return this.#view.getUint8(STATE.FTW)
  }
  set ftw(value: number) {
    this.#view.setUint8(STATE.FTW, value)
  }
  get fop(): number {
    return this.#view.getUint16(STATE.FOP, true)
  }
  set fop(value: number) {
    this.#view.setUint16(STATE.FOP, value, true)
  }
  get fip(): bigint {
    return this.#view.getBigUint64(STATE.FIP, true)
  }
  set fip(value: bigint) {
    this.#view.setBigUint64(STATE.FIP, value, true)
  }
  get fcs(): number {
    return this.#view.getUint16(STATE.FIP + 8, true)
  }
  set fcs(value: number) {
    this.#view.setUint16(STATE.FIP + 8, value, true)
  }
  get fdp(): bigint {
    return this.#view.getBigUint64(STATE.FDP, true)
  }
  set fdp(value: bigint) {
    this.#view.setBigUint64(STATE.FDP, value, true)
  }
  get fds(): number {
    return this.#view.getUint16(STATE.FDP + 8, true)
  }
  set fds(value: number) {
    this.#view.setUint16(STATE.FDP + 8, value, true)
  }
}
