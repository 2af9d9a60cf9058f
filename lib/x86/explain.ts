/** A walk of the guest's page tables as a debugger shows it: entry by entry, down to where it ends. It changes nothing. */
import { CR0_PG, CR4_LA57, CR4_PAE, CR4_PSE, EFER_LMA } from '#abi'
import { type Gpa, gpa, type Hpa } from '#bits'
import type { Cpu } from './cpu.ts'

/** `entry` is undefined where the table itself cannot be read: its page has no frame in the second stage. */
export type WalkLevel = { readonly name: string; readonly at: Gpa; readonly entry: bigint | undefined }

/** `gpa` is undefined where an entry on the way is not present, or cannot be read. */
export type Walk = { readonly levels: readonly WalkLevel[]; readonly gpa: Gpa | undefined }

const ADDRESS = 0xf_ffff_ffff_f000n

/** How a paging mode's tables are looked up in, from the top. `shift`: the lowest bit of the index. */
type Level = {
  readonly name: string
  readonly shift: bigint
  readonly bits: bigint
  readonly isLarge: (entry: bigint) => boolean
}

const never = (): boolean => false
const ps = (entry: bigint): boolean => (entry & 0x80n) !== 0n
const PTE: Level = { name: 'PTE', shift: 12n, bits: 9n, isLarge: never }
const PDE: Level = { name: 'PDE', shift: 21n, bits: 9n, isLarge: ps }
const PDPTE: Level = { name: 'PDPTE', shift: 30n, bits: 9n, isLarge: ps }
const PML4E: Level = { name: 'PML4E', shift: 39n, bits: 9n, isLarge: never }
const PML5E: Level = { name: 'PML5E', shift: 48n, bits: 9n, isLarge: never }
const PTE32: Level = { ...PTE, bits: 10n }
const PDE32: Level = { name: 'PDE', shift: 22n, bits: 10n, isLarge: never }

/** Of 32-bit paging, a page of 4 MiB has its address bits 39:32 in bits 20:13 (PSE-36). */
const large32 = (entry: bigint): bigint => (entry & 0xffc0_0000n) | (((entry >> 13n) & 0xffn) << 32n)

/** The tables that `linear` is looked up in. Rights are not judged: they are in the entries. */
export const explainWalk = (cpu: Cpu, linear: bigint): Walk | undefined => {
  if ((cpu.cr0 & CR0_PG) === 0n) return { levels: [], gpa: gpa(linear) }
  const isLong = (cpu.efer & EFER_LMA) !== 0n
  if (isLong) {
    const upper = (cpu.cr4 & CR4_LA57) === 0n ? [] : [PML5E]
    return walk(cpu, linear, cpu.cr3 & ADDRESS, [...upper, PML4E, PDPTE, PDE, PTE], 8)
  }
  const low = linear & 0xffff_ffffn
  if ((cpu.cr4 & CR4_PAE) === 0n) {
    const directory = (cpu.cr4 & CR4_PSE) === 0n ? PDE32 : { ...PDE32, isLarge: ps }
    return walk(cpu, low, cpu.cr3 & 0xffff_f000n, [directory, PTE32], 4)
  }
  // The four pointers of PAE paging were loaded into registers with CR3.
  const index = low >> 30n
  const entry = cpu.pdptes[Number(index)]
  const top = { name: 'PDPTE', at: gpa((cpu.cr3 & 0xffff_ffe0n) + index * 8n), entry }
  if (entry === undefined || (entry & 1n) === 0n) return { levels: [top], gpa: undefined }
  const { levels, gpa: at } = walk(cpu, low, entry & ADDRESS, [PDE, PTE], 8)
  return { levels: [top, ...levels], gpa: at }
}

const walk = (cpu: Cpu, linear: bigint, root: bigint, format: readonly Level[], size: 4 | 8): Walk => {
  const levels: WalkLevel[] = []
  let table = root
  for (const { name, shift, bits, isLarge } of format) {
    const at = gpa(table + ((linear >> shift) & ((1n << bits) - 1n)) * BigInt(size))
    const frame: Hpa | -1 = cpu.stage.frame(gpa(table), 'read')
    const entry = frame === -1 ? undefined : cpu.memory.read(frame + Number(at & 0xfffn), size)
    levels.push({ name, at, entry })
    if (entry === undefined || (entry & 1n) === 0n) return { levels, gpa: undefined }
    if (shift === 12n || isLarge(entry)) {
      const within = (1n << shift) - 1n
      const page = size === 4 && shift > 12n ? large32(entry) : entry & ADDRESS & ~within
      return { levels, gpa: gpa(page | (linear & within)) }
    }
    table = entry & ADDRESS
  }
  return { levels, gpa: undefined }
}
