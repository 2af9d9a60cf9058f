/** The notation that the table's groups are written in, and what the decoder and the encoder read out of it. */

/** Where the bits of an operand are. */
export type Place =
  | 'reg' // ModRM.reg
  | 'rm' // ModRM.rm, a register or memory
  | 'opcode' // low three bits of the opcode
  | 'vvvv' // VEX.vvvv
  | 'is4' // bits 7:4 of an immediate byte
  | 'imm'
  | 'rel'
  | 'moffs'
  | 'far'
  | 'fixed' // nowhere: the encoding implies it
  | 'implied' // memory at a fixed register: string instructions and the like

/** An operand of a row, taken apart. */
export type OperandForm = {
  readonly place: Place
  /** Register file of the register form. */
  readonly file: 'gpr' | 'seg' | 'cr' | 'dr' | 'st' | 'mm' | 'vec'
  /** Bytes of the register form; of the field for `imm`, `rel` and `far`. 0 where there is no register form. */
  readonly size: number
  /** Bytes of the memory form, -1 where there is none; 0 for memory of no size. */
  readonly mem: number
  /** Number of the register for `fixed` and `implied` (the address register), the value of a fixed `1`. */
  readonly index: number
  /** Bytes that an immediate is extended to. */
  readonly extend: number
  /** Size of a gather's vector index register, else 0. */
  readonly vsib: number
}

export type Prefix = '' | 'NP' | '66' | 'F3' | 'F2' | 'NFx'

/** One encoding. `opcode` and `operands` are the SDM's notation; see `rows` for what is added to it. */
export type Row = {
  readonly mnemonic: string
  readonly opcode: string
  readonly operands: readonly string[]
  /** Name of the function in semantics/. */
  readonly semantics: string
  readonly valid64: boolean
  /** 16-bit and 32-bit code. */
  readonly valid32: boolean
  /** CPUID feature, '' for what every processor has. */
  readonly feature: string
  /** May LOCK stand before it, given a memory destination? */
  readonly lock: boolean
  /** A string instruction, which F3 and F2 repeat. */
  readonly rep: boolean
  /** A second encoding that assemblers do not make. */
  readonly decodeOnly: boolean
  /** Another way to write what the decoder reports otherwise. */
  readonly encodeOnly: boolean
  /** Number in the table. */
  readonly number: number

  /** 0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A. */
  readonly map: number
  readonly byte: number
  /** The low three bits of the opcode are a register. */
  readonly plus: boolean
  readonly vex: boolean
  readonly prefix: Prefix
  /** Operand size in bytes that the row is for; 0: any. */
  readonly operandSize: 0 | 2 | 4 | 8
  /** 64-bit operand size without REX.W, and with the 66 prefix ignored. */
  readonly default64: boolean
  readonly force64: boolean
  readonly addressSize: 0 | 2 | 4 | 8
  /** REX.W or VEX.W: must be 0 or 1; -1: either. */
  readonly w: -1 | 0 | 1
  /** A VEX row of general registers: without 64-bit mode W is ignored and the W0 row is meant. */
  readonly generalVex: boolean
  /** VEX.L: 0 or 1; -1: either. */
  readonly l: -1 | 0 | 1
  readonly modrm: boolean
  /** /0 to /7; -1: none. */
  readonly digit: number
  /** The whole ModRM byte where it is part of the opcode, else -1. */
  readonly fixed: number
  /** ModRM.mod: memory forms only, register forms only, or both; `ignored`: a register whatever mod says. */
  readonly mod: 'any' | 'mem' | 'reg' | 'ignored'
  /** REX.B must be 0: 90 is NOP, 41 90 is XCHG. */
  readonly noB: boolean
  /** More constraints means more specific; the most specific row that fits wins. */
  readonly rank: number
  readonly forms: readonly OperandForm[]
}

