/** Random programs for ring 3, from the rows of the instruction table: valid encodings, operands mostly in mapped memory. */
import { assemble } from '../assemble.ts'
import { decode } from '../decode.ts'
import type { Insn } from '../insn.ts'
import { type Row, table } from '../table.ts'
import type { Chance } from './chance.ts'
import { isLeftOut, undefinedFlags } from './undefined.ts'

/** Memory of every program, as real-cpu.c has it. */
export const CODE = { at: 0x20_0000, size: 0x2000 } as const
export const DATA = { at: 0x30_0000, size: 0x4000 } as const
export const READ_ONLY = { at: 0x30_5000, size: 0x1000 } as const
export const STACK = { at: 0x30_7000, size: 0x2000 } as const

/** Registers by what they hold at the start: pointers, small numbers, anything. RSP points into the stack. */
const POINTERS = [3, 5, 6, 7, 8, 9, 10, 11]
const SMALL = [1, 2, 12, 13]

export type State = {
  readonly gpr: BigUint64Array
  rflags: bigint
  /** FXSAVE image, and the upper halves of YMM0 to YMM15. */
  readonly fxsave: Uint8Array
  readonly upper: Uint8Array
}
export type Program = {
  readonly mode: 64 | 32
  /** Where the code begins, in the code region. */
  readonly ip: number
  readonly bytes: Uint8Array
  readonly insns: readonly Insn[]
  /** Of the memory's content. */
  readonly seed: bigint
  readonly before: State
}

const rowsOf = (mode: 64 | 32): readonly Row[] =>
  table.filter(row => (mode === 64 ? row.valid64 : row.valid32) && !row.encodeOnly)
const ROWS = { 64: rowsOf(64), 32: rowsOf(32) } as const

const SPECIAL = [0n, 1n, 2n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn]
const WIDE = [1n << 63n, (1n << 63n) - 1n, (1n << 64n) - 1n, 0x8000_0000_0000n, 0x7fff_ffff_ffffn]

const number = (chance: Chance): bigint => {
  switch (chance.below(4)) {
    case 0:
      return chance.pick(SPECIAL)
    case 1:
      return chance.pick(WIDE)
    case 2:
      return chance.word() >> BigInt(chance.below(64))
    default:
      return chance.word()
  }
}
/** An address that mostly has room around it, sometimes at an edge of a region or outside. */
const pointer = (chance: Chance): bigint => {
  const area = chance.once(8) ? (chance.once(2) ? READ_ONLY : STACK) : DATA
  if (chance.once(12)) return BigInt(area.at + (chance.once(2) ? area.size - chance.below(40) : chance.below(40) - 20))
  const at = area.at + 256 + chance.below(area.size - 512)
  return BigInt(chance.once(2) ? at & ~15 : at)
}

const SINGLES = [
  0n,
  0x8000_0000n,
  0x3f80_0000n,
  0xbf80_0000n,
  0x7f80_0000n,
  0xff80_0000n,
  0x7fc0_0000n,
  0x7fa0_0000n,
  0x0000_0001n,
  0x0080_0000n,
  0x7f7f_ffffn,
  0x4f00_0000n,
]
const DOUBLES = [
  0n,
  1n << 63n,
  0x3ff0_0000_0000_0000n,
  0xbff8_0000_0000_0000n,
  0x7ff0_0000_0000_0000n,
  0xfff0_0000_0000_0000n,
  0x7ff8_0000_0000_0001n,
  0x7ff4_0000_0000_0000n,
  1n,
  0x0010_0000_0000_0000n,
  0x7fef_ffff_ffff_ffffn,
  0x43e0_0000_0000_0000n,
]

/** 64 bits of a vector register: numbers of both precisions, whole numbers, anything. */
const lane = (chance: Chance): bigint => {
  const single = () => (chance.once(2) ? chance.pick(SINGLES) : 0x3000_0000n + (chance.word() & 0x1fff_ffffn))
  switch (chance.below(5)) {
    case 0:
      return chance.pick(DOUBLES)
    case 1:
      return single() | (single() << 32n)
    case 2:
      return 0x3f00_0000_0000_0000n + (chance.word() & 0x01ff_ffff_ffff_ffffn)
    case 3:
      return chance.pick(SPECIAL) | (chance.pick(SPECIAL) << 32n)
    default:
      return chance.word()
  }
}
/** Ten bytes of an x87 register. */
const extended = (chance: Chance, view: DataView, at: number): void => {
  const kind = chance.below(6)
  const exponent = kind === 0 ? 0x7fff : kind === 1 ? 0 : 0x3fff - 20 + chance.below(60)
  const fraction = kind === 2 ? chance.word() & 1n : chance.word() >> (chance.once(2) ? 0n : 40n)
  view.setBigUint64(at, kind === 3 ? fraction : fraction | (1n << 63n), true)
  view.setUint16(at + 8, exponent | (chance.once(2) ? 0x8000 : 0), true)
}

