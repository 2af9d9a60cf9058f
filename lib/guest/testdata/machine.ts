/**
 * The least that a guest image runs on: a bare CPU that starts as a TD's vCPU does, memory, and a host that answers
 * ucalls by MMIO, port I/O and VP.INFO. For this room's unit tests: the real TD is the rooms' above.
 */
import {
  TD_BOOT_PARAMETERS_GPA,
  TD_RESET_VECTOR,
  UCALL_MMIO_GPA,
  UCALL_NAMES,
  type UcallName,
  ucall,
  ucallPool,
} from '#abi'
import { type Gpa, type Gva, gpa, type Hpa, hex, PAGE_SIZE } from '#bits'
import { Cpu, describeCpu, EXIT_REASON_TDCALL, IMPLEMENTED, PhysicalMemory, type VmxControls } from '#x86'
import {
  type BuildOptions,
  bootCode,
  bootMappings,
  bootParametersOf,
  buildGuest,
  encodeBootParameters,
  type Guest,
  type GuestImage,
  layOut,
  type PagingLevels,
} from '../index.ts'

export const SHARED = 1n << 47n

export type Said = {
  readonly name: UcallName | 'bare' | 'no memory'
  readonly args: readonly bigint[]
}

const CONTROLS: VmxControls = {
  io: true,
  hlt: true,
  monitorMwait: true,
  wbinvd: true,
  rdpmc: true,
  msr: () => false,
  cr0Mask: 0n,
  cr0Shadow: 0n,
  cr4Mask: 0n,
  cr4Shadow: 0n,
}

/** CR4.OSFXSR is among what boot code sets. */
const CPUID = describeCpu([...new Set([...IMPLEMENTED, 'FXSR' as const])])

let memory: PhysicalMemory | undefined

export class Machine {
  readonly image: GuestImage
  readonly memory: PhysicalMemory
  readonly cpus: Cpu[]
  readonly #frames = new Map<bigint, Hpa>()
  readonly #gpas = new Map<bigint, bigint>()
  /** What IN gives, and what was written. */
  readonly ports = new Map<number, bigint>()
  readonly written: { port: number; size: number; data: bigint }[] = []

  constructor(guest: Guest | readonly Guest[], options: Partial<BuildOptions> & { levels?: PagingLevels } = {}) {
    memory ??= new PhysicalMemory(2 ** 28)
    this.memory = memory
    const vcpus = options.vcpus ?? 1
    const levels = options.levels ?? 4
    this.image = buildGuest(guest, { sharedBit: SHARED, ...options, vcpus })
    const layout = layOut(this.image, { levels, sharedBit: SHARED, extra: bootMappings(vcpus) })
    for (const s of layout.segments) {
      this.#put(s.gpa, s.bytes, s.size)
      for (let at = 0n; at < BigInt(s.size); at += 4096n) this.#gpas.set(s.gva + at, s.gpa + at)
    }
    for (const page of layout.tables.pages) this.#put(page.gpa, page.bytes, PAGE_SIZE)
    const boot = bootCode()
    this.#put(boot.gpa, boot.bytes, boot.bytes.length)
    const parameters = encodeBootParameters(
      bootParametersOf(this.image, { cr3: layout.tables.root, levels, xsave: false }),
    )
    this.#put(gpa(TD_BOOT_PARAMETERS_GPA), parameters, parameters.length)
    const { pool, capacity } = this.image.ucall
    for (let n = 0; n < capacity; n++) {
      const at = pool + BigInt(ucallPool(capacity).ucalls + n * ucall.size)
      this.write(at + BigInt(ucall.offset.hva), 8, this.hvaOf(at))
    }
    const stage = {
      width: 48,
      generation: 0,
      frame: (at: Gpa): Hpa | -1 => this.#frames.get(at & ~SHARED & ~0xfffn) ?? -1,
    }
    this.cpus = Array.from({ length: vcpus }, (_, n) => {
      const cpu = new Cpu({ memory: this.memory, stage, controls: CONTROLS, cpuid: CPUID, start: 'flat32' })
      cpu.gpr[6] = BigInt(n)
      cpu.cr0 = 0x21n
      cpu.cr4 = 0x40n
      cpu.efer = 0x901n
      cpu.rip = TD_RESET_VECTOR
      return cpu
    })
  }

