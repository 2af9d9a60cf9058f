/**
 * The machine that programs of the system's kind run on: 256 KiB with descriptor tables, gates, paging structures and
 * stacks, and the state each mode starts in. The same bytes go to the emulated CPU and to a virtual machine of KVM.
 */
import { assemble } from '../../assemble.ts'
import type { Feature } from '../../cpuid.ts'
import type { Mode } from '../../insn.ts'

/** Guest physical, and linear, addresses. */
export const AT = {
  pml4: 0x1000,
  pdpt: 0x2000,
  pd: 0x3000,
  pt: 0x4000,
  pd32: 0x5000,
  pt32: 0x6000,
  /** The four entries of PAE. */
  pdptes: 0x7000,
  gdt: 0x8000,
  ldt: 0x8800,
  idt64: 0x9000,
  idt32: 0xa000,
  tss64: 0xb000,
  tss32: 0xb400,
  tss16: 0xb800,
  otherTss: 0xbc00,
  /** HLT for every vector, 16 bytes apart. */
  handlers: 0xc000,
  /** Where the entries of SYSCALL and SYSENTER and the gates for them lead. */
  entry: 0xd000,
  code: 0x1_0000,
  data: 0x2_0000,
  /** Pages with rights of their own, by name in `PAGES`. */
  pages: 0x3_0000,
  /** Of ring 0, of ring 3, of the TSS for rings 0 to 2, of IST1 and IST3; each the top. */
  stack0: 0x3_9000,
  stack3: 0x3_b000,
  inner: 0x3_d000,
  ist: 0x3_f000,
} as const
export const MEMORY = 0x4_0000
/** Vectors that have gates. */
export const VECTORS = 0x40

/** Pages with rights of their own: bits of their entries. All the others are user, writable, executable. */
export const PAGES = {
  absent: 0n,
  readOnly: 0x05n,
  supervisor: 0x03n,
  supervisorReadOnly: 0x01n,
  noExecute: (1n << 63n) | 0x07n,
  reserved: (1n << 51n) | 0x07n,
} as const
export const pageAt = (name: keyof typeof PAGES): number => AT.pages + Object.keys(PAGES).indexOf(name) * 0x1000

/**
 * Where a program starts: real mode; protected mode without paging, 16-bit, 32-bit in rings 0 and 3; 32-bit in ring 0
 * with both older kinds of paging; 64-bit and compatibility mode in rings 0 and 3.
 */
export type ModeName = 'real' | 'p16' | 'k32' | 'u32' | 'paged32' | 'pae' | 'k64' | 'u64' | 'c32' | 'uc32'
export const BITS: Record<ModeName, Mode> = {
  real: 16,
  p16: 16,
  k32: 32,
  u32: 32,
  paged32: 32,
  pae: 32,
  k64: 64,
  u64: 64,
  c32: 32,
  uc32: 32,
}

