/** Typed calls out of the guest: TDCALL leaves, TDVMCALL sub-functions and instructions with fixed registers. */
import { TDVMCALL_EXPOSE_R10_R15, TDVMCALL_REPORT_FATAL_ERROR } from '#abi'
import type { FixedCode, Operand } from './ir.ts'
import { GPR, type GprName, type Leaf, TDCALLS, VMCALLS } from './leaves.ts'
import { u64 } from './types.ts'
import { type Builder, type In, operandIn, Value } from './value.ts'

export type Word = Value<'u64'>
type Named<K extends string> = { readonly [N in K]: Word }
type Arguments<L extends Leaf> = { readonly [N in keyof L['in']]?: In<'u64'> }
type Results<L extends Leaf> = Named<Extract<keyof L['out'], string>> & { readonly status: Word }

type NoArguments<L extends Leaf> = [keyof L['in']] extends [never] ? true : false
type Call<L extends Leaf> = NoArguments<L> extends true ? () => Results<L> : (args: Arguments<L>) => Results<L>

/** Any registers in, all registers out that the call may change. */
export type Registers = { readonly [R in GprName]?: In<'u64'> }

export type Tdcalls = { readonly [N in keyof typeof TDCALLS]: Call<(typeof TDCALLS)[N]> } & {
  /** Any leaf with any registers; gives RAX, RCX, RDX and R8 to R11 as they are afterwards. */
  readonly raw: (
    leaf: In<'u64'>,
    registers?: Registers,
  ) => Named<'rax' | 'rcx' | 'rdx' | 'r8' | 'r9' | 'r10' | 'r11' | 'r12' | 'r13'>
}
export type Vmcalls = { readonly [N in keyof typeof VMCALLS]: Call<(typeof VMCALLS)[N]> } & {
  /** TDG.VP.VMCALL with any registers and mask (R10 to R15 unless given); R10 is 0 unless given. */
  readonly raw: (
    registers: Registers,
    mask?: bigint,
  ) => Named<'rax' | 'rbx' | 'rdx' | 'rsi' | 'rdi' | 'r8' | 'r9' | 'r10' | 'r11' | 'r12' | 'r13' | 'r14' | 'r15'>
  /** A vendor's call, R10 not 0: KVM's hypercall `nr` with up to four arguments. */
  readonly hypercall: (nr: In<'u64'>, ...args: readonly In<'u64'>[]) => Named<'result'>
  /** ReportFatalError with up to 64 bytes of text in registers, in the GHCI's order. */
  readonly fatalError: (code: In<'u64'>, text?: string) => Named<'status'>
}

/** Registers of ReportFatalError's text, in order. GHCI, "TDG.VP.VMCALL<ReportFatalError>". */
const FATAL_TEXT = ['r14', 'r15', 'rbx', 'rdi', 'rsi', 'r8', 'r9', 'rdx'] as const
const HYPERCALL_ARGUMENTS = ['r11', 'r12', 'r13', 'r14'] as const

const TDCALL: FixedCode = { bytes: Uint8Array.of(0x66, 0x0f, 0x01, 0xcc) }

/** Appends `code` with these registers in; `out` names the registers whose values are wanted afterwards. */
export const fixed = <O extends GprName>(
  builder: Builder,
  code: FixedCode,
  ins: readonly (readonly [GprName, Operand])[],
  out: readonly O[],
  clobbers: number,
): Named<O> => {
  const { scope } = builder
  const results: Partial<Record<O, Word>> = {}
  const outs: [number, number][] = []
  for (const name of out) {
    const v = scope.vreg()
    outs.push([GPR[name], v])
    results[name] = new Value(builder, u64, v)
  }
  // What is put into a register takes the place of what was there.
  const mask = [...outs, ...ins.map(([name]) => [GPR[name]] as const)].reduce((bits, [n]) => bits | (1 << n), clobbers)
  scope.emit({ op: 'fixed', code, ins: ins.map(([name, a]) => [GPR[name], a]), outs, clobbers: mask })
  return results as Named<O>
}

const maskOf = (...names: GprName[]): number => names.reduce((bits, name) => bits | (1 << GPR[name]), 0)

const inputs = (registers: Registers): [GprName, Operand][] =>
  (Object.entries(registers) as [GprName, In<'u64'>][]).map(([name, value]) => [name, operandIn(u64, value)])