const GPR: Record<string, readonly [index: number, size: number]> = {
  AL: [0, 1],
  CL: [1, 1],
  AX: [0, 2],
  DX: [2, 2],
  EAX: [0, 4],
  ECX: [1, 4],
  RAX: [0, 8],
  RCX: [1, 8],
}
const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS']
/** Memory operands that are not simply m and a number of bits: far pointers, tables, environments. */
const MEMORY: Record<string, number> = {
  m: 0,
  'm16:16': 4,
  'm16:32': 6,
  'm16:64': 10,
  'm16&16': 4,
  'm32&32': 8,
  'm16&32': 6,
  'm16&64': 10,
  m2byte: 2,
  m14byte: 14,
  m28byte: 28,
  m94byte: 94,
  m108byte: 108,
  m512byte: 512,
}
const AT: Record<string, number> = { rAX: 0, rBX: 3, rSI: 6, rDI: 7 }

const form = (place: Place, rest: Partial<OperandForm> = {}): OperandForm => ({
  place,
  file: rest.file ?? 'gpr',
  size: rest.size ?? 0,
  mem: rest.mem ?? -1,
  index: rest.index ?? 0,
  extend: rest.extend ?? 0,
  vsib: rest.vsib ?? 0,
})

const memorySize = (text: string): number => {
  const named = MEMORY[text]
  if (named !== undefined) return named
  const match = /^m(\d+)(?:fp|int|bcd)?$/.exec(text)
  if (match === null) throw new Error(`no such memory operand: ${text}`)
  return Number(match[1]) / 8
}

/** A register operand by its name in the SDM: which file, how many bytes. */
const registerOf = (text: string): Pick<OperandForm, 'file' | 'size'> | undefined => {
  if (text === 'Sreg') return { file: 'seg', size: 2 }
  if (text === 'ST(i)') return { file: 'st', size: 10 }
  const match = /^(xmm|ymm|mm|r|CR|DR)(\d*)[ab]?$/.exec(text)
  if (match === null) return undefined
  switch (match[1]) {
    case 'xmm':
      return { file: 'vec', size: 16 }
    case 'ymm':
      return { file: 'vec', size: 32 }
    case 'mm':
      return { file: 'mm', size: 8 }
    case 'CR':
      return { file: 'cr', size: Number(match[2]) / 8 }
    case 'DR':
      return { file: 'dr', size: Number(match[2]) / 8 }
    default:
      return { file: 'gpr', size: Number(match[2]) / 8 }
  }
}

const known = new Map<string, OperandForm>()

/** What an operand is, as far as it says so itself. Registers get their place from the row. */
const operandForm = (text: string): OperandForm => {
  let made = known.get(text)
  if (made === undefined) {
    made = readOperand(text)
    known.set(text, made)
  }
  return made
}

const readOperand = (text: string): OperandForm => {
  const gpr = GPR[text]
  if (gpr !== undefined) return form('fixed', { index: gpr[0], size: gpr[1] })
  if (text === '1') return form('fixed', { index: 1, size: 0 })
  if (text === 'ST(0)') return form('fixed', { file: 'st', size: 10 })
  if (text === '<XMM0>') return form('fixed', { file: 'vec', size: 16 })
  if (SEGMENTS.includes(text)) return form('fixed', { file: 'seg', index: SEGMENTS.indexOf(text), size: 2 })
  const at = /^(m\d*)@(r..)$/.exec(text)
  if (at !== null) return form('implied', { mem: memorySize(at[1] as string), index: AT[at[2] as string] as number })
  const sized = /^(imm|rel|moffs)(\d+)$/.exec(text)
  if (sized !== null) {
    const size = Number(sized[2]) / 8
    if (sized[1] === 'moffs') return form('moffs', { mem: size })
    return form(sized[1] as 'imm' | 'rel', { size, extend: size })
  }
  const far = /^ptr16:(\d+)$/.exec(text)
  if (far !== null) return form('far', { size: Number(far[1]) / 8 })
  const vector = /^vm(32|64)([xy])$/.exec(text)
  if (vector !== null) return form('rm', { mem: 0, vsib: vector[2] === 'y' ? 32 : 16 })
  const either = /^r\/m(\d+)$/.exec(text)
  if (either !== null) return form('rm', { size: Number(either[1]) / 8, mem: Number(either[1]) / 8 })
  const slash = text.indexOf('/')
  const register = registerOf(slash < 0 ? text : text.slice(0, slash))
  if (register !== undefined)
    return form(slash < 0 ? 'reg' : 'rm', { ...register, mem: slash < 0 ? -1 : memorySize(text.slice(slash + 1)) })
  return form('rm', { mem: memorySize(text) })
}

