/** Runs programs of the system's kind on the emulated CPU. */
import { type Gpa, type Hpa, hpa, PAGE_SIZE } from '#bits'
import type { TierName } from '../../compile/runtime.ts'
import { Cpu } from '../../cpu.ts'
import type { Cpuid } from '../../cpuid.ts'
import { PhysicalMemory } from '../../memory.ts'
import {
  type Access,
  EXIT_REASON_HLT,
  EXIT_REASON_IO_INSTRUCTION,
  EXIT_REASON_PREEMPTION_TIMER,
  EXIT_REASON_TRIPLE_FAULT,
  type SecondStage,
} from '../../vmx.ts'
import { MEMORY } from './image.ts'
import { load, type Outcome, type Program } from './machine.ts'
import { AFTER_SEGMENTS, GPRS, MSR_NUMBERS, SEGMENTS, type State } from './start.ts'

const BUDGET = 100_000
const TABLE = { gdt: 'gdtr', idt: 'idtr' } as const

class Window implements SecondStage {
  readonly width: number
  readonly generation = 0
  readonly #first: Hpa
  constructor(first: Hpa, width: number) {
    this.#first = first
    this.width = width
  }
  frame(at: Gpa, _access: Access): Hpa | -1 {
    return at < MEMORY ? hpa(this.#first + Number(at)) : -1
  }
}

export class OurMachine {
  readonly #memory = new PhysicalMemory(2 ** 26)
  readonly #first = this.#memory.allocateRun(MEMORY / PAGE_SIZE)
  readonly #processor: (program: Program) => Cpuid
  readonly #tier: TierName

  constructor(processor: (program: Program) => Cpuid, tier: TierName = 'interpret') {
    this.#processor = processor
    this.#tier = tier
  }

  run(program: Program): Outcome {
    const { state, memory } = load(program)
    this.#memory.set(this.#first, memory)
    const cpuid = this.#processor(program)
    const cpu = new Cpu({
      memory: this.#memory,
      stage: new Window(this.#first, cpuid(0x8000_0008, 0)[0] & 0xff),
      cpuid,
      tier: this.#tier,
    })
    put(cpu, state)
    const exit = cpu.run(BUDGET)
    const now = new DataView(this.#memory.bytes(this.#first, MEMORY).buffer)
    const before = new DataView(memory.buffer)
    const changed = new Map<number, bigint>()
    for (let at = 0; at < MEMORY; at += 8) {
      const word = now.getBigUint64(at, true)
      if (word !== before.getBigUint64(at, true)) changed.set(at, word)
    }
    const ended = { end: endOf(exit.reason, exit.qualification), state: get(cpu), changed }
    // KVM has moved on from a HLT when it says so.
    if (ended.end === 'hlt') ended.state.numbers['rip']! += 1n
    cpu.close()
    return ended
  }
}

const endOf = (reason: number, qualification: bigint): string => {
  if (reason === EXIT_REASON_HLT) return 'hlt'
  if (reason === EXIT_REASON_TRIPLE_FAULT) return 'shutdown'
  if (reason === EXIT_REASON_PREEMPTION_TIMER) return 'time'
  if (reason === EXIT_REASON_IO_INSTRUCTION) return `io ${(qualification >> 16n).toString(16)}`
  return `exit ${reason}`
}

const put = (cpu: Cpu, { numbers, segments }: State): void => {
  const number = (name: string): bigint => numbers[name]!
  for (const [n, name] of GPRS.entries()) cpu.gpr[n] = number(name)
  for (const [n, name] of SEGMENTS.entries()) {
    const { selector, base, limit, rights } = segments[name]!
    const register = n < 6 ? cpu.segments[n]! : n === 6 ? cpu.ldtr : cpu.tr
    register.set(selector, base, limit, rights)
  }
  for (const name of ['gdt', 'idt'] as const) {
    cpu[TABLE[name]].base = number(`${name}Base`)
    cpu[TABLE[name]].limit = Number(number(`${name}Limit`))
  }
  cpu.efer = number('efer')
  cpu.cr4 = number('cr4')
  cpu.cr3 = number('cr3')
  cpu.cr2 = number('cr2')
  cpu.cr8 = number('cr8')
  cpu.cr0 = number('cr0')
  cpu.xcr0 = number('xcr0')
  for (const n of [0, 1, 2, 3, 6, 7]) cpu.dr[n] = number(`dr${n}`)
  for (const [n, name] of AFTER_SEGMENTS.entries()) cpu.msrs.set(MSR_NUMBERS[n]!, number(name))
  cpu.x87.fcw = 0x37f
  cpu.x87.ftw = 0
  cpu.rflags = number('rflags')
  cpu.rip = number('rip')
  cpu.refresh()
}

const get = (cpu: Cpu): State => {
  const numbers: Record<string, bigint> = {}
  for (const [n, name] of GPRS.entries()) numbers[name] = cpu.gpr[n]!
  const { rip, rflags, cr0, cr2, cr3, cr4, cr8, efer, xcr0 } = cpu
  Object.assign(numbers, { rip, rflags, cr0, cr2, cr3, cr4, cr8, efer, xcr0 })
  for (const n of [0, 1, 2, 3, 6, 7]) numbers[`dr${n}`] = cpu.dr[n]!
  for (const name of ['gdt', 'idt'] as const) {
    numbers[`${name}Base`] = cpu[TABLE[name]].base
    numbers[`${name}Limit`] = BigInt(cpu[TABLE[name]].limit)
  }
  for (const [n, name] of AFTER_SEGMENTS.entries()) numbers[name] = cpu.msrs.get(MSR_NUMBERS[n]!)
  const segments: State['segments'] = {}
  for (const [n, name] of SEGMENTS.entries()) {
    const { selector, base, limit, rights } = n < 6 ? cpu.segments[n]! : n === 6 ? cpu.ldtr : cpu.tr
    segments[name] = { selector, base, limit, rights }
  }
  return { numbers, segments }
}
