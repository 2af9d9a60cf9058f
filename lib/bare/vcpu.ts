/** One CPU of a bare machine with its local APIC: its view of memory, its clock, and what it waits for. */
import { type Gpa, gpa, type Hpa, hpa, PAGE_SIZE } from '#bits'
import {
  type Access,
  Apic,
  type ApicCommand,
  Cpu,
  type Cpuid,
  EPT_QUALIFICATION,
  type PhysicalMemory,
  type Ports,
  type SecondStage,
  type TierName,
  type VmExit,
} from '#x86'

/** What all CPUs of a machine share. */
export type Shared = {
  readonly memory: PhysicalMemory
  /** First frame of guest memory, and its bytes. */
  readonly ram: Hpa
  readonly size: number
  readonly ports: Ports
  readonly cpuid: Cpuid
  readonly seed: bigint
  readonly tier: TierName
  send(command: ApicCommand, from: Apic): void
}

/** Guest physical addresses: memory, and nothing else but what is opened for one instruction at a time. */
class Bus implements SecondStage {
  readonly width = 40
  generation = 0
  /** Pages of devices, and frames that stand in for them while one instruction accesses them. */
  readonly open = new Map<bigint, { readonly frame: Hpa; writable: boolean }>()
  readonly #ram: Hpa
  readonly #size: bigint

  constructor(ram: Hpa, size: number) {
    this.#ram = ram
    this.#size = BigInt(size)
  }

  frame(at: Gpa, access: Access): Hpa | -1 {
    if (this.open.size !== 0) {
      const found = this.open.get(at & ~0xfffn)
      if (found !== undefined) return access === 'read' || (access === 'write' && found.writable) ? found.frame : -1
    }
    return at < this.#size && !this.isDevice(at) ? hpa(this.#ram + Number(at)) : -1
  }
  /** Is a device there instead of memory? */
  isDevice: (at: bigint) => boolean = () => false
}

export class Vcpu {
  readonly cpu: Cpu
  readonly apic: Apic
  readonly #memory: PhysicalMemory
  readonly #bus: Bus
  /** In HLT, until an interrupt that can be taken. */
  isHalted = false
  /** After INIT, until a startup IPI. */
  isWaiting: boolean
  /** An INIT has come while it ran. */
  initDue = false
  /** Ticks that passed without an instruction. */
  #idle = 0
  /** While it runs: the clock at which it is to stop. */
  #until: number | undefined
  /** Accesses to device pages. */
  accesses = 0

  constructor(id: number, shared: Shared) {
    this.#memory = shared.memory
    this.#bus = new Bus(shared.ram, shared.size)
    this.cpu = new Cpu({
      memory: shared.memory,
      stage: this.#bus,
      ports: shared.ports,
      cpuid: shared.cpuid,
      seed: shared.seed + BigInt(id),
      tier: shared.tier,
      start: id === 0 ? 'flat32' : 'reset',
    })
    this.apic = new Apic(id, {
      now: () => this.now,
      tsc: () => this.cpu.tsc,
      send: (command, from) => shared.send(command, from),
      changed: () => this.#changed(),
      nmi: () => this.cpu.inject({ vector: 2, kind: 'nmi' }),
      init: () => this.#init(),
      startup: vector => this.#startup(vector),
    })
    this.cpu.apic = this.apic
    this.#bus.isDevice = at => this.apic.page === (at & ~0xfffn)
    this.isWaiting = id !== 0
  }

  /** Ticks since the machine began, of this CPU. */
  get now(): number {
    return this.cpu.instructions + this.#idle
  }

  /** Lets time pass up to `now`, for a CPU that did nothing in it. */
  idleUntil(now: number): void {
    const ticks = now - this.now
    if (ticks <= 0) return
    this.#idle += ticks
    this.cpu.tscOffset += BigInt(ticks)
  }

  /** Has it something to run? A halted CPU wakes up for what it can take. */
  get isRunnable(): boolean {
    if (this.isWaiting) return false
    if (!this.isHalted) return true
    const { cpu } = this
    const wakes = cpu.pending.some(({ kind }) =>
      kind === 'nmi' ? !cpu.nmiBlocked : kind === 'external' && (cpu.systemFlags & 0x200) !== 0,
    )
    if (wakes) this.isHalted = false
    return wakes
  }

