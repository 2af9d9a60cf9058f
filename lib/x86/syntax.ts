/** Operands of the assembler as text: `dword ptr fs:[rax+rcx*4+label]`, `0x8:label`, `short label`. */
import { MEMORY_WORDS } from '#abi'
import { mem } from './encode.ts'
import { type Expression, numberOf, parseExpression, type Scope, type Sum } from './expression.ts'
import type { Imm, Mem, Mode, Operand, Reg, Seg } from './insn.ts'
import { registerNamed } from './register.ts'

/** Thrown inside a line; the line's number and text are added on the way out. */
export class Wrong extends Error {}

/** What a line knows before its operands are read; `addressSize` only where a prefix names one. */
export type Context = { readonly mode: Mode; readonly addressSize: 2 | 4 | 8 | undefined }

/** Cuts at `separator` outside brackets and quotes. */
export const split = (text: string, separator: string): string[] => {
  const parts: string[] = []
  let [depth, quote, from] = [0, '', 0]
  for (let n = 0; n < text.length; n++) {
    const c = text[n] as string
    if (quote !== '') {
      if (c === '\\') n++
      else if (c === quote) quote = ''
    } else if (c === '"' || c === "'") quote = c
    else if (c === '[' || c === '(') depth++
    else if (c === ']' || c === ')') depth--
    else if (c === separator && depth === 0) {
      parts.push(text.slice(from, n).trim())
      from = n + 1
    }
  }
  parts.push(text.slice(from).trim())
  return parts
}

export const withoutComment = (line: string): string => {
  let quote = ''
  for (let n = 0; n < line.length; n++) {
    const c = line[n] as string
    if (quote !== '') {
      if (c === '\\') n++
      else if (c === quote) quote = ''
    } else if (c === '"' || (c === "'" && /^'(?:\\.|[^\\])'/.test(line.slice(n)))) quote = c
    else if (c === ';' || c === '#') return line.slice(0, n)
  }
  return line
}

/** An operand as read: what it becomes depends on the labels. `end` is the address after the instruction. */
export type Reading = {
  readonly far: boolean
  /** `short` asks for a rel8. */
  readonly near: 0 | 1
  readonly labels: boolean
  /** An expression that a branch takes as its target. */
  readonly target?: Expression
  readonly operand: (scope: Scope, end: bigint) => Operand
}

/** Does an expression depend on labels? Asked with labels that all exist. */
export const dependsOnLabels = (expression: Expression): boolean => expression(() => 0x1000n).label

const scaleOf = (factor: bigint, text: string): 1 | 2 | 4 | 8 => {
  if (factor === 1n || factor === 2n || factor === 4n || factor === 8n) return Number(factor) as 1 | 2 | 4 | 8
  throw new Wrong(`${text}: an index register is multiplied by 1, 2, 4 or 8, not ${factor}`)
}

const memoryOf = (
  sum: Sum,
  text: string,
  size: number,
  seg: Seg | undefined,
  { mode, addressSize }: Context,
  relative: boolean,
  end: bigint,
): Mem => {
  let [base, index]: (Reg | undefined)[] = [undefined, undefined]
  let scale: 1 | 2 | 4 | 8 = 1
  for (const { reg, factor, scaled } of sum.registers) {
    if (reg.file === 'vec' || scaled || factor !== 1n || base !== undefined) {
      if (index !== undefined) throw new Wrong(`${text}: an address has one base and one index`)
      index = reg
      scale = scaleOf(factor, text)
    } else base = reg
  }
  // rSP cannot be an index: it changes places with the base.
  if (index?.file === 'gpr' && index.index === 4 && scale === 1) [base, index] = [index, base]
  for (const reg of [base, index])
    if (reg !== undefined && reg.file !== 'vec' && (reg.file !== 'gpr' || reg.size === 1))
      throw new Wrong(`${text}: an address is made of 16, 32 or 64-bit general registers`)
  if (base !== undefined && index?.file === 'gpr' && base.size !== index.size)
    throw new Wrong(`${text}: base and index have different sizes`)
  const ripRelative = sum.rip !== 0 || relative
  if (ripRelative && mode !== 64) throw new Wrong(`${text}: RIP-relative addresses exist in 64-bit mode only`)
  const disp = ripRelative && (sum.label || relative) ? sum.value - end : sum.value
  const alone = base === undefined && index?.file !== 'gpr'
  const size0 =
    sum.rip === 4 ? 4 : (addressSize ?? (mode === 16 && (disp < -0x8000n || disp > 0xffffn) ? 4 : undefined))
  return mem(
    {
      size,
      base,
      index,
      scale,
      disp,
      seg,
      ripRelative,
      ...(alone && size0 !== undefined ? { addressSize: size0 } : {}),
    },
    mode,
  )
}

const readMemory = (text: string, size: number, seg: Seg | undefined, context: Context, far: boolean): Reading => {
  if (!text.endsWith(']')) throw new Wrong(`${text} lacks a ]`)
  const inside = text.slice(1, -1).trim()
  const relative = /^rel\s/i.test(inside)
  const expression = parseExpression(relative ? inside.slice(4) : inside)
  const labels = relative || dependsOnLabels(expression)
  return {
    far,
    near: 0,
    labels,
    operand: (scope, end) => memoryOf(expression(scope), text, size, seg, context, relative, end),
  }
}

/** `seg:` of a memory operand, apart from the rest. */
const SEGMENT = /^(es|cs|ss|ds|fs|gs)\s*:\s*/i

export const readOperand = (text: string, context: Context): Reading => {
  let rest = text
  let size = 0
  let [far, near]: [boolean, 0 | 1] = [false, 0]
  for (;;) {
    const word = /^(byte|word|dword|fword|qword|tbyte|xmmword|oword|ymmword|ptr|far|near|short|offset)\b\s*/i.exec(rest)
    if (word === null) break
    const name = (word[1] as string).toLowerCase()
    if (name === 'far') far = true
    else if (name === 'short') near = 1
    else if (name !== 'ptr' && name !== 'near' && name !== 'offset') size = MEMORY_WORDS[name] as number
    rest = rest.slice(word[0].length)
  }
  const override = SEGMENT.exec(rest)
  const seg = override === null ? undefined : (registerNamed((override[1] as string).toLowerCase())?.index as Seg)
  if (override !== null) rest = rest.slice(override[0].length)
  // Brackets may be left out behind a segment: fs:0x10.
  if (rest.startsWith('[') || override !== null)
    return readMemory(rest.startsWith('[') ? rest : `[${rest}]`, size, seg, context, far)
  if (rest === '') throw new Wrong('an operand is missing')
  const reg = registerNamed(rest.toLowerCase())
  if (reg !== undefined) return { far, near, labels: false, operand: () => reg }
  const parts = split(rest, ':')
  if (parts.length === 2) {
    const [selector, offset] = parts.map(parseExpression) as [Expression, Expression]
    const farSize = size === 4 || size === 6 ? 4 : size === 2 ? 2 : 0
    return {
      far: true,
      near,
      labels: dependsOnLabels(offset) || dependsOnLabels(selector),
      operand: scope => ({
        kind: 'far',
        size: farSize,
        selector: Number(numberOf(selector, scope)),
        offset: numberOf(offset, scope),
      }),
    }
  }
  const expression = parseExpression(rest)
  return {
    far,
    near,
    labels: dependsOnLabels(expression),
    target: expression,
    operand: (scope): Imm => ({ kind: 'imm', size, value: numberOf(expression, scope) }),
  }
}