const ROUNDING = 0x6000
const state = (chance: Chance, mode: 64 | 32): State => {
  const gpr = new BigUint64Array(16)
  for (let n = 0; n < 16; n++) {
    const value = POINTERS.includes(n) ? pointer(chance) : SMALL.includes(n) ? BigInt(chance.below(24)) : number(chance)
    gpr[n] = chance.once(12) ? number(chance) : value
  }
  gpr[4] = chance.once(20) ? pointer(chance) : BigInt(STACK.at + 0x800 + chance.below(0x100) * 8)
  if (mode === 32) for (let n = 0; n < 16; n++) gpr[n] = n < 8 ? gpr[n]! & 0xffff_ffffn : 0n
  let rflags = 0x202n | (chance.word() & 0x8d5n)
  if (chance.once(8)) rflags |= 0x400n
  if (chance.once(40)) rflags |= 0x4_0000n
  const fxsave = new Uint8Array(512)
  const view = new DataView(fxsave.buffer)
  // x87: all masked but for one program in twenty; every rounding and precision.
  const masks = chance.once(20) ? chance.below(64) : 63
  view.setUint16(
    0,
    0x40 | masks | (chance.once(3) ? chance.pick([0, 2, 3]) << 8 : 0x300) | (chance.below(4) << 10),
    true,
  )
  view.setUint16(2, chance.below(8) << 11, true)
  view.setUint8(4, chance.once(3) ? 0 : chance.once(2) ? 0xff : chance.below(256))
  const exceptions = chance.once(20) ? chance.below(64) << 7 : 0x1f80
  const others = (chance.once(2) ? 0 : chance.below(4) << 13) & ROUNDING
  const zeroes = (chance.once(8) ? 0x8000 : 0) | (chance.once(8) ? 0x40 : 0)
  view.setUint32(24, exceptions | others | zeroes | (chance.once(4) ? chance.below(64) : 0), true)
  for (let n = 0; n < 8; n++) extended(chance, view, 32 + n * 16)
  for (let n = 0; n < (mode === 64 ? 32 : 16); n++) view.setBigUint64(160 + n * 8, lane(chance), true)
  const upper = new Uint8Array(256)
  const high = new DataView(upper.buffer)
  for (let n = 0; n < (mode === 64 ? 32 : 16); n++) high.setBigUint64(n * 8, lane(chance), true)
  return { gpr, rflags, fxsave, upper }
}

/** Bytes of one instruction being made. */
class Writer {
  readonly bytes: number[] = []
  put(...bytes: number[]): void {
    this.bytes.push(...bytes)
  }
  little(value: bigint, size: number): void {
    for (let n = 0; n < size; n++) this.bytes.push(Number((value >> BigInt(n * 8)) & 0xffn))
  }
}

const displacement = (chance: Chance): bigint =>
  BigInt(chance.once(2) ? (chance.below(16) - 8) * 16 : chance.below(256) - 128)

/** ModRM, SIB and displacement of a memory operand. RIP-relative ones are patched once the length is known. */
const memory = (
  chance: Chance,
  out: Writer,
  reg: number,
  mode: 64 | 32,
  rex: { value: number },
  address16: boolean,
): number => {
  const wide = mode === 64
  const field = (mod: number, rm: number) => (mod << 6) | ((reg & 7) << 3) | (rm & 7)
  if (address16) {
    // 16-bit addresses reach no region: what counts is that the operand decodes, and the fault.
    const mod = chance.below(3)
    const rm = chance.below(8)
    out.put(field(mod, rm))
    if (mod === 1) out.put(chance.below(256))
    else if (mod === 2 || rm === 6) out.little(chance.word() & 0xffffn, 2)
    return -1
  }
  const form = chance.below(10)
  if (form === 0) {
    // RIP-relative in 64-bit code, an address in 32-bit code.
    out.put(field(0, 5))
    const at = out.bytes.length
    out.little(pointer(chance), 4)
    return wide ? at : -1
  }
  const anyone = wide ? 16 : 8
  const base = chance.once(10) ? chance.below(anyone) : chance.pick(POINTERS.filter(n => n < anyone))
  if (form <= 3) {
    const none = chance.once(6)
    const index = chance.once(8) ? chance.below(anyone) : chance.pick(SMALL.filter(n => n < anyone))
    const mod = none ? 0 : chance.below(3)
    if (index > 7) rex.value |= 2
    if (!none && base > 7) rex.value |= 1
    const low = none ? 5 : base & 7
    out.put(field(mod, 4), (chance.below(4) << 6) | ((index & 7) << 3) | low)
    if (mod === 0 && low === 5) out.little(pointer(chance), 4)
    else if (mod === 1) out.little(displacement(chance), 1)
    else if (mod === 2) out.little(displacement(chance), 4)
    return -1
  }
  if (base > 7) rex.value |= 1
  let mod = chance.below(3)
  if (mod === 0 && (base & 7) === 5) mod = 1
  out.put(field(mod, base))
  if ((base & 7) === 4) out.put(0x24)
  if (mod === 1) out.little(displacement(chance), 1)
  else if (mod === 2) out.little(chance.once(30) ? chance.word() : displacement(chance), 4)
  return -1
}

