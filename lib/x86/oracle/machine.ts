/** The machine that random bytes run on: 2 MiB of memory, tables and descriptors for every mode, one CPU. */
import { type Gpa, type Hpa, hpa, PAGE_SIZE } from '#bits'
import type { TierName } from '../compile/runtime.ts'
import { Cpu } from '../cpu.ts'
import { type Cpuid, describeCpu, FEATURES, type Feature } from '../cpuid.ts'
import type { Mode } from '../insn.ts'
import { PhysicalMemory } from '../memory.ts'
import type { Access, SecondStage } from '../vmx.ts'
import { Chance } from './chance.ts'

/** How a run is set up. `delivers`: the guest has its exceptions, which end the run otherwise. */
export type Setup = { readonly mode: Mode; readonly ring: 0 | 3; readonly paging: boolean; readonly delivers: boolean }

/** Memory of the guest: 2 MiB at guest physical 0. Elsewhere there is nothing. */
export const SIZE = 0x20_0000
/** Where code begins; paging structures and descriptors are below, the rest is anything. */
export const CODE = 0x1_0000
/** Code of random gates, one address for each vector. */
export const GATES = 0xc000
const [ROOT, GDT, IDT] = [0x1000, 0x8000, 0x9000]
const FILLED = 0x2_0000

class Window implements SecondStage {
  readonly width = 46
  readonly generation = 0
  readonly #first: Hpa

  constructor(first: Hpa) {
    this.#first = first
  }
  frame(at: Gpa, _access: Access): Hpa | -1 {
    return at < SIZE ? hpa(this.#first + Number(at)) : -1
  }
}

/** Every run begins with an INIT, which asks for the processor's signature: that is worked out once. */
const signed = (cpuid: Cpuid): Cpuid => {
  const one = cpuid(1, 0)
  return (leaf, subleaf) => (leaf === 1 ? one : cpuid(leaf, subleaf))
}

export const anySetup = (chance: Chance): Setup => {
  const mode = chance.pick<Mode>([64, 64, 32, 16])
  const ring = mode !== 16 && chance.once(2) ? 3 : 0
  return { mode, ring, paging: mode === 64 || chance.once(2), delivers: chance.once(2) }
}

/** Bytes that lead to other opcodes more often than chance would. */
const LEADS = [
  0x0f, 0x0f, 0x0f, 0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x48, 0xc4, 0xc5, 0x8e, 0x0f, 0xd9, 0xdb, 0xcf, 0xca, 0xff,
]
export const anyBytes = (chance: Chance, length: number): Uint8Array =>
  Uint8Array.from({ length }, () => (chance.once(4) ? chance.pick(LEADS) : chance.below(256)))

export class Machine {
  readonly cpu: Cpu
  readonly #memory = new PhysicalMemory(2 ** 26)
  readonly #first: Hpa
  readonly #image: Uint8Array
  #delivers = false

