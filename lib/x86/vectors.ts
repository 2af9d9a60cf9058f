/**
 * Runs files of single-instruction test cases, each with a whole state before and after, and says where we differ.
 * The format is in the README beside the files.
 */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import type { TierName } from './compile/runtime.ts'
import { decode } from './decode.ts'
import { type Case, type DecodeCase, type Difference, type Header, Machine } from './vectormachine.ts'

/** The file is none of test vectors; the message says where it goes wrong. */
export class VectorFileError extends Error {
  override readonly name = 'VectorFileError'
}

/** A case that came out differently. */
export type VectorFailure = { readonly id: string; readonly bytes: string; readonly differences: readonly Difference[] }

/** How one file went. */
export type VectorResult = {
  readonly file: string
  passed: number
  total: number
  /** Per mnemonic (the case name up to its first `_`, VEX left out): passed and total. */
  readonly mnemonics: Map<string, { passed: number; total: number }>
  /** The first failures, at most as many per mnemonic as asked for. */
  readonly failures: VectorFailure[]
}

export type VectorOptions = {
  /** Only cases whose id matches. */
  readonly filter?: RegExp
  /** How many failures per mnemonic to keep (default 2). */
  readonly keep?: number
  /** Default: `interpret`. */
  readonly tier?: TierName
}

const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'))

/** The lines of a file, plain or gzip. */
const linesOf = (path: string): string[] => {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
    if (bytes[0] === 0x1f && bytes[1] === 0x8b) bytes = gunzipSync(bytes)
  } catch (error) {
    throw new VectorFileError(`cannot be read: ${error instanceof Error ? error.message : error}`)
  }
  const lines = bytes.toString('utf8').split('\n')
  if (lines.at(-1) === '') lines.pop()
  return lines
}
const objectAt = (line: string, number: number): object => {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    throw new VectorFileError(`line ${number} is no JSON`)
  }
  if (typeof value !== 'object' || value === null) throw new VectorFileError(`line ${number} is no JSON object`)
  return value
}

const HEX = /^[0-9a-f]{1,16}$/
/** Line 1, with what running the cases rests on. */
const headerOf = (line: string): Header => {
  const header = objectAt(line, 1) as Header
  const { format, mode, regions, bases } = header
  if (format !== 'x86-vectors/1' && format !== 'x86-decode/1')
    throw new VectorFileError(`the header's format is ${JSON.stringify(format)}, not "x86-vectors/1" or "x86-decode/1"`)
  if (mode !== 32 && mode !== 64)
    throw new VectorFileError(`the header's mode is ${JSON.stringify(mode)}, not 32 or 64`)
  if (format === 'x86-decode/1') return header
  if (!Array.isArray(bases) || !Array.isArray(regions))
    throw new VectorFileError('the header has no regions or no bases')
  for (const { addr, len, prot } of regions) {
    const [at, length] = [Number.parseInt(addr, 16), Number.parseInt(len, 16)]
    const fits = at % 4096 === 0 && length % 4096 === 0 && length > 0 && length <= 2 ** 24 && at + length <= 2 ** 47
    if (!HEX.test(addr) || !HEX.test(len) || !fits || typeof prot !== 'string')
      throw new VectorFileError(`the header's region ${addr}, length ${len}: not whole pages below 2^47`)
  }
  return header
}

/** Does `decode` see the same length, or the same #UD? */
const checkDecode = (c: DecodeCase, mode: 32 | 64): Difference[] => {
  const bytes = bytesOf(c.b)
  const seen = decode(bytes, 0, mode)
  const length = typeof seen === 'string' ? 0 : seen.length
  return length === c.len ? [] : [{ field: 'length', seen: String(length), want: String(c.len) }]
}

/**
 * Runs every case of one file. A JavaScript error that is not the guest's own counts as a failure of the case, with the
 * error as the difference, so that one gap does not hide the rest.
 */
export const runVectors = (
  path: string,
  { filter, keep = 2, tier = 'interpret' }: VectorOptions = {},
): VectorResult => {
  const result: VectorResult = { file: path, passed: 0, total: 0, mnemonics: new Map(), failures: [] }
  const [first, ...lines] = linesOf(path)
  if (first === undefined) throw new VectorFileError('is empty')
  const header = headerOf(first)
  let machine: Machine | undefined
  try {
    if (header.format === 'x86-vectors/1') machine = new Machine(header, tier)
  } catch (error) {
    throw new VectorFileError(`the header's regions or bases: ${error instanceof Error ? error.message : error}`)
  }
  for (const [n, line] of lines.entries()) {
    const c = objectAt(line, n + 2) as Case & DecodeCase
    // Encodings that are invalid have no name.
    const id = c.id ?? c.op ?? (c.len === 0 ? 'invalid' : undefined)
    if (typeof id !== 'string' || typeof c.b !== 'string')
      throw new VectorFileError(`line ${n + 2} has no id or no bytes`)
    if (filter !== undefined && !filter.test(id)) continue
    const mnemonic = c.id === undefined ? id : id.replace(/^VEX_/, '').replace(/[_#].*/, '')
    let differences: readonly Difference[]
    try {
      differences = machine === undefined ? checkDecode(c, header.mode) : machine.run(c)
    } catch (error) {
      differences = [
        {
          field: 'error',
          seen: String(error instanceof Error ? error.stack?.split('\n').slice(0, 3).join(' ') : error),
          want: '',
        },
      ]
    }
    const count = result.mnemonics.get(mnemonic) ?? { passed: 0, total: 0 }
    result.mnemonics.set(mnemonic, count)
    result.total++
    count.total++
    if (differences.length === 0) {
      result.passed++
      count.passed++
    } else if (count.total - count.passed <= keep) result.failures.push({ id, bytes: c.b, differences })
  }
  return result
}
