/** The machine that test vectors run on: CPL 3, paging, flat segments, exceptions that stop instead of being delivered. */
import { GPR_NAMES, RFLAGS_RF } from '#abi'
import { type Hpa, PAGE_SIZE } from '#bits'
import type { TierName } from './compile/runtime.ts'
import { Cpu } from './cpu.ts'
import { describeCpu, FEATURES, type Feature } from './cpuid.ts'
import type { Fault } from './fault.ts'
import { CS, DS, ES, FS, GS, SS } from './insn.ts'
import { PhysicalMemory } from './memory.ts'
import { userMode, userSegment } from './usermode.ts'

/** Registers as the files have them: hexadecimal text without 0x. */
export type Registers = {
  readonly r?: Readonly<Record<string, string>>
  readonly f?: string
  readonly x?: Readonly<Record<string, string>> | readonly string[]
  readonly fp?: Readonly<Record<string, string>> | readonly string[]
  readonly fcw?: string
  readonly fsw?: string
  readonly ftw?: string
  readonly mxcsr?: string
  readonly fsbase?: string
  readonly gsbase?: string
  readonly cs?: string
  readonly ss?: string
  readonly ds?: string
  readonly es?: string
}
type MemoryBytes = readonly (readonly [string, string])[]
export type Case = {
  readonly id: string
  readonly b: string
  readonly ip: string
  readonly s: number
  readonly i?: Registers
  readonly m?: MemoryBytes
  readonly o: Registers & {
    readonly ip: string
    readonly m?: MemoryBytes
    readonly exc?: readonly [number, string, string?]
  }
  readonly u?: {
    readonly f?: string
    readonly r?: readonly string[]
    readonly m?: readonly (readonly [string, number])[]
    readonly fsw?: string
    readonly fp?: readonly (number | string)[]
  }
}
export type DecodeCase = { readonly b: string; readonly len: number; readonly op?: string }
export type Header = {
  readonly format: 'x86-vectors/1' | 'x86-decode/1'
  readonly file: string
  readonly mode: 32 | 64
  readonly regions: readonly { name: string; addr: string; len: string; prot: string; fill?: string; data?: string }[]
  readonly bases: readonly Registers[]
}
/** A field that came out differently, both sides as text. */
export type Difference = { readonly field: string; readonly seen: string; readonly want: string }

const GPRS: readonly string[] = GPR_NAMES

const SELECTORS = [
  ['es', ES],
  ['cs', CS],
  ['ss', SS],
  ['ds', DS],
] as const
const STEPS = 1000

type State = {
  readonly gpr: BigUint64Array
  flags: bigint
  ip: bigint
  readonly vec: Uint8Array
  readonly fp: Uint8Array
  fcw: number
  fsw: number
  ftw: number
  mxcsr: number
  readonly bases: [fs: bigint, gs: bigint]
  readonly selectors: [es: number, cs: number, ss: number, ds: number]
}
const emptyState = (): State => ({
  gpr: new BigUint64Array(16),
  flags: 2n,
  ip: 0n,
  vec: new Uint8Array(16 * 32),
  fp: new Uint8Array(8 * 10),
  fcw: 0x37f,
  fsw: 0,
  ftw: 0,
  mxcsr: 0x1f80,
  bases: [0n, 0n],
  selectors: [0x2b, 0x33, 0x2b, 0x2b],
})

const big = (text: string): bigint => BigInt(`0x${text}`)
const int = (text: string): number => Number.parseInt(text, 16)

const putBytes = (into: Uint8Array, at: number, text: string): void => {
  for (let n = 0; n < text.length; n += 2) into[at + n / 2] = Number.parseInt(text.slice(n, n + 2), 16)
}

