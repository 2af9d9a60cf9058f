/**
 * Rows that say what one instruction does: `insn('48 01 d8', 'add rax, rbx', { rax: 1n, rbx: 2n }, { rax: 3n, pf: 1 })`.
 * One row proves decoder, printer, encoder and interpreter. What `after` does not name must not have changed.
 */
import { CR0_EM, CR0_TS, CR4_FSGSBASE, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, GPR_NAMES } from '#abi'
import { assemble } from './assemble.ts'
import { Cpu } from './cpu.ts'
import { decode } from './decode.ts'
import { Fault } from './fault.ts'
import type { Insn, Mode } from './insn.ts'
import { execute } from './interpret.ts'
import { PhysicalMemory } from './memory.ts'
import { print } from './print.ts'
import type { Flag } from './tier.ts'

const FLAGS = ['cf', 'pf', 'af', 'zf', 'sf', 'of', 'df'] as const satisfies readonly Flag[]
const VECTORS = ['xmm0', 'xmm1', 'xmm2', 'xmm3'] as const
const MMX = ['mm0', 'mm1'] as const
/** Unless a row says otherwise: SSE, AVX and the segment base instructions are on. */
const CR4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE

/** Where the instruction is, and where rows may keep data: 4 KiB at `DATA`, zero unless said otherwise. */
export const CODE = 0x10_0000n
export const DATA = 0x20_0000n
/** RSP unless said otherwise: the middle of the data. */
export const STACK = DATA + 0x800n
/** The same for 16-bit code, in the first 64 KiB, above the frames of the CPUs themselves. */
export const CODE16 = 0xe000n
export const DATA16 = 0xc000n

/** Registers and flags that are 0, but for RSP, unless named. Vectors are hex: 16 bytes, or 32 where the upper half matters. */
export type Before = { readonly [R in (typeof GPR_NAMES)[number]]?: bigint } & {
  readonly [F in Flag]?: 0 | 1
} & { readonly [X in (typeof VECTORS)[number] | (typeof MMX)[number]]?: string } & {
  /** Bytes in hex, by offset in the data. */
  readonly mem?: Readonly<Record<number, string>>
  readonly mxcsr?: number
  /** Bits to add to CR0, and the whole of CR4. */
  readonly cr0?: bigint
  readonly cr4?: bigint
  readonly cpl?: 0 | 3
}
/** `'?'` for what the manual leaves undefined. `jump` is where RIP goes, `fault` the vector of the exception. */
export type After = { readonly [R in (typeof GPR_NAMES)[number]]?: bigint | '?' } & {
  readonly [F in Flag]?: 0 | 1 | '?'
} & { readonly [X in (typeof VECTORS)[number] | (typeof MMX)[number]]?: string } & {
  readonly mem?: Readonly<Record<number, string>>
  readonly mxcsr?: number
  readonly jump?: bigint
  readonly fault?: number
}

const memory = new PhysicalMemory(2 ** 26)
const cpus: Record<Mode, Cpu> = {
  16: new Cpu({ memory, start: 'reset' }),
  32: new Cpu({ memory, start: 'flat32' }),
  64: new Cpu({ memory, start: 'flat64' }),
}

const hexOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))
const shapeOf = (i: Insn) => ({ mnemonic: i.row.mnemonic, operands: i.operands, lock: i.lock, rep: i.rep })
const decoded = (bytes: Uint8Array, mode: Mode): Insn => {
  const i = decode(bytes, 0, mode)
  if (typeof i === 'string') throw new Error(`${Buffer.from(bytes).toString('hex')} is ${i}`)
  return i
}

/** What of tap a row needs; only test files import tap itself. */
type Tests = {
  test(name: string, body: (t: Checks) => Promise<void>): unknown
}
type Checks = {
  same(seen: unknown, want: unknown, name: string): unknown
  equal(seen: unknown, want: unknown, name: string): unknown
}

