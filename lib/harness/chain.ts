/** Why a wild guest fell: its last exception and what came of delivering it, with the walk of every page fault. */
import { EXCEPTIONS, PF, VECTOR_DF, VECTOR_PF } from '#abi'
import { hex } from '#bits'
import { nameOfAddress, type Sym } from '#guest'
import type { Inspection } from '#kvm'

type Raised = Inspection['faults'][number]

/** Instructions after which an exception has nothing to do with a failure any more. */
const RECENT = 2000

/** The last exception, what was raised while it was delivered, and page by page where the addresses led. */
export const chainNotes = (seen: Inspection, symbols: readonly Sym[], isTriple: boolean): string[] => {
  const last = seen.faults.at(-1)
  if (last === undefined || seen.instructions - last.instructions > RECENT) return []
  const chain = seen.faults.filter(fault => fault.chain === last.chain)
  const out = ['faults:']
  let delivered: number | undefined
  for (const fault of chain) {
    const how = delivered === undefined ? '' : `while delivering ${mnemonic(delivered)}: `
    out.push(`  ${how}${faultText(fault, symbols)}`)
    if (fault.vector === VECTOR_PF && fault.cr2 !== undefined)
      out.push(...walkNotes(seen, fault.cr2).map(line => `    ${line}`))
    if (fault.vector === VECTOR_VE) out.push(...veNotes(seen).map(line => `    ${line}`))
    const isDouble = delivered !== undefined && delivered !== VECTOR_DF && doubles(delivered, fault.vector)
    if (isDouble) out.push(`  which makes #DF (${EXCEPTIONS[VECTOR_DF]?.name ?? ''})`)
    delivered = isDouble ? VECTOR_DF : fault.vector
  }
  if (isTriple) out.push('  which makes a triple fault')
  return out
}

const mnemonic = (vector: number): string => EXCEPTIONS[vector]?.mnemonic ?? `vector ${vector}`

/** SDM Vol. 3A, "Interrupt 8—Double Fault Exception (#DF)". */
const doubles = (first: number, second: number): boolean => {
  const isPage = (vector: number) => vector === 14 || vector === 20
  const isContributory = (vector: number) => vector === 0 || (vector >= 10 && vector <= 13) || vector === 21
  if (isContributory(first)) return isContributory(second)
  return isPage(first) && (isPage(second) || isContributory(second))
}

const faultText = ({ vector, errorCode, cr2, rip, instructions }: Raised, symbols: readonly Sym[]): string => {
  const known = EXCEPTIONS[vector]
  const name = known === undefined ? mnemonic(vector) : `${known.mnemonic} (${known.name})`
  const where = nameOfAddress(symbols, rip)
  return [
    name,
    ...(errorCode === undefined ? [] : [`error code ${hex(errorCode)}`]),
    ...(cr2 === undefined ? [] : [`${pageFaultText(errorCode ?? 0)} ${hex(cr2)}`]),
    `at RIP ${hex(rip)}${where === undefined ? '' : ` ${where}`}`,
    `${instructions} instructions in`,
  ].join(', ')
}

/** What a page fault's error code says was done and why it is denied: `not mapped: write to`. */
export const pageFaultText = (code: number): string => {
  const access = code & PF.FETCH ? 'fetch from' : code & PF.WRITE ? 'write to' : 'read from'
  const why = code & PF.RSVD ? 'reserved bit' : code & PF.P ? 'no right' : 'not mapped'
  return `${why}: ${access}`
}

/** SDM Vol. 3A, "Interrupt 20—Virtualization Exception (#VE)". */
const VECTOR_VE = 20
const EXIT_REASON_EPT_VIOLATION = 48

/** What a #VE was about, as TDG.VP.VEINFO.GET tells it; of an EPT violation, what is at the GPA. */
const veNotes = (seen: Inspection): string[] => {
  if (seen.ve === undefined) return []
  const { exitReason, exitQualification, gla, gpa, instructionLength } = seen.ve
  if (exitReason !== EXIT_REASON_EPT_VIOLATION)
    return [`VE_INFO: exit reason ${exitReason}, an instruction of ${instructionLength} bytes`]
  return [
    `VE_INFO: EPT violation, qualification ${hex(exitQualification)}, GLA ${hex(gla)}`,
    `GPA ${hex(gpa)}: ${septText(seen, gpa)}`,
  ]
}

const FLAGS = [
  [1n, 'P'],
  [2n, 'RW'],
  [4n, 'US'],
  [0x20n, 'A'],
  [0x40n, 'D'],
  [1n << 63n, 'XD'],
] as const

/** The guest's walk, level by level, then what the Secure EPT has. */
export const walkNotes = (seen: Inspection, linear: bigint): string[] => {
  const walk = seen.walk(linear)
  if (walk === undefined) return []
  const out = walk.levels.map(({ name, at, entry }) => {
    const start = `${name.padEnd(5)} at GPA ${hex(at)}`
    if (entry === undefined) return `${start}: the table is not there: ${septText(seen, at)}`
    const flags = FLAGS.flatMap(([bit, flag]) => ((entry & bit) === 0n ? [] : [flag]))
    return `${start}: ${hex(entry)}  ${flags.includes('P') ? flags.join(' ') : 'not present'}`
  })
  if (walk.gpa !== undefined) out.push(`GPA ${hex(walk.gpa)}: ${septText(seen, walk.gpa)}`)
  return out
}

/** What backs a GPA, in words. */
export const septText = (seen: Inspection, gpa: bigint): string => {
  const found = seen.sept(gpa)
  if (found === undefined) return 'shared, or of an ordinary VM'
  return `${found.state} at level ${found.level}, Secure EPT entry ${hex(found.entry)}`
}
