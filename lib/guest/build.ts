/** From what a test calls a guest to an image. */
import { TD_GDT_LIMIT, TD_IDT_LIMIT, ucallPool } from '#abi'
import { type Gva, gva, hex, PAGE_SIZE } from '#bits'
import { GuestBuilder } from './builder.ts'
import type { CGuest } from './c.ts'
import { compile } from './c.ts'
import { Code } from './code.ts'
import { encodeGdt, encodeTss, gdtSize, TSS_SIZE, tssSelector, userCodeSelector } from './descriptors.ts'
import { type ElfGuest, loadElf } from './elf.ts'
import { emit } from './emit.ts'
import type { FlatGuest } from './flat.ts'
import { type CodeLine, type GuestImage, type Segment, type Sym, type Transport, wholePages } from './image.ts'
import type { Op } from './ir.ts'
import { keep, known, type Recipe } from './known.ts'
import { Region } from './region.ts'
import { FAULT_RECORD, RUNTIME, RUNTIME_GVA, runtime } from './runtime.ts'
import { Scope } from './scope.ts'
import type { Site } from './site.ts'
import type { IntType } from './types.ts'
import type { Workshop } from './workshop.ts'

/** A guest: a function of the builder's language, C, an ELF file or plain bytes. */
export type Guest = ((g: GuestBuilder) => void) | CGuest | ElfGuest | FlatGuest

export type BuildOptions = {
  /** Number of vCPUs; each takes its own guest, or all the one there is. */
  readonly vcpus: number
  /** `1 << (GPA width - 1)` of a TD. */
  readonly sharedBit: bigint
  /** `mmio` unless given; `pio` is an ordinary VM's. */
  readonly transport?: Transport
  /** An ordinary VM: port I/O by IN and OUT, nothing shared by a bit. */
  readonly isTd?: boolean
  /** Pages of each vCPU's stack: 2 for the builder's guests, 5 for others unless given. */
  readonly stackPages?: number
  /** The image says where its code was written: takes several times as long. */
  readonly lines?: boolean
}

/** Where an image's parts go. All in the first 2 MiB that one table maps, while there is room. */
export const CODE_GVA = gva(0x40_1000n)
export const DATA_GVA = gva(0x50_0000n)
export const SHARED_GVA = gva(0x58_0000n)
const SHARED_END: bigint = RUNTIME_GVA
const FAR_DATA = 0x1000_0000n
const FAR_SHARED = 0x2000_0000n
type Part = {
  readonly entry: Gva
  readonly segments: readonly Segment[]
  readonly symbols: readonly Sym[]
  readonly lines?: readonly CodeLine[]
}

/**
 * Builds an image for `options.vcpus` vCPUs, each with its own guest or all with the same one. Several guests of the
 * builder share one image, its memory and functions; a C, ELF or flat guest is the only one.
 */
