/** Modules of ours as text, one instruction a line, for people to read. Core Specification, "Text Format". */
import { MEMORY_OP, OP } from './opcodes.ts'

const NAMES: readonly (string | undefined)[] = (() => {
  const names: (string | undefined)[] = []
  for (const [name, code] of Object.entries(OP)) names[code] = name
  for (const [name, [code]] of Object.entries(MEMORY_OP)) names[code] = name
  return names
})()
const INDEXED: Record<number, string> = {
  12: 'br',
  13: 'br_if',
  16: 'call',
  18: 'return_call',
  32: 'local.get',
  33: 'local.set',
  34: 'local.tee',
  35: 'global.get',
  36: 'global.set',
}
const OPENING: Record<number, string> = { 2: 'block', 3: 'loop', 4: 'if' }
const TYPES: Record<number, string> = { 127: 'i32', 126: 'i64', 125: 'f32', 124: 'f64', 123: 'v128', 64: '' }
const [CODE_SECTION, ELSE, END] = [10, 0x05, 0x0b]

/** The bodies of a module's functions, in order. */
export const textOf = (module: Uint8Array): string[][] => {
  const bodies: string[][] = []
  const at = new Reader(module, 8)
  while (at.more) {
    const id = at.byte()
    const end = at.u32() + at.at
    if (id === CODE_SECTION)
      for (let count = at.u32(); count > 0; count--) {
        const size = at.u32()
        bodies.push(bodyOf(at, at.at + size))
      }
    at.at = end
  }
  return bodies
}

const bodyOf = (from: Reader, end: number): string[] => {
  const lines: string[] = []
  for (let runs = from.u32(); runs > 0; runs--) lines.push(`(local ${from.u32()} x ${TYPES[from.byte()]})`)
  let depth = 0
  const line = (text: string, at = depth): void => {
    lines.push(`${'  '.repeat(Math.max(0, at))}${text.trimEnd()}`)
  }
  while (from.at < end) {
    const code = from.byte()
    if (OPENING[code] !== undefined) line(`${OPENING[code]} ${TYPES[from.byte()]}`, depth++)
    else if (code === END) line('end', --depth)
    else if (code === ELSE) line('else', depth - 1)
    else line(one(code, from))
  }
  return lines
}

const one = (code: number, from: Reader): string => {
  const indexed = INDEXED[code]
  if (indexed !== undefined) return `${indexed} ${from.u32()}`
  switch (code) {
    case 0x0e: {
      const targets: number[] = []
      for (let count = from.u32(); count >= 0; count--) targets.push(from.u32())
      return `br_table ${targets.join(' ')}`
    }
    case 0x11:
    case 0x13:
      return `${code === 0x11 ? 'call_indirect' : 'return_call_indirect'} type ${from.u32()} table ${from.u32()}`
    case 0x41:
      return `i32.const ${from.signed()}`
    case 0x42:
      return `i64.const ${from.signed()}`
    case 0xfc: {
      const sub = from.u32()
      from.skip(sub === 10 ? 2 : 1)
      return sub === 10 ? 'memory.copy' : sub === 11 ? 'memory.fill' : `0xfc ${sub}`
    }
    case 0xfd:
      return vector(from)
  }
  const name = NAMES[code] ?? `0x${code.toString(16)}`
  if (code < 0x28 || code > 0x3e) return name
  from.u32()
  return `${name} offset=${from.u32()}`
}

/** Vector instructions by number: few have immediates. */
const vector = (from: Reader): string => {
  const code = from.u32()
  const name = code === 0 ? 'v128.load' : code === 11 ? 'v128.store' : `v128 0x${code.toString(16)}`
  if (code <= 11 || code === 92 || code === 93) {
    from.u32()
    return `${name} offset=${from.u32()}`
  }
  if (code === 12 || code === 13) from.skip(16)
  else if (code >= 21 && code <= 34) return `${name} lane ${from.byte()}`
  return name
}

class Reader {
  readonly #bytes: Uint8Array
  at: number

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes
    this.at = at
  }

  get more(): boolean {
    return this.at < this.#bytes.length
  }

  byte(): number {
    return this.#bytes[this.at++]!
  }

  skip(count: number): void {
    this.at += count
  }

  u32(): number {
    return Number(this.#leb().value)
  }

  signed(): bigint {
    const { value, bits } = this.#leb()
    return BigInt.asIntN(bits, value)
  }

  #leb(): { value: bigint; bits: number } {
    let value = 0n
    for (let bits = 7; ; bits += 7) {
      const byte = this.byte()
      value |= BigInt(byte & 0x7f) << BigInt(bits - 7)
      if (byte < 0x80) return { value, bits }
    }
  }
}
