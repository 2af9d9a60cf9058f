/**
 * The second stage of a vCPU: Secure EPT for private addresses, the host's own (shared) EPT for those with the shared bit.
 * Intel "TDX CPU Architectural Extensions", "Secure and Shared Extended Page Tables"; SDM Vol. 3C, "The Extended Page Table
 * Mechanism (EPT)".
 */
import { type Gpa, type Hpa, hpa } from '#bits'
import type { Access, SecondStage } from '#x86'
import type { TdxModule } from '../module.ts'
import type { Sept } from '../sept.ts'
import type { Vcpu } from '../vcpu.ts'

const RIGHTS: Readonly<Record<Access, number>> = { read: 1, write: 2, fetch: 4 }

/** Why a shared address has no frame. `convertible`: the entry's suppress-#VE bit is clear. */
export type SharedMiss = 'violation' | 'convertible' | 'misconfiguration' | 'none'

export class TdStage implements SecondStage {
  readonly width: number
  generation = 1
  /** Set where the TD touched a line that the host had written: hardware answers with a machine check. */
  poisonHit = false
  readonly #module: TdxModule
  readonly #vcpu: Vcpu
  readonly #sept: Sept
  readonly #shared: number

  constructor(module: TdxModule, vcpu: Vcpu) {
    this.#module = module
    this.#vcpu = vcpu
    this.#sept = vcpu.td.tree
    this.width = vcpu.td.gpaw
    this.#shared = Number(vcpu.td.sharedBit)
  }

  /** No translation given out so far holds any more. */
  invalidate(): void {
    this.generation++
  }

  frame(gpa: Gpa, access: Access): Hpa | -1 {
    const at = Number(gpa)
    if (at >= this.#shared) return access === 'fetch' ? -1 : this.#walkShared(at, RIGHTS[access])
    const frame = this.#sept.frame(at, RIGHTS[access])
    if (frame !== -1 && this.#module.poisoned.size > 0 && this.#module.poisoned.has(frame)) {
      this.poisonHit = true
      return -1
    }
    return frame
  }

  /** What is wrong with a shared address for this access; `none` where nothing is. */
  explainShared(gpa: bigint, rights: number): SharedMiss {
    return this.#walkShared(Number(gpa), rights) === -1 ? this.#miss : 'none'
  }

  #miss: SharedMiss = 'none'

  #walkShared(gpa: number, rights: number): Hpa | -1 {
    const { view, u8 } = this.#module.memory
    // Until the host writes SHARED_EPTP it is the TD's zero page: nothing is mapped, and #VE is not suppressed.
    let table = Number(this.#vcpu.sharedEptp)
    if (table === 0) return this.#missing('convertible')
    for (let level = this.#sept.top; ; level--) {
      if (table + 4096 > u8.length) return this.#missing('misconfiguration')
      // A table that the host has given to a TD reads as zeroes.
      if (this.#module.isPrivate(hpa(table))) return this.#missing('convertible')
      const at = table + (Math.floor(gpa / 2 ** (12 + 9 * level)) & 511) * 8
      const low = view.getUint32(at, true)
      const high = view.getUint32(at + 4, true)
      if ((low & 7) === 0) return this.#missing((high & 0x8000_0000) === 0 ? 'convertible' : 'violation')
      const isLeaf = level === 0 || ((low & 0x80) !== 0 && level < 3)
      const address = (high & 0xf_ffff) * 2 ** 32 + ((low & 0xffff_f000) >>> 0)
      if (isMisconfigured(low, isLeaf, address, level)) return this.#missing('misconfiguration')
      if ((low & rights) !== rights) return this.#missing((high & 0x8000_0000) === 0 ? 'convertible' : 'violation')
      if (isLeaf) {
        const frame = address + (gpa % 2 ** (12 + 9 * level)) - (gpa % 4096)
        // Not modelled: a shared mapping of memory that is not there, or that is a TD's private page; it is a misconfiguration.
        if (frame + 4096 > u8.length || this.#module.isPrivate(hpa(frame))) return this.#missing('misconfiguration')
        return hpa(frame)
      }
      table = address
    }
  }

  #missing(why: SharedMiss): -1 {
    this.#miss = why
    return -1
  }
}

/** SDM Vol. 3C, "EPT Misconfigurations". */
const isMisconfigured = (low: number, isLeaf: boolean, address: number, level: number): boolean => {
  if ((low & 3) === 2) return true
  if (!isLeaf) return (low & 0xf8) !== 0
  const type = (low >> 3) & 7
  return type === 2 || type === 3 || type === 7 || address % 2 ** (12 + 9 * level) !== 0
}
