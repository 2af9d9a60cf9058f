/** KVM_TDX_GET_CPUID: the CPUID that the TD's guest sees, read back from the TDX module. Linux arch/x86/kvm/vmx/tdx.c, tdx_vcpu_get_cpuid. */

import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid2, TD_FIELDS, TDH_MNG_RD } from '#abi'
import { hva } from '#bits'
import { type CpuidEntry, entriesOf, writeCpuid } from '../cpuid.ts'
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'
import type { Command } from './command.ts'

const field = TD_FIELDS.find(({ name }) => name === 'CPUID_VALUES')
if (field === undefined) throw new Error('MNG.RD has no field CPUID_VALUES')
const CPUID_VALUES = field.id
const NO_SUBLEAF = 0x1fen
const WIDTHS = 0x8000_0008

/** The values of a leaf, or of a sub-leaf of it; undefined where the module has none. */
const readLeaf = (vcpu: Vcpu, leaf: number, subleaf: number | undefined): CpuidEntry | undefined => {
  const { td } = vcpu.vm
  const high = leaf >= 0x8000_0000 ? 1n << 16n : 0n
  const sub = subleaf === undefined ? NO_SUBLEAF : BigInt(subleaf) << 1n
  const id = CPUID_VALUES | high | (BigInt(leaf & 0x7f) << 9n) | sub
  const seam = vcpu.control
  if (seam.call(TDH_MNG_RD, BigInt(td.tdr), id) !== 0n) return undefined
  const first = seam.regs.r8
  const status = seam.call(TDH_MNG_RD, BigInt(td.tdr), id + 1n)
  if (status !== 0n) throw vcpu.vm.bug('SEAMCALL TDH.MNG.RD of a second CPUID element failed', status)
  const second = seam.regs.r8
  const low = (value: bigint): number => Number(value & 0xffff_ffffn)
  const eax = low(first)
  return {
    function: leaf,
    index: subleaf ?? 0,
    flags: subleaf === undefined ? 0 : KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
    // The module leaves the guest physical width 0; KVM puts it back.
    eax: leaf === WIDTHS ? ((eax & ~0xff_0000) | (td.gpaWidth << 16)) >>> 0 : eax,
    ebx: low(first >> 32n),
    ecx: low(second),
    edx: low(second >> 32n),
  }
}

/** A leaf, or all its sub-leaves from 0 on. */
const readLeaves = (vcpu: Vcpu, leaf: number): CpuidEntry[] => {
  const whole = readLeaf(vcpu, leaf, undefined)
  if (whole !== undefined) return [whole]
  const out: CpuidEntry[] = []
  for (let subleaf = 0; subleaf < 128; subleaf++) {
    const entry = readLeaf(vcpu, leaf, subleaf)
    if (entry === undefined) break
    out.push(entry)
  }
  return out
}

const readRange = (vcpu: Vcpu, first: number): CpuidEntry[] => {
  const [head] = readLeaves(vcpu, first)
  if (head === undefined)
    throw new Errno('EIO', `KVM_TDX_GET_CPUID: the TDX module has no leaf 0x${first.toString(16)}`)
  const out = [head]
  for (let leaf = first + 1; leaf <= head.eax; leaf++) out.push(...readLeaves(vcpu, leaf))
  return out
}

/** E2BIG: room for too few entries; the needed number is written back. */
export const getCpuid = (vcpu: Vcpu, { data }: Command): void => {
  const { space } = vcpu.vm.host
  const { nent } = space.get(kvm_cpuid2, hva(data))
  const entries = [...readRange(vcpu, 0), ...readRange(vcpu, 0x8000_0000)]
  space.set(kvm_cpuid2, hva(data), { nent: entries.length })
  if (nent < entries.length) {
    throw new Errno('E2BIG', `KVM_TDX_GET_CPUID: room for ${nent} entries; there are ${entries.length}`)
  }
  writeCpuid(space, entriesOf(hva(data)), entries)
}
