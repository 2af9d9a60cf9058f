/** Bytes to an instruction. SDM Vol. 2A, "Instruction Format", and Vol. 2D, "Opcode Map". */
import { CS, DS, ES, FS, type Insn, type Mem, type Mode, type Operand, type Reg, type Seg, SS } from './insn.ts'
import { hasModrm, isOpcode, key, NONE, P66, PF2, PF3, rowAt, slot } from './lookup.ts'
import { registers } from './register.ts'
import type { OperandForm, Row } from './table.ts'

/**
 * Why there is no instruction: `invalid` is #UD, `too long` (more than 15 bytes) is #GP(0), `truncated` needs bytes
 * that are not there.
 */
export type Refused = 'invalid' | 'truncated' | 'too long'

const LONGEST = 15

// The state of the instruction being decoded. It lives here rather than in an object so that decoding allocates
// nothing but the instruction.
let bytes: Uint8Array = new Uint8Array(0)
let pos = 0
let start = 0
let mode: Mode = 64
let rex = 0
let [rexR, rexX, rexB] = [0, 0, 0]
let segment: Seg | -1 = -1
let addressSize: 2 | 4 | 8 = 8
let operandSize: 2 | 4 | 8 = 4
let [modrm, vvvv, vectorLength] = [0, 0, 0]
let failure: Refused | '' = ''
/** There are bytes enough behind the instruction: what it is may be read without asking, and its length is looked at in the end. */
let roomy = false

const need = (count: number): boolean => {
  if (pos + count - start > LONGEST) failure ||= 'too long'
  else if (pos + count > bytes.length) failure ||= 'truncated'
  return failure === ''
}
const u8 = (): number => (roomy || need(1) ? (bytes[pos++] as number) : 0)
const i8 = (): number => (u8() << 24) >> 24
const u16 = (): number => {
  if (!roomy && !need(2)) return 0
  pos += 2
  return (bytes[pos - 2] as number) | ((bytes[pos - 1] as number) << 8)
}
const i32 = (): number => {
  if (!roomy && !need(4)) return 0
  pos += 4
  return (
    (bytes[pos - 4] as number) |
    ((bytes[pos - 3] as number) << 8) |
    ((bytes[pos - 2] as number) << 16) |
    ((bytes[pos - 1] as number) << 24)
  )
}
const u64 = (): bigint => {
  if (!roomy && !need(8)) return 0n
  const low = i32()
  return (BigInt(i32() >>> 0) << 32n) | BigInt(low >>> 0)
}

/** Bases and indexes of 16-bit addressing. SDM Vol. 2A, "Addressing-Mode Encoding of ModR/M and SIB Bytes". */
const BASE16 = [3, 3, 5, 5, 6, 7, 5, 3]
const INDEX16 = [6, 7, 6, 7, -1, -1, -1, -1]
const SCALES = [1, 2, 4, 8] as const

const memory = (size: number, vsib: number): Mem => {
  const mod = modrm >> 6
  const rm = modrm & 7
  let base = -1
  let indexed = -1
  let scale: 1 | 2 | 4 | 8 = 1
  let disp = 0
  let ripRelative = false
  if (addressSize === 2) {
    base = BASE16[rm] as number
    indexed = INDEX16[rm] as number
    if (mod === 0 && rm === 6) {
      base = -1
      disp = (u16() << 16) >> 16
    } else if (mod === 1) disp = i8()
    else if (mod === 2) disp = (u16() << 16) >> 16
  } else {
    let noBase = mod === 0 && rm === 5
    base = rm | rexB
    if (rm === 4) {
      const sib = u8()
      base = (sib & 7) | rexB
      indexed = ((sib >> 3) & 7) | rexX
      if (indexed === 4 && vsib === 0) indexed = -1
      else scale = SCALES[sib >> 6] as 1 | 2 | 4 | 8
      noBase = mod === 0 && (sib & 7) === 5
    } else if (noBase) ripRelative = mode === 64
    if (noBase) base = -1
    if (noBase || mod === 2) disp = i32()
    else if (mod === 1) disp = i8()
  }
  if (vsib !== 0 && (addressSize === 2 || rm !== 4)) failure ||= 'invalid'
  const seg =
    segment >= 0 ? (segment as Seg) : (base === 4 || base === 5) && (addressSize !== 2 || base === 5) ? SS : DS
  return { kind: 'mem', size, seg, base, index: indexed, scale, disp: whole(disp), ripRelative, addressSize }
}