export type Segment = { selector: number; base: bigint; limit: number; rights: number }
export const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const
export const GPRS = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
]
const NUMBERS = ['rip', 'rflags', 'cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'xcr0'] as const
const DEBUG = ['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'] as const
const TABLES = ['gdtBase', 'gdtLimit', 'idtBase', 'idtLimit'] as const
const MSRS = [
  ...(['star', 'lstar', 'cstar', 'fmask', 'kernelGsBase'] as const),
  ...(['sysenterCs', 'sysenterEsp', 'sysenterEip', 'pat'] as const),
]
/** In the order of `msrs` in real-vm.c. */
export const MSR_NUMBERS = [0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0102, 0x174, 0x175, 0x176, 0x277]
/** Names of `State.numbers`, in the order of `struct state` in real-vm.c, the segments left out. */
export const BEFORE_SEGMENTS = [...GPRS, ...NUMBERS, ...DEBUG, ...TABLES]
export const AFTER_SEGMENTS = MSRS

/** Registers by name. */
export type State = { numbers: Record<string, bigint>; segments: Record<string, Segment> }
/** How a program ended, and what there was then. */
export type Outcome = {
  /** `hlt`, `shutdown`, `io PORT`, `time`, or whatever else stopped it. */
  readonly end: string
  readonly state: State
  /** Words of 8 bytes that are not as they were: address and content. */
  readonly changed: ReadonlyMap<number, bigint>
}

const CODE = 0x9bn
const DATA = 0x93n
/** `flags`: G, D/B, L, AVL. */
const descriptor = (base: number, limit: number, access: bigint, flags: bigint): bigint =>
  BigInt(limit & 0xffff) |
  (BigInt(base & 0xff_ffff) << 16n) |
  (access << 40n) |
  (BigInt(limit >> 16) << 48n) |
  (flags << 52n) |
  (BigInt(base >>> 24) << 56n)
const flat = (access: bigint, flags: bigint): bigint => descriptor(0, 0xf_ffff, access, flags)
const gate = (selector: number, offset: number, access: bigint, low = 0n): bigint =>
  BigInt(offset & 0xffff) | (BigInt(selector) << 16n) | (low << 32n) | (access << 40n) | (BigInt(offset >>> 16) << 48n)

/** Selectors of the GDT, RPL 0. Those that IA-32e mode reads as 16 bytes have the second half behind them. */
export const GDT = {
  code64: 0x08,
  data: 0x10,
  code32: 0x18,
  data16: 0x20,
  code16: 0x28,
  code32User: 0x30,
  dataUser: 0x38,
  code64User: 0x40,
  tss64: 0x48,
  tss32: 0x58,
  tss16: 0x60,
  ldt: 0x68,
  absentData: 0x78,
  readOnly: 0x80,
  executeOnly: 0x88,
  conforming: 0x90,
  conformingUser: 0x98,
  data1: 0xa0,
  expandDown: 0xa8,
  expandDown16: 0xb0,
  small: 0xb8,
  absentCode: 0xc0,
  bothLD: 0xc8,
  gate64: 0xd0,
  gate32: 0xe0,
  gate16: 0xe8,
  taskGate: 0xf0,
  busyTss: 0xf8,
  gateKernel: 0x108,
  gateAbsent: 0x118,
  gateToData: 0x128,
  gateUpper: 0x138,
  absentTss: 0x148,
  farTss: 0x158,
  absentLdt: 0x168,
  fresh: 0x178,
  freshCode: 0x180,
  freshCode64: 0x188,
  gateParameters: 0x190,
  gateConforming: 0x198,
  expandDownRest: 0x1a8,
  smallCode: 0x1b0,
  conforming64: 0x1b8,
  reservedType: 0x1c0,
  gateToAbsent: 0x1d0,
  gateFar: 0x1e0,
  beyond: 0x200,
} as const
const GDT_LIMIT = 0x1f7

const gdt: readonly (readonly [keyof typeof GDT, bigint, bigint?])[] = [
  ['code64', flat(CODE, 0xan)],
  ['data', flat(DATA, 0xcn)],
  ['code32', flat(CODE, 0xcn)],
  ['data16', descriptor(0, 0xffff, DATA, 0n)],
  ['code16', descriptor(0x1_0000, 0xffff, CODE, 0n)],
  ['code32User', flat(CODE | 0x60n, 0xcn)],
  ['dataUser', flat(DATA | 0x60n, 0xcn)],
  ['code64User', flat(CODE | 0x60n, 0xan)],
  ['tss64', descriptor(AT.tss64, 0x67 + 0x40, 0x89n, 0n), 0n],
  ['tss32', descriptor(AT.tss32, 0x67 + 0x40, 0x89n, 0n)],
  ['tss16', descriptor(AT.tss16, 0x2b, 0x81n, 0n)],
  ['ldt', descriptor(AT.ldt, 0x1f, 0x82n, 0n), 0n],
  ['absentData', flat(DATA & 0x7fn, 0xcn)],
  ['readOnly', flat(0x91n, 0xcn)],
  ['executeOnly', flat(0x99n, 0xcn)],
  ['conforming', flat(0x9fn, 0xcn)],
  ['conformingUser', flat(0xffn, 0xcn)],
  ['data1', flat(0xb3n, 0xcn)],
  ['expandDown', descriptor(0, 0x20, 0x97n, 0xcn)],
  ['expandDown16', descriptor(0x1_0000, 0xfff, 0x97n, 0n)],
  ['small', descriptor(AT.data, 0xff, DATA, 0x4n)],
  ['absentCode', flat(CODE & 0x7fn, 0xan)],
  ['bothLD', flat(CODE, 0xen)],
  ['gate64', gate(0x08, AT.entry, 0xecn), 0n],
  ['gate32', gate(0x18, AT.entry, 0xecn)],
  ['gate16', gate(0x18, AT.entry, 0xe4n)],
  ['taskGate', gate(0x58, 0, 0xe5n)],
  ['busyTss', descriptor(AT.otherTss, 0x67, 0x8bn, 0n), 0n],
  ['gateKernel', gate(0x08, AT.entry, 0x8cn), 0n],
  ['gateAbsent', gate(0x08, AT.entry, 0x6cn), 0n],
  ['gateToData', gate(0x10, AT.entry, 0xecn), 0n],
  ['gateUpper', gate(0x08, AT.entry, 0xecn), 0x0000_0100_0000_0000n],
  ['absentTss', descriptor(AT.otherTss, 0x67, 0x09n, 0n), 0n],
  ['farTss', descriptor(AT.otherTss, 0x67, 0x89n, 0n), 0x8000_0000n],
  ['absentLdt', descriptor(AT.ldt, 0x1f, 0x02n, 0n), 0n],
  ['fresh', flat(0x92n, 0xcn)],
  ['freshCode', flat(0x9an, 0xcn)],
  ['freshCode64', flat(0x9an, 0xan)],
  ['gateParameters', gate(0x18, AT.entry, 0xecn, 2n)],
  ['gateConforming', gate(GDT.conforming, AT.entry, 0xecn), 0n],
  ['expandDownRest', descriptor(0, 0x2_0fff, 0x97n, 0x4n)],
  ['smallCode', descriptor(AT.code, 0xff, CODE, 0x4n)],
  ['conforming64', flat(0x9fn, 0xan)],
  ['reservedType', descriptor(0, 0xff, 0x80n, 0n), 0n],
  ['gateToAbsent', gate(GDT.absentCode, AT.entry, 0xecn), 0n],
  ['gateFar', gate(0x08, AT.entry, 0xecn), 0x8000_0000n],
]

/** What the gates of the IDT are, beside interrupt gates of DPL 0 for ring 0's code. */
export const IDT = {
  user: 0x20,
  trap: 0x21,
  kernel: 0x22,
  absent: 0x23,
  ist: 0x24,
  toNull: 0x25,
  toData: 0x26,
  toAbsent: 0x27,
  far: 0x28,
  conforming: 0x29,
  task: 0x2a,
  otherCode: 0x2b,
  farIst: 0x2c,
  toUser: 0x2d,
  short: 0x2e,
  notInterrupt: 0x2f,
  beyondGdt: 0x30,
} as const

const idt = (view: DataView, at: number, bytes: 8 | 16): void => {
  const long = bytes === 16
  const code = long ? GDT.code64 : GDT.code32
  const special = new Map<number, readonly [selector: number, access: bigint, low?: bigint, upper?: bigint]>([
    [3, [code, 0xeen]],
    [4, [code, 0xeen]],
    [IDT.user, [code, 0xeen]],
    [IDT.trap, [code, 0xefn]],
    [IDT.absent, [code, 0x6en]],
    [IDT.ist, [code, 0xeen, 1n]],
    [IDT.toNull, [0, 0xeen]],
    [IDT.toData, [GDT.data, 0xeen]],
    [IDT.toAbsent, [GDT.absentCode, 0xeen]],
    [IDT.far, [code, 0xeen, 0n, 0x8000n]],
    [IDT.conforming, [long ? GDT.conforming64 : GDT.conforming, 0xeen]],
    [IDT.task, [GDT.tss32, 0xe5n]],
    [IDT.otherCode, [long ? GDT.code32 : GDT.smallCode, 0xeen]],
    [IDT.farIst, [code, 0xeen, 2n]],
    [IDT.toUser, [long ? GDT.code64User : GDT.code32User, 0xeen]],
    [IDT.short, [code, 0xe6n]],
    [IDT.notInterrupt, [code, 0xecn]],
    [IDT.beyondGdt, [GDT.beyond, 0xeen]],
  ])
  for (let n = 0; n < VECTORS; n++) {
    const [selector, access, low, upper] = special.get(n) ?? [code, 0x8en]
    view.setBigUint64(at + n * bytes, gate(selector, AT.handlers + n * 16, access, low), true)
    if (long) view.setBigUint64(at + n * bytes + 8, upper ?? 0n, true)
  }
}

const paging = (view: DataView): void => {
  view.setBigUint64(AT.pml4, BigInt(AT.pdpt) | 7n, true)
  view.setBigUint64(AT.pdpt, BigInt(AT.pd) | 7n, true)
  view.setBigUint64(AT.pd, BigInt(AT.pt) | 7n, true)
  view.setBigUint64(AT.pdptes, BigInt(AT.pd) | 1n, true)
  view.setUint32(AT.pd32, AT.pt32 | 7, true)
  const named = new Map(Object.entries(PAGES).map(([name, bits]) => [pageAt(name as keyof typeof PAGES), bits]))
  for (let at = 0; at < MEMORY; at += 0x1000) {
    const rights = named.get(at) ?? 7n
    const entry = rights === 0n ? 0n : BigInt(at) | rights
    view.setBigUint64(AT.pt + (at >> 12) * 8, entry, true)
    view.setUint32(AT.pt32 + (at >> 12) * 4, Number(entry & 0xffff_ffffn), true)
  }
}

const tasks = (view: DataView): void => {
  for (const level of [0, 1, 2]) view.setBigUint64(AT.tss64 + 4 + level * 8, BigInt(AT.inner - level * 0x400), true)
  view.setBigUint64(AT.tss64 + 36, BigInt(AT.ist), true)
  view.setBigUint64(AT.tss64 + 44, 0x8000_0000_0000n, true)
  view.setBigUint64(AT.tss64 + 52, BigInt(pageAt('absent') + 0x100), true)
  // Ports 0 to 0x1ff, of which 0x20 to 0x2f may be used.
  for (const tss of [AT.tss64, AT.tss32]) {
    view.setUint16(tss + 102, 0x68, true)
    for (let n = 0; n < 0x40; n++) view.setUint8(tss + 0x68 + n, n === 4 || n === 5 ? 0 : 0xff)
  }
  for (const level of [0, 1, 2]) {
    view.setUint32(AT.tss32 + 4 + level * 8, AT.inner - level * 0x400, true)
    view.setUint16(AT.tss32 + 8 + level * 8, level === 0 ? GDT.data : level === 1 ? GDT.data1 | 1 : 0, true)
    view.setUint16(AT.tss16 + 2 + level * 4, 0xd000, true)
    view.setUint16(AT.tss16 + 4 + level * 4, GDT.data, true)
  }
}

/** The memory every program starts with. */
export const image = (): Uint8Array => {
  const bytes = new Uint8Array(MEMORY)
  const view = new DataView(bytes.buffer)
  paging(view)
  for (const [name, low, high] of gdt) {
    view.setBigUint64(AT.gdt + GDT[name], low, true)
    if (high !== undefined) view.setBigUint64(AT.gdt + GDT[name] + 8, high, true)
  }
  // The LDT: data of ring 3, data of ring 0.
  view.setBigUint64(AT.ldt + 8, flat(0xf3n, 0xcn), true)
  view.setBigUint64(AT.ldt + 16, flat(0x93n, 0xcn), true)
  idt(view, AT.idt64, 16)
  idt(view, AT.idt32, 8)
  tasks(view)
  for (let n = 0; n < 0x100; n++) view.setUint32(n * 4, ((AT.handlers / 16) << 16) | (n < VECTORS ? n * 16 : 0), true)
  bytes.fill(0xf4, AT.handlers, AT.entry + 0x1000)
  for (let at = AT.data; at < AT.pages + 0x8000; at += 8) view.setBigUint64(at, BigInt(at) * 0x1_0001_0001n, true)
  return bytes
}

const segment = (selector: number, access: number, base = 0, limit = 0xffff_ffff): Segment => ({
  selector,
  base: BigInt(base),
  limit,
  rights: access,
})
const NO_SEGMENT = 0x1_0000

/** How a mode starts. */
export const stateOf = (mode: ModeName): State => {
  const numbers: Record<string, bigint> = {}
  for (const name of [...BEFORE_SEGMENTS, ...AFTER_SEGMENTS]) numbers[name] = 0n
  const long = BITS[mode] === 64 || mode === 'c32' || mode === 'uc32'
  const user = mode.startsWith('u')
  Object.assign(numbers, {
    rip: mode === 'real' || mode === 'p16' ? 0n : BigInt(AT.code),
    rflags: 2n,
    rsp: BigInt(mode === 'real' ? 0x9000 : user ? AT.stack3 : AT.stack0),
    cr0: mode === 'real' ? 0x10n : mode === 'p16' || mode === 'k32' || mode === 'u32' ? 0x31n : 0x8001_0033n,
    cr3: BigInt(long ? AT.pml4 : mode === 'pae' ? AT.pdptes : AT.pd32),
    cr4: long || mode === 'pae' ? 0x620n : 0x600n,
    efer: long ? 0xd01n : mode === 'pae' ? 0x800n : 0n,
    xcr0: 1n,
    dr6: 0xffff_0ff0n,
    dr7: 0x400n,
    gdtBase: BigInt(AT.gdt),
    gdtLimit: BigInt(GDT_LIMIT),
    idtBase: BigInt(mode === 'real' ? 0 : long ? AT.idt64 : AT.idt32),
    idtLimit: BigInt(mode === 'real' ? 0x3ff : VECTORS * (long ? 16 : 8) - 1),
    star: (BigInt(GDT.code32User | 3) << 48n) | (BigInt(GDT.code64) << 32n),
    lstar: BigInt(AT.entry),
    cstar: BigInt(AT.entry + 0x100),
    fmask: 0x4_7700n,
    sysenterCs: BigInt(GDT.code64),
    sysenterEsp: BigInt(AT.inner),
    sysenterEip: BigInt(AT.entry + 0x200),
    pat: 0x0007_0406_0007_0406n,
  })
  const segments: Record<string, Segment> = {}
  for (const name of SEGMENTS) {
    if (mode === 'real') segments[name] = segment(0x2000, 0x93, 0x2_0000, 0xffff)
    else if (mode === 'p16') segments[name] = segment(GDT.data16, 0x93, 0, 0xffff)
    else segments[name] = user ? segment(GDT.dataUser | 3, 0xc0f3) : segment(GDT.data, 0xc093)
  }
  if (mode === 'p16') segments['ss'] = segment(GDT.data, 0xc093)
  if (mode === 'real') segments['ss'] = segment(0x3000, 0x93, 0x3_0000, 0xffff)
  if (mode === 'real') segments['cs'] = segment(AT.code >> 4, 0x9b, AT.code, 0xffff)
  else if (mode === 'p16') segments['cs'] = segment(GDT.code16, 0x9b, AT.code, 0xffff)
  else if (BITS[mode] === 64) segments['cs'] = user ? segment(GDT.code64User | 3, 0xa0fb) : segment(GDT.code64, 0xa09b)
  else segments['cs'] = user ? segment(GDT.code32User | 3, 0xc0fb) : segment(GDT.code32, 0xc09b)
  segments['ldtr'] = segment(0, NO_SEGMENT | 0x82, 0, 0)
  segments['tr'] = long
    ? segment(GDT.tss64, 0x8b, AT.tss64, 0x67 + 0x40)
    : segment(GDT.tss32, 0x8b, AT.tss32, 0x67 + 0x40)
  return { numbers, segments }
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
