/**
 * Runs files of single-instruction test cases, each with a whole state before and after, and says where we differ.
 * The format is in the README beside the files.
 */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { createGunzip } from 'node:zlib'
import type { TierName } from './compile/runtime.ts'
import { decode } from './decode.ts'
import { type Case, type DecodeCase, type Difference, type Header, Machine } from './vectormachine.ts'

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
export const runVectors = async (
  path: string,
  { filter, keep = 2, tier = 'interpret' }: VectorOptions = {},
): Promise<VectorResult> => {
  const result: VectorResult = { file: path, passed: 0, total: 0, mnemonics: new Map(), failures: [] }
  let header: Header | undefined
  let machine: Machine | undefined
  for await (const line of createInterface({ input: createReadStream(path).pipe(createGunzip()) })) {
    if (header === undefined) {
      header = JSON.parse(line) as Header
      if (header.format === 'x86-vectors/1') machine = new Machine(header, tier)
      continue
    }
    const c = JSON.parse(line) as Case & DecodeCase
    const id = c.id ?? c.op
    if (filter !== undefined && !filter.test(id)) continue
    const mnemonic = c.id === undefined ? c.op : id.replace(/^VEX_/, '').replace(/[_#].*/, '')
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