const register = (form: OperandForm, number: number): Reg => {
  const { file, size } = form
  if (file === 'gpr') {
    if (size === 1 && rex === 0 && number >= 4 && number < 8) return registers('high', 1)[number - 4] as Reg
    return registers('gpr', size)[number] as Reg
  }
  if (file === 'mm' || file === 'st') return registers(file, size)[number & 7] as Reg
  if (file === 'seg') {
    if ((number & 7) > 5) failure ||= 'invalid'
    return registers('seg', 2)[number & 7] ?? (registers('seg', 2)[0] as Reg)
  }
  if (file === 'cr' && ((number > 4 && number !== 8) || number === 1)) failure ||= 'invalid'
  if (file === 'dr' && number > 7) failure ||= 'invalid'
  return registers(file, size)[number] as Reg
}

const ONE: Operand = { kind: 'imm', size: 1, value: 1n }

/** Most displacements and immediates are a byte. */
const BYTES = Array.from({ length: 256 }, (_, n) => BigInt((n << 24) >> 24))
const whole = (value: number): bigint =>
  value >= -128 && value < 128 ? (BYTES[value & 0xff] as bigint) : BigInt(value)

const immediate = (size: number): bigint => {
  switch (size) {
    case 1:
      return BYTES[u8()] as bigint
    case 2:
      return BigInt(u16())
    case 4:
      return whole(i32())
    default:
      return u64()
  }
}

const wrapped = (value: bigint, size: number): bigint => (value < 0n ? BigInt.asUintN(size * 8, value) : value)

const operand = (form: OperandForm, row: Row): Operand => {
  switch (form.place) {
    case 'reg':
      return register(form, ((modrm >> 3) & 7) | rexR)
    case 'rm':
      if (modrm >= 0xc0 || row.mod === 'ignored') return register(form, (modrm & 7) | rexB)
      return memory(form.mem, form.vsib)
    case 'opcode':
      return register(form, ((bytes[pos - 1] as number) & 7) | rexB)
    case 'vvvv':
      return register(form, mode === 64 ? vvvv : vvvv & 7)
    case 'is4': {
      const number = u8() >> 4
      return register(form, mode === 64 ? number : number & 7)
    }
    case 'imm':
      return { kind: 'imm', size: form.extend, value: wrapped(immediate(form.size), form.extend) }
    case 'rel':
      return {
        kind: 'rel',
        size: form.size,
        disp: whole(form.size === 2 ? (u16() << 16) >> 16 : form.size === 1 ? i8() : i32()),
      }
    case 'moffs': {
      const disp =
        addressSize === 8 ? BigInt.asIntN(64, u64()) : BigInt(addressSize === 4 ? i32() : (u16() << 16) >> 16)
      const seg = segment >= 0 ? (segment as Seg) : DS
      return { kind: 'mem', size: form.mem, seg, base: -1, index: -1, scale: 1, disp, ripRelative: false, addressSize }
    }
    case 'far': {
      const offset = form.size === 2 ? BigInt(u16()) : BigInt(i32() >>> 0)
      return { kind: 'far', size: form.size, selector: u16(), offset }
    }
    case 'fixed':
      return form.size === 0 ? ONE : (registers(form.file, form.size)[form.index] as Reg)
    case 'implied': {
      const isDestination = form.index === 7 && row.rep
      const seg = isDestination ? ES : segment >= 0 ? (segment as Seg) : DS
      return {
        kind: 'mem',
        size: form.mem,
        seg,
        base: form.index,
        index: -1,
        scale: 1,
        disp: 0n,
        ripRelative: false,
        addressSize,
      }
    }
  }
}