/** Lays the registers that are named over `state`. */
const lay = (state: State, from: Registers): void => {
  for (const [name, value] of Object.entries(from.r ?? {})) state.gpr[GPRS.indexOf(name)] = big(value)
  for (const [n, value] of Object.entries(from.x ?? {})) putBytes(state.vec, Number(n) * 32, value)
  for (const [n, value] of Object.entries(from.fp ?? {})) putBytes(state.fp, Number(n) * 10, value)
  if (from.f !== undefined) state.flags = big(from.f)
  if (from.fcw !== undefined) state.fcw = int(from.fcw)
  if (from.fsw !== undefined) state.fsw = int(from.fsw)
  if (from.ftw !== undefined) state.ftw = int(from.ftw)
  if (from.mxcsr !== undefined) state.mxcsr = int(from.mxcsr)
  if (from.fsbase !== undefined) state.bases[0] = big(from.fsbase)
  if (from.gsbase !== undefined) state.bases[1] = big(from.gsbase)
  SELECTORS.forEach(([name], n) => {
    const value = from[name]
    if (value !== undefined) state.selectors[n] = int(value)
  })
}
const copy = (to: State, from: State): void => {
  to.gpr.set(from.gpr)
  to.vec.set(from.vec)
  to.fp.set(from.fp)
  to.bases.splice(0, 2, ...from.bases)
  to.selectors.splice(0, 4, ...from.selectors)
  Object.assign(to, { flags: from.flags, ip: from.ip, fcw: from.fcw, fsw: from.fsw, ftw: from.ftw, mxcsr: from.mxcsr })
}
const hexBytes = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** One Cpu and its memory, put back after every case. */
export class Machine {
  readonly #memory = new PhysicalMemory(2 ** 26)
  readonly #cpu: Cpu
  readonly #mode: 32 | 64
  readonly #bases: readonly State[]
  readonly #state = emptyState()
  /** All regions, one after the other in physical memory. */
  readonly #regions: readonly { readonly linear: number; readonly length: number; readonly at: number }[]
  readonly #first: Hpa
  readonly #pristine: Uint8Array
  readonly #wanted: Uint8Array
  #exception = ''
  #code = { linear: 0, length: 0, at: 0 }