/** Gives every register operand its place: by `letters` (R V M O I, in order) or by the shape of the row. */
const place = (
  forms: readonly OperandForm[],
  letters: string,
  plus: boolean,
  digit: number,
  i: boolean,
): OperandForm[] => {
  const free = forms.flatMap((f, n) => (f.place === 'reg' ? [n] : []))
  const memory = forms.findIndex(f => f.place === 'rm')
  const places: Record<string, Place> = { R: 'reg', V: 'vvvv', M: 'rm', O: 'opcode', S: 'is4' }
  let order = letters
  if (order === '') {
    if (plus) order = 'O'
    else if (i) order = 'M'
    else if (digit >= 0) order = memory >= 0 ? 'V' : free.length === 2 ? 'VM' : 'M'
    else if (memory >= 0)
      // The mask or second source comes after the destination, or after memory where that stands in the middle.
      order = free.length === 1 ? 'R' : memory === 0 ? 'VR' : 'RVS'
    else order = free.length === 3 ? 'RVM' : 'RM'
  }
  return forms.map((f, n) => {
    const at = free.indexOf(n)
    return at < 0 ? f : { ...f, place: places[order[at] as string] as Place }
  })
}

const PREFIXES = new Set(['NP', '66', 'F3', 'F2', 'NFx'])
/** Tokens that say what follows the opcode; the operands say it too. */
const TAIL = new Set(['ib', 'iw', 'id', 'io', 'cb', 'cw', 'cd', 'cp', 'mo', '/is4'])
const SIZE: Record<string, 2 | 4 | 8> = { o16: 2, o32: 4, a16: 2, a32: 4, a64: 8 }
const CONDITIONAL = /^(J|SET|CMOV)(O|NO|B|AE|E|NE|BE|A|S|NS|P|NP|L|GE|LE|G)$/