/** Immediates stand behind the whole of the ModRM part, whatever the order of the operands. */
const isTrailing = (form: OperandForm): boolean =>
  form.place === 'imm' || form.place === 'is4' || form.place === 'rel' || form.place === 'far' || form.place === 'moffs'

/** What decoding asks of a row, as far as the bytes have no say. */
type Plan = {
  readonly trails: readonly boolean[]
  readonly hasTrailing: boolean
  readonly usesVvvv: boolean
  /** ModRM may name memory that is no operand; its bytes belong to the instruction all the same. */
  readonly hasOther: boolean
  readonly isConditional: boolean
  /** CS cannot be its destination. */
  readonly loadsSegment: boolean
  readonly gathers: boolean
}
const planOf = (row: Row): Plan => {
  const { forms } = row
  const trails = forms.map(isTrailing)
  return {
    trails,
    hasTrailing: trails.includes(true),
    usesVvvv: forms.some(form => form.place === 'vvvv'),
    hasOther: row.modrm && row.mod === 'any' && !forms.some(form => form.place === 'rm'),
    isConditional: row.map === 0 ? row.semantics === 'jcc' : row.map === 1 && row.semantics.endsWith('cc'),
    loadsSegment: row.mnemonic === 'MOV' && forms[0]?.file === 'seg',
    gathers: (forms[1]?.vsib ?? 0) !== 0,
  }
}
/** By number of the row, from its first use on. */
const plans: (Plan | undefined)[] = []

/** Bytes that are prefixes outside 64-bit mode, too: ES, CS, SS, DS, FS, GS, 66, 67, F0, F2, F3. */
const PREFIXES = new Uint8Array(256)
for (const byte of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]) PREFIXES[byte] = 1

/** A VEX prefix at its first payload byte; gives the opcode map. */
const vexPrefix = (long: boolean): number => {
  const first = u8()
  let map = 1
  let last = first
  key.w = 0
  if (long) {
    map = first & 31
    last = u8()
    if (mode === 64) {
      rexX = first & 0x40 ? 0 : 8
      rexB = first & 0x20 ? 0 : 8
      key.w = last >> 7
    } else key.w = last >> 7
  }
  if (mode === 64) rexR = first & 0x80 ? 0 : 8
  vvvv = (~last >> 3) & 15
  key.l = (last >> 2) & 1
  key.prefix = [NONE, P66, PF3, PF2][last & 3] as number
  return map
}

/** The longest that is read of an instruction, too long or not. */
const ROOM = 2 * LONGEST + 1

/**
 * Decodes the instruction at `bytes[at]` for a code segment of `forMode` bits. Reads at most 15 bytes. Features are
 * not asked for: whether the processor has what `row.feature` names is its own question.
 */
export const decode = (from: Uint8Array, at: number, forMode: Mode): Insn | Refused => {
  roomy = at + ROOM <= from.length
  const found = decodeHere(from, at, forMode)
  if (!roomy || (typeof found !== 'string' && found.length <= LONGEST)) return found
  // Why it is none depends on what is met first.
  roomy = false
  return decodeHere(from, at, forMode)
}

