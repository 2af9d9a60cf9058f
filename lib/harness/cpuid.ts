/** The CPUID a TD is created with: what KVM supports, as far as the TDX module lets it be configured. */
import { kvm_cpuid_entry2 } from '#abi'

const { size, offset } = kvm_cpuid_entry2
const PHYSICAL_ADDRESS_LEAF = 0x8000_0008

/** Entries of kvm_cpuid_entry2, back to back. */
const count = (list: Uint8Array): number => list.length / size

/** Lists that KVM gave: most of a worker's TDs get the same ones. */
const kept: Uint8Array[] = []
const MOST_KEPT = 8

/** A list that stays as it is, of one that may not: the same for the same bytes, while it is remembered. */
export const keptList = (list: Uint8Array): Uint8Array => {
  for (const known of kept) if (Buffer.compare(known, list) === 0) return known
  const copy = list.slice()
  if (kept.length === MOST_KEPT) kept.shift()
  kept.push(copy)
  return copy
}

type Filtered = {
  readonly supported: Uint8Array
  readonly configurable: Uint8Array
  readonly gpaWidth: number
  readonly list: Uint8Array
}
let last: Filtered | undefined

/** `filtered`, of what was not asked the last time. Lists that are asked about stay as they are. */
export const filterCpuid = (supported: Uint8Array, configurable: Uint8Array, gpaWidth: number): Uint8Array => {
  if (last?.gpaWidth !== gpaWidth || last.supported !== supported || last.configurable !== configurable)
    last = { supported, configurable, gpaWidth, list: filtered(supported, configurable, gpaWidth) }
  return last.list
}

/**
 * The supported entries that the module's configurable ones name, masked by them, with the guest physical address width
 * in leaf 0x80000008 EAX[23:16]. As the series "TDX KVM selftests" v13 does, lib/x86/tdx/tdx_util.c.
 */
const filtered = (supported: Uint8Array, configurable: Uint8Array, gpaWidth: number): Uint8Array => {
  const from = new DataView(supported.buffer, supported.byteOffset, supported.length)
  const allowed = new DataView(configurable.buffer, configurable.byteOffset, configurable.length)
  const out = new Uint8Array(supported.length)
  const view = new DataView(out.buffer)
  let length = 0
  for (let i = 0; i < count(supported); i++) {
    const entry = i * size
    const leaf = from.getUint32(entry + offset.function, true)
    const mask = find(allowed, leaf, from.getUint32(entry + offset.index, true))
    if (mask < 0) continue
    out.set(supported.subarray(entry, entry + size), length)
    for (const at of [offset.eax, offset.ebx, offset.ecx, offset.edx])
      view.setUint32(length + at, from.getUint32(entry + at, true) & allowed.getUint32(mask + at, true), true)
    if (leaf === PHYSICAL_ADDRESS_LEAF) view.setUint8(length + offset.eax + 2, gpaWidth)
    length += size
  }
  return out.subarray(0, length)
}

/** Offset of the entry for a leaf and subleaf, or -1. */
const find = (list: DataView, leaf: number, index: number): number => {
  for (let entry = 0; entry < list.byteLength; entry += size) {
    if (list.getUint32(entry + offset.function, true) !== leaf) continue
    if (list.getUint32(entry + offset.index, true) === index) return entry
  }
  return -1
}