  close(): void {
    for (const cpu of this.cpus) cpu.close()
    for (const frame of this.#frames.values()) this.memory.free(frame)
  }

  #put(at: Gpa, bytes: Uint8Array, size: number): void {
    for (let offset = 0; offset < size; offset += PAGE_SIZE) {
      const frame = this.memory.allocate()
      this.memory.set(frame, bytes.subarray(offset, offset + PAGE_SIZE))
      this.#frames.set(at + BigInt(offset), frame)
    }
  }
  /** Any number that names the place will do for a host address. */
  hvaOf(at: bigint): bigint {
    return at + 0x7f00_0000_0000n
  }
  #hpa(at: bigint): number {
    const frame = this.#frames.get(this.#gpas.get(at & ~0xfffn) ?? -1n)
    if (frame === undefined) throw new Error(`nothing at GVA ${hex(at)}`)
    return frame + Number(at & 0xfffn)
  }
  read(at: Gva | bigint, size: 1 | 2 | 4 | 8): bigint {
    return this.memory.read(this.#hpa(at), size)
  }
  write(at: Gva | bigint, size: 1 | 2 | 4 | 8, value: bigint): void {
    this.memory.write(this.#hpa(at), size, value)
  }
  bytes(at: Gva | bigint, length: number): Uint8Array {
    return Uint8Array.from({ length }, (_, i) => Number(this.read(at + BigInt(i), 1)))
  }

  /** Runs a vCPU to its next ucall. */
  next(vcpu = 0, budget = 50_000_000): Said {
    const cpu = this.cpus[vcpu]!
    for (;;) {
      const exit = cpu.run(budget)
      if (exit.reason !== EXIT_REASON_TDCALL)
        throw new Error(
          `exit ${exit.reason} at RIP ${hex(cpu.rip)}, qualification ${hex(exit.qualification)}, GLA ${hex(exit.gla)}, GPA ${hex(exit.gpa)}`,
        )
      const said = this.#tdcall(cpu)
      cpu.advance(exit.instructionLength)
      if (said !== undefined) return said
    }
  }
  /** Runs a vCPU until it is done; what it said on the way. */
  all(vcpu = 0): Said[] {
    const said: Said[] = []
    do said.push(this.next(vcpu))
    while (
      said.at(-1)!.name !== 'UCALL_DONE' &&
      said.at(-1)!.name !== 'UCALL_ABORT' &&
      said.at(-1)!.name !== 'UCALL_UNHANDLED'
    )
    return said
  }

  #tdcall({ gpr }: Cpu): Said | undefined {
    if (gpr[0] === 1n) {
      gpr.set([0n, 48n, 0x1000n], 0)
      gpr.set([BigInt(this.cpus.length), 0n, 1n, 0n], 8)
      return undefined
    }
    if (gpr[0] !== 0n) throw new Error(`TDCALL leaf ${gpr[0]}`)
    const [r10, r11, r12, r13, r14, r15] = gpr.subarray(10) as unknown as [
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
    ]
    if (r10 !== 0n || gpr[1] !== 0xfc00n) throw new Error(`TDVMCALL with R10 ${r10}, RCX ${hex(gpr[1]!)}`)
    if (r11 === 30n) {
      const size = Number(r12)
      if (r13 === 1n) this.written.push({ port: Number(r14), size, data: r15 })
      else gpr[11] = this.ports.get(Number(r14)) ?? 0n
      return undefined
    }
    if (r11 === 10n) {
      gpr.set([0x16n, 0x756e_6547n, 0x6c65_746en, 0x4965_6e69n], 12)
      return undefined
    }
    if (r11 !== 48n || r12 !== 8n || r13 !== 1n || r14 !== (UCALL_MMIO_GPA | SHARED)) throw new Error(`TDVMCALL ${r11}`)
    if (r15 === 0n) return { name: 'bare', args: [] }
    if (r15 === 0xffff_ffff_ffff_ffffn) return { name: 'no memory', args: [] }
    const at = r15 - 0x7f00_0000_0000n
    const word = (offset: number) => this.read(at + BigInt(offset), 8)
    return { name: UCALL_NAMES[Number(word(0))]!, args: Array.from({ length: 7 }, (_, i) => word(8 + 8 * i)) }
  }
}

/** What a guest says until it is done. */
export const run = (guest: Guest, options: Partial<BuildOptions> & { levels?: PagingLevels } = {}): Said[] => {
  const machine = new Machine(guest, options)
  try {
    return machine.all()
  } finally {
    machine.close()
  }
}
