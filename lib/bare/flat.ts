/** Code from a file, run by itself: registers zero, the given ranges mapped where they say, up to HLT. */
import {
  CR0_ET,
  CR0_MP,
  CR0_NE,
  CR0_PE,
  CR0_PG,
  CR0_WP,
  CR4_FSGSBASE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  EFER_SCE,
  EXCEPTIONS,
  PTE,
  RIGHTS,
  XCR0_AVX,
  XCR0_SSE,
  XCR0_X87,
} from '#abi'
import { type Gpa, type Hpa, hex, hpa, PAGE_SIZE } from '#bits'
import {
  type Access,
  Cpu,
  EXIT_REASON_EPT_VIOLATION,
  EXIT_REASON_EXCEPTION_NMI,
  EXIT_REASON_HLT,
  EXIT_REASON_PREEMPTION_TIMER,
  type Fault,
  type Mode,
  OutOfMemory,
  PhysicalMemory,
  type TierName,
} from '#x86'
import { BadImage } from './bad.ts'

/** A range of linear addresses that is there, and what it allows. */
export type Range = {
  readonly at: bigint
  readonly length: bigint
  readonly read: boolean
  readonly write: boolean
  readonly execute: boolean
}

export type FlatOptions = {
  readonly mode: Mode
  /** Where the code is put and begins. */
  readonly at: bigint
  readonly maps?: readonly Range[]
  /** Instructions, at most. */
  readonly budget?: number
  readonly seed?: bigint
  readonly tier?: TierName
}

/** Why a run stopped. */
export type FlatStop =
  | { readonly kind: 'hlt' }
  | { readonly kind: 'budget' }
  | {
      readonly kind: 'exception'
      readonly vector: number
      readonly error: number | undefined
      readonly cr2: bigint | undefined
    }
  | { readonly kind: 'exit'; readonly reason: number; readonly why: string }

/** The state at the end. Registers are copies. */
export type FlatEnd = {
  readonly stop: FlatStop
  /** Of the instruction that stopped it: HLT is not passed. */
  readonly rip: bigint
  readonly gpr: BigUint64Array
  readonly rflags: bigint
  /** YMM0 … YMM15, 32 bytes each. */
  readonly vec: Uint8Array
  /** R0 … R7, 10 bytes each. */
  readonly x87: Uint8Array
  readonly fcw: number
  readonly fsw: number
  readonly ftw: number
  readonly mxcsr: number
  readonly instructions: number
  readonly tlbMisses: number
}

const PAGE = BigInt(PAGE_SIZE)
/** Bytes of memory that ranges may have in all. */
const MOST = 1n << 30n
/** Where the descriptors are, outside of what a mode's code usually has. */
const TABLES = { 64: 0xffff_8000_0000_0000n, 32: 0xffff_f000n, 16: 0n } as const

/** In real mode nothing is translated: what no range has is not there. */
class Ranges {
  readonly width = 40
  readonly generation = 0
  readonly frames = new Map<bigint, { readonly frame: Hpa; readonly range: Range }>()
  readonly #direct: boolean

