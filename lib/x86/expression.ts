/** Expressions of the assembler: numbers, labels and registers, added up. */

import type { Reg } from './insn.ts'
import { registerNamed } from './register.ts'

/** A register in a sum; `scaled` where it was multiplied, even by 1: that makes it an index. */
export type Term = { readonly reg: Reg; readonly factor: bigint; readonly scaled: boolean }

/** A sum: a number, and registers with their factors. `label` says that the number depends on where code lies. */
export type Sum = {
  readonly value: bigint
  readonly label: boolean
  /** Counts from the end of the instruction: 8 for RIP, 4 for EIP. */
  readonly rip: 0 | 4 | 8
  readonly registers: readonly Term[]
}

/** What a label is worth, undefined where there is none of that name. */
export type Scope = (name: string) => bigint | undefined

/** An expression, read once and worth something new every time the labels have moved. */
export type Expression = (scope: Scope) => Sum

/** Text that is no expression; the message says where it stopped making sense. */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError'
}

const TOKEN =
  /\s*(?:(0x[0-9a-f_]+|0b[01_]+|0o[0-7_]+|\d[\d_]*)|('(?:\\.|[^\\])')|([a-z_.$@?][\w.$@?]*(?:\([0-7]\))?)|(<<|>>|[-+*()~|&]))/iy

const ESCAPES: Record<string, number> = { n: 10, r: 13, t: 9, '0': 0, '\\': 92, "'": 39, '"': 34 }
/** The byte that a character, or an escape with its backslash, stands for. */
export const characterOf = (text: string): number =>
  text[0] === '\\' ? (ESCAPES[text[1] as string] ?? text.charCodeAt(1) & 0xff) : text.charCodeAt(0)

const number = (value: bigint, label = false): Sum => ({ value, label, rip: 0, registers: [] })

const plain = (sum: Sum, what: string): bigint => {
  if (sum.registers.length > 0 || sum.rip !== 0) throw new ExpressionError(`${what} needs numbers, not registers`)
  return sum.value
}

const add = (a: Sum, b: Sum, sign: bigint): Sum => ({
  value: a.value + sign * b.value,
  label: a.label || b.label,
  rip: a.rip === 0 ? b.rip : a.rip,
  registers:
    b.registers.length === 0
      ? a.registers
      : [...a.registers, ...b.registers.map(term => ({ ...term, factor: term.factor * sign }))],
})

const multiply = (a: Sum, b: Sum): Sum => {
  if (b.registers.length > 0) return a.registers.length > 0 ? { ...a, value: plain(a, '*') } : multiply(b, a)
  const by = plain(b, '*')
  return {
    value: a.value * by,
    label: a.label || b.label,
    rip: a.rip,
    registers: a.registers.map(term => ({ ...term, factor: term.factor * by, scaled: true })),
  }
}

const combine = (a: Sum, b: Sum, operator: string): Sum => {
  switch (operator) {
    case '+':
      return add(a, b, 1n)
    case '-':
      return add(a, b, -1n)
    case '*':
      return multiply(a, b)
    default: {
      const [x, y] = [plain(a, operator), plain(b, operator)]
      const value = operator === '<<' ? x << y : operator === '>>' ? x >> y : operator === '&' ? x & y : x | y
      return number(value, a.label || b.label)
    }
  }
}

/** Loosest first, as in C. */
const LEVELS = [['|'], ['&'], ['<<', '>>'], ['+', '-'], ['*']]

/** Reads an expression; label names are kept as they are written, registers are known in any case. */
export const parseExpression = (text: string): Expression => {
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  const end = text.trimEnd().length
  while (TOKEN.lastIndex < end) {
    const from = TOKEN.lastIndex
    const match = TOKEN.exec(text)
    if (match === null) throw new ExpressionError(`cannot read \`${text.slice(from).trim()}\``)
    tokens.push((match[0] as string).trim())
  }
  let at = 0

  const primary = (): Expression => {
    const token = tokens[at++]
    if (token === undefined) throw new ExpressionError(`\`${text.trim()}\` ends where a value should be`)
    if (token === '(') {
      const inner = level(0)
      if (tokens[at++] !== ')') throw new ExpressionError(`\`${text.trim()}\` lacks a )`)
      return inner
    }
    if (token === '-' || token === '+' || token === '~') {
      const operand = primary()
      if (token === '+') return operand
      if (token === '-') return scope => add(number(0n), operand(scope), -1n)
      return scope => {
        const sum = operand(scope)
        return number(~plain(sum, '~'), sum.label)
      }
    }
    if (token[0] === "'") {
      const value = number(BigInt(characterOf(token.slice(1, -1))))
      return () => value
    }
    if (/^\d/.test(token)) {
      const value = number(BigInt(token.replaceAll('_', '').toLowerCase()))
      return () => value
    }
    if (!/^[a-z_.$@?]/i.test(token)) throw new ExpressionError(`\`${token}\` in \`${text.trim()}\` is out of place`)
    const name = token.toLowerCase()
    const reg = registerNamed(name)
    if (reg !== undefined) {
      const sum: Sum = { value: 0n, label: false, rip: 0, registers: [{ reg, factor: 1n, scaled: false }] }
      return () => sum
    }
    if (name === 'rip' || name === 'eip') {
      const sum: Sum = { value: 0n, label: false, rip: name === 'rip' ? 8 : 4, registers: [] }
      return () => sum
    }
    return scope => {
      const value = scope(token)
      if (value === undefined) throw new ExpressionError(`no label or register is called ${token}`)
      return number(value, true)
    }
  }

  const level = (n: number): Expression => {
    const operators = LEVELS[n]
    if (operators === undefined) return primary()
    let left = level(n + 1)
    for (let token = tokens[at]; token !== undefined && operators.includes(token); token = tokens[at]) {
      at++
      const [a, b, operator] = [left, level(n + 1), token]
      left = scope => combine(a(scope), b(scope), operator)
    }
    return left
  }

  const whole = level(0)
  if (at < tokens.length) throw new ExpressionError(`\`${tokens[at]}\` in \`${text.trim()}\` is out of place`)
  return whole
}

/** The value of an expression that must be a number. */
export const numberOf = (expression: Expression, scope: Scope): bigint => plain(expression(scope), 'this place')
