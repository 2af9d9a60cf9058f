/** A walk of the guest's page tables as a debugger shows it: entry by entry, down to where it ends. It changes nothing. */
import { CR0_PG, CR4_LA57, CR4_PAE, EFER_LMA } from '#abi'
import { type Gpa, gpa, type Hpa } from '#bits'
import type { Cpu } from './cpu.ts'

/** `entry` is undefined where the table itself cannot be read: its page has no frame in the second stage. */
export type WalkLevel = { readonly name: string; readonly at: Gpa; readonly entry: bigint | undefined }

/** `gpa` is undefined where an entry on the way is not present, or cannot be read. */
export type Walk = { readonly levels: readonly WalkLevel[]; readonly gpa: Gpa | undefined }

const NAMES = ['PTE', 'PDE', 'PDPTE', 'PML4E', 'PML5E'] as const
const ADDRESS = 0xf_ffff_ffff_f000n

/**
 * The tables that `linear` is looked up in. Rights are not judged: they are in the entries.
 * Not modelled: the walk of PAE and 32-bit paging in a failure's text.
 */
export const explainWalk = (cpu: Cpu, linear: bigint): Walk | undefined => {
  if ((cpu.cr0 & CR0_PG) === 0n) return { levels: [], gpa: gpa(linear) }
  if ((cpu.cr4 & CR4_PAE) === 0n || (cpu.efer & EFER_LMA) === 0n) return undefined
  const levels: WalkLevel[] = []
  let table = cpu.cr3 & ADDRESS
  for (let level = (cpu.cr4 & CR4_LA57) === 0n ? 3 : 4; ; level--) {
    const shift = BigInt(12 + 9 * level)
    const at = gpa(table + ((linear >> shift) & 511n) * 8n)
    const frame: Hpa | -1 = cpu.stage.frame(gpa(table), 'read')
    const entry = frame === -1 ? undefined : cpu.memory.read(frame + Number(at & 0xfffn), 8)
    levels.push({ name: NAMES[level]!, at, entry })
    if (entry === undefined || (entry & 1n) === 0n) return { levels, gpa: undefined }
    const isLarge = level > 0 && (entry & 0x80n) !== 0n
    if (level === 0 || isLarge) {
      const within = (1n << shift) - 1n
      return { levels, gpa: gpa((entry & ADDRESS & ~within) | (linear & within)) }
    }
    table = entry & ADDRESS
  }
}
