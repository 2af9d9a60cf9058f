/** What the tests of the CPU build on: memory at chosen guest physical addresses, page tables, descriptors, code. */

import { PAGE_SIZE } from '#bits'
import { assemble } from '../assemble.ts'
import { Cpu } from '../cpu.ts'
import type { CpuOptions } from '../cpuoptions.ts'
import { Fault, Leave } from '../fault.ts'
import type { Mode } from '../insn.ts'
import { PhysicalMemory } from '../memory.ts'
import { ltr } from '../segments.ts'
import type { Access, SecondStage, VmExit } from '../vmx.ts'

export const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replace(/\s/g, ''), 'hex'))

/** A second stage that hands out frames on first touch, 46 bits wide unless told otherwise, with holes. */
export class TestStage implements SecondStage {
  readonly width: number
  generation = 0
  /** Guest physical pages that are not there, for these accesses. */
  readonly holes = new Map<bigint, readonly Access[]>()
  readonly frames = new Map<bigint, ReturnType<PhysicalMemory['allocate']>>()
  readonly #memory: PhysicalMemory

  constructor(memory: PhysicalMemory, width = 46) {
    this.#memory = memory
    this.width = width
  }

  frame(gpa: Parameters<SecondStage['frame']>[0], access: Access) {
    if (this.holes.get(gpa)?.includes(access)) return -1
    const known = this.frames.get(gpa) ?? this.#memory.allocate()
    this.frames.set(gpa, known)
    return known
  }
}

export class TestMachine {
  readonly memory = new PhysicalMemory(2 ** 26)
  readonly stage: TestStage
  readonly cpu: Cpu

  constructor(options: Partial<CpuOptions> & { readonly width?: number } = {}) {
    this.stage = new TestStage(this.memory, options.width)
    this.cpu = new Cpu({ memory: this.memory, stage: this.stage, ...options })
  }

  #host(at: bigint): number {
    return this.stage.frame((at & ~0xfffn) as never, 'read' as never) + Number(at & 0xfffn)
  }

  /** Code, assembled, at a guest physical address that it also has as a linear one; where its labels are. */
  asm(at: bigint, text: string, mode: Mode = 64): Readonly<Record<string, bigint>> {
    const { bytes, labels } = assemble(text, { mode, at })
    for (const [n, byte] of bytes.entries()) this.memory.write(this.#host(at + BigInt(n)), 1, BigInt(byte))
    return labels
  }
  /** Bytes at a guest physical address; they must not cross a page. */
  put(at: bigint, hex: string): void {
    this.memory.set(this.#host(at), bytesOf(hex))
  }
  put64(at: bigint, ...values: readonly bigint[]): void {
    for (const [n, value] of values.entries()) this.memory.write(this.#host(at + BigInt(n * 8)), 8, value)
  }
  put32(at: bigint, ...values: readonly bigint[]): void {
    for (const [n, value] of values.entries()) this.memory.write(this.#host(at + BigInt(n * 4)), 4, value)
  }
  get64(at: bigint): bigint {
    return this.memory.read(this.#host(at), 8)
  }
  get32(at: bigint): bigint {
    return this.memory.read(this.#host(at), 4)
  }
}

/** A code or data descriptor: flat unless base and limit (in units) are given. */
export const descriptor = (
  access: number,
  flags: number,
  { base = 0, limit = 0xfffff }: { base?: number; limit?: number } = {},
): bigint =>
  BigInt(limit & 0xffff) |
  (BigInt(base & 0xff_ffff) << 16n) |
  (BigInt(access) << 40n) |
  (BigInt(((limit >> 16) & 15) | (flags << 4)) << 48n) |
  (BigInt((base >>> 24) & 0xff) << 56n)

/** A 64-bit interrupt (14) or trap (15) gate: its two quadwords. */
export const gate64 = (selector: number, offset: bigint, { type = 14, dpl = 0, ist = 0, present = 1 } = {}) =>
  [
    (offset & 0xffffn) |
      (BigInt(selector) << 16n) |
      (BigInt(ist) << 32n) |
      (BigInt(type | (dpl << 5) | (present << 7)) << 40n) |
      (((offset >> 16n) & 0xffffn) << 48n),
    offset >> 32n,
  ] as const
/** A gate of the legacy modes. */
export const gate32 = (selector: number, offset: number, { type = 14, dpl = 0, present = 1, words = 0 } = {}): bigint =>
  BigInt(offset & 0xffff) |
  (BigInt(selector) << 16n) |
  (BigInt(words) << 32n) |
  (BigInt(type | (dpl << 5) | (present << 7)) << 40n) |
  (BigInt(offset >>> 16) << 48n)

export const PAGE = BigInt(PAGE_SIZE)

/** Selectors of `longMode`. */
export const CODE64 = 0x08
export const DATA = 0x10
export const CODE32 = 0x18
export const USER_DATA = 0x23
export const USER_CODE64 = 0x2b
export const USER_CODE32 = 0x33
export const TSS = 0x40
/** Where `longMode` puts things, all identity-mapped. */
export const GDT = 0x1_0000n
export const IDT = 0x1_1000n
export const TASK = 0x1_2000n
export const CODE = 0x2_0000n
export const STACK = 0x3_0000n

/** A CPU in 64-bit mode, ring 0: the low 2 MiB identity-mapped for supervisor and user, GDT, IDT and TSS loaded. */
export const longMode = (options: Partial<CpuOptions> & { readonly width?: number } = {}): TestMachine => {
  const machine = new TestMachine({ start: 'flat64', ...options })
  const { cpu } = machine
  machine.put64(0x1000n, 0x2007n)
  machine.put64(0x2000n, 0x3007n)
  machine.put64(0x3000n, 0x4007n)
  for (let n = 0n; n < 512n; n++) machine.put64(0x4000n + n * 8n, (n * PAGE) | 7n)
  machine.put64(
    GDT,
    0n,
    descriptor(0x9b, 0xa),
    descriptor(0x93, 0xc),
    descriptor(0x9b, 0xc),
    descriptor(0xf3, 0xc),
    descriptor(0xfb, 0xa),
    descriptor(0xfb, 0xc),
    0n,
    descriptor(0x89, 0, { base: Number(TASK), limit: 0x67 }),
    0n,
  )
  // The I/O permission bitmap lies beyond the limit: no port is allowed.
  machine.put64(TASK + 0x60n, 0x68n << 48n)
  cpu.cr3 = 0x1000n
  cpu.cr4 = 0x6a0n
  cpu.efer = 0xd01n
  cpu.cr0 = 0x8001_0031n
  cpu.gdtr.base = GDT
  cpu.gdtr.limit = 0x4f
  cpu.idtr.base = IDT
  cpu.idtr.limit = 0xfff
  ltr(cpu, TSS)
  cpu.segments[1]!.selector = CODE64
  cpu.segments[2]!.selector = DATA
  cpu.rip = CODE
  cpu.gpr[4] = STACK
  return machine
}

/** How the fault that `run` raises reads, or 'none'. */
export const faultOf = (run: () => void): string => {
  try {
    run()
    return 'none'
  } catch (fault) {
    if (fault instanceof Fault) return fault.message
    throw fault
  }
}
/** The exit that `run` leaves with. */
export const exitOf = (run: () => void): VmExit | undefined => {
  try {
    run()
    return undefined
  } catch (leave) {
    if (leave instanceof Leave) return leave.exit
    throw leave
  }
}