  constructor(header: Header, tier: TierName = 'interpret') {
    this.#mode = header.mode
    const memory = this.#memory
    let length = 0
    this.#regions = header.regions.map(({ addr, len }) => {
      const region = { linear: int(addr), length: int(len), at: length }
      length += region.length
      return region
    })
    this.#first = memory.allocateRun(length / PAGE_SIZE)
    this.#pristine = new Uint8Array(length)
    this.#wanted = new Uint8Array(length)
    header.regions.forEach(({ fill, data, name }, n) => {
      const region = this.#regions[n]!
      if (name === 'code') this.#code = region
      const bytes =
        data === undefined ? new Uint8Array(region.length).fill(int(fill ?? '0')) : Buffer.from(data, 'base64')
      this.#pristine.set(bytes, region.at)
    })
    memory.set(this.#first, this.#pristine)
    this.#bases = header.bases.map(base => {
      const state = emptyState()
      lay(state, base)
      return state
    })
    this.#cpu = new Cpu({
      memory,
      cpuid: describeCpu(Object.keys(FEATURES) as Feature[]),
      onFault: fault => this.#stop(fault),
      tier,
    })
    userMode(
      this.#cpu,
      header.regions.map(({ prot }, n) => ({ ...this.#regions[n]!, prot })),
      this.#first,
    )
  }

  /** Runs one case and says what came out differently from what the file has. */
  run(c: Case): Difference[] {
    const { u8 } = this.#memory
    const end = this.#first + this.#pristine.length
    this.#memory.set(this.#first, this.#pristine)
    const state = this.#state
    copy(state, this.#bases[c.s]!)
    if (c.i !== undefined) lay(state, c.i)
    state.ip = big(c.ip)
    const memory = u8.subarray(this.#first, end)
    for (const [at, bytes] of c.m ?? []) putBytes(memory, this.#offset(int(at)), bytes)
    putBytes(memory, this.#offset(int(c.ip)), c.b)
    this.#wanted.set(memory)
    this.#load(state)
    const exception = this.#go()

    lay(state, c.o)
    state.ip = big(c.o.ip)
    for (const [at, bytes] of c.o.m ?? []) putBytes(this.#wanted, this.#offset(int(at)), bytes)
    for (const [at, length] of c.u?.m ?? []) {
      const from = this.#offset(int(at))
      this.#wanted.set(memory.subarray(from, from + length), from)
    }
    const found = this.#compare(c, state)
    const wanted = c.o.exc === undefined ? 'none' : c.o.exc.join(' ')
    if (exception !== wanted) found.push({ field: 'exc', seen: exception, want: wanted })
    if (Buffer.compare(memory, this.#wanted) !== 0) found.push(...this.#memoryDifference(memory))
    return found
  }

  #offset(linear: number): number {
    const region = this.#regions.find(r => linear >= r.linear && linear < r.linear + r.length)
    if (region === undefined) throw new RangeError(`vector: address ${linear.toString(16)} lies in no region`)
    return region.at + linear - region.linear
  }

  #load(state: State): void {
    const cpu = this.#cpu
    cpu.gpr.set(state.gpr)
    cpu.rip = state.ip
    cpu.rflags = state.flags
    cpu.vec.set(state.vec)
    cpu.mxcsr = state.mxcsr
    cpu.x87.fcw = state.fcw
    cpu.x87.fsw = state.fsw
    cpu.x87.ftw = state.ftw
    for (let n = 0; n < 8; n++) cpu.x87.regs.set(state.fp.subarray(n * 10, n * 10 + 10), n * 10)
    for (const [n, [, seg]] of SELECTORS.entries()) userSegment(cpu, seg, state.selectors[n]!)
    userSegment(cpu, FS, 0)
    userSegment(cpu, GS, 0x2b)
    cpu.segments[FS]!.base = state.bases[0]
    cpu.segments[GS]!.base = state.bases[1]
  }

  /** What stopped the case, as the files write it: vector, error code, and CR2 of a page fault. */
  #stop(fault: Fault): 'stop' {
    const code = (fault.errorCode ?? 0).toString(16)
    this.#exception = `${fault.vector} ${code}${fault.cr2 === undefined ? '' : ` ${fault.cr2.toString(16)}`}`
    return 'stop'
  }

  /** Steps until HLT is next or an exception stops; says which exception, as the files write it. */
  #go(): string {
    const cpu = this.#cpu
    this.#exception = ''
    for (let n = 0; n < STEPS; n++) {
      const exit = cpu.step()
      if (this.#exception !== '') return this.#exception
      if (exit !== undefined) return `exit ${exit.reason} ${exit.qualification}`
      const at = Number(cpu.rip) - this.#code.linear
      if (at >= 0 && at < this.#code.length && this.#memory.u8[this.#first + this.#code.at + at] === 0xf4) return 'none'
    }
    return `no end in ${STEPS} steps`
  }

  #compare(c: Case, want: State): Difference[] {
    const cpu = this.#cpu
    const found: Difference[] = []
    const differ = (field: string, seen: bigint | number, wanted: bigint | number) => {
      if (seen !== wanted) found.push({ field, seen: seen.toString(16), want: wanted.toString(16) })
    }
    const wide = this.#mode === 64
    for (let n = 0; n < (wide ? 16 : 8); n++) {
      if (c.u?.r?.includes(GPRS[n]!)) continue
      const [seen, wanted] = [cpu.gpr[n]!, want.gpr[n]!]
      differ(GPRS[n]!, wide ? seen : seen & 0xffff_ffffn, wide ? wanted : wanted & 0xffff_ffffn)
    }
    differ('rip', cpu.rip, want.ip)
    const flags = ~(RFLAGS_RF | big(c.u?.f ?? '0'))
    differ('rflags', cpu.rflags & flags, want.flags & flags)
    for (let n = 0; n < (wide ? 16 : 8); n++) {
      const [seen, wanted] = [cpu.vec.subarray(n * 32, n * 32 + 32), want.vec.subarray(n * 32, n * 32 + 32)]
      if (Buffer.compare(seen, wanted) !== 0)
        found.push({ field: `x${n}`, seen: hexBytes(seen), want: hexBytes(wanted) })
    }
    for (let n = 0; n < 8; n++) {
      if (c.u?.fp?.some(ignored => Number(ignored) === n)) continue
      const [seen, wanted] = [cpu.x87.regs.subarray(n * 10, n * 10 + 10), want.fp.subarray(n * 10, n * 10 + 10)]
      if (Buffer.compare(seen, wanted) !== 0)
        found.push({ field: `fp${n}`, seen: hexBytes(seen), want: hexBytes(wanted) })
    }
    const fsw = ~int(c.u?.fsw ?? '0')
    differ('fcw', cpu.x87.fcw, want.fcw)
    differ('fsw', cpu.x87.fsw & fsw, want.fsw & fsw)
    differ('ftw', cpu.x87.ftw, want.ftw)
    differ('mxcsr', cpu.mxcsr, want.mxcsr)
    differ('fsbase', cpu.segments[FS]!.base, want.bases[0])
    differ('gsbase', cpu.segments[GS]!.base, want.bases[1])
    // The recording saw selectors after a return from the kernel, which makes every null selector 0.
    const known = (selector: number) => (selector < 4 ? 0 : selector)
    for (const [n, [name, seg]] of SELECTORS.entries())
      differ(name, known(cpu.segments[seg]!.selector), known(want.selectors[n]!))
    return found
  }

  #memoryDifference(memory: Uint8Array): Difference[] {
    const at = memory.findIndex((byte, n) => byte !== this.#wanted[n])
    const region = this.#regions.find(r => at >= r.at && at < r.at + r.length)!
    const linear = (region.linear + at - region.at).toString(16)
    const part = (bytes: Uint8Array) => hexBytes(bytes.subarray(at, Math.min(at + 16, region.at + region.length)))
    return [{ field: `memory ${linear}`, seen: part(memory), want: part(this.#wanted) }]
  }
}
