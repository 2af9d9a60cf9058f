/** The assembler: Intel syntax to bytes, with labels, for code that may change its mode midway. */
import { EncodeError, type EncodeOptions, encode } from './encode.ts'
import { characterOf, type Expression, ExpressionError, numberOf, parseExpression, type Scope } from './expression.ts'
import type { Mode } from './insn.ts'
import { entryOf } from './names.ts'
import { registerNamed } from './register.ts'
import { dependsOnLabels, type Reading, readOperand, split, Wrong, withoutComment } from './syntax.ts'

export type AssembleOptions = {
  /** Mode at the start; `.mode` changes it. */
  readonly mode: Mode
  /** Address of the first byte. */
  readonly at?: bigint | number
  /** Labels that are known already. */
  readonly labels?: Readonly<Record<string, bigint>>
}

export type Assembled = {
  readonly bytes: Uint8Array
  /** The labels that the text defines, by name. */
  readonly labels: Record<string, bigint>
}

/** One line, and what is wrong with it. Line numbers start at 1. */
export class AssembleError extends Error {
  override readonly name = 'AssembleError'
  readonly line: number
  readonly text: string
  constructor(line: number, text: string, why: string) {
    super(`line ${line}: \`${text}\`: ${why}`)
    this.line = line
    this.text = text
  }
}

/** A statement: gives its bytes for an address and the labels as they stand. */
type Statement = {
  readonly line: number
  readonly text: string
  readonly make: (at: bigint, scope: Scope) => Uint8Array
  /** The bytes depend neither on the address nor on labels. */
  readonly fixed: boolean
  readonly defines: readonly string[]
  readonly equals?: { readonly name: string; readonly value: Expression }
  bytes: Uint8Array | undefined
}

const REPEATS: Record<string, 'rep' | 'repne'> = {
  rep: 'rep',
  repe: 'rep',
  repz: 'rep',
  repne: 'repne',
  repnz: 'repne',
}

/** Rounds of layout; real code settles in a handful. */
const ROUNDS = 50

/** Widths of a branch's displacement, the shortest first; `size` is the operand size in bits. */
const branchSizes = (mnemonic: string, size: Mode, mode: Mode): number[] => {
  const sizes = new Set<number>()
  const far = size === 16 && mode !== 64 ? 2 : 4
  for (const row of entryOf(mnemonic, mode)?.rows ?? [])
    for (const form of row.forms)
      if (form.place === 'rel' && (form.size === 1 || form.size === far)) sizes.add(form.size)
  return [...sizes].sort()
}

/** A branch to a target: short where that reaches, and once long, long for good, so that layout comes to rest. */
const branch = (mnemonic: string, reading: Reading, target: Expression, options: EncodeOptions, sizes: number[]) => {
  let choice = 0
  return (at: bigint, scope: Scope): Uint8Array => {
    const to = numberOf(target, scope)
    for (; ; choice++) {
      const size = sizes[choice]
      if (size === undefined || (reading.near === 1 && size > 1))
        throw new Wrong(`${mnemonic}: the target is out of reach`)
      const bytes = encode(mnemonic, [{ kind: 'rel', size, disp: 0n }], options)
      const wrap = options.mode === 64 ? 64 : (options.operandSize ?? options.mode / 8) * 8
      const disp = BigInt.asIntN(wrap, to - at - BigInt(bytes.length))
      if (BigInt.asIntN(size * 8, disp) !== disp) continue
      for (let n = 0; n < size; n++) bytes[bytes.length - size + n] = Number((disp >> BigInt(n * 8)) & 0xffn)
      return bytes
    }
  }
}

