/** A bare machine: memory, CPUs that take turns in a fixed order, ports. What an image that boots by itself runs on. */
import { type Hpa, hex, PAGE_SIZE } from '#bits'
import {
  type Apic,
  type ApicCommand,
  type Cpuid,
  deliverCommand,
  describeCpu,
  EXIT_REASON_EPT_VIOLATION,
  EXIT_REASON_HLT,
  EXIT_REASON_MWAIT,
  EXIT_REASON_PREEMPTION_TIMER,
  EXIT_REASON_TRIPLE_FAULT,
  type Feature,
  IMPLEMENTED,
  PhysicalMemory,
  type TierName,
  type VmExit,
} from '#x86'
import { BadImage } from './bad.ts'
import { BOOT_MAGIC, bootInformation, LOW_END, type Module, readImage } from './multiboot.ts'
import { bootPorts } from './ports.ts'
import { Vcpu } from './vcpu.ts'

export type MachineOptions = {
  /** Of the image, the first word of its command line. */
  readonly name: string
  readonly append?: string
  readonly initrd?: { readonly name: string; readonly bytes: Uint8Array }
  /** Bytes of memory. */
  readonly memory?: number
  readonly cpus?: number
  /** Default: everything that is implemented, and the local APIC. */
  readonly features?: readonly Feature[]
  readonly exitPort?: number
  readonly seed?: bigint
  readonly tier?: TierName
  /** The serial line's bytes, a line or what there is of one at a time. */
  write(bytes: Uint8Array): void
}

/** How a machine stopped. */
export type MachineEnd =
  | { readonly kind: 'exit'; readonly value: number }
  | { readonly kind: 'stopped'; readonly why: string }
  | { readonly kind: 'time' }

export type MachineStats = {
  readonly instructions: number
  readonly tlbMisses: number
  /** By name, how often. */
  readonly exits: Readonly<Record<string, number>>
}

/** The features of a bare machine's CPUs unless told otherwise. */
export const BARE_FEATURES: readonly Feature[] = [
  ...new Set<Feature>([...IMPLEMENTED, 'APIC', 'X2APIC', 'TSC_DEADLINE', 'TSC_ADJUST', 'HYPERVISOR']),
]

const MiB = 2 ** 20
/** Room for page tables of none: state and TLB frames of the CPUs, and frames for devices. */
const SPARE = 64 * MiB
/** Instructions in a row: alone, and in turns. */
const [ALONE, TURN] = [1_000_000, 1000]
/** Where the boot information may go: where QEMU has it, else anywhere in low memory that the image leaves. */
const INFO_PLACES = [0x9500, 0x1000, 0x2_0000, 0x4_0000, 0x6_0000, 0x8_0000]

/** CPUID with what differs from CPU to CPU: the APIC's number. SDM Vol. 2A, "CPUID", leaves 01H and 0BH. */
const numbered = (cpuid: Cpuid, id: number, cpus: number): Cpuid => {
  const shift = Math.ceil(Math.log2(Math.max(cpus, 2)))
  return (leaf, subleaf) => {
    const answer = cpuid(leaf, subleaf)
    if (leaf === 1) return [answer[0], ((answer[1] & 0xff00) | (id << 24) | (cpus << 16)) >>> 0, answer[2], answer[3]]
    if (leaf !== 0xb) return answer
    if (subleaf === 0) return [0, 1, 0x100, id]
    return subleaf === 1 ? [shift, cpus, 0x201, id] : [0, 0, subleaf, id]
  }
}

export class BareMachine {
  readonly #memory: PhysicalMemory
  readonly #ram: Hpa
  readonly #size: number
  readonly #vcpus: Vcpu[]
  readonly #apics: Apic[]
  readonly #exits: Record<string, number> = {}
  readonly #write: (bytes: Uint8Array) => void
  readonly #line: number[] = []
  #exit: number | undefined
  #running: Vcpu | undefined

