/**
 * The machine that programs of the system's kind run on: 256 KiB and the state each mode starts in. The same bytes go to
 * the emulated CPU and to a virtual machine of KVM.
 */
import { assemble } from '../../assemble.ts'
import type { Feature } from '../../cpuid.ts'
import { AT, GDT, image, PAGES, pageAt, VECTORS } from './image.ts'
import { BITS, type ModeName, type Segment, type State, stateOf } from './start.ts'

/** How a program ended, and what there was then. */
export type Outcome = {
  /** `hlt`, `shutdown`, `io PORT`, `time`, or whatever else stopped it. */
  readonly end: string
  readonly state: State
  /** Words of 8 bytes that are not as they were: address and content. */
  readonly changed: ReadonlyMap<number, bigint>
}

/** What a program changes before it starts: registers by name, segments by name, memory by address (8 bytes each). */
export type Changes = {
  readonly [register: string]: bigint | number | undefined
}
export type Program = {
  readonly name: string
  readonly mode: ModeName
  /** Assembled for `AT.code`; a HLT is behind it. */
  readonly code: string
  /** Features that the processor has beside the usual ones. */
  readonly needs?: readonly Feature[]
  readonly set?: Changes
  readonly segments?: Readonly<Record<string, Partial<Segment>>>
  /** Words of 8 bytes by address. */
  readonly memory?: Readonly<Record<number, bigint>>
  /** Code at other places, by address. */
  readonly more?: Readonly<Record<number, string>>
}

/** Names that programs may use: addresses, selectors, pages. */
const LABELS: Record<string, bigint> = Object.fromEntries([
  ...Object.entries(AT).map(([name, at]) => [`AT_${name}`, BigInt(at)]),
  ...Object.entries(GDT).map(([name, at]) => [name, BigInt(at)]),
  ...Object.keys(PAGES).map(name => [`${name}Page`, BigInt(pageAt(name as keyof typeof PAGES))]),
])

export type Loaded = { readonly state: State; readonly memory: Uint8Array }
const first = image()

export const load = (program: Program): Loaded => {
  const state = stateOf(program.mode)
  for (const [name, value] of Object.entries(program.set ?? {})) {
    if (state.numbers[name] === undefined) throw new Error(`${program.name}: there is no ${name}`)
    state.numbers[name] = BigInt.asUintN(64, BigInt(value ?? 0))
  }
  for (const [name, change] of Object.entries(program.segments ?? {})) Object.assign(state.segments[name]!, change)
  const memory = first.slice()
  const view = new DataView(memory.buffer)
  for (const [at, value] of Object.entries(program.memory ?? {})) view.setBigUint64(Number(at), value, true)
  const mode = BITS[program.mode]
  const origin = mode === 16 ? 0 : AT.code
  const put = (at: number, code: string, from: number) =>
    memory.set(assemble(`${code}\nhlt`, { mode, at: BigInt(from), labels: LABELS }).bytes, at)
  put(AT.code, program.code, origin)
  for (const [at, code] of Object.entries(program.more ?? {})) put(Number(at), code, Number(at))
  return { state, memory }
}

/** What a reader wants to know of an end: the exception with its error code and address, or where it halted. */
export const summary = ({ end, state, changed }: Outcome, program: Program, loaded: Loaded): string => {
  const { numbers, segments } = state
  if (end !== 'hlt') return end
  const protectedMode = (numbers['cr0']! & 1n) !== 0n
  const base = (numbers['efer']! & 0x400n) !== 0n && (segments['cs']!.rights & 0x2000) !== 0 ? 0n : segments['cs']!.base
  const at = Number(BigInt.asUintN(32, base + numbers['rip']! - 1n))
  if (at < AT.handlers || at >= AT.handlers + VECTORS * 16) {
    if (at >= AT.entry && at < AT.entry + 0x1000) return `entry+${(at - AT.entry).toString(16)}`
    const length = assemble(program.code, {
      mode: BITS[program.mode],
      at: BITS[program.mode] === 16 ? 0n : BigInt(AT.code),
      labels: LABELS,
    }).bytes.length
    return at === AT.code + length ? 'done' : `hlt ${at.toString(16)}`
  }
  const vector = (at - AT.handlers) >> 4
  const hasCode = protectedMode && [8, 10, 11, 12, 13, 14, 17].includes(vector)
  const name = NAMES[vector] ?? `vector ${vector.toString(16)}`
  if (!hasCode) return vector === 1 ? `#DB dr6=${numbers['dr6']!.toString(16)}` : name
  const stack = Number(BigInt.asUintN(32, numbers['rsp']!))
  const word = changed.get(stack & ~7) ?? new DataView(loaded.memory.buffer).getBigUint64(stack & ~7, true)
  const code = Number((word >> BigInt((stack & 7) * 8)) & 0xffff_ffffn)
  const address = vector === 14 ? ` ${numbers['cr2']!.toString(16)}` : ''
  return `${name}(${code.toString(16)})${address}`
}
const NAMES: Readonly<Record<number, string>> = {
  ...{ 0: '#DE', 1: '#DB', 3: '#BP', 4: '#OF', 5: '#BR', 6: '#UD', 7: '#NM', 8: '#DF', 10: '#TS', 11: '#NP' },
  ...{ 12: '#SS', 13: '#GP', 14: '#PF', 16: '#MF', 17: '#AC', 19: '#XM' },
}
