/** Who called: the return addresses on a guest's stack, by the names of the image. */
import { gva, hex } from '#bits'
import { disassemble, type GuestImage, lineOf, nameOfAddress, symbolAt } from '#guest'
import type { Inspection } from '#kvm'
import { placeText } from './where.ts'

/** Quadwords of the stack that are looked through. */
const DEPTH = 512
const MOST = 12

/** The runtime, and what seamless.h puts into a C guest. */
export const isRuntime = (image: GuestImage, address: bigint): boolean =>
  symbolAt(image.symbols, address)?.name.startsWith('seamless_') ?? false

/** Is it a return address? A call that never returns may be the last instruction of its function. */
const followsCall = (image: GuestImage, seen: Inspection, address: bigint): boolean => {
  const symbol = symbolAt(image.symbols, address - 1n)
  if (symbol === undefined) return false
  const from = gva(address - 1n - BigInt(symbol.offset))
  const bytes = seen.read(from, symbol.offset + 1)
  if (bytes === undefined) return false
  const last = disassemble(bytes, from, from, bytes.length).at(-1)
  return last?.text.startsWith('call') === true && last.address + BigInt(last.bytes.length) === address
}

const executable = ({ segments }: GuestImage, address: bigint): boolean =>
  segments.some(s => s.executable && address > s.gva && address <= s.gva + BigInt(s.size))

/**
 * The return addresses from `rsp` upwards, innermost first. Guests keep no frame pointers: what looks like a return
 * address and follows a CALL is taken for one, so that a stale one may be among them.
 */
export function* returnAddresses(image: GuestImage, seen: Inspection, rsp: bigint): Generator<bigint> {
  for (let slot = 0; slot < DEPTH; slot++) {
    const bytes = seen.read(gva(rsp + BigInt(8 * slot)), 8)
    if (bytes === undefined) return
    const value = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
    if (executable(image, value) && followsCall(image, seen, value)) yield value
  }
}

/** The calls that led to `rip`, without those of the runtime: nothing where it is the outermost function. */
export const backtraceNotes = (image: GuestImage, seen: Inspection, rip: bigint, rsp: bigint): string[] => {
  const out: string[] = []
  for (const address of returnAddresses(image, seen, rsp)) {
    if (address === rip || isRuntime(image, address - 1n)) continue
    const line = lineOf(image.lines ?? [], address - 1n)
    const written = line === undefined ? '' : `  ${placeText(line)}`
    out.push(`called from ${hex(address)}  ${nameOfAddress(image.symbols, address - 1n) ?? ''}${written}`)
    if (out.length === MOST) break
  }
  return out
}
