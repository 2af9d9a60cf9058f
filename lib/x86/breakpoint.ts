/** Breakpoints in debug registers: which accesses meet one, and the #DB that follows. SDM Vol. 3B, "Debug Registers". */
import { CR4_DE, RFLAGS_RF, VECTOR_DB } from '#abi'
import type { Cpu } from './cpu.ts'
import { Fault } from './fault.ts'
import { CS } from './insn.ts'

/** R/Wn in DR7. */
const [EXECUTE, WRITE, PORT] = [0, 1, 2]
/** LENn in DR7: 1, 2, 8 and 4 bytes. */
const LENGTHS = [1, 2, 8, 4] as const
const ENABLES = 0xffn

/** One that is enabled: `bit` is its own in DR6; `at` is aligned to `length`, whatever the register holds. */
type Breakpoint = { readonly bit: number; readonly kind: number; readonly at: bigint; readonly length: number }

/** The breakpoints that DR7 enables, taken apart. There is none of these where it enables nothing. */
export class Breakpoints {
  readonly #data: readonly Breakpoint[]
  readonly #ports: readonly Breakpoint[]
  readonly #code: readonly Breakpoint[]

  constructor(found: readonly Breakpoint[]) {
    this.#code = found.filter(({ kind }) => kind === EXECUTE)
    this.#ports = found.filter(({ kind }) => kind === PORT)
    this.#data = found.filter(({ kind }) => kind !== EXECUTE && kind !== PORT)
  }

  get hasData(): boolean {
    return this.#data.length > 0
  }

  /** Bits of DR6 for an access to `size` bytes; a read meets those that want reads or writes. */
  data(linear: bigint, size: number, access: 'read' | 'write'): number {
    const wanted = this.#data.filter(({ kind }) => access === 'write' || kind !== WRITE)
    return bitsOf(wanted, linear, size)
  }

  /** Of an access to `size` ports. */
  ports(port: number, size: number): number {
    return bitsOf(this.#ports, BigInt(port), size)
  }

  /** Of an instruction that begins at `linear`. */
  code(linear: bigint): number {
    return bitsOf(this.#code, linear, 1)
  }
}

const bitsOf = (list: readonly Breakpoint[], at: bigint, size: number): number => {
  let bits = 0
  for (const one of list) if (at < one.at + BigInt(one.length) && one.at < at + BigInt(size)) bits |= one.bit
  return bits
}

/** Those that DR7 enables, `undefined` where it enables none. Port breakpoints are none without CR4.DE: `hasPorts`. */
export const breakpointsIn = (dr: readonly bigint[], hasPorts: boolean): Breakpoints | undefined => {
  const dr7 = dr[7] ?? 0n
  if ((dr7 & ENABLES) === 0n) return undefined
  const control = Number(dr7 & 0xffff_ffffn)
  const found: Breakpoint[] = []
  for (let n = 0; n < 4; n++) {
    const kind = (control >>> (16 + n * 4)) & 3
    if (((control >> (n * 2)) & 3) === 0 || (kind === PORT && !hasPorts)) continue
    const length = kind === EXECUTE ? 1 : LENGTHS[(control >>> (18 + n * 4)) & 3]!
    found.push({ bit: 1 << n, kind, at: (dr[n] ?? 0n) & ~BigInt(length - 1), length })
  }
  return new Breakpoints(found)
}

/** The guest's own, or those that a debugger has put in their place. */
export const breakpointsOf = (cpu: Cpu): Breakpoints | undefined =>
  cpu.debugger ?? breakpointsIn(cpu.dr, (cpu.cr4 & CR4_DE) !== 0n)

/**
 * #DB before the instruction at RIP, where one is on it, or where the event that led here met one on its stack or in a
 * table. It comes before any fault of fetching it. RF holds it off, and
 * so does an instruction before it that loaded SS. SDM Vol. 3B, "Instruction-Breakpoint Exception Condition".
 */
export const breakBefore = (cpu: Cpu, breakpoints: Breakpoints): void => {
  if (cpu.shadow === 'mov-ss') return
  const { met } = cpu
  cpu.met = 0
  if (met !== 0) throw new Fault(VECTOR_DB, undefined, undefined, BigInt(met), true)
  if ((cpu.systemFlags & Number(RFLAGS_RF)) !== 0) return
  const bits = breakpoints.code(cpu.mode === 64 ? cpu.rip : (cpu.rip + cpu.segments[CS]!.base) & 0xffff_ffffn)
  // The flags it pushes have RF as it is, which is clear: whoever goes on from here sets it.
  if (bits !== 0) throw new Fault(VECTOR_DB, undefined, undefined, BigInt(bits), true)
}