const argumentsOf = (what: string, leaf: Leaf, args: Readonly<Record<string, In<'u64'>>>): [GprName, Operand][] => {
  for (const name of Object.keys(args))
    if (leaf.in[name] === undefined)
      throw new RangeError(`${what} has no ${name}; it takes ${Object.keys(leaf.in).join(', ') || 'nothing'}`)
  return Object.entries(leaf.in).map(([name, register]) => [register, operandIn(u64, args[name] ?? 0n)])
}

const renamed = (out: Leaf['out'], status: GprName, values: Named<GprName>) =>
  Object.fromEntries([...Object.entries(out), ['status', status] as const].map(([name, r]) => [name, values[r]]))

/** Registers a TDCALL leaf may answer in. */
const TDCALL_RESULTS = maskOf('rax', 'rcx', 'rdx', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13')

export const tdcallsOf = (builder: Builder): Tdcalls => {
  const calls: Record<string, unknown> = {
    raw: (leaf: In<'u64'>, registers: Registers = {}) =>
      fixed(
        builder,
        TDCALL,
        [...inputs(registers), ['rax', operandIn(u64, leaf)]],
        ['rax', 'rcx', 'rdx', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13'],
        TDCALL_RESULTS,
      ),
  }
  for (const [name, leaf] of Object.entries<Leaf>(TDCALLS))
    calls[name] = (args: Record<string, In<'u64'>> = {}) => {
      const ins = argumentsOf(`tdcall.${name}`, leaf, args)
      ins.push(['rax', BigInt(leaf.number)])
      const out = [...new Set<GprName>(['rax', ...Object.values(leaf.out)])]
      return renamed(leaf.out, 'rax', fixed(builder, TDCALL, ins, out, TDCALL_RESULTS) as Named<GprName>)
    }
  return calls as Tdcalls
}

const VMCALL_RESULTS = maskOf('rax', 'rcx', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15')

export const vmcallsOf = (builder: Builder): Vmcalls => {
  const calls: Record<string, unknown> = {
    raw: (registers: Registers, mask = TDVMCALL_EXPOSE_R10_R15) =>
      fixed(
        builder,
        TDCALL,
        [...inputs({ r10: 0n, ...registers }), ['rcx', BigInt.asUintN(64, mask)], ['rax', 0n]],
        ['rax', 'rbx', 'rdx', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
        VMCALL_RESULTS | maskOf('rbx', 'rbp', 'rdx', 'rsi', 'rdi', 'r8', 'r9'),
      ),
  }
  const { raw } = calls as Pick<Vmcalls, 'raw'>
  calls['hypercall'] = (nr: In<'u64'>, ...args: In<'u64'>[]) => {
    if (args.length > HYPERCALL_ARGUMENTS.length) throw new RangeError(`hypercall: ${args.length} arguments, 4 travel`)
    return { result: raw({ r10: nr, ...Object.fromEntries(args.map((a, i) => [HYPERCALL_ARGUMENTS[i], a])) }).r10 }
  }
  calls['fatalError'] = (code: In<'u64'>, text = '') => {
    const bytes = new Uint8Array(8 * FATAL_TEXT.length)
    const written = new TextEncoder().encode(text)
    if (written.length > bytes.length) throw new RangeError(`${written.length} bytes of text: ${bytes.length} travel`)
    bytes.set(written)
    const words = new BigUint64Array(bytes.buffer)
    const registers: Registers = Object.fromEntries(FATAL_TEXT.map((name, i) => [name, words[i]]))
    const shown = TDVMCALL_EXPOSE_R10_R15 | BigInt(maskOf(...FATAL_TEXT))
    return { status: raw({ ...registers, r11: BigInt(TDVMCALL_REPORT_FATAL_ERROR), r12: code, r13: 0n }, shown).r10 }
  }
  for (const [name, leaf] of Object.entries<Leaf>(VMCALLS))
    calls[name] = (args: Record<string, In<'u64'>> = {}) => {
      const ins = argumentsOf(`vmcall.${name}`, leaf, args)
      ins.push(['rax', 0n], ['rcx', TDVMCALL_EXPOSE_R10_R15], ['r10', 0n], ['r11', BigInt(leaf.number)])
      const out = [...new Set<GprName>(['r10', ...Object.values(leaf.out)])]
      return renamed(leaf.out, 'r10', fixed(builder, TDCALL, ins, out, VMCALL_RESULTS) as Named<GprName>)
    }
  return calls as Vmcalls
}

/** Every register an asm block may have changed, unless it says which. */
export const ALL_GPRS = maskOf(...(Object.keys(GPR) as GprName[]))
export { maskOf }