/**
 * Near branches: whether 66 shortens them in 64-bit code differs between makers, and on AMD's F3 and F2 turn LOOPNE into
 * LOOPE and the other way round.
 */
const isNear = (row: Row): boolean =>
  row.forms.some(({ place }) => place === 'rel') ||
  row.semantics === 'call' ||
  row.semantics === 'jmp' ||
  row.semantics === 'ret'

const PP: Readonly<Record<string, number>> = { '66': 1, F3: 2, F2: 3 }
const MANDATORY: Readonly<Record<string, number>> = { '66': 0x66, F3: 0xf3, F2: 0xf2 }

/** One encoding of the row. `at`: its linear address; `skip`: bytes that a taken branch passes over. */
const encoding = (chance: Chance, row: Row, mode: 64 | 32, at: number, skip: number): Uint8Array => {
  const wide = mode === 64
  const tail = new Writer()
  const rex = { value: 0 }
  const reg = row.digit >= 0 ? row.digit : chance.below(wide ? 16 : 8)
  const isMemory =
    row.modrm && row.fixed < 0 && row.mod !== 'reg' && row.mod !== 'ignored' && (row.mod === 'mem' || !chance.once(3))
  const narrowed = row.addressSize === 0 ? chance.once(40) : row.addressSize * 8 !== mode
  let [relative, plus] = [-1, 0]
  if (reg > 7 && row.digit < 0 && row.modrm) rex.value |= 4
  if (row.plus) {
    plus = chance.below(wide ? 16 : 8)
    if (plus > 7) rex.value |= 1
  }
  if (row.fixed >= 0) tail.put(row.fixed)
  else if (row.modrm && isMemory) relative = memory(chance, tail, reg, mode, rex, narrowed && !wide)
  else if (row.modrm) {
    const rm = chance.below(wide ? 16 : 8)
    if (rm > 7) rex.value |= 1
    tail.put(0xc0 | ((reg & 7) << 3) | (rm & 7))
  }
  for (const form of row.forms) {
    if (form.place === 'moffs') tail.little(pointer(chance), narrowed ? mode / 16 : mode / 8)
    else if (form.place === 'is4') tail.put(chance.below(wide ? 16 : 8) << 4)
    else if (form.place === 'imm') tail.little(number(chance), form.size)
    else if (form.place === 'rel') tail.little(BigInt(skip), form.size)
    else if (form.place === 'far') tail.little(chance.word(), form.size + 2)
  }
  const head = new Writer()
  if (row.lock ? isMemory && chance.once(6) : chance.once(200)) head.put(0xf0)
  if (row.rep && chance.once(2)) head.put(chance.once(2) ? 0xf3 : 0xf2)
  else if (!row.vex && row.prefix === '' && !isNear(row) && chance.once(100)) head.put(chance.pick([0xf2, 0xf3, 0x66]))
  if (chance.once(60)) head.put(chance.pick([0x26, 0x2e, 0x36, 0x3e]))
  if (narrowed) head.put(0x67)
  if (row.vex) {
    const l = row.l === 1 ? 4 : 0
    const w = row.w === 1 ? 1 : row.w === 0 ? 0 : chance.below(2)
    const used = row.forms.some(form => form.place === 'vvvv')
    const vvvv = used ? chance.below(wide ? 16 : 8) : 0
    const rest = ((~vvvv & 15) << 3) | l | (PP[row.prefix] ?? 0)
    const inverted = ~rex.value & 7
    if (row.map === 1 && w === 0 && (rex.value & 3) === 0 && chance.once(2))
      head.put(0xc5, ((inverted & 4) << 5) | rest)
    else head.put(0xc4, (inverted << 5) | row.map, (w << 7) | rest)
  } else {
    if (row.operandSize === 2 && row.prefix !== '66') head.put(0x66)
    const mandatory = MANDATORY[row.prefix]
    if (mandatory !== undefined) head.put(mandatory)
    if (row.w === 1) rex.value |= 8
    if (wide && (rex.value !== 0 || chance.once(4))) head.put(0x40 | rex.value)
    if (row.map > 0) head.put(0x0f)
    if (row.map > 1) head.put(row.map === 2 ? 0x38 : 0x3a)
  }
  head.put(row.byte | (plus & 7))
  const bytes = Uint8Array.from([...head.bytes, ...tail.bytes])
  if (relative >= 0) {
    const place = head.bytes.length + relative
    const view = new DataView(bytes.buffer)
    view.setInt32(place, (view.getUint32(place, true) - (at + bytes.length)) | 0, true)
  }
  return bytes
}