  /** Runs at most `budget` instructions. */
  run(budget: number): VmExit {
    const left = this.apic.ticksToTimer
    // One instruction at least, so that a timer that is due is taken.
    const slice = Math.max(1, left === undefined ? budget : Math.min(budget, left))
    this.#until = this.now + slice
    try {
      return this.cpu.run(slice)
    } finally {
      this.#until = undefined
    }
  }

  /** Ends a run at the end of the instruction. */
  stop(): void {
    if (!this.cpu.pending.some(({ kind }) => kind === 'stop')) this.cpu.inject({ vector: 0, kind: 'stop' })
  }

  #changed(): void {
    // The APIC resets itself before this CPU has it.
    if (this.apic === undefined) return
    this.cpu.offer(this.apic)
    const left = this.apic.ticksToTimer
    if (this.#until !== undefined && left !== undefined && this.now + left < this.#until) this.stop()
  }

  #init(): void {
    this.initDue = true
    if (this.#until === undefined) this.takeInit()
    else this.stop()
  }
  /** Acts on an INIT that has come. */
  takeInit(): void {
    this.initDue = false
    this.cpu.init()
    this.apic.reset()
    this.isHalted = false
    this.isWaiting = true
  }
  #startup(vector: number): void {
    if (!this.isWaiting) return
    this.isWaiting = false
    this.cpu.segments[1]!.selector = vector << 8
    this.cpu.segments[1]!.base = BigInt(vector << 12)
    this.cpu.rip = 0n
    this.cpu.refresh()
  }

  /**
   * The instruction at RIP accesses a page of no memory: the APIC's registers, elsewhere all ones. It runs alone with
   * a frame in place of the page, which is then acted on. Undefined once it is done, or the exit that ended it otherwise.
   */
  access(exit: VmExit): VmExit | undefined {
    const { cpu } = this
    const open = this.#bus.open
    const opened: { readonly at: bigint; readonly frame: Hpa; isWrite: boolean }[] = []
    const held = cpu.pending.splice(0)
    const [rip, before] = [cpu.rip, cpu.instructions]
    let next: VmExit | undefined = exit
    try {
      while (next !== undefined && next.reason === exit.reason) {
        const page = next.gpa & ~0xfffn
        const isWrite = (next.qualification & EPT_QUALIFICATION.WRITE) !== 0n
        if ((next.qualification & EPT_QUALIFICATION.FETCH) !== 0n) return next
        const known = opened.find(({ at }) => (at & ~0xfffn) === page)
        if (known?.isWrite) return next
        if (known !== undefined) {
          known.isWrite = isWrite
          open.get(page)!.writable = isWrite
        } else {
          const frame = this.#memory.allocate()
          opened.push({ at: next.gpa, frame, isWrite })
          open.set(gpa(page), { frame, writable: isWrite })
          this.#fill(next.gpa, frame)
        }
        next = cpu.step()
      }
    } finally {
      cpu.pending.unshift(...held)
      this.#bus.generation++
      open.clear()
    }
    // A fault that was delivered instead moves RIP and retires nothing.
    const isDone = next === undefined && (cpu.instructions !== before || cpu.rip === rip)
    for (const { at, frame, isWrite } of opened) {
      const value = Number(this.#memory.read(frame + Number(at & 0xffcn), 4))
      this.#memory.free(frame)
      if (isDone && isWrite && this.#isApic(at)) this.apic.writePage(Number(at & 0xff0n), value)
    }
    this.accesses++
    return next
  }

  #isApic(at: bigint): boolean {
    return this.apic.page === (at & ~0xfffn)
  }
  #fill(at: bigint, frame: Hpa): void {
    if (!this.#isApic(at)) {
      this.#memory.fill(frame, PAGE_SIZE, 0xff)
      return
    }
    const register = Number(at & 0xff0n)
    this.#memory.write(frame + register, 4, BigInt(this.apic.readPage(register)))
  }
}
