/** Where a guest stands, seen with the emulator's own debugger: the guest's part of a failure. */
import { type Gva, gva, hex, pageOf } from '#bits'
import { around, type GuestImage, symbolAt } from '#guest'
import type { Inspection } from '#kvm'
import type { Failure as FailureData } from '#reports'
import { backtraceNotes, isRuntime, returnAddresses } from './backtrace.ts'
import { chainNotes, septText } from './chain.ts'
import type { Machine } from './machine.ts'
import { registerNamed } from './operand.ts'
import type { Td } from './td.ts'
import type { Vcpu } from './vcpu.ts'

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

/** What is asked for: `isWild` shows code, registers and faults; `at` and `rsp` are known from the guest's own words. */
export type Wanted = {
  readonly isWild: boolean
  readonly isTriple?: boolean
  readonly at?: bigint | undefined
  readonly rsp?: bigint | undefined
  /** The GPA that KVM had nothing for. */
  readonly gpa?: bigint | undefined
}

/**
 * The state of a vCPU, undefined before it first ran. `at`: where its own code is known to stand (an exception's RIP).
 * An assertion shows where it stands and who called; anything else (`isWild`) the code around RIP, the registers, and
 * the exceptions that led there.
 */
export const guestState = (
  machine: Machine,
  td: Td,
  vcpu: Vcpu,
  { isWild, isTriple = false, at, rsp, gpa }: Wanted,
): GuestState | undefined => {
  const { index, fd } = vcpu
  const seen = machine.host.inspect(fd)
  if (seen === undefined) return undefined
  const { image } = td
  const rip = at ?? ownRip(image, seen)
  const recorded = machine.recorder?.notes(vcpu, rip) ?? []
  const notes = recorded.length > 0 ? recorded : isWild ? codeNotes(td, seen, rip) : []
  notes.push(...backtraceNotes(image, seen, rip, rsp ?? seen.gpr[RSP] ?? 0n))
  if (gpa !== undefined) notes.push(`GPA ${hex(gpa)}: ${septText(seen, gpa)}`)
  if (isWild) notes.push(...chainNotes(seen, image.symbols, isTriple))
  // Registers are those of now: where the guest's own code stood earlier, the runtime has used them since.
  if (isWild && rip === seen.rip) notes.push(...registerNotes(seen))
  return { vcpu: index, rip: hex(rip), instructions: seen.instructions, notes }
}

/** RIP; inside our runtime, where the guest's own code called it. */
const ownRip = (image: GuestImage, seen: Inspection): bigint => {
  if (!isRuntime(image, seen.rip)) return seen.rip
  for (const address of returnAddresses(image, seen, seen.gpr[RSP] ?? 0n))
    if (!isRuntime(image, address - 1n)) return address
  return seen.rip
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
    // Only of the instruction at RIP itself are the registers those that it sees.
    const values = address === rip && rip === seen.rip ? valuesOf(text, seen) : ''
    return `${mark} ${hex(address)}  ${where ?? ''}  ${text}${values}`
  })
}

/** The registers that an instruction names, with their values: `  ; rax 0x10, rbx 0x0`. */
export const valuesOf = (text: string, { gpr }: Pick<Inspection, 'gpr'>): string => {
  const named = new Set<number>()
  for (const [word] of text.matchAll(/\b[a-z][a-z0-9]+\b/g)) {
    const register = registerNamed(word)
    if (register !== undefined) named.add(register)
  }
  if (named.size === 0) return ''
  return `  ; ${[...named].map(n => `${REGISTERS[n]?.toLowerCase()} ${hex(gpr[n] ?? 0n)}`).join(', ')}`
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