/** One line of a group, every abbreviation gone. */
const row = (
  mnemonic: string,
  opcode: string,
  operandText: string,
  notes: readonly string[],
  feature: string,
  number: number,
): Row => {
  const operands = operandText === '' ? [] : operandText.split(', ')
  let prefix: Prefix = ''
  let [map, byte, digit, fixed] = [0, -1, -1, -1]
  let [plus, slashR, signed, stackIndex] = [false, false, false, false]
  let operandSize: Row['operandSize'] = 0
  let addressSize: Row['addressSize'] = 0
  let w: Row['w'] = -1
  let l: Row['l'] = -1
  let [default64, vex] = [false, false]
  for (const token of opcode.split(' ')) {
    const size = SIZE[token]
    if (token === '' || token === '+' || TAIL.has(token)) continue
    if (token.startsWith('VEX.')) {
      vex = true
      prefix = 'NP'
      for (const part of token.split('.').slice(1)) {
        if (part === '128' || part === 'L0' || part === 'LZ') l = 0
        else if (part === '256' || part === 'L1') l = 1
        else if (part === 'W0') w = 0
        else if (part === 'W1') w = 1
        else if (part === '66' || part === 'F3' || part === 'F2') prefix = part
        else if (part.startsWith('0F')) map = part === '0F38' ? 2 : part === '0F3A' ? 3 : 1
      }
    } else if (byte < 0 && map === 0 && PREFIXES.has(token)) prefix = token as Prefix
    else if (token === 'REX.W') [operandSize, w] = [8, 1]
    else if (token === 'o64') [operandSize, default64] = [8, true]
    else if (size !== undefined && token[0] === 'o') operandSize = size
    else if (size !== undefined) addressSize = size
    else if (token === '/r') slashR = true
    else if (token[0] === '/') digit = Number(token[1])
    else if (token === 'ibs') signed = true
    else if (token === '0F' && !vex && byte < 0 && map === 0) map = 1
    else if (map === 1 && !vex && byte < 0 && (token === '38' || token === '3A')) map = token === '38' ? 2 : 3
    else if (/^[0-9A-F]{2}(\+r|\+i)?$/.test(token)) {
      const value = Number.parseInt(token.slice(0, 2), 16)
      if (token.endsWith('+i')) {
        digit = (value >> 3) & 7
        stackIndex = true
      } else if (byte < 0) {
        byte = value
        plus = token.endsWith('+r')
      } else fixed = value
    } else throw new Error(`${mnemonic}: ${token} in ${opcode}`)
  }
  const ignoresW = notes.includes('WIG')
  const letters = notes.find(note => note.startsWith(':'))?.slice(1) ?? ''
  const forms = place(operands.map(operandForm), letters, plus, digit, stackIndex).map(f => {
    // vm32x: indices of 32 bits. How wide the elements are, the mnemonic says.
    if (f.vsib !== 0) return { ...f, mem: /(D|PS)$/.test(mnemonic) && !/PD$/.test(mnemonic) ? 4 : 8 }
    if (f.place !== 'imm') return f
    // An imm32 of a 64-bit operation is sign-extended as an imm8 of the "ibs" forms is.
    const wide = signed || (f.size === 4 && operandSize === 8)
    return wide ? { ...f, extend: operandSize } : f
  })
  const modrm = slashR || digit >= 0 || fixed >= 0
  const rm = forms.find(f => f.place === 'rm')
  const mod = notes.includes('mod*')
    ? 'ignored'
    : rm === undefined
      ? stackIndex || notes.includes('reg')
        ? 'reg'
        : notes.includes('mem')
          ? 'mem'
          : 'any'
      : rm.mem < 0
        ? 'reg'
        : rm.size === 0
          ? 'mem'
          : 'any'
  const generalVex = vex && (notes.includes('gpr') || forms.some(f => f.file === 'gpr' && f.size >= 4))
  const noB = notes.includes('noB')
  const family = CONDITIONAL.exec(mnemonic)
  const semantics = notes.find(note => note.startsWith('='))?.slice(1)
  return {
    mnemonic,
    opcode,
    operands,
    semantics: semantics ?? (family === null ? mnemonic.toLowerCase() : `${(family[1] as string).toLowerCase()}cc`),
    valid64: !notes.includes('i64'),
    valid32: !notes.includes('o64') && !default64 && !(w === 1 && (operandSize === 8 || generalVex)),
    feature,
    lock: notes.includes('lock'),
    rep: notes.includes('rep'),
    decodeOnly: notes.includes('dec'),
    encodeOnly: notes.includes('enc'),
    number,
    map,
    byte,
    plus,
    vex,
    prefix,
    operandSize,
    default64,
    force64: notes.includes('f64'),
    addressSize,
    w: ignoresW ? -1 : w,
    generalVex,
    l,
    modrm,
    digit,
    fixed,
    mod,
    noB,
    rank:
      (prefix === '' ? 0 : prefix === 'NFx' ? 1 : 2) +
      (operandSize === 0 ? 0 : 1) +
      (w >= 0 ? 1 : 0) +
      (l >= 0 ? 1 : 0) +
      (addressSize === 0 ? 0 : 1) +
      (fixed >= 0 ? 4 : 0) +
      (digit >= 0 ? 2 : 0) +
      (mod === 'any' ? 0 : 1) +
      (noB ? 1 : 0),
    forms,
  }
}

type Line = readonly [mnemonic: string, opcode: string, operands: string, notes: readonly string[]]

/** Operand size abbreviations: the opcode's token, what it stands for, and what is noted. */
const SIZES: Record<string, readonly (readonly [token: string, bits: number, note: string])[]> = {
  oV: [
    ['o16', 16, ''],
    ['o32', 32, ''],
    ['REX.W +', 64, ''],
  ],
  oD: [
    ['o16', 16, ''],
    ['o32', 32, 'WIG'],
  ],
  oS: [
    ['o16', 16, ''],
    ['o32', 32, 'i64'],
    ['o64', 64, ''],
  ],
  oF: [
    ['o16', 16, 'i64'],
    ['o32', 32, 'i64'],
    ['o64', 64, 'f64'],
  ],
  oY: [
    ['', 32, ''],
    ['REX.W +', 64, ''],
  ],
}
const ACCUMULATOR: Record<number, string> = { 16: 'AX', 32: 'EAX', 64: 'RAX' }
const IMMEDIATE: Record<number, string> = { 16: 'iw', 32: 'id', 64: 'io' }

