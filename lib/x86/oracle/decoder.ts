/**
 * Decodes the same bytes with us and with iced-x86, an independent decoder, and says where lengths, mnemonics or operands
 * differ. `decoder-differences.ts` says which of these are known, and why.
 */
import { createRequire } from 'node:module'
import { decode } from '../decode.ts'
import type { Insn, Mode, Operand } from '../insn.ts'
import { nameOf } from '../register.ts'
import { type Row, table } from '../table.ts'
import { differences, inOurWay } from './decoder-differences.ts'

/** As much of iced-x86 as is used. */
type Instruction = {
  readonly length: number
  readonly mnemonic: number
  readonly opCount: number
  readonly memoryBase: number
  readonly memoryIndex: number
  readonly memoryIndexScale: number
  readonly memoryDisplacement: bigint
  readonly memorySegment: number
  readonly segmentPrefix: number
  readonly memorySize: number
  readonly nearBranchTarget: bigint
  readonly farBranch16: number
  readonly farBranch32: number
  readonly farBranchSelector: number
  readonly hasLockPrefix: boolean
  readonly hasRepPrefix: boolean
  readonly hasRepnePrefix: boolean
  opKind(n: number): number
  opRegister(n: number): number
  immediate(n: number): bigint
  cpuidFeatures(): Int32Array
}
type Decoder = {
  position: number
  ip: bigint
  readonly lastError: number
  decodeOut(to: Instruction): void
  free(): void
}
type Iced = {
  readonly Decoder: new (bits: number, bytes: Uint8Array, options: number) => Decoder
  readonly Instruction: new () => Instruction
  readonly MemorySizeExt: { size(memorySize: number): number }
  readonly Mnemonic: Record<number, string>
  readonly Register: Record<number, string> & Record<string, number>
  readonly CpuidFeature: Record<number, string>
  readonly OpKind: Record<string, number>
}

/** The other decoder, `undefined` where it is not installed. */
export const iced = ((): Iced | undefined => {
  try {
    return createRequire(import.meta.url)('iced-x86') as Iced
  } catch {
    return undefined
  }
})()

/** Bytes are decoded in slots of their own, the longest instruction being 15 bytes. */
export const SLOT = 16
const SLOTS = 4096

/** What one of the two makes of some bytes; `name` is `invalid` or `too long` where there is no instruction. */
export type Reading = { readonly name: string; readonly length: number; readonly operands: string }

const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs']

const memory = (
  size: number,
  seg: string,
  base: string,
  index: string,
  scale: number,
  disp: bigint,
  bits: number,
): string =>
  `${size} ${seg}:[${base}${index === '' ? '' : `+${index}*${scale}`}+${BigInt.asUintN(bits, disp).toString(16)}]`

const GENERAL = {
  2: 'ax cx dx bx sp bp si di',
  4: 'eax ecx edx ebx esp ebp esi edi',
  8: 'rax rcx rdx rbx rsp rbp rsi rdi',
}
const addressRegister = (n: number, size: 2 | 4 | 8): string =>
  n < 0 ? '' : n < 8 ? GENERAL[size].split(' ')[n]! : `r${n}${size === 4 ? 'd' : size === 2 ? 'w' : ''}`
const address: Record<2 | 4 | 8, string[]> = {
  2: Array.from({ length: 16 }, (_, n) => addressRegister(n, 2)),
  4: Array.from({ length: 16 }, (_, n) => addressRegister(n, 4)),
  8: Array.from({ length: 16 }, (_, n) => addressRegister(n, 8)),
}

const operandText = (insn: Insn, operand: Operand): string => {
  switch (operand.kind) {
    case 'reg':
      return nameOf(operand)
    case 'imm':
      return `#${operand.value.toString(16)}`
    case 'rel':
      return `@${BigInt.asUintN(insn.operandSize * 8, operand.disp + BigInt(insn.length)).toString(16)}`
    case 'far':
      return `${operand.selector.toString(16)}:${operand.offset.toString(16)}`
    case 'mem': {
      const { size, seg, base, index, scale, disp, ripRelative, addressSize } = operand
      const names = address[addressSize]
      const isVector = insn.row.semantics.includes('gather')
      const indexName = index < 0 ? '' : isVector ? `v${index}` : names[index]!
      const baseName = ripRelative ? 'rip' : base < 0 ? '' : names[base]!
      const at = ripRelative ? disp + BigInt(insn.length) : disp
      return memory(size, SEGMENTS[seg]!, baseName, indexName, scale, at, addressSize * 8)
    }
  }
}

