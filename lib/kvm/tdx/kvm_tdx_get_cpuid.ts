/** KVM_TDX_GET_CPUID: the CPUID that the TD's guest sees, read back from the TDX module. Linux arch/x86/kvm/vmx/tdx.c, tdx_vcpu_get_cpuid. */

import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid2, TD_FIELDS, TDH_MNG_RD } from '#abi'
import { hva } from '#bits'
import { WORD } from '#tdx'
import { type CpuidEntry, entriesOf, writeCpuid } from '../cpuid.ts'
import { Errno } from '../errno.ts'
import type { Seam } from '../seam.ts'
import type { Vcpu } from '../vcpu.ts'
import type { Command } from './command.ts'

const field = TD_FIELDS.find(({ name }) => name === 'CPUID_VALUES')
if (field === undefined) throw new Error('MNG.RD has no field CPUID_VALUES')
const CPUID_VALUES = field.id
const NO_SUBLEAF = 0x1fen
const WIDTHS = 0x8000_0008

/** Who asks which TD through which door, and what has been found. */
type Reading = { readonly vcpu: Vcpu; readonly seam: Seam; readonly tdr: bigint; readonly out: CpuidEntry[] }

type Ids = readonly [first: bigint, second: bigint]

/** Ids of both elements of a leaf's field, by what they say of the leaf, and by sub-leaf: every vCPU asks for the same. */
const known: Ids[][] = Array.from({ length: 256 }, () => [])
const idsOf = (leaf: number, subleaf: number | undefined): Ids => {
  const isHigh = leaf >= 0x8000_0000
  const sublist = known[(leaf & 0x7f) | (isHigh ? 0x80 : 0)]!
  const number = subleaf === undefined ? 0 : subleaf + 1
  const before = sublist[number]
  if (before !== undefined) return before
  const sub = subleaf === undefined ? NO_SUBLEAF : BigInt(subleaf) << 1n
  const id = CPUID_VALUES | (isHigh ? 1n << 16n : 0n) | (BigInt(leaf & 0x7f) << 9n) | sub
  const ids: Ids = [id, id + 1n]
  sublist[number] = ids
  return ids
}

/** The values of a leaf, or of a sub-leaf of it; undefined where the module has none. */
const readLeaf = ({ vcpu, seam, tdr }: Reading, leaf: number, subleaf: number | undefined): CpuidEntry | undefined => {
  const [first, second] = idsOf(leaf, subleaf)
  if (seam.call(TDH_MNG_RD, tdr, first) !== 0n) return undefined
  const { words } = seam.regs
  const eax = words[WORD.R8]!
  const ebx = words[WORD.R8 + 1]!
  const status = seam.call(TDH_MNG_RD, tdr, second)
  if (status !== 0n) throw vcpu.vm.bug('SEAMCALL TDH.MNG.RD of a second CPUID element failed', status)
  return {
    function: leaf,
    index: subleaf ?? 0,
    flags: subleaf === undefined ? 0 : KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
    // The module leaves the guest physical width 0; KVM puts it back.
    eax: leaf === WIDTHS ? ((eax & ~0xff_0000) | (vcpu.vm.td.gpaWidth << 16)) >>> 0 : eax,
    ebx,
    ecx: words[WORD.R8]!,
    edx: words[WORD.R8 + 1]!,
  }
}

/** A leaf, or all its sub-leaves from 0 on. */
const readLeaves = (reading: Reading, leaf: number): void => {
  const { out } = reading
  const whole = readLeaf(reading, leaf, undefined)
  if (whole !== undefined) {
    out.push(whole)
    return
  }
  for (let subleaf = 0; subleaf < 128; subleaf++) {
    const entry = readLeaf(reading, leaf, subleaf)
    if (entry === undefined) break
    out.push(entry)
  }
}

const readRange = (reading: Reading, first: number): void => {
  const { out } = reading
  const start = out.length
  readLeaves(reading, first)
  const head = out[start]
  if (head === undefined)
    throw new Errno('EIO', `KVM_TDX_GET_CPUID: the TDX module has no leaf 0x${first.toString(16)}`)
  // A range's first leaf has no sub-leaves that count.
  out.length = start + 1
  for (let leaf = first + 1; leaf <= head.eax; leaf++) readLeaves(reading, leaf)
}

/** E2BIG: room for too few entries; the needed number is written back. */
export const getCpuid = (vcpu: Vcpu, { data }: Command): void => {
  const { space } = vcpu.vm.host
  const { nent } = space.get(kvm_cpuid2, hva(data))
  const entries: CpuidEntry[] = []
  const reading: Reading = { vcpu, seam: vcpu.control, tdr: BigInt(vcpu.vm.td.tdr), out: entries }
  readRange(reading, 0)
  readRange(reading, 0x8000_0000)
  space.set(kvm_cpuid2, hva(data), { nent: entries.length })
  if (nent < entries.length) {
    throw new Errno('E2BIG', `KVM_TDX_GET_CPUID: room for ${nent} entries; there are ${entries.length}`)
  }
  writeCpuid(space, entriesOf(hva(data)), entries)
}