const instruction = (text: string, mode: Mode): Pick<Statement, 'make' | 'fixed'> => {
  let rest = text
  let lock = false
  let rep: '' | 'rep' | 'repne' = ''
  let [operandSize, addressSize]: (2 | 4 | 8 | undefined)[] = [undefined, undefined]
  for (;;) {
    const match = /^(lock|rep|repe|repz|repne|repnz|[oa](?:16|32|64))\s+/i.exec(rest)
    if (match === null) break
    const name = (match[1] as string).toLowerCase()
    if (name === 'lock') lock = true
    else if (name.startsWith('r')) rep = REPEATS[name] as 'rep'
    else if (name.startsWith('o')) operandSize = (Number(name.slice(1)) / 8) as 2 | 4 | 8
    else addressSize = (Number(name.slice(1)) / 8) as 2 | 4 | 8
    rest = rest.slice(match[0].length)
  }
  const space = rest.search(/\s/)
  const mnemonic = (space < 0 ? rest : rest.slice(0, space)).toLowerCase()
  const operandText = space < 0 ? '' : rest.slice(space).trim()
  if (entryOf(mnemonic, mode) === undefined) throw new Wrong(`${mnemonic} is no instruction or directive`)
  const readings =
    operandText === '' ? [] : split(operandText, ',').map(operand => readOperand(operand, { mode, addressSize }))
  const far = readings.some(reading => reading.far)
  const vector = /\[[^\]]*\b([xy])mm\d/i.exec(operandText)?.[1]?.toLowerCase()
  const vsib = vector === undefined ? undefined : vector === 'y' ? 32 : 16
  const wide = readings.some(reading => reading.labels)
  const options: EncodeOptions = { mode, lock, rep, far, wide, operandSize, addressSize, vsib }
  const sizes = branchSizes(mnemonic, operandSize === undefined ? mode : ((operandSize * 8) as Mode), mode)
  const first = readings[0]
  if (readings.length === 1 && first?.target !== undefined && sizes.length > 0)
    return { fixed: false, make: branch(mnemonic, first, first.target, options, sizes) }
  return {
    fixed: options.wide !== true,
    make: (at, scope) => {
      const operands = readings.map(reading => reading.operand(scope, at))
      const bytes = encode(mnemonic, operands, options)
      if (!operands.some(operand => operand.kind === 'mem' && operand.ripRelative) || options.wide !== true)
        return bytes
      // The displacement counts from the end, which is known now; its width does not change.
      const end = at + BigInt(bytes.length)
      return encode(
        mnemonic,
        readings.map(reading => reading.operand(scope, end)),
        options,
      )
    },
  }
}

const DATA: Record<string, number> = { '.byte': 1, '.word': 2, '.short': 2, '.long': 4, '.int': 4, '.quad': 8 }

const textBytes = (literal: string): number[] => {
  if (!/^"(?:\\.|[^"\\])*"$/.test(literal)) throw new Wrong(`${literal} is no "string"`)
  return (literal.slice(1, -1).match(/\\.|[^\\]/g) ?? []).map(characterOf)
}

const data = (size: number, list: string): Pick<Statement, 'make' | 'fixed'> => {
  const items = split(list, ',').map(item => (item.startsWith('"') ? textBytes(item) : parseExpression(item)))
  const count = items.reduce((sum, item) => sum + (typeof item === 'function' ? 1 : item.length), 0)
  return {
    fixed: items.every(item => typeof item !== 'function' || !dependsOnLabels(item)),
    make: (_at, scope) => {
      const bytes = new Uint8Array(count * size)
      let at = 0
      const put = (value: bigint) => {
        if (value < -(1n << BigInt(size * 8 - 1)) || value >= 1n << BigInt(size * 8))
          throw new Wrong(`0x${value.toString(16)} does not fit ${size === 1 ? 'a byte' : `${size} bytes`}`)
        for (let n = 0; n < size; n++) bytes[at++] = Number((value >> BigInt(n * 8)) & 0xffn)
      }
      for (const item of items)
        if (typeof item === 'function') put(numberOf(item, scope))
        else for (const byte of item) put(BigInt(byte))
      return bytes
    },
  }
}

const nothing = new Uint8Array(0)
const NOP = 0x90

/** A directive that makes bytes. */
const directive = (name: string, argument: string): Pick<Statement, 'make' | 'fixed'> => {
  const size = DATA[name]
  if (size !== undefined) return data(size, argument)
  if (name === '.ascii' || name === '.asciz') {
    const bytes = split(argument, ',').flatMap(textBytes)
    const made = Uint8Array.from(name === '.asciz' ? [...bytes, 0] : bytes)
    return { fixed: true, make: () => made }
  }
  const [amount = '', fill] = split(argument, ',').map(parseExpression) as [Expression, Expression?]
  if (amount === '') throw new Wrong(`${name} needs a number`)
  const filled = (count: bigint, scope: Scope, otherwise: number) =>
    new Uint8Array(Number(count)).fill(fill === undefined ? otherwise : Number(numberOf(fill, scope)))
  if (name === '.zero') return { fixed: false, make: (_at, scope) => filled(numberOf(amount, scope), scope, 0) }
  if (name === '.org')
    return {
      fixed: false,
      make: (at, scope) => {
        const to = numberOf(amount, scope)
        if (to < at) throw new Wrong(`.org 0x${to.toString(16)} lies before 0x${at.toString(16)}`)
        return filled(to - at, scope, 0)
      },
    }
  if (name === '.align')
    return {
      fixed: false,
      make: (at, scope) => {
        const to = numberOf(amount, scope)
        if (to <= 0n || (to & (to - 1n)) !== 0n) throw new Wrong(`.align ${to} is no power of two`)
        return filled(-at & (to - 1n), scope, NOP)
      },
    }
  throw new Wrong(
    `${name} is no directive; there are .byte .word .long .quad .ascii .asciz .align .org .zero .equ .mode`,
  )
}

const MODES: Record<string, Mode> = { '16': 16, '32': 32, '64': 64 }