type Seen = Record<string, bigint | number | string>
/** Eight bytes at a time, where they are not all zero. */
const memoryOf = (bytes: Uint8Array): Seen => {
  const seen: Seen = {}
  for (let at = 0; at < bytes.length; at += 8) {
    const part = bytes.subarray(at, at + 8)
    if (part.some(byte => byte !== 0)) seen[`mem+0x${at.toString(16)}`] = Buffer.from(part).toString('hex')
  }
  return seen
}
const stateOf = (cpu: Cpu, base: number): Seen => {
  const seen: Seen = {}
  GPR_NAMES.forEach((name, n) => {
    seen[name] = cpu.gpr[n]!
  })
  for (const name of FLAGS) seen[name] = cpu[name] ? 1 : 0
  VECTORS.forEach((name, n) => {
    const whole = Buffer.from(cpu.vec.subarray(n * 32, n * 32 + 32)).toString('hex')
    seen[name] = whole.endsWith('0'.repeat(32)) ? whole.slice(0, 32) : whole
  })
  MMX.forEach((name, n) => {
    seen[name] = Buffer.from(cpu.x87.regs.subarray(n * 10, n * 10 + 8)).toString('hex')
  })
  seen['mxcsr'] = cpu.mxcsr
  Object.assign(seen, memoryOf(memory.u8.subarray(base, base + 0x1000)))
  seen['next'] = cpu.next
  return seen
}

const run = (t: Tests, mode: Mode, bytes: string, text: string, before: Before, after: After): void => {
  const cpu = cpus[mode]
  const [code, data] = mode === 16 ? [CODE16, DATA16] : [CODE, DATA]
  const i = decoded(hexOf(bytes), mode)
  const base = Number(data)
  memory.u8.fill(0, base, base + 0x1000)
  for (const [at, content] of Object.entries(before.mem ?? {})) memory.u8.set(hexOf(content), base + Number(at))
  cpu.segments.forEach(s => {
    if (mode === 16) s.set(0, 0n, 0xffff, s.rights)
  })
  cpu.cr0 = (cpu.cr0 & ~(CR0_EM | CR0_TS)) | (before.cr0 ?? 0n)
  cpu.cr4 = before.cr4 ?? CR4
  cpu.xcr0 = 7n
  cpu.cpl = before.cpl ?? 0
  cpu.refresh()
  cpu.rflags = 2n
  cpu.mxcsr = before.mxcsr ?? 0x1f80
  cpu.x87.regs.fill(0)
  cpu.x87.fsw = 0
  cpu.x87.ftw = 0
  cpu.gpr.fill(0n)
  cpu.vec.fill(0)
  cpu.gpr[4] = data + 0x800n
  GPR_NAMES.forEach((name, n) => {
    const value = before[name]
    if (value !== undefined) cpu.gpr[n] = value
  })
  for (const name of FLAGS) cpu[name] = before[name] === 1
  VECTORS.forEach((name, n) => {
    cpu.vec.set(hexOf(before[name] ?? ''), n * 32)
  })
  MMX.forEach((name, n) => {
    cpu.x87.regs.set(hexOf(before[name] ?? ''), n * 10)
  })
  cpu.rip = code
  cpu.next = code + BigInt(i.length)
  cpu.insn = i

  const want = stateOf(cpu, base)
  const initial = memory.u8.slice(base, base + 0x1000)
  let fault: number | undefined
  try {
    execute(cpu, i)
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    fault = error.vector
  }
  const seen = stateOf(cpu, base)
  const { mem, jump, fault: wantedFault, ...registers } = after
  for (const [name, value] of Object.entries(registers)) {
    if (value === '?') seen[name] = '?'
    want[name] = typeof value === 'string' && value !== '?' ? value.replaceAll(' ', '') : value
  }
  const image = Uint8Array.from(initial)
  for (const [at, content] of Object.entries(mem ?? {})) image.set(hexOf(content), Number(at))
  for (const name of Object.keys(want)) if (name.startsWith('mem+')) delete want[name]
  Object.assign(want, memoryOf(image))
  if (jump !== undefined) want['next'] = jump
  t.test(`${bytes} ${text} (${mode}-bit)`, async t => {
    t.same(
      shapeOf(decoded(assemble(text, { mode, at: code }).bytes, mode)),
      shapeOf(i),
      'assembles to the same instruction',
    )
    t.same(
      shapeOf(decoded(assemble(print(i, code), { mode, at: code }).bytes, mode)),
      shapeOf(i),
      'prints as the same instruction',
    )
    t.equal(fault, wantedFault, 'exception')
    t.same(seen, want, 'state afterwards')
  })
}

type Row = (bytes: string, text: string, before: Before, after: After) => void

/** Rows for 64-bit, 32-bit and 16-bit mode, as tests of `t`. */
export const rows = (t: Tests): { insn: Row; insn32: Row; insn16: Row } => ({
  insn: (...row) => run(t, 64, ...row),
  insn32: (...row) => run(t, 32, ...row),
  insn16: (...row) => run(t, 16, ...row),
})
