/** Where a guest stands, seen with the emulator's own debugger: the guest's part of a failure. */
import { type Gva, gva, hex, pageOf } from '#bits'
import { around, nameOfAddress, symbolAt } from '#guest'
import type { Inspection } from '#kvm'
import type { Failure as FailureData } from '#reports'
import type { Machine } from './machine.ts'
import type { Td } from './td.ts'

type GuestState = NonNullable<FailureData['guest']>

const INSTRUCTIONS = 3
const REGISTERS = [
  'RAX',
  'RCX',
  'RDX',
  'RBX',
  'RSP',
  'RBP',
  'RSI',
  'RDI',
  ...[8, 9, 10, 11, 12, 13, 14, 15].map(n => `R${n}`),
]
const RSP = 4
/** Quadwords above RSP in which the runtime's caller is looked for: its frame has 22. */
const FRAME = 32

/**
 * The state of a vCPU, undefined before it first ran. An assertion shows where it stands; anything else (`isWild`) the instructions before RIP, the
 * registers, and what is wrong with RIP itself.
 */
export const guestState = (
  machine: Machine,
  td: Td,
  index: number,
  fd: number,
  isWild: boolean,
): GuestState | undefined => {
  const seen = machine.host.inspect(fd)
  if (seen === undefined) return undefined
  const rip = ownRip(td, seen)
  return { vcpu: index, rip: hex(rip), instructions: seen.instructions, notes: isWild ? notes(td, seen, rip) : [] }
}

/** RIP; inside our runtime, where the guest's own code called it. */
const ownRip = (td: Td, seen: Inspection): bigint => {
  if (!isRuntime(td, seen.rip)) return seen.rip
  for (let slot = 0; slot < FRAME; slot++) {
    const bytes = seen.read(gva((seen.gpr[RSP] ?? 0n) + BigInt(8 * slot)), 8)
    if (bytes === undefined) break
    const value = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
    if (isRuntime(td, value) || symbolAt(td.image.symbols, value) === undefined) continue
    if (code(td, seen, value, 1).at(-2)?.text.startsWith('call')) return value
  }
  return seen.rip
}

const isRuntime = (td: Td, address: bigint): boolean =>
  symbolAt(td.image.symbols, address)?.name.startsWith('seamless_') ?? false

/** Instructions that lead to `address` and the one there; [] where nothing is mapped. */
const code = (td: Td, seen: Inspection, address: bigint, before: number) => {
  const symbol = symbolAt(td.image.symbols, address)
  const back = BigInt(symbol === undefined ? before * 15 : Math.min(symbol.offset, 4096))
  const page = pageOf(gva(address))
  // Code of another page than RIP's is read where it is mapped too.
  for (const from of [gva(address - back), page, gva(address)]) {
    const bytes = read(seen, from, Number(address - from) + 16) ?? read(seen, from, Number(address - from) + 1)
    if (bytes !== undefined) return around(bytes, from, address, before, td.image.symbols)
  }
  return []
}

const read = (seen: Inspection, from: Gva, length: number): Uint8Array | undefined =>
  length > 0 ? seen.read(from, length) : undefined

const notes = (td: Td, seen: Inspection, rip: bigint): string[] => {
  const { symbols } = td.image
  const lines = code(td, seen, rip, INSTRUCTIONS)
  const out = lines.map(({ address, text, where }) => {
    const mark = address === rip ? '>' : ' '
    return `${mark} ${hex(address)}  ${where ?? ''}  ${text}`
  })
  if (lines.length === 0) out.push(`nothing of the guest is mapped at RIP ${hex(rip)}`)
  const registers = REGISTERS.map((name, i) => `${name} ${hex(seen.gpr[i] ?? 0n)}`)
  for (let i = 0; i < registers.length; i += 4) out.push(registers.slice(i, i + 4).join('  '))
  const { cr0, cr2, cr3, cr4, efer, rflags, cpl, mode } = seen
  const control = Object.entries({ CR0: cr0, CR2: cr2, CR3: cr3, CR4: cr4, EFER: efer, RFLAGS: rflags })
  out.push(control.map(([name, value]) => `${name} ${hex(value)}`).join('  '))
  const place = nameOfAddress(symbols, rip)
  out.push(`${mode}-bit code, CPL ${cpl}${place === undefined ? '' : `, in ${place}`}`)
  return out
}