export const buildGuest = (guest: Guest | readonly Guest[], options: BuildOptions): GuestImage => {
  const { vcpus, transport = 'mmio', isTd = transport !== 'pio' } = options
  const sharedBit = isTd ? options.sharedBit : 0n
  const guests: readonly Guest[] = typeof guest === 'function' || !Array.isArray(guest) ? [guest as Guest] : guest
  if (guests.length !== 1 && guests.length !== vcpus)
    throw new RangeError(`${guests.length} guests for ${vcpus} vCPUs: give one, or one for each`)
  const isBuilt = guests.every(g => typeof g === 'function')
  if (!isBuilt && new Set(guests).size > 1) throw new RangeError('a C, ELF or flat guest is the only one of its TD')

  const data = new Region('data', DATA_GVA, SHARED_GVA, FAR_DATA)
  const shared = new Region('shared', SHARED_GVA, SHARED_END, FAR_SHARED)
  const sites: Site[] = []
  const symbols: Sym[] = []

  // Two structures for each vCPU, so that a ucall may interrupt one, and what else its last page has room for.
  const capacity = fitting(wholePages(ucallPool(2 * vcpus).size), 2 * vcpus)
  const pool = shared.take(ucallPool(capacity).size, PAGE_SIZE)
  symbols.push({ name: 'ucall_pool', gva: pool, size: ucallPool(capacity).size })

  // Descriptors: the GDT begins a page (its limit says a whole one), handlers and TSSs follow.
  const gdt = data.take(gdtSize(vcpus), PAGE_SIZE)
  const handlersAt = data.take(256 * 8, 8)
  const tssAt = data.take(vcpus * TSS_SIZE, 16)
  symbols.push({ name: 'gdt', gva: gdt, size: gdtSize(vcpus) })
  symbols.push({ name: 'exception_handlers', gva: handlersAt, size: 256 * 8 })

  const asked: { records: Gva | undefined; user: boolean } = { records: undefined, user: false }
  const memory: Workshop['memory'] = (name, size, { shared: isShared, bytes, align = 16 }) => {
    // A page of its own for what is shared: the host maps and watches pages.
    const at = (isShared ? shared : data).take(size, isShared ? Math.max(align, PAGE_SIZE) : align, bytes)
    symbols.push({ name, gva: at, size })
    return at
  }
  const isPlaced = options.lines === true
  const functions = isBuilt
    ? declareGuests(
        guests as readonly ((g: GuestBuilder) => void)[],
        {
          sites,
          isTd,
          sharedBit,
          memory,
          vcpus,
          handlers: handlersAt,
          kept: new Map(),
          records: () =>
            (asked.records ??= memory('fault_records', vcpus * FAULT_RECORD.size, { shared: false, align: 64 })),
          userCode: () => {
            asked.user = true
            return userCodeSelector(vcpus)
          },
        },
        () => asked.records !== undefined || asked.user,
        isPlaced,
      )
    : []
  const stackPages = options.stackPages ?? (isBuilt ? 2 : 5)
  const recipe: Recipe | undefined =
    isBuilt && !isPlaced
      ? {
          options: { vcpus, transport, sharedBit, isTd, stackPages, guests: guests.length, ...asked },
          functions: functions.map(({ scope }) => scope.fn),
          data: data.chunks,
          shared: shared.chunks,
          symbols,
        }
      : undefined
  const before = recipe === undefined ? undefined : known(recipe)
  if (before !== undefined) return { ...before, sites }
  // What follows changes some of it.
  const remember = recipe === undefined ? undefined : keep(recipe)

  const parts = isBuilt
    ? assembleGuests(functions, guests.length, isPlaced)
    : loadGuest(guests[0] as CGuest | ElfGuest | FlatGuest, sites, isPlaced)

  const support = runtime({ transport, sharedBit, pool, capacity, handlers: handlersAt, ...asked })
  const idt = data.take(TD_IDT_LIMIT + 1, PAGE_SIZE, support.idt)
  symbols.push({ name: 'idt', gva: idt, size: TD_IDT_LIMIT + 1 })
  const stacks: Gva[] = []
  const stackSegments: Segment[] = []
  /** The page below stays unmapped, so that a stack that runs over faults. */
  const stack = (name: string, size: number): Gva => {
    const at = gva(data.take(PAGE_SIZE + size, PAGE_SIZE) + BigInt(PAGE_SIZE))
    data.chunks.pop()
    symbols.push({ name, gva: at, size })
    stackSegments.push({ ...PRIVATE, name, gva: at, bytes: new Uint8Array(0), size })
    return gva(at + BigInt(size))
  }
  const tss = new Uint8Array(vcpus * TSS_SIZE)
  for (let n = 0; n < vcpus; n++) {
    const top = stack(`stack${n}`, stackPages * PAGE_SIZE)
    stacks.push(gva(top - 8n))
    // Ring 3 runs on the stack that it was entered from: what interrupts it needs another.
    tss.set(encodeTss(asked.user ? stack(`stack${n}_ring0`, PAGE_SIZE) : top), n * TSS_SIZE)
  }
  data.put(tssAt, tss)
  data.put(gdt, encodeGdt(Array.from({ length: vcpus }, (_, n) => gva(tssAt + BigInt(n * TSS_SIZE)))))

  const segments: Segment[] = [
    {
      ...PRIVATE,
      name: 'runtime',
      gva: RUNTIME_GVA,
      bytes: support.bytes,
      size: PAGE_SIZE,
      writable: false,
      executable: true,
    },
    ...parts.flatMap(p => p.segments),
    ...data.segments(false),
    ...stackSegments,
    ...shared.segments(true),
  ]
  refuseOverlap(segments)
  const image: GuestImage = {
    segments: asked.user ? segments.map(s => ({ ...s, user: true })) : segments,
    entries: Array.from({ length: vcpus }, (_, n) => parts[n % parts.length]!.entry),
    stacks,
    gdt: { base: gdt, limit: TD_GDT_LIMIT },
    idt: { base: idt, limit: TD_IDT_LIMIT },
    sites,
    symbols: [...support.symbols, ...parts.flatMap(p => p.symbols), ...symbols].sort((a, b) =>
      a.gva < b.gva ? -1 : 1,
    ),
    ucall: { transport, pool, capacity },
    ...(isPlaced ? { lines: parts.flatMap(p => p.lines ?? []).sort((a, b) => (a.gva < b.gva ? -1 : 1)) } : {}),
    convention: isBuilt || sites.length > 0 ? 'sites' : 'upstream',
  }
  remember?.(image)
  return image
}

const PRIVATE = { shared: false, writable: true, executable: false } as const

