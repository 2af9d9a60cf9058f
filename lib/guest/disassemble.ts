/** A guest's code as text, for reports. */
import { hex } from '#bits'
import { decode, type Insn, type Mode, print } from '#x86'
import { type Sym, symbolAt } from './image.ts'

export type Line = {
  readonly address: bigint
  readonly bytes: Uint8Array
  /** Intel syntax; `(bad)` where no instruction begins. */
  readonly text: string
  /** `name+0x12`, where the address lies in something that has a name. */
  readonly where: string | undefined
}

const insnAt = (bytes: Uint8Array, at: number, mode: Mode): Insn | undefined => {
  const found = decode(bytes, at, mode)
  return typeof found === 'object' ? found : undefined
}

/** Where `address` is, by name. */
export const nameOfAddress = (symbols: readonly Sym[], address: bigint): string | undefined => {
  const found = symbolAt(symbols, address)
  if (found === undefined) return undefined
  return found.offset === 0 ? found.name : `${found.name}+${hex(found.offset)}`
}

const lineAt = (bytes: Uint8Array, origin: bigint, at: number, symbols: readonly Sym[], mode: Mode = 64): Line => {
  const address = origin + BigInt(at)
  const insn = insnAt(bytes, at, mode)
  const length = insn?.length ?? 1
  return {
    address,
    bytes: bytes.slice(at, at + length),
    text: insn === undefined ? '(bad)' : print(insn, address),
    where: nameOfAddress(symbols, address),
  }
}

/** `count` instructions from `address` on. `bytes` begin at `origin`; `mode` is the size of the code segment. */
export const disassemble = (
  bytes: Uint8Array,
  origin: bigint,
  address: bigint,
  count: number,
  symbols: readonly Sym[] = [],
  mode: Mode = 64,
): Line[] => {
  const lines: Line[] = []
  for (let at = Number(address - origin); at >= 0 && at < bytes.length && lines.length < count; ) {
    const line = lineAt(bytes, origin, at, symbols, mode)
    lines.push(line)
    at += line.bytes.length
  }
  return lines
}

/** Longest look back for a place where instructions fall in step with `address`. */
const LOOK_BACK = 15

/**
 * The `before` instructions that lead to `address`, and the one there. x86 code cannot be read backwards: decoding
 * begins at the symbol that `address` lies in, or, where that has no name, at the distance from which the most follow.
 */
export const around = (
  bytes: Uint8Array,
  origin: bigint,
  address: bigint,
  before: number,
  symbols: readonly Sym[] = [],
): Line[] => {
  const target = Number(address - origin)
  const symbol = symbolAt(symbols, address)
  const from = (start: number): Line[] | undefined => {
    const lines: Line[] = []
    let at = start
    while (at < target) {
      const line = lineAt(bytes, origin, at, symbols)
      lines.push(line)
      at += line.bytes.length
    }
    return at === target ? lines : undefined
  }
  let leading = symbol !== undefined && target >= symbol.offset ? from(target - symbol.offset) : undefined
  for (let back = Math.min(target, before * LOOK_BACK); leading === undefined && back > 0; back--) {
    const tried = from(target - back)
    if (tried?.every(line => line.text !== '(bad)')) leading = tried
  }
  return [...(leading ?? []).slice(-before), ...disassemble(bytes, origin, address, 1, symbols)]
}
