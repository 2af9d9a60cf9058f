/** CPUID lists: what KVM supports, what userspace sets, and what a TDVMCALL for CPUID answers. */

import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2, kvm_cpuid2 } from '#abi'
import type { Hva } from '#bits'
import type { AddressSpace } from './addressspace.ts'

/** kvm_cpuid_entry2; all numbers are unsigned 32-bit. */
export type CpuidEntry = {
  readonly function: number
  readonly index: number
  readonly flags: number
  readonly eax: number
  readonly ebx: number
  readonly ecx: number
  readonly edx: number
}

/** EAX, EBX, ECX, EDX of a leaf and sub-leaf. */
export type NativeCpuid = (leaf: number, subleaf: number) => readonly [number, number, number, number]

/** The entry for a leaf: one whose index counts must have this index. */
export const findCpuid = (entries: readonly CpuidEntry[], leaf: number, index: number): CpuidEntry | undefined =>
  entries.find(
    entry =>
      entry.function === leaf && ((entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) === 0 || entry.index === index),
  )

const { size: ENTRY, offset: AT } = kvm_cpuid_entry2

/** Lists that were read last: TDs that are made alike set the same ones. */
const read: { readonly bytes: Uint8Array; readonly entries: readonly CpuidEntry[] }[] = []
const MOST_READ = 4

/** `nent` entries that follow a list's head. EFAULT. */
export const readCpuid = (space: AddressSpace, at: Hva, nent: number): readonly CpuidEntry[] => {
  const seen = space.peek(at, nent * ENTRY)
  for (const known of read) if (Buffer.compare(known.bytes, seen) === 0) return known.entries
  const bytes = seen.slice()
  const entries = decodeCpuid(bytes, nent)
  if (read.length === MOST_READ) read.shift()
  read.push({ bytes, entries })
  return entries
}

const decodeCpuid = (bytes: Uint8Array, nent: number): CpuidEntry[] => {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const out: CpuidEntry[] = []
  for (let base = 0; base < nent * ENTRY; base += ENTRY) {
    out.push({
      function: view.getUint32(base + AT.function, true),
      index: view.getUint32(base + AT.index, true),
      flags: view.getUint32(base + AT.flags, true),
      eax: view.getUint32(base + AT.eax, true),
      ebx: view.getUint32(base + AT.ebx, true),
      ecx: view.getUint32(base + AT.ecx, true),
      edx: view.getUint32(base + AT.edx, true),
    })
  }
  return out
}

/** The bytes of `entries`, back to back. */
export const encodeCpuid = (entries: readonly CpuidEntry[]): Uint8Array => {
  const out = new Uint8Array(entries.length * ENTRY)
  const view = new DataView(out.buffer)
  let base = 0
  for (const entry of entries) {
    view.setUint32(base + AT.function, entry.function, true)
    view.setUint32(base + AT.index, entry.index, true)
    view.setUint32(base + AT.flags, entry.flags, true)
    view.setUint32(base + AT.eax, entry.eax, true)
    view.setUint32(base + AT.ebx, entry.ebx, true)
    view.setUint32(base + AT.ecx, entry.ecx, true)
    view.setUint32(base + AT.edx, entry.edx, true)
    base += ENTRY
  }
  return out
}

export const writeCpuid = (space: AddressSpace, at: Hva, entries: readonly CpuidEntry[]): void =>
  space.write(at, encodeCpuid(entries))

/** Address of the entries of the list whose head is at `at`. */
export const entriesOf = (at: Hva): Hva => (at + BigInt(kvm_cpuid2.size)) as Hva

const NOTHING = [0, 0, 0, 0] as const

/**
 * CPUID as KVM executes it for a guest, from the list userspace has set.
 * Linux arch/x86/kvm/cpuid.c, kvm_cpuid: out of range answers as the highest basic leaf does on Intel.
 */
export const emulateCpuid = (
  entries: readonly CpuidEntry[],
  leaf: number,
  index: number,
): readonly [number, number, number, number] => {
  let entry = findCpuid(entries, leaf, index)
  if (entry === undefined) {
    const base = leaf >= 0x8000_0000 ? 0x8000_0000 : leaf >= 0x4000_0000 && leaf < 0x5000_0000 ? 0x4000_0000 : 0
    const highest = findCpuid(entries, base, 0)
    const limit = findCpuid(entries, 0, 0)?.eax ?? 0
    if ((highest === undefined || leaf > highest.eax) && leaf > limit) entry = findCpuid(entries, limit, index)
  }
  if (entry !== undefined) return [entry.eax, entry.ebx, entry.ecx, entry.edx]
  if (leaf === 0xb || leaf === 0x1f) {
    const level = findCpuid(entries, leaf, 1)
    if (level !== undefined) return [0, 0, index & 0xff, level.edx]
  }
  return NOTHING
}