  /** Loads a Multiboot image. Throws `BadImage` where it is none, or does not fit. */
  constructor(file: Uint8Array, options: MachineOptions) {
    const { cpus = 1, exitPort = 0xf4, seed = 1n, tier = 'interpret' } = options
    const size = options.memory ?? 128 * MiB
    this.#write = options.write
    this.#size = size
    const image = readImage(file)
    this.#memory = new PhysicalMemory(size + SPARE, true)
    this.#ram = this.#memory.allocateRun(size / PAGE_SIZE)
    const cpuid = describeCpu(options.features ?? BARE_FEATURES, { physicalWidth: 40 })
    const ports = bootPorts({
      exitPort,
      memory: size,
      cpus,
      send: byte => this.#send(byte),
      exit: value => {
        this.#exit = value
        this.#running?.stop()
      },
    })
    const shared = {
      memory: this.#memory,
      ram: this.#ram,
      size,
      ports,
      seed,
      tier,
      send: (command: ApicCommand, from: Apic) => deliverCommand(this.#apics, command, from),
    }
    this.#vcpus = Array.from({ length: cpus }, (_, id) => new Vcpu(id, { ...shared, cpuid: numbered(cpuid, id, cpus) }))
    this.#apics = this.#vcpus.map(({ apic }) => apic)
    for (const { at, bytes, size: length } of image.pieces) {
      if (at + length > size)
        throw new BadImage(`${length} bytes at ${hex(at)} do not fit into ${size / MiB} MiB of memory`)
      this.#put('the image', at, bytes)
    }
    const modules: Module[] = []
    if (options.initrd !== undefined) {
      const start = Math.ceil(Math.max(image.end, MiB) / PAGE_SIZE) * PAGE_SIZE
      this.#put('the initrd', start, options.initrd.bytes)
      modules.push({ start, end: start + options.initrd.bytes.length, name: options.initrd.name })
    }
    const commandLine = options.append ? `${options.name} ${options.append}` : options.name
    const told = { memory: size, commandLine, modules }
    const length = bootInformation(0, told).length
    if (length > LOW_END - INFO_PLACES.at(-1)!)
      throw new BadImage(`a command line of ${commandLine.length} bytes does not fit`)
    const infoAt = INFO_PLACES.find(place =>
      image.pieces.every(piece => piece.at >= place + length || piece.at + piece.size <= place),
    )
    if (infoAt === undefined) throw new BadImage('the image leaves no room for the boot information below 640 KiB')
    this.#put('the boot information', infoAt, bootInformation(infoAt, told))
    const { cpu } = this.#vcpus[0]!
    cpu.gpr.fill(0n)
    cpu.gpr[0] = BigInt(BOOT_MAGIC)
    cpu.gpr[3] = BigInt(infoAt)
    cpu.rip = BigInt(image.entry)
  }

  /** Runs until the guest exits, nothing more can happen, or `isOver` says so, asked every few million instructions. */
  run(isOver: () => boolean = () => false): MachineEnd {
    try {
      for (let turns = 0; ; turns++) {
        const end = this.#turn()
        if (end !== undefined) return end
        if ((this.#vcpus.length === 1 || turns % 1000 === 0) && isOver()) return { kind: 'time' }
      }
    } finally {
      this.#flush()
    }
  }

  get stats(): MachineStats {
    const sum = (of: (vcpu: Vcpu) => number) => this.#vcpus.reduce((all, vcpu) => all + of(vcpu), 0)
    return { instructions: sum(v => v.cpu.instructions), tlbMisses: sum(v => v.cpu.tlb.misses), exits: this.#exits }
  }

  /** Where the first CPU stands. */
  get rip(): bigint {
    return this.#vcpus[0]!.cpu.rip
  }

  close(): void {
    for (const { cpu } of this.#vcpus) cpu.close()
  }

  /** Every CPU once. */
  #turn(): MachineEnd | undefined {
    const time = Math.max(...this.#vcpus.map(({ now }) => now))
    let ran = false
    for (const vcpu of this.#vcpus) {
      if (vcpu.isHalted || vcpu.isWaiting) vcpu.idleUntil(time)
      vcpu.apic.tick()
      if (!vcpu.isRunnable) continue
      ran = true
      this.#running = vcpu
      const exit = vcpu.run(this.#vcpus.length === 1 ? ALONE : TURN)
      this.#running = undefined
      if (this.#exit !== undefined) return { kind: 'exit', value: this.#exit }
      if (vcpu.initDue) vcpu.takeInit()
      else {
        const end = this.#answer(vcpu, exit)
        if (end !== undefined) return end
      }
      if (vcpu === this.#vcpus[0] && vcpu.isWaiting)
        return {
          kind: 'stopped',
          why: 'the first CPU was sent INIT: it would start at its reset vector, and there is no firmware',
        }
    }
    return ran ? undefined : this.#sleep()
  }

  /** Nobody has anything to do: time passes up to the next timer. */
  #sleep(): MachineEnd | undefined {
    let soonest = Number.POSITIVE_INFINITY
    for (const { apic, now, isWaiting } of this.#vcpus)
      if (!isWaiting) soonest = Math.min(soonest, now + (apic.ticksToTimer ?? Number.POSITIVE_INFINITY))
    if (soonest === Number.POSITIVE_INFINITY)
      return { kind: 'stopped', why: `every CPU is halted for good, the first one at ${hex(this.rip)}` }
    for (const vcpu of this.#vcpus) vcpu.idleUntil(soonest)
    return undefined
  }

  #answer(vcpu: Vcpu, exit: VmExit): MachineEnd | undefined {
    const { cpu } = vcpu
    switch (exit.reason) {
      case EXIT_REASON_PREEMPTION_TIMER:
        this.#count('slice')
        return undefined
      case EXIT_REASON_HLT:
      case EXIT_REASON_MWAIT:
        this.#count('hlt')
        cpu.advance(exit.instructionLength)
        vcpu.isHalted = true
        return undefined
      case EXIT_REASON_EPT_VIOLATION: {
        this.#count('device memory')
        const next = vcpu.access(exit)
        if (next === undefined) return undefined
        if (next.reason === EXIT_REASON_EPT_VIOLATION)
          return { kind: 'stopped', why: `no memory at ${hex(next.gpa)}, RIP ${hex(cpu.rip)}` }
        return this.#answer(vcpu, next)
      }
      case EXIT_REASON_TRIPLE_FAULT:
        return { kind: 'stopped', why: `triple fault, RIP ${hex(cpu.rip)}` }
      default:
        return { kind: 'stopped', why: `the CPU left with reason ${exit.reason}, RIP ${hex(cpu.rip)}` }
    }
  }

  #count(name: string): void {
    this.#exits[name] = (this.#exits[name] ?? 0) + 1
  }

  #put(what: string, at: number, bytes: Uint8Array): void {
    if (at + bytes.length > this.#size)
      throw new BadImage(
        `${what}, ${bytes.length} bytes at ${hex(at)}, does not fit into ${this.#size / MiB} MiB of memory`,
      )
    this.#memory.set(this.#ram + at, bytes)
  }

  #send(byte: number): void {
    this.#line.push(byte)
    if (byte === 10 || this.#line.length >= 4096) this.#flush()
  }
  #flush(): void {
    if (this.#line.length !== 0) this.#write(Uint8Array.from(this.#line.splice(0)))
  }
}