/** The most structures, from `least` on, whose pool fits in `size` bytes. */
const fitting = (size: number, least: number): number => {
  let n = least
  while (ucallPool(n + 1).size <= size) n++
  return n
}

const refuseOverlap = (segments: readonly Segment[]): void => {
  const sorted = segments.toSorted((a, b) => (a.gva < b.gva ? -1 : 1))
  for (const [i, s] of sorted.entries()) {
    const next = sorted[i + 1]
    if (next !== undefined && s.gva + BigInt(s.size) > next.gva)
      throw new RangeError(
        `segment ${s.name} ends at ${hex(s.gva + BigInt(s.size))}, in ${next.name} at ${hex(next.gva)}`,
      )
  }
}

/**
 * LTR of the vCPU's own selector: ESI is its number at its first instruction. Who needs it is known when all is built.
 */
const LOAD_TASK_REGISTER: Op = {
  op: 'fixed',
  code: { text: `mov eax, esi\nshl eax, 4\nadd eax, ${tssSelector(0)}\nltr ax` },
  ins: [],
  outs: [],
  clobbers: 1,
}

/** A function of an image under construction. */
type Declared = {
  readonly name: string
  readonly label: number
  readonly scope: Scope
  readonly build: (scope: Scope) => void
}

/** Runs the guests, and the bodies of the functions that they declare, each of which may declare more. */
const declareGuests = (
  guests: readonly ((g: GuestBuilder) => void)[],
  shop: Omit<Workshop, 'declare'>,
  needsTask: () => boolean,
  isPlaced: boolean,
): readonly Declared[] => {
  const functions: Declared[] = []
  const declare = (
    name: string,
    _parameters: readonly IntType[],
    result: IntType | undefined,
    build: (scope: Scope) => void,
  ): number => {
    functions.push({ name, label: functions.length, scope: new Scope(name, false, result, isPlaced), build })
    return functions.length - 1
  }
  // Entries come first and in order: the first one's address is the code's.
  for (const [n, guest] of guests.entries()) {
    const name =
      guest.name === '' || guest.name === 'guest' ? (guests.length === 1 ? 'guest' : `guest${n}`) : guest.name
    const scope = new Scope(name, true, undefined, isPlaced)
    const build = (): void => {
      const g = new GuestBuilder({ ...shop, declare }, scope)
      guest(g)
      g.ranOff('the guest ran off its end: it never said g.done()')
    }
    functions.push({ name, label: n, scope, build })
  }
  for (let i = 0; i < functions.length; i++) functions[i]!.build(functions[i]!.scope)
  if (needsTask()) for (const { scope } of functions) if (scope.fn.entry) scope.fn.ops.unshift(LOAD_TASK_REGISTER)
  return functions
}

const assembleGuests = (functions: readonly Declared[], guests: number, isPlaced: boolean): Part[] => {
  const code = new Code()
  for (const _ of functions) code.label()
  const outside = { fn: (n: number) => functions[n]!.label, ucall: RUNTIME.ucall, bare: RUNTIME.bare }
  for (const { scope, label } of functions) emit(scope.fn, code, label, outside)
  const end = code.label()
  code.place(end)
  const { bytes, addresses, lines } = code.link(CODE_GVA)
  const symbols = functions.map(({ name, label }, i) => ({
    name,
    gva: gva(addresses[label]!),
    size: Number(addresses[functions[i + 1]?.label ?? end]! - addresses[label]!),
  }))
  const segments: Segment[] = [
    {
      ...PRIVATE,
      name: 'code',
      gva: CODE_GVA,
      bytes,
      size: wholePages(bytes.length),
      writable: false,
      executable: true,
    },
  ]
  return Array.from({ length: guests }, (_, n) => ({
    entry: symbols[n]!.gva,
    segments: n === 0 ? segments : [],
    symbols: n === 0 ? symbols : [],
    ...(n === 0 && isPlaced ? { lines: [...lines, { gva: addresses[end]!, file: '', line: 0 }] } : {}),
  }))
}

const loadGuest = (guest: CGuest | ElfGuest | FlatGuest, sites: Site[], isPlaced: boolean): Part[] => {
  switch (guest.kind) {
    case 'flat': {
      const { bytes, at } = guest
      const segment = { ...PRIVATE, name: 'flat', gva: at, bytes, size: wholePages(bytes.length), executable: true }
      return [
        {
          entry: gva(at + BigInt(guest.entry)),
          segments: [segment],
          symbols: [{ name: 'flat', gva: at, size: bytes.length }],
        },
      ]
    }
    case 'elf':
    case 'c': {
      const elf = loadElf(guest.kind === 'c' ? compile(guest) : guest.bytes, guest.name, isPlaced)
      sites.push(...elf.sites)
      return [elf]
    }
  }
}