/** A line with its operand size and vector length abbreviations written out. */
const expand = ([mnemonic, opcode, operands, notes]: Line): Line[] => {
  const abbreviation = opcode.includes('o') ? /\bo[VDSFY]\b/.exec(opcode)?.[0] : undefined
  if (abbreviation !== undefined)
    return (SIZES[abbreviation] as NonNullable<(typeof SIZES)[string]>).map(([token, bits, note]) => {
      const narrow = Math.min(bits, 32)
      return [
        mnemonic,
        opcode
          .replace(abbreviation, token)
          .replace(/\biZ\b/, IMMEDIATE[narrow] as string)
          .replace(/\biV\b/, IMMEDIATE[bits] as string)
          .replace(/\bcZ\b/, narrow === 16 ? 'cw' : 'cd'),
        operands
          .replace(/\bAV\b/g, ACCUMULATOR[bits] as string)
          .replace(/(imm|rel)Z/g, `$1${narrow}`)
          .replace(/(r|m|moffs|imm)V\b/g, `$1${bits}`),
        note === '' ? notes : [...notes, note],
      ]
    })
  if (opcode.startsWith('VEX.X'))
    return [128, 256].map(bits => [
      mnemonic,
      opcode.replace('VEX.X', `VEX.${bits}`),
      operands
        .replace(/\bX(\d)/g, bits === 128 ? 'xmm$1' : 'ymm$1')
        .replace(/\bmX\b/g, `m${bits}`)
        .replace(/\bvmX/g, bits === 128 ? 'vmx' : 'vmy'),
      notes,
    ])
  return [[mnemonic, opcode, operands, notes]]
}

/** A group before it is numbered. */
export type Group = { readonly feature: string; readonly text: string }

/**
 * A group of rows, one a line: `MNEMONIC | opcode | operands | notes`. The opcode column is the SDM's, plus
 *
 * - `o16 o32 o64`: the effective operand size; o64 needs no REX.W (pushes, pops, near branches). `a16 a32 a64`: likewise
 *   for addresses. `ibs`: an imm8 that is sign-extended to the operand size.
 * - `oV oD oS oF oY`: several rows at once, for 16, 32 and 64 bits (V), without 64 (D), with 64 by default (S), with
 *   64 by force (F), without 16 (Y); operands then say V for the size, Z for it up to 32, AV for the accumulator.
 * - `VEX.X`, `X1`, `mX`: two rows, xmm with VEX.128 and ymm with VEX.256.
 *
 * Operands are the SDM's, plus `m8@rSI`: memory that the instruction always finds at a register. Notes: `i64`, `o64`
 * (not, only in 64-bit mode), `f64` (64 bits whatever the prefixes), `lock`, `rep`, `WIG` (REX.W is ignored), `mem`,
 * `reg`, `mod*` (ModRM.mod must be, or is ignored), `noB` (no REX.B), `gpr` (general
 * registers that are not named: VEX.W is theirs), `dec` (decoded, never encoded), `enc` (the other way round), `=name`
 * (semantics), `:RVM` (places of the register operands: ModRM.reg, VEX.vvvv, ModRM.rm).
 */
export const rows = (feature: string, text: string): Group => ({ feature, text })

export const build = (groups: readonly Group[]): Row[] => {
  const table: Row[] = []
  for (const { feature, text } of groups)
    for (const line of text.split('\n')) {
      const [mnemonic = '', opcode = '', operands = '', notes = ''] = line.split('|').map(cell => cell.trim())
      if (mnemonic === '') continue
      const noted = notes === '' ? [] : notes.split(' ')
      for (const [name, code, list, all] of expand([mnemonic, opcode, operands, noted]))
        table.push(row(name, code, list, all, feature, table.length))
    }
  return table
}
