/** Runs random programs on the emulated CPU, with memory as real-cpu.c has it. */
import type { TierName } from '../compile/runtime.ts'
import { Cpu } from '../cpu.ts'
import { describeCpu, FEATURES, type Feature } from '../cpuid.ts'
import type { Fault } from '../fault.ts'
import { CS, DS, ES, FS, GS, SS } from '../insn.ts'
import { PhysicalMemory } from '../memory.ts'
import { userMode, userSegment } from '../usermode.ts'
import { EXIT_REASON_EXCEPTION_NMI, EXIT_REASON_PREEMPTION_TIMER } from '../vmx.ts'
import { Chance } from './chance.ts'
import { CODE, DATA, type Program, READ_ONLY, STACK, type State } from './generate.ts'

/** How a program ended. `trap` 256: it did not, in the time it had. */
export type Outcome = {
  readonly trap: number
  readonly error: number
  readonly cr2: bigint
  readonly rip: bigint
  readonly after: State
  /** The data region, then the stack. */
  readonly memory: Uint8Array
}

const HLT = 0xf4
const TIME_UP = 256
const BUDGET = 20_000
const REGIONS = [
  { linear: CODE.at, length: CODE.size, at: 0, prot: 'rx' },
  { linear: DATA.at, length: DATA.size, at: CODE.size, prot: 'rw' },
  { linear: READ_ONLY.at, length: READ_ONLY.size, at: CODE.size + DATA.size, prot: 'r' },
  { linear: STACK.at, length: STACK.size, at: CODE.size + DATA.size + READ_ONLY.size, prot: 'rw' },
] as const
const TOTAL = CODE.size + DATA.size + READ_ONLY.size + STACK.size

export class Ours {
  readonly cpu: Cpu
  readonly #memory = new PhysicalMemory(2 ** 26)
  readonly #first
  readonly #image = new Uint8Array(TOTAL)
  readonly #words = new BigUint64Array(this.#image.buffer, CODE.size)
  #fault: Fault | undefined

  constructor(tier: TierName = 'interpret') {
    this.#first = this.#memory.allocateRun(TOTAL / 4096)
    this.cpu = new Cpu({
      memory: this.#memory,
      cpuid: describeCpu(Object.keys(FEATURES) as Feature[]),
      onFault: fault => {
        this.#fault = fault
        return 'stop'
      },
      tier,
    })
    userMode(this.cpu, REGIONS, this.#first)
  }

  run({ mode, ip, bytes, seed, before }: Program): Outcome {
    const { cpu } = this
    this.#image.fill(HLT, 0, CODE.size)
    this.#image.set(bytes, ip)
    new Chance(seed).fill(this.#words)
    this.#memory.set(this.#first, this.#image)
    this.#load(before, mode)
    cpu.rip = BigInt(CODE.at + ip)
    cpu.pending.length = 0
    this.#fault = undefined
    const exit = cpu.run(BUDGET)
    const fault = exit.reason === EXIT_REASON_EXCEPTION_NMI ? this.#raised() : undefined
    if (fault === undefined && exit.reason !== EXIT_REASON_PREEMPTION_TIMER) throw new Error(`exit ${exit.reason}`)
    const at = this.#first
    const { u8 } = this.#memory
    const [data, stack] = [REGIONS[1], REGIONS[3]]
    const memory = new Uint8Array(DATA.size + STACK.size)
    memory.set(u8.subarray(at + data.at, at + data.at + data.length))
    memory.set(u8.subarray(at + stack.at, at + stack.at + stack.length), DATA.size)
    return {
      trap: fault?.vector ?? TIME_UP,
      error: fault?.errorCode ?? 0,
      cr2: fault?.cr2 ?? 0n,
      rip: cpu.rip,
      after: this.#save(),
      memory,
    }
  }

  #raised(): Fault | undefined {
    return this.#fault
  }

  #load({ gpr, rflags, fxsave, upper }: State, mode: 64 | 32): void {
    const { cpu } = this
    const view = new DataView(fxsave.buffer, fxsave.byteOffset)
    cpu.gpr.set(gpr)
    cpu.rflags = rflags
    cpu.x87.fcw = view.getUint16(0, true)
    cpu.x87.fsw = view.getUint16(2, true)
    cpu.x87.ftw = view.getUint8(4)
    cpu.mxcsr = view.getUint32(24, true)
    const top = (view.getUint16(2, true) >> 11) & 7
    for (let n = 0; n < 8; n++) cpu.x87.regs.set(fxsave.subarray(32 + n * 16, 42 + n * 16), ((top + n) & 7) * 10)
    for (let n = 0; n < 16; n++) {
      cpu.vec.set(fxsave.subarray(160 + n * 16, 176 + n * 16), n * 32)
      cpu.vec.set(upper.subarray(n * 16, n * 16 + 16), n * 32 + 16)
    }
    userSegment(cpu, CS, mode === 64 ? 0x33 : 0x23)
    for (const seg of [SS, DS, ES, GS] as const) userSegment(cpu, seg, 0x2b)
    userSegment(cpu, FS, 0)
    cpu.refresh()
  }

  #save(): State {
    const { cpu } = this
    const fxsave = new Uint8Array(512)
    const view = new DataView(fxsave.buffer)
    view.setUint16(0, cpu.x87.fcw, true)
    view.setUint16(2, cpu.x87.fsw, true)
    view.setUint8(4, cpu.x87.ftw)
    view.setUint32(24, cpu.mxcsr, true)
    const top = (cpu.x87.fsw >> 11) & 7
    const upper = new Uint8Array(256)
    for (let n = 0; n < 8; n++) {
      const from = ((top + n) & 7) * 10
      fxsave.set(cpu.x87.regs.subarray(from, from + 10), 32 + n * 16)
    }
    for (let n = 0; n < 16; n++) {
      fxsave.set(cpu.vec.subarray(n * 32, n * 32 + 16), 160 + n * 16)
      upper.set(cpu.vec.subarray(n * 32 + 16, n * 32 + 32), n * 16)
    }
    return { gpr: cpu.gpr.slice(), rflags: cpu.rflags, fxsave, upper }
  }
}