const decodeHere = (from: Uint8Array, at: number, forMode: Mode): Insn | Refused => {
  bytes = from
  pos = start = at
  mode = forMode
  rex = rexR = rexX = rexB = 0
  segment = -1
  vvvv = vectorLength = 0
  failure = ''
  const is64 = mode === 64
  let p66 = false
  let p67 = false
  let lock = false
  let repeat: number = NONE
  let opcode = u8()
  while (failure === '') {
    if (PREFIXES[opcode] === 0) {
      if (!is64 || (opcode & 0xf0) !== 0x40) break
      rex = opcode
    } else {
      rex = 0
      if (opcode === 0x66) p66 = true
      else if (opcode === 0x67) p67 = true
      else if (opcode === 0xf0) lock = true
      else if (opcode === 0xf2) repeat = PF2
      else if (opcode === 0xf3) repeat = PF3
      else if (opcode >= 0x64) segment = (opcode - 0x64 + FS) as Seg
      else if (!is64) segment = opcode === 0x26 ? ES : opcode === 0x2e ? CS : opcode === 0x36 ? SS : DS
    }
    if (pos - start > LONGEST) return 'too long'
    opcode = u8()
  }
  rexR = (rex & 4) << 1
  rexX = (rex & 2) << 2
  rexB = (rex & 1) << 3
  addressSize = is64 ? (p67 ? 4 : 8) : (mode === 16) !== p67 ? 2 : 4
  key.mode = mode
  key.mode64 = is64
  key.p66 = p66
  key.prefix = repeat !== NONE ? repeat : p66 ? P66 : NONE
  key.w = (rex >> 3) & 1
  key.l = 0
  key.b = rexB !== 0
  key.addressSize = addressSize

  let map = 0
  let vex = false
  if (failure !== '') return failure
  if ((opcode === 0xc4 || opcode === 0xc5) && (is64 || !need(1) || (bytes[pos] as number) >= 0xc0)) {
    if (p66 || repeat !== NONE || rex !== 0 || lock) failure ||= 'invalid'
    vex = true
    map = vexPrefix(opcode === 0xc4)
    if (map === 0 || map > 3) failure ||= 'invalid'
    key.p66 = false
    opcode = u8()
  } else if (opcode === 0x0f) {
    map = 1
    opcode = u8()
    if (opcode === 0x38 || opcode === 0x3a) {
      map = opcode === 0x38 ? 2 : 3
      opcode = u8()
    }
  }
  if (failure !== '') return failure

  const where = slot(vex, map, opcode)
  if (!isOpcode[where]) return 'invalid'
  modrm = 0
  if (hasModrm[where]) {
    modrm = u8()
    if (failure !== '') return failure
  }
  key.modrm = modrm
  const row = rowAt(where)
  if (row === null) return 'invalid'

  const small = p66 && row.prefix !== '66'
  operandSize = is64 && row.force64 ? 8 : key.w === 1 && is64 ? 8 : small !== (mode === 16) ? 2 : 4
  if (row.default64 && operandSize === 4) operandSize = 8
  else if (operandSize === 8 && row.operandSize === 4) operandSize = 4
  // What ignores VEX.L works on XMM registers.
  vectorLength = vex ? (row.l === 1 ? 32 : 16) : 0

  plans[row.number] ??= planOf(row)
  const plan = plans[row.number] as Plan
  const { forms } = row
  const count = forms.length
  const operands: Operand[] = []
  for (let n = 0; n < count; n++) operands.push(plan.trails[n] ? ONE : operand(forms[n] as OperandForm, row))
  if (plan.hasOther && modrm < 0xc0) memory(0, 0)
  if (plan.hasTrailing)
    for (let n = 0; n < count; n++) if (plan.trails[n]) operands[n] = operand(forms[n] as OperandForm, row)
  if (vex && !plan.usesVvvv && vvvv !== 0) failure ||= 'invalid'
  if (lock && !(row.lock && operands[0]?.kind === 'mem')) failure ||= 'invalid'
  if (plan.loadsSegment && isCs(operands[0])) failure ||= 'invalid'
  if (plan.gathers && failure === '') gatherRules(operands)
  if (failure !== '') return failure
  return {
    row,
    mode,
    length: pos - start,
    operandSize,
    addressSize,
    cc: plan.isConditional ? opcode & 15 : 0,
    lock,
    rep: !row.rep || repeat === NONE ? '' : repeat === PF3 ? 'rep' : 'repne',
    vectorLength: vectorLength as 0 | 16 | 32,
    operands,
  }
}

const isCs = (operand: Operand | undefined): boolean => operand?.kind === 'reg' && operand.index === CS

/** Destination, index and mask of a gather must be three registers. SDM Vol. 2C, "VGATHERDPS/VGATHERQPS". */
const gatherRules = (operands: readonly Operand[]): void => {
  const [to, from, by] = operands
  if (to?.kind !== 'reg' || from?.kind !== 'mem' || by?.kind !== 'reg') return
  if (to.index === from.index || to.index === by.index || from.index === by.index) failure ||= 'invalid'
}
