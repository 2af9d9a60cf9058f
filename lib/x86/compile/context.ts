/** What compiled code takes for granted besides the bytes: a region is only entered where all of it holds. */
import { CR0_AM, CR0_EM, CR0_PE, CR0_TS, CR4_OSFXSR, CR4_OSXSAVE, RFLAGS_AC, RIGHTS, XCR0_AVX, XCR0_SSE } from '#abi'
import type { Cpu } from '../cpu.ts'
import type { Features } from '../cpuid.ts'
import { CS, DS, ES, type Mode, SS } from '../insn.ts'

export type Context = {
  readonly id: number
  /** All there is to say of it, the same in every process. */
  readonly name: string
  readonly mode: Mode
  readonly stackSize: 2 | 4 | 8
  /** SSE instructions may run. */
  readonly sse: boolean
  /** VEX-encoded ones may. */
  readonly avx: boolean
  /** MXCSR is as float.ts wants it: its precision flag is set, or the results have to be exact. */
  readonly float: 'none' | 'exact' | 'any'
  /** x87 and MMX instructions may run. */
  readonly x87: boolean
  readonly features: Features
  readonly sharedMemory: boolean
  /** Stores are logged, so that they can be taken back. */
  readonly logs: boolean
  /** Most instructions of a region. */
  readonly most: number
}

/** By all that is asked of a CPU, in one number: CPUs of the same kind come and go. */
const known = new Map<number, Context>()
const MODES = { 32: 0, 64: 1 } as const
const FLOATS = { none: 0, exact: 1, any: 2 } as const
/** More than any number of instructions of a region. */
const MOST = 2 ** 16
const featureIds = new WeakMap<Features, number>()
const featureNames = new Map<string, number>()

/** Machines with the same features share their compiled code. */
const featureId = (features: Features): number => {
  const before = featureIds.get(features)
  if (before !== undefined) return before
  const text = features.summary
  const id = featureNames.get(text) ?? featureNames.size
  featureNames.set(text, id)
  featureIds.set(features, id)
  return id
}

const isFlat = (cpu: Cpu): boolean => {
  if ((cpu.cr0 & CR0_PE) === 0n) return false
  for (const seg of [ES, SS, DS] as const) {
    const { base, limit, rights } = cpu.segments[seg]!
    // Usable, data, writable, not expanding down.
    if (base !== 0n || limit !== 0xffff_ffff || (rights & (RIGHTS.UNUSABLE | 0x1e)) !== 0x12) return false
  }
  const { base, limit, rights } = cpu.segments[CS]!
  // Readable code.
  return base === 0n && limit === 0xffff_ffff && (rights & (RIGHTS.UNUSABLE | 0x1a)) === 0x1a
}

/** Something was inexact. */
const MXCSR_PE = 0x20
const AVX_STATE = XCR0_SSE | XCR0_AVX
const AC = Number(RFLAGS_AC)

/** The context of what runs now; `undefined` where nothing is compiled. */
export const contextOf = (cpu: Cpu, logs: boolean, most: number): Context | undefined => {
  const { mode } = cpu
  if (mode === 16 || cpu.breakpoints !== undefined) return undefined
  const aligned = (cpu.systemFlags & AC) !== 0 && cpu.cpl === 3 && (cpu.cr0 & CR0_AM) !== 0n
  if (aligned) return undefined
  if (mode === 32 && (!isFlat(cpu) || cpu.stackSize !== 4)) return undefined
  const sse = (cpu.cr0 & (CR0_EM | CR0_TS)) === 0n && (cpu.cr4 & CR4_OSFXSR) !== 0n
  // All exceptions masked, to nearest, neither DAZ nor FTZ.
  const plain = sse && (cpu.mxcsr & 0xffc0) === 0x1f80
  const float = !plain ? 'none' : (cpu.mxcsr & MXCSR_PE) === 0 ? 'exact' : 'any'
  const avx = (cpu.cr4 & CR4_OSXSAVE) !== 0n && (cpu.xcr0 & AVX_STATE) === AVX_STATE && (cpu.cr0 & CR0_TS) === 0n
  const x87 = (cpu.cr0 & (CR0_EM | CR0_TS)) === 0n
  const id = featureId(cpu.features)
  const sharedMemory = cpu.memory.isShared
  const flags =
    Number(sse) | (Number(avx) << 1) | (Number(x87) << 2) | (Number(sharedMemory) << 3) | (Number(logs) << 4)
  const key = (id * 256 + flags + FLOATS[float] * 32 + MODES[mode] * 128) * MOST + most
  const before = known.get(key)
  if (before !== undefined) return before
  const { stackSize, features } = cpu
  const held = [mode, stackSize, sse, avx, float, x87, sharedMemory, logs, most]
  const name = `${held.join(' ')} ${features.summary}`
  const made: Context = {
    id: known.size,
    name,
    mode,
    stackSize,
    sse,
    avx,
    float,
    x87,
    features,
    sharedMemory,
    logs,
    most,
  }
  known.set(key, made)
  return made
}