  constructor(direct: boolean) {
    this.#direct = direct
  }
  frame(at: Gpa, access: Access): Hpa | -1 {
    if (!this.#direct) return at < MOST * 2n ? hpa(Number(at)) : -1
    const found = this.frames.get(at)
    if (found === undefined) return -1
    const { range } = found
    const allows = access === 'fetch' ? range.execute : access === 'write' ? range.write : range.read
    return allows ? found.frame : -1
  }
}

const pages = (range: Range): { readonly from: bigint; readonly to: bigint } => ({
  from: range.at & ~(PAGE - 1n),
  to: (range.at + range.length + PAGE - 1n) & ~(PAGE - 1n),
})

/** Throws `BadImage` where the ranges cannot be mapped. */
const check = (range: Range, mode: Mode): void => {
  const end = range.at + range.length
  const limit = mode === 64 ? 1n << 64n : mode === 32 ? 1n << 32n : 0x11_0000n
  if (range.length <= 0n) throw new BadImage(`the range at ${hex(range.at)} is empty`)
  if (end > limit)
    throw new BadImage(`${hex(range.at)}, ${range.length} bytes: ${mode}-bit code reaches up to ${hex(limit)}`)
  const canonical = (at: bigint) => BigInt.asUintN(64, BigInt.asIntN(48, at)) === at
  if (mode === 64 && !(canonical(range.at) && canonical(end - 1n) && range.at >> 63n === (end - 1n) >> 63n))
    throw new BadImage(`the range at ${hex(range.at)} is not canonical`)
}

/** Runs the bytes of a file. Throws `BadImage` where that cannot be set up. */
export const runFlat = (code: Uint8Array, options: FlatOptions): FlatEnd => {
  const { mode, at, maps = [], budget = 100_000_000, seed = 1n, tier = 'interpret' } = options
  if (code.length === 0) throw new BadImage('the file is empty')
  const everything = { read: true, write: true, execute: true }
  const own: Range = { at, length: BigInt(code.length), ...everything }
  // What is said about a page counts; the code's pages are there even if nothing is.
  const ranges = [own, ...maps]
  for (const range of ranges) check(range, mode)
  const total = ranges.reduce((sum, range) => sum + range.length, 0n)
  if (total > MOST) throw new BadImage(`${total} bytes of ranges: at most ${MOST}`)

  const memory = new PhysicalMemory(Number(total) + 2 ** 26 + (Number(total) >> 8), true)
  const stage = new Ranges(mode === 16)
  let fault: Fault | undefined
  const cpu = new Cpu({
    memory,
    stage,
    seed,
    tier,
    start: mode === 16 ? 'reset' : 'flat32',
    onFault: raised => {
      fault = raised
      return 'stop'
    },
  })
  try {
    for (const range of ranges) {
      const { from, to } = pages(range)
      for (let page = from; page < to; page += PAGE) {
        const frame = stage.frames.get(page)?.frame ?? memory.allocate()
        stage.frames.set(page, { frame, range })
      }
    }
    for (let n = 0; n < code.length; ) {
      const place = at + BigInt(n)
      const offset = Number(place & (PAGE - 1n))
      const part = code.subarray(n, n + PAGE_SIZE - offset)
      memory.set(stage.frames.get(place & ~(PAGE - 1n))!.frame + offset, part)
      n += part.length
    }
    setUp(cpu, memory, stage, mode, at)
    const exit = cpu.run(budget)
    const stop = (): FlatStop => {
      if (exit.reason === EXIT_REASON_HLT) return { kind: 'hlt' }
      if (exit.reason === EXIT_REASON_PREEMPTION_TIMER) return { kind: 'budget' }
      if (exit.reason === EXIT_REASON_EXCEPTION_NMI && fault !== undefined)
        return { kind: 'exception', vector: fault.vector, error: fault.errorCode, cr2: fault.cr2 }
      const what =
        exit.reason === EXIT_REASON_EPT_VIOLATION
          ? `no memory at ${hex(exit.gpa)}`
          : `the CPU left with reason ${exit.reason}`
      return { kind: 'exit', reason: exit.reason, why: what }
    }
    return {
      stop: stop(),
      rip: cpu.rip,
      gpr: cpu.gpr.slice(),
      rflags: cpu.rflags,
      vec: cpu.vec.slice(),
      x87: cpu.x87.regs.slice(),
      fcw: cpu.x87.fcw,
      fsw: cpu.x87.fsw,
      ftw: cpu.x87.ftw,
      mxcsr: cpu.mxcsr,
      instructions: cpu.instructions,
      tlbMisses: cpu.tlb.misses,
    }
  } catch (error) {
    if (error instanceof OutOfMemory) throw new BadImage(error.message)
    throw error
  } finally {
    cpu.close()
  }
}

/** Privilege level 0, flat segments; paging in 64-bit and 32-bit mode, real mode in 16-bit. */
const setUp = (cpu: Cpu, memory: PhysicalMemory, stage: Ranges, mode: Mode, at: bigint): void => {
  cpu.gpr.fill(0n)
  cpu.x87.fcw = 0x37f
  cpu.x87.ftw = 0
  cpu.mxcsr = 0x1f80
  const xsave = cpu.features.has('XSAVE')
  const simd = CR4_OSFXSR | CR4_OSXMMEXCPT | (xsave ? CR4_OSXSAVE : 0n)
  cpu.xcr0 = XCR0_X87 | XCR0_SSE | (cpu.features.has('AVX') ? XCR0_AVX : 0n)
  cpu.rflags = 2n
  if (mode === 16) {
    // The offset is as small as can be, so that the code has most of its segment before it.
    const base = at < 0x1_0000n ? 0n : at & ~0xfn
    for (const n of [0, 1, 2, 3, 4, 5]) cpu.segments[n]!.set(0, 0n, 0xffff, n === 1 ? 0x9b : 0x93)
    cpu.segments[1]!.set(Number(base >> 4n), base, 0xffff, 0x9b)
    cpu.rip = at - base
    cpu.cr4 = simd
    cpu.refresh()
    return
  }
  const wide = mode === 64
  const root = memory.allocate()
  const levels = wide ? [39n, 30n, 21n] : [30n, 21n]
  const map = (linear: bigint, frame: number, rights: bigint) => {
    let table: number = root
    for (const [n, shift] of levels.entries()) {
      const slot = table + Number((linear >> shift) & (!wide && n === 0 ? 3n : 0x1ffn)) * 8
      const entry = memory.read(slot, 8)
      table = entry === 0n ? memory.allocate() : hpa(Number(entry & 0xf_ffff_f000n))
      // The first level of PAE paging has no rights.
      if (entry === 0n) memory.write(slot, 8, BigInt(table) | (!wide && n === 0 ? PTE.P : PTE.P | PTE.RW | PTE.US))
    }
    memory.write(table + Number((linear >> 12n) & 0x1ffn) * 8, 8, BigInt(frame) | rights)
  }
  for (const [page, { frame, range }] of stage.frames) {
    const present = range.read || range.write || range.execute
    if (present) map(page, frame, PTE.P | (range.write ? PTE.RW : 0n) | (range.execute ? 0n : PTE.XD))
  }
  const tables = TABLES[mode]
  if (!stage.frames.has(tables)) {
    const frame = memory.allocate()
    map(tables, frame, PTE.P | PTE.RW)
    const flat = (access: bigint, flags: bigint) => 0x000f_0000_0000_ffffn | (access << 40n) | (flags << 52n)
    memory.write(frame + 8, 8, flat(0x9bn, wide ? 0xan : 0xcn))
    memory.write(frame + 16, 8, flat(0x93n, 0xcn))
    Object.assign(cpu.gdtr, { base: tables, limit: 0x17 })
  }
  Object.assign(cpu.idtr, { base: tables, limit: 0 })
  cpu.ldtr.set(0, 0n, 0, RIGHTS.UNUSABLE)
  cpu.efer = wide ? EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE : EFER_NXE
  cpu.cr4 = CR4_PAE | simd | (wide ? CR4_FSGSBASE : 0n)
  cpu.cr3 = BigInt(root)
  cpu.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG
  cpu.segments[1]!.set(8, 0n, 0xffff_ffff, wide ? 0xa09b : 0xc09b)
  for (const n of [0, 2, 3, 4, 5]) cpu.segments[n]!.set(16, 0n, 0xffff_ffff, 0xc093)
  cpu.rip = at
  cpu.refresh()
}

/** How an exception reads: `#PF, error code 6, CR2 0x1000`. */
export const sayException = (stop: Extract<FlatStop, { kind: 'exception' }>): string => {
  const name = EXCEPTIONS[stop.vector]?.mnemonic ?? `vector ${stop.vector}`
  const error = stop.error === undefined ? '' : `, error code ${stop.error.toString(16)}`
  return `${name}${error}${stop.cr2 === undefined ? '' : `, CR2 ${hex(stop.cr2)}`}`
}