  constructor(tier: TierName) {
    this.#first = this.#memory.allocateRun(SIZE / PAGE_SIZE)
    this.cpu = new Cpu({
      memory: this.#memory,
      stage: new Window(this.#first),
      cpuid: signed(describeCpu(Object.keys(FEATURES) as Feature[])),
      onFault: () => (this.#delivers ? 'deliver' : 'stop'),
      tier,
    })
    this.#image = new Uint8Array(SIZE)
    tables(new DataView(this.#image.buffer))
    new Chance(1n).fill(new BigUint64Array(this.#image.buffer, FILLED, (SIZE - FILLED) / 8))
    this.#memory.set(this.#first, this.#image)
  }

  /** The guest's memory as it is now. */
  get memory(): Uint8Array {
    return this.#memory.u8.subarray(this.#first, this.#first + SIZE)
  }

  set(at: number, bytes: Uint8Array): void {
    this.#memory.set(this.#first + at, bytes)
  }

  /** Has the page of CODE compiled as one region that begins with it, if the tier compiles what is hot. */
  prepare(targets: readonly number[]): void {
    const { cpu } = this
    if (cpu.tier === 'auto') cpu.compiler?.prepare(cpu.fetch.at(hpa(this.#first + CODE)), 0, targets)
  }

  /** Everything from `from` on as it was in the beginning. */
  restore(from: number, to: number): void {
    this.set(from, this.#image.subarray(from, to))
  }

  /** Paging structures and descriptors as in the beginning, the CPU at CODE with anything in its registers. */
  start(chance: Chance, { mode, ring, paging, delivers }: Setup): void {
    const { cpu } = this
    // Tables may have been written to; the rest may hold what earlier runs left.
    this.restore(0, CODE)
    cpu.init()
    this.#delivers = delivers
    cpu.rflags = 2n | (chance.once(8) ? chance.word() & 0x7_7fd5n : chance.word() & 0xcd5n)
    for (let n = 0; n < 16; n++) cpu.gpr[n] = anyNumber(chance)
    cpu.x87.fsw = chance.below(0x1_0000) & 0x3800
    cpu.x87.ftw = chance.below(256)
    cpu.x87.fcw = 0x340 | chance.below(64)
    cpu.mxcsr = 0x1f80
    cpu.xcr0 = 7n
    cpu.gdtr.base = BigInt(GDT)
    cpu.gdtr.limit = 0x7f
    cpu.idtr.base = BigInt(IDT)
    cpu.idtr.limit = 0xfff
    cpu.tr.set(0x40, 0xa000n, 0x67, 0x8b)
    cpu.ldtr.set(0, 0n, 0, 0x1_0082)
    if (mode === 16) {
      for (const segment of cpu.segments) segment.set(0, 0n, 0xffff, 0x93)
      cpu.segments[1]!.set(CODE >> 4, BigInt(CODE), 0xffff, 0x9b)
      cpu.cr4 = 0x4_0600n
      cpu.refresh()
      cpu.rip = 0n
    } else {
      cpu.efer = mode === 64 ? 0xd01n : 0x801n
      cpu.cr4 = mode === 64 ? 0x7_0620n : 0x4_0610n
      cpu.cr3 = mode === 64 ? BigInt(ROOT) : 0x7000n
      cpu.cr0 = paging ? 0x8001_0033n : 0x33n
      const dpl = ring << 5
      for (const segment of cpu.segments) segment.set(0x10 | ring, 0n, 0xffff_ffff, 0xc093 | dpl)
      cpu.segments[1]!.set((mode === 64 ? 8 : 0x18) | ring, 0n, 0xffff_ffff, (mode === 64 ? 0xa09b : 0xc09b) | dpl)
      cpu.refresh()
      cpu.rip = BigInt(CODE)
    }
  }

  /** Gates of the vectors for which `to` gives an address, as the mode has them. */
  gates(mode: Mode, to: (vector: number) => number): void {
    const idt = new Uint8Array(0x1000)
    const view = new DataView(idt.buffer)
    for (let n = 0; n < 256; n++) {
      if (mode === 16) view.setUint32(n * 4, ((CODE >> 4) << 16) | (to(n) - CODE), true)
      else view.setBigUint64(n * (mode / 4), gate(mode, to(n)), true)
    }
    this.set(IDT, idt)
  }

  /** Stack pointer of ring 0 where ring 3 is left. */
  stack(mode: Mode, at: number): void {
    const tss = new Uint8Array(0x68)
    const view = new DataView(tss.buffer)
    view.setUint32(4, at, true)
    view.setUint16(mode === 64 ? 0x66 : 8, mode === 64 ? 0x68 : 0x10, true)
    this.set(0xa000, tss)
  }
}

/** Mostly numbers that are addresses of memory, or small. */
export const anyNumber = (chance: Chance): bigint =>
  chance.once(3) ? chance.word() : chance.once(2) ? BigInt(chance.below(SIZE)) : BigInt(chance.below(64))

const gate = (mode: 64 | 32, to: number): bigint =>
  BigInt(to & 0xffff) | ((mode === 64 ? 8n : 0x18n) << 16n) | (0xeen << 40n) | (BigInt(to >>> 16) << 48n)

/** Identity maps for 64-bit and 32-bit paging, flat descriptors and some that are not, gates to random places. */
const tables = (view: DataView): void => {
  view.setBigUint64(ROOT, 0x2007n, true)
  view.setBigUint64(0x2000, 0x3007n, true)
  view.setBigUint64(0x3000, 0x4007n, true)
  for (let n = 0; n < 512; n++) {
    view.setBigUint64(0x4000 + n * 8, BigInt(n * PAGE_SIZE) | (n % 16 === 15 ? 5n : n % 16 === 14 ? 3n : 7n), true)
    view.setUint32(0x6000 + n * 4, (n * PAGE_SIZE) | 7, true)
  }
  view.setUint32(0x7000, 0x6007, true)
  const flat = (access: bigint, flags: bigint) => 0x000f_0000_0000_ffffn | (access << 40n) | (flags << 52n)
  const all = [0n, flat(0x9bn, 0xan), flat(0x93n, 0xcn), flat(0x9bn, 0xcn), flat(0xf3n, 0xcn), flat(0xfbn, 0xan)]
  const more = [
    flat(0xfbn, 0xcn),
    flat(0x9fn, 0xan),
    flat(0x89n, 0n) | 0xa000_0000n,
    0n,
    flat(0x97n, 0x4n),
    flat(0x8cn, 0n),
  ]
  const rest = [flat(0x82n, 0n), flat(0x85n, 0n), flat(0x81n, 0n) | 0xa000_0000n, flat(0x9an, 0n)]
  for (const [n, value] of [...all, ...more, ...rest].entries()) view.setBigUint64(GDT + n * 8, value, true)
  for (let n = 0; n < 256; n++) view.setBigUint64(IDT + n * 16, (8n << 16n) | (0x8en << 40n) | BigInt(GATES + n), true)
}