/** Every line of the text as a statement, in order. */
const parse = (
  text: string,
  start: Mode,
  problem: (line: number, text: string, error: unknown) => never,
): Statement[] => {
  const statements: Statement[] = []
  let mode = start
  const lines = text.split('\n')
  for (let n = 0; n < lines.length; n++) {
    let rest = withoutComment(lines[n] as string).trim()
    const whole = rest
    try {
      const defines: string[] = []
      for (;;) {
        const label = /^([A-Za-z_.$@?][\w.$@?]*)\s*:(?!:)/.exec(rest)
        if (label === null) break
        const name = label[1] as string
        if (registerNamed(name.toLowerCase()) !== undefined)
          throw new Wrong(`${name} is a register and cannot be a label`)
        defines.push(name)
        rest = rest.slice(label[0].length).trim()
      }
      const common = { line: n + 1, text: whole, defines, bytes: undefined }
      if (rest === '') {
        if (defines.length > 0) statements.push({ ...common, fixed: true, make: () => nothing })
        continue
      }
      const equ = /^(?:\.equ\s+([\w.$@?]+)\s*,|([A-Za-z_.$@?][\w.$@?]*)\s*=)\s*(.+)$/.exec(rest)
      if (equ !== null) {
        const name = (equ[1] ?? equ[2]) as string
        statements.push({
          ...common,
          fixed: false,
          make: () => nothing,
          equals: { name, value: parseExpression(equ[3] as string) },
        })
        continue
      }
      const word = (/^\S+/.exec(rest) as RegExpExecArray)[0]
      const argument = rest.slice(word.length).trim()
      if (word === '.mode' || /^\.code\d\d$/.test(word)) {
        const to = MODES[word === '.mode' ? argument : word.slice(5)]
        if (to === undefined) throw new Wrong('a mode is 16, 32 or 64')
        mode = to
        statements.push({ ...common, fixed: true, make: () => nothing })
      } else if (word.startsWith('.')) statements.push({ ...common, ...directive(word, argument) })
      else statements.push({ ...common, ...instruction(rest, mode) })
    } catch (error) {
      problem(n + 1, whole, error)
    }
  }
  return statements
}

const lineProblem = (line: number, text: string, error: unknown): never => {
  if (error instanceof Wrong || error instanceof EncodeError || error instanceof ExpressionError)
    throw new AssembleError(line, text, error.message)
  throw error
}

/**
 * Assembles text: one statement a line, `label:` before any of them, comments from `;` or `#`. Branches are as short
 * as they can be; a number or label is their target, in the address space of `at`. `.` is the statement's own address.
 * `[label]` is an absolute address, `[rip + label]` and `[rel label]` a RIP-relative one.
 * @throws AssembleError naming the first line that cannot be assembled
 */
export const assemble = (text: string, options: AssembleOptions): Assembled => {
  const base = BigInt(options.at ?? 0)
  const statements = parse(text, options.mode, lineProblem)
  const labels = new Map<string, bigint>()
  for (const statement of statements)
    for (const name of [...statement.defines, ...(statement.equals ? [statement.equals.name] : [])]) {
      if (labels.has(name)) throw new AssembleError(statement.line, statement.text, `${name} is defined twice`)
      labels.set(name, base)
    }
  const outside = options.labels ?? {}
  let here = base
  /** Labels that the first round has not come to lie where it is: near, until more is known. */
  const ahead = new Set(labels.keys())
  const scope: Scope = name => {
    if (name === '.' || name === '$') return here
    if (ahead.has(name)) return here
    return labels.get(name) ?? (Object.hasOwn(outside, name) ? outside[name] : undefined)
  }
  // Addresses settle: every round lays the statements out with the labels of the round before.
  for (let round = 0; ; round++) {
    let moved = false
    const move = (name: string, to: bigint) => {
      if (labels.get(name) !== to) moved = true
      labels.set(name, to)
      ahead.delete(name)
    }
    here = base
    for (const statement of statements) {
      try {
        for (const name of statement.defines) move(name, here)
        if (statement.equals) move(statement.equals.name, numberOf(statement.equals.value, scope))
        if (statement.bytes === undefined || !statement.fixed) {
          const before = statement.bytes?.length
          statement.bytes = statement.make(here, scope)
          if (before !== statement.bytes.length) moved = true
        }
        here += BigInt(statement.bytes.length)
      } catch (error) {
        lineProblem(statement.line, statement.text, error)
      }
    }
    if (!moved) break
    if (round === ROUNDS) throw new AssembleError(1, '', 'the addresses of the labels do not settle')
  }
  const bytes = new Uint8Array(Number(here - base))
  let at = 0
  for (const statement of statements) {
    bytes.set(statement.bytes as Uint8Array, at)
    at += (statement.bytes as Uint8Array).length
  }
  return { bytes, labels: Object.fromEntries(labels) }
}