const TRIES = 200

/** An instruction that may be tried, at a linear address; its bytes and what they mean. */
const instruction = (
  chance: Chance,
  mode: 64 | 32,
  at: number,
  skip = 0,
  only?: RegExp,
): { bytes: Uint8Array; insn: Insn } => {
  const rows = only === undefined ? ROWS[mode] : ROWS[mode].filter(row => only.test(row.mnemonic))
  for (let n = 0; n < TRIES; n++) {
    const row = chance.pick(rows)
    const bytes = encoding(chance, row, mode, at, skip)
    const insn = decode(bytes, 0, mode)
    if (typeof insn === 'string' || insn.length !== bytes.length || isLeftOut(insn)) continue
    return { bytes, insn }
  }
  // NOP: where a filter leaves nothing else.
  const bytes = Uint8Array.of(0x90)
  return { bytes, insn: decode(bytes, 0, mode) as Insn }
}

const isBranch = ({ operands }: Insn): boolean => operands.some(({ kind }) => kind === 'rel')

/** Counts the turns of a program that is a loop: where stacks of programs seldom come. */
const TURNS = STACK.at + STACK.size - 16

/**
 * A program of one to `most` instructions. Flags that one leaves undefined are defined again before the next.
 * With `turns` it is the body of a loop, that often at most: what compiles has it compiled before it ends.
 */
export const program = (chance: Chance, mode: 64 | 32, most = 4, only?: RegExp, turns = 0): Program => {
  const ip = chance.once(8) ? CODE.size / 2 - chance.below(16) : chance.below(0x100)
  const parts: Uint8Array[] = []
  const insns: Insn[] = []
  let at = CODE.at + ip
  const add = ({ bytes, insn }: { bytes: Uint8Array; insn: Insn }) => {
    parts.push(bytes)
    insns.push(insn)
    at += bytes.length
  }
  const own = (text: string, labels: Record<string, bigint> = {}) => {
    const { bytes } = assemble(text, { mode, at, labels })
    add({ bytes, insn: decode(bytes, 0, mode) as Insn })
  }
  if (turns > 0) own(`mov dword ptr [${TURNS}], ${turns}`)
  const again = BigInt(at)
  const count = 1 + chance.below(most)
  for (let n = 0; n < count; n++) {
    let next = instruction(chance, mode, at, 0, only)
    // A taken branch passes over the next instruction, which is made for that place.
    if (isBranch(next.insn)) {
      const follower = instruction(chance, mode, at + next.bytes.length, 0, only)
      if (!isBranch(follower.insn)) {
        const size = next.bytes.length
        const last = next.insn.operands.find(({ kind }) => kind === 'rel')!
        const field = last.kind === 'rel' ? last.size : 1
        const bytes = next.bytes.slice()
        if (chance.once(2)) bytes[size - field] = follower.bytes.length
        next = { bytes, insn: next.insn }
        add(next)
        add(follower)
        if (undefinedFlags(follower.insn) !== 0 && n < count - 1) add(define(mode))
        continue
      }
    }
    add(next)
    if (undefinedFlags(next.insn) !== 0 && n < count - 1) add(define(mode))
  }
  if (turns > 0) {
    own(`sub dword ptr [${TURNS}], 1`)
    own('jnz again', { again })
  }
  return { mode, ip, bytes: Buffer.concat(parts), insns, seed: chance.word(), before: state(chance, mode) }
}

/** CMP EAX, 5: defines all flags. */
const define = (mode: 64 | 32): { bytes: Uint8Array; insn: Insn } => {
  const bytes = Uint8Array.of(0x83, 0xf8, 0x05)
  return { bytes, insn: decode(bytes, 0, mode) as Insn }
}
