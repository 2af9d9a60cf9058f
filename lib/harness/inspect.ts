/** Where a guest stands, seen with the emulator's own debugger: the guest's part of a failure. */
import { type Gva, gva, hex, pageOf } from '#bits'
import { around, disassemble, symbolAt } from '#guest'
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
/** Quadwords above RSP in which the runtime's caller is looked for: its frame has 23, C's assertions add theirs. */
const FRAME = 40

/**
 * The state of a vCPU, undefined before it first ran. `at`: where its own code is known to stand (an exception's RIP).
 * An assertion shows where it stands; anything else (`isWild`) the instructions before RIP too, and the registers.
 */
export const guestState = (
  machine: Machine,
  td: Td,
  { index, fd }: { readonly index: number; readonly fd: number },
  { isWild, at }: { readonly isWild: boolean; readonly at?: bigint | undefined },
): GuestState | undefined => {
  const seen = machine.host.inspect(fd)
  if (seen === undefined) return undefined
  const rip = at ?? ownRip(td, seen)
  const notes = isWild ? codeNotes(td, seen, rip) : []
  // Registers are those of now: where the guest's own code stood earlier, the runtime has used them since.
  if (isWild && rip === seen.rip) notes.push(...registerNotes(seen))
  return { vcpu: index, rip: hex(rip), instructions: seen.instructions, notes }
}

/** RIP; inside our runtime, where the guest's own code called it. */
const ownRip = (td: Td, seen: Inspection): bigint => {
  if (!isOurs(td, seen.rip)) return seen.rip
  for (let slot = 0; slot < FRAME; slot++) {
    const bytes = seen.read(gva((seen.gpr[RSP] ?? 0n) + BigInt(8 * slot)), 8)
    if (bytes === undefined) break
    const value = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
    if (!isOurs(td, value - 1n) && followsCall(td, seen, value)) return value
  }
  return seen.rip
}

/** The runtime, and what seamless.h puts into a C guest. */
const isOurs = (td: Td, address: bigint): boolean =>
  symbolAt(td.image.symbols, address)?.name.startsWith('seamless_') ?? false

/** Is it a return address? A call that never returns may be the last instruction of its function. */
const followsCall = (td: Td, seen: Inspection, address: bigint): boolean => {
  const symbol = symbolAt(td.image.symbols, address - 1n)
  if (symbol === undefined) return false
  const from = gva(address - 1n - BigInt(symbol.offset))
  const bytes = seen.read(from, symbol.offset + 1)
  if (bytes === undefined) return false
  const last = disassemble(bytes, from, from, bytes.length).at(-1)
  return last?.text.startsWith('call') === true && last.address + BigInt(last.bytes.length) === address
}

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

const codeNotes = (td: Td, seen: Inspection, rip: bigint): string[] => {
  const lines = code(td, seen, rip, INSTRUCTIONS)
  if (lines.length === 0) return [`nothing of the guest is mapped at RIP ${hex(rip)}`]
  return lines.map(({ address, text, where }) => {
    const mark = address === rip ? '>' : ' '
    return `${mark} ${hex(address)}  ${where ?? ''}  ${text}`
  })
}

const registerNotes = ({ gpr, cr0, cr2, cr3, cr4, efer, rflags, cpl, mode }: Inspection): string[] => {
  const out: string[] = []
  const registers = REGISTERS.map((name, i) => `${name} ${hex(gpr[i] ?? 0n)}`)
  for (let i = 0; i < registers.length; i += 4) out.push(registers.slice(i, i + 4).join('  '))
  const control = Object.entries({ CR0: cr0, CR2: cr2, CR3: cr3, CR4: cr4, EFER: efer, RFLAGS: rflags })
  out.push(control.map(([name, value]) => `${name} ${hex(value)}`).join('  '))
  out.push(`${mode}-bit code, CPL ${cpl}`)
  return out
}