export const ourReading = (bytes: Uint8Array, offset: number, mode: Mode): Reading => {
  const insn = decode(bytes.subarray(offset, offset + SLOT - 1), 0, mode)
  if (typeof insn === 'string') return { name: insn, length: 0, operands: '' }
  const prefix = `${insn.lock ? 'lock ' : ''}${insn.rep === '' ? '' : `${insn.rep} `}`
  return {
    name: insn.row.mnemonic.toLowerCase(),
    length: insn.length,
    // The address of MONITOR is in a register that its bytes do not name.
    operands:
      prefix +
      (insn.row.mnemonic === 'MONITOR' ? '' : insn.operands.map(operand => operandText(insn, operand)).join(', ')),
  }
}

/** The other decoder over one buffer of slots. */
export class Other {
  readonly bytes = new Uint8Array(SLOT * SLOTS)
  readonly #iced: Iced
  readonly #instruction: Instruction
  readonly #sizes = new Map<number, number>()
  readonly #registers: string[]
  readonly #kinds: string[]

  constructor(found: Iced) {
    this.#iced = found
    this.#instruction = new found.Instruction()
    this.#registers = Array.from({ length: 256 }, (_, n) => registerName(found.Register[n] ?? ''))
    this.#kinds = Array.from({ length: 32 }, (_, n) => (found.OpKind as unknown as Record<number, string>)[n] ?? '')
  }

