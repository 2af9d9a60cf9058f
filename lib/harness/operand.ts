/** Which memory an instruction touches, read off its text: good enough to show, not to decide anything. */
import { GPR_NAMES, MEMORY_WORDS } from '#abi'
import type { Line } from '#guest'
import type { Inspection } from '#kvm'

export type Range = { readonly at: bigint; readonly size: number }

const NAMES: readonly string[] = GPR_NAMES

/** The general register (0 RAX to 15 R15) that a name is of, or of a part. */
export const registerNamed = (name: string): number | undefined => {
  const found = /^(?:r(\d+)[bwd]?|[re]?([abcd])x|([abcd])[lh]|[re]?(sp|bp|si|di)l?)$/.exec(name)
  if (found === null) return undefined
  const [, number, whole, half, index] = found
  const letter = whole ?? half
  if (number !== undefined) return Number(number)
  return letter === undefined ? ['sp', 'bp', 'si', 'di'].indexOf(index ?? '') + 4 : 'acdb'.indexOf(letter)
}

/** Bytes of an operand that has no size in its text. Of an XSAVE area, what AVX has in the standard format. */
const areaOf = (mnemonic: string): number | undefined => {
  if (/^fx(save|rstor)/.test(mnemonic)) return 512
  if (/^x(save|rstor)/.test(mnemonic)) return 832
  if (/^fn?(save|rstor)/.test(mnemonic)) return 108
  return /^fn?(ldenv|stenv)/.test(mnemonic) ? 28 : undefined
}

/**
 * Explicit operands, and what pushes, pops, calls and string instructions touch. Segment bases are taken for 0.
 * Not modelled: gathers in `--trace memory`.
 */
export const accessesOf = ({ text, address, bytes }: Line, { gpr }: Pick<Inspection, 'gpr'>): Range[] => {
  const out: Range[] = []
  const register = (name: string): bigint => gpr[NAMES.indexOf(name)] ?? 0n
  const mnemonic = text.replace(/^(lock|rep|repe|repne) /, '').split(' ')[0] ?? ''
  if (!/^(lea|nop|invlpg|clflush|clwb|prefetch)/.test(mnemonic))
    for (const [, size = '', inside = '', bit = ''] of text.matchAll(
      /(?:(\w+) ptr )?(?:\w+:)?\[([^\]]*)\](?:, (\w+))?/g,
    )) {
      const length = MEMORY_WORDS[size] ?? areaOf(mnemonic)
      if (length === undefined || /[xyz]mm/.test(inside)) continue
      let at = 0n
      for (const [, sign, term = ''] of inside.replaceAll(' ', '').matchAll(/([+-]?)([^+-]+)/g)) {
        const [first = '', second] = term.split('*')
        const isNumber = /^(0x)?[0-9a-f]+$/i.test(first) && !NAMES.includes(first)
        const value = first === 'rip' ? address + BigInt(bytes.length) : isNumber ? BigInt(first) : register(first)
        at += (sign === '-' ? -1n : 1n) * value * BigInt(second ?? 1)
      }
      const number = /^bt[crs]?$/.test(mnemonic) ? registerNamed(bit) : undefined
      // A bit string: the bit's number counts from the operand on, in both directions.
      if (number !== undefined)
        at += (BigInt.asIntN(8 * length, gpr[number] ?? 0n) >> BigInt(Math.log2(length) + 3)) * BigInt(length)
      out.push({ at: BigInt.asUintN(64, at), size: length })
    }
  if (/^(push|call)/.test(mnemonic)) out.push({ at: register('rsp') - 8n, size: 8 })
  if (/^(pop|ret|leave|iret)/.test(mnemonic)) out.push({ at: register('rsp'), size: 8 })
  const string = /^(movs|stos|lods|cmps|scas)([bwdq])/.exec(mnemonic)
  if (string !== null && out.length === 0) {
    const size = { b: 1, w: 2, d: 4, q: 8 }[string[2] ?? 'b'] ?? 1
    if (string[1] !== 'stos' && string[1] !== 'scas') out.push({ at: register('rsi'), size })
    if (string[1] !== 'lods') out.push({ at: register('rdi'), size })
  }
  return out
}
