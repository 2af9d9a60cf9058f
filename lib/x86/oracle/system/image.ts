/** What is in the memory of the machine that programs of the system's kind run on: descriptor tables, gates, paging structures, stacks. */

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
export const GDT_LIMIT = 0x1f7

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