  /** Decodes the slots, `modes` being each one's mode. */
  *readings(modes: readonly Mode[]): Generator<{ reading: Reading; features: () => string[] }> {
    const decoders = new Map<Mode, Decoder>()
    for (const mode of [16, 32, 64] as const) decoders.set(mode, new this.#iced.Decoder(mode, this.bytes, 0))
    const features = () => [...this.#instruction.cpuidFeatures()].map(n => this.#iced.CpuidFeature[n]!)
    for (const [n, mode] of modes.entries()) {
      const decoder = decoders.get(mode)!
      decoder.position = n * SLOT
      decoder.ip = 0n
      decoder.decodeOut(this.#instruction)
      const reading = decoder.lastError !== 0 ? { name: 'invalid', length: 0, operands: '' } : this.#reading(mode)
      yield { reading, features }
    }
    for (const decoder of decoders.values()) decoder.free()
  }

  #reading(mode: Mode): Reading {
    const i = this.#instruction
    const operands: string[] = []
    for (let n = 0; n < i.opCount; n++) operands.push(this.#operand(mode, n))
    const name = this.#iced.Mnemonic[i.mnemonic]!.toLowerCase()
    const shown = inOurWay(name, operands).join(', ')
    // It shows the prefix of any instruction; one that it does not repeat ignores it.
    const repeat = !STRING.test(name) ? '' : i.hasRepnePrefix ? 'repne ' : i.hasRepPrefix ? 'rep ' : ''
    return { name, length: i.length, operands: `${i.hasLockPrefix ? 'lock ' : ''}${repeat}${shown}` }
  }

  #size(): number {
    const { memorySize } = this.#instruction
    const known = this.#sizes.get(memorySize)
    if (known !== undefined) return known
    const size = this.#iced.MemorySizeExt.size(memorySize)
    this.#sizes.set(memorySize, size)
    return size
  }

  #operand(mode: Mode, n: number): string {
    const i = this.#instruction
    const kind = this.#kinds[i.opKind(n)]!
    if (kind === 'Register') return this.#registers[i.opRegister(n)]!
    if (kind.startsWith('Immediate')) return `#${BigInt.asUintN(immediateBits(kind), i.immediate(n)).toString(16)}`
    if (kind.startsWith('NearBranch')) return `@${i.nearBranchTarget.toString(16)}`
    if (kind.startsWith('FarBranch'))
      return `${i.farBranchSelector.toString(16)}:${(kind === 'FarBranch16' ? i.farBranch16 : i.farBranch32).toString(16)}`
    const size = this.#size()
    const seg = kind.startsWith('MemoryES') ? 'es' : this.#registers[i.memorySegment]!
    if (kind !== 'Memory') {
      const base = kind.replace(/^Memory(Seg|ES)/, '').toLowerCase()
      return memory(
        size,
        seg === 'es' && !kind.startsWith('MemorySeg') ? seg : this.#seg(mode, seg, base),
        base,
        '',
        1,
        0n,
        64,
      )
    }
    const base = this.#registers[i.memoryBase]!
    const index = this.#registers[i.memoryIndex]!.replace(/^[xy]mm/, 'v')
    const wide = /^r(ip|[a-z][a-z]|\d+)$/.test(base === '' ? index : base)
    const bits = mode === 64 && (wide || base + index === '' || index.startsWith('v')) ? 64 : 32
    const disp = i.memoryDisplacement
    const width = /^[a-z][a-z]$/.test(base === '' ? index : base) ? 16 : base === 'eip' ? 32 : bits
    return memory(size, this.#seg(mode, seg, base), base.replace('eip', 'rip'), index, i.memoryIndexScale, disp, width)
  }

  /** In 64-bit mode prefixes for ES, CS, SS and DS do nothing; iced-x86 shows them. */
  #seg(mode: Mode, seg: string, base: string): string {
    if (mode !== 64 || this.#instruction.segmentPrefix === 0 || seg === 'fs' || seg === 'gs') return seg
    return /^[re]?[bs]p$/.test(base) ? 'ss' : 'ds'
  }
}

const STRING = /^(movs|cmps|stos|lods|scas|ins|outs)[bwdq]$/

/** `Immediate8to32` is extended to 32 bits. */
const immediateBits = (kind: string): number => Number(/(\d+)(_2nd)?$/.exec(kind)![1])

const registerName = (name: string): string => {
  const text = name.toLowerCase()
  if (text === 'none') return ''
  return text.replace(/^(r\d+)l$/, '$1b').replace(/^st(\d)$/, 'st$1')
}

export type DecoderResult = {
  readonly cases: number
  readonly same: number
  /** Both found that there is no instruction, as part of `same`. */
  readonly invalid: number
  /** Reason → how often. */
  readonly explained: ReadonlyMap<string, number>
  /** Kind of difference → bytes of the first. */
  readonly unexplained: ReadonlyMap<string, { readonly count: number; readonly bytes: string }>
}

/** Random numbers of 32 bits by a seed: sfc32, small and fast. */
export class Stream {
  #a: number
  #b = 0x9e37_79b9
  #c = 0x243f_6a88
  #counter = 1
  constructor(seed: number) {
    this.#a = seed | 0
    for (let n = 0; n < 16; n++) this.word()
  }
  word(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    this.#c |= 0
    return sum >>> 0
  }
  below(n: number): number {
    return this.word() % n
  }
}

const PREFIXES = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65]

/** Bytes that begin as a row of the table says, with prefixes that it does not ask for now and then. */
const fromRow = (row: Row, stream: Stream, put: (byte: number) => void, mode: Mode): void => {
  while (stream.below(4) === 0) put(PREFIXES[stream.below(PREFIXES.length)]!)
  const prefix = { '': 0, NP: 0, NFx: 0, '66': 0x66, F3: 0xf3, F2: 0xf2 }[row.prefix]
  const opcode = row.byte + (row.plus ? stream.below(8) : 0)
  if (row.vex) {
    const pp = { '': 0, NP: 0, NFx: 0, '66': 1, F3: 2, F2: 3 }[row.prefix]
    const l = row.l < 0 ? stream.below(2) : row.l
    const vvvv = stream.below(3) === 0 ? 15 : stream.below(16)
    if (row.map === 1 && row.w !== 1 && stream.below(2) === 0) {
      put(0xc5)
      put((mode === 64 ? stream.below(2) << 7 : 0x80) | (vvvv << 3) | (l << 2) | pp)
    } else {
      put(0xc4)
      put((mode === 64 ? stream.below(8) << 5 : 0xe0) | row.map)
      put(((row.w < 0 ? stream.below(2) : row.w) << 7) | (vvvv << 3) | (l << 2) | pp)
    }
  } else {
    if (prefix !== 0) put(prefix)
    if (mode === 64 && (row.w === 1 || stream.below(3) === 0)) put(0x40 | stream.below(16) | (row.w === 1 ? 8 : 0))
    if (row.map > 0) put(0x0f)
    if (row.map > 1) put(row.map === 2 ? 0x38 : 0x3a)
  }
  put(opcode)
  if (!row.modrm) return
  if (row.fixed >= 0) put(row.fixed)
  else {
    const mod = row.mod === 'mem' ? stream.below(3) : row.mod === 'reg' ? 3 : stream.below(4)
    put((mod << 6) | ((row.digit >= 0 ? row.digit : stream.below(8)) << 3) | stream.below(8))
  }
}

/** Decodes `count` byte strings, half of them random, half made from the table. */
export const againstOther = (found: Iced, count: number, seed: number): DecoderResult => {
  const other = new Other(found)
  const stream = new Stream(seed)
  const explained = new Map<string, number>()
  const unexplained = new Map<string, { count: number; bytes: string }>()
  let same = 0
  let invalid = 0
  for (let done = 0; done < count; ) {
    const batch = Math.min(SLOTS, count - done)
    const modes: Mode[] = []
    for (let n = 0; n < batch; n++) {
      const mode = ([64, 64, 32, 16] as const)[stream.below(4)]!
      modes.push(mode)
      fillSlot(other.bytes, n * SLOT, stream, mode)
    }
    let n = 0
    for (const { reading: theirs, features } of other.readings(modes)) {
      const mode = modes[n]!
      const ours = ourReading(other.bytes, n * SLOT, mode)
      if (ours.length === theirs.length && ours.name === theirs.name && ours.operands === theirs.operands) {
        same++
        if (ours.length === 0) invalid++
      } else {
        const bytes = Buffer.from(other.bytes.subarray(n * SLOT, n * SLOT + SLOT - 1)).toString('hex')
        const why = differences(ours, theirs, theirs.name === 'invalid' ? () => [] : features)
        if (why !== undefined) explained.set(why, (explained.get(why) ?? 0) + 1)
        else {
          const shape = (r: Reading) => `${r.name} ${r.operands.replace(/[0-9a-f]{2,}|\d+/g, 'N')}`
          const kind = `${mode}: ${ours.length === theirs.length ? '' : `lengths ${ours.length} ${theirs.length} `}${shape(ours)} | ${shape(theirs)}`
          const before = unexplained.get(kind)
          if (before !== undefined) before.count++
          else unexplained.set(kind, { count: 1, bytes: `${bytes}: ${ours.operands} | ${theirs.operands}` })
        }
      }
      n++
    }
    done += batch
  }
  return { cases: count, same, invalid, explained, unexplained }
}

/** Fills a slot: half the time at random, half the time as the table has it. */
export const fillSlot = (bytes: Uint8Array, at: number, stream: Stream, mode: Mode): void => {
  for (let n = 0; n < SLOT; n += 4) {
    const word = stream.word()
    bytes[at + n] = word
    bytes[at + n + 1] = word >>> 8
    bytes[at + n + 2] = word >>> 16
    bytes[at + n + 3] = word >>> 24
  }
  let to = at
  const put = (byte: number) => {
    if (to < at + SLOT) bytes[to++] = byte
  }
  if (stream.below(2) === 0) fromRow(table[stream.below(table.length)]!, stream, put, mode)
  else while (stream.below(3) === 0) put([...PREFIXES, 0x0f, 0x0f, 0xc4, 0xc5, 0x48, 0x41][stream.below(17)]!)
}