/** What KVM takes from the processor's feature words, where it does not take all: [leaf, sub-leaf]: EAX EBX ECX EDX. */
const DROPPED: ReadonlyMap<string, readonly [number, number, number, number]> = new Map([
  // DTES64 MONITOR DS-CPL VMX SMX EIST TM2 CNXT-ID SDBG xTPR PDCM DCA OSXSAVE; DS ACPI TM PBE.
  ['1.0', [0, 0, 0x0804_cdfc, 0xa060_0000]],
  // SGX, PQM, PQE, PT; OSPKE, TME, KL, BUS_LOCK_DETECT (which KVM gives where there is something to give), ENQCMD, SGX_LC, PKS; HYBRID, PCONFIG, LBR, CORE_CAPABILITIES.
  ['7.0', [0, 0x0200_9004, 0xe180_2010, 0x400c_8000]],
])

/**
 * Leaf 0x4000_0001: KVM_FEATURE_CLOCKSOURCE, NOP_IO_DELAY, CLOCKSOURCE2 and POLL_CONTROL. Linux
 * arch/x86/include/uapi/asm/kvm_para.h. A TD, too, reads of the clock, whose MSRs KVM refuses it.
 *
 * Not modelled: the paravirtual features that a KVM has beside these and that are not offered here: asynchronous page
 * faults, STEAL_TIME, PV_EOI, and the hypercalls of PV_UNHALT, PV_TLB_FLUSH, PV_SEND_IPI and PV_SCHED_YIELD; that the clock
 * is stable (CLOCKSOURCE_STABLE). Their MSRs are unknown (#GP, of a TD a failed TDG.VP.VMCALL).
 */
const KVM_FEATURES = 1 | (1 << 1) | (1 << 3) | (1 << 12)

/** Leaves that KVM answers with zeros, whatever the processor has. */
const ZEROED = new Set([3, 5, 8, 9, 0xa, 0xe, 0x11, 0x13, 0x14, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x20])

/** Sub-leaves of a leaf that the list has, in order; undefined where the index does not count. */
const indexes = (cpuid: NativeCpuid, leaf: number): readonly number[] | undefined => {
  const from = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
  switch (leaf) {
    case 4: {
      let count = 0
      while (count < 16 && (cpuid(4, count)[0] & 0x1f) !== 0) count++
      return from(count + 1)
    }
    case 7:
      return from(cpuid(7, 0)[0] + 1)
    case 0xb:
    case 0x1f:
      return [0]
    case 0xd:
      return [0, 1, ...from(63).filter(i => i >= 2 && cpuid(0xd, i)[0] !== 0)]
    case 0x12:
    case 0x14:
    case 0x1d:
    case 0x1e:
      return [0]
    default:
      return undefined
  }
}

/**
 * KVM_GET_SUPPORTED_CPUID: the processor's leaves without what KVM does not give to guests, and with what it adds.
 * Linux arch/x86/kvm/cpuid.c, __do_cpuid_func. `guestWidth` is the guest physical address width KVM reports.
 */
export const supportedCpuid = (cpuid: NativeCpuid, guestWidth: number): CpuidEntry[] => {
  const out: CpuidEntry[] = []
  const add = (leaf: number, index: number, isIndexed: boolean): void => {
    const dropped = DROPPED.get(`${leaf}.${index}`) ?? NOTHING
    const native = ZEROED.has(leaf) ? NOTHING : cpuid(leaf, index)
    let [eax, ebx, ecx, edx] = native.map((value, i) => (value & ~dropped[i]!) >>> 0) as [
      number,
      number,
      number,
      number,
    ]
    // x2APIC, TSC deadline and "hypervisor present" are KVM's own.
    if (leaf === 1) ecx = (ecx | (1 << 21) | (1 << 24) | 0x8000_0000) >>> 0
    if (leaf === 6) [eax, ebx, ecx, edx] = [4, 0, 0, 0]
    if (leaf === 0xb || leaf === 0x1f) [eax, ebx, ecx] = [0, 0, 0]
    if (leaf === 0x8000_0008) eax = (((eax & 0xffff) | (guestWidth << 16)) & 0xff_ffff) >>> 0
    out.push({ function: leaf, index, flags: isIndexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0, eax, ebx, ecx, edx })
  }
  const range = (first: number): void => {
    const last = cpuid(first, 0)[0] >>> 0
    for (let leaf = first; leaf <= last; leaf++) {
      const subleaves = indexes(cpuid, leaf)
      if (subleaves === undefined) add(leaf, 0, false)
      else for (const index of subleaves) add(leaf, index, true)
    }
  }
  range(0)
  range(0x8000_0000)
  // "KVMKVMKVM", and what there is of its paravirtual features.
  out.push({
    function: 0x4000_0000,
    index: 0,
    flags: 0,
    eax: 0x4000_0001,
    ebx: 0x4b4d_564b,
    ecx: 0x564b_4d56,
    edx: 0x4d,
  })
  out.push({ function: 0x4000_0001, index: 0, flags: 0, eax: KVM_FEATURES, ebx: 0, ecx: 0, edx: 0 })
  return out
}
