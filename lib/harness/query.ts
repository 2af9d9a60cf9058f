/** MSRs and CPUID of a vCPU as the host has them: KVM_GET_MSRS, KVM_SET_MSRS, KVM_X86_SET_MSR_FILTER, KVM_GET_CPUID2. */
import {
  KVM_GET_CPUID2,
  KVM_GET_MSRS,
  KVM_MAX_CPUID_ENTRIES,
  KVM_MSR_FILTER_DEFAULT_DENY,
  KVM_MSR_FILTER_READ,
  KVM_MSR_FILTER_WRITE,
  KVM_SET_MSRS,
  KVM_X86_SET_MSR_FILTER,
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_msr_entry,
  kvm_msr_filter,
  kvm_msr_filter_range,
  kvm_msrs,
} from '#abi'
import { hva } from '#bits'
import { Misuse } from './failure.ts'
import type { Td } from './td.ts'
import type { Vcpu } from './vcpu.ts'

const list = (index: number, data: bigint): Uint8Array => {
  const bytes = new Uint8Array(kvm_msrs.size + kvm_msr_entry.size)
  bytes.set(kvm_msrs.encode({ nmsrs: 1 }))
  bytes.set(kvm_msr_entry.encode({ index, data }), kvm_msrs.size)
  return bytes
}

/** KVM_GET_MSRS of one MSR. Misuse where KVM does not have it for this vCPU. */
export const readMsr = (vcpu: Vcpu, index: number): bigint => {
  const { result, bytes } = vcpu.callBytes(KVM_GET_MSRS, list(index, 0n))
  if (result !== 1) throw new Misuse(`KVM_GET_MSRS: no MSR 0x${index.toString(16)}`)
  return kvm_msr_entry.get(new DataView(bytes.buffer, bytes.byteOffset), kvm_msrs.size, 'data')
}

/** KVM_SET_MSRS of one MSR. Misuse where KVM refuses it. */
export const writeMsr = (vcpu: Vcpu, index: number, value: bigint): void => {
  const { result } = vcpu.callBytes(KVM_SET_MSRS, list(index, value))
  if (result !== 1) throw new Misuse(`KVM_SET_MSRS: MSR 0x${index.toString(16)} does not take 0x${value.toString(16)}`)
}

const ACCESS = { read: KVM_MSR_FILTER_READ, write: KVM_MSR_FILTER_WRITE } as const

/** KVM_X86_SET_MSR_FILTER that denies every MSR but these, for these accesses. Errno. */
export const allowMsrs = (td: Td, allowed: Readonly<Record<number, readonly (keyof typeof ACCESS)[]>>): void => {
  const { host, scratch } = td.vm.machine
  const bitmap = hva(scratch + BigInt(kvm_msr_filter.size))
  host.write(bitmap, new Uint8Array(8).fill(0xff))
  const ranges = new Uint8Array(16 * kvm_msr_filter_range.size)
  for (const [n, [index, accesses]] of Object.entries(allowed).entries()) {
    const flags = accesses.reduce((all, access) => all | ACCESS[access], 0)
    const range = kvm_msr_filter_range.encode({ flags, nmsrs: 1, base: Number(index), bitmap })
    ranges.set(range, n * kvm_msr_filter_range.size)
  }
  td.call(KVM_X86_SET_MSR_FILTER, kvm_msr_filter, { flags: KVM_MSR_FILTER_DEFAULT_DENY, ranges })
}

/** EAX, EBX, ECX and EDX of a leaf as KVM_GET_CPUID2 has them. Misuse where KVM has no such leaf for the vCPU. */
export const readCpuid = (vcpu: Vcpu, leaf: number, subleaf = 0): Record<'eax' | 'ebx' | 'ecx' | 'edx', bigint> => {
  const room = new Uint8Array(kvm_cpuid2.size + KVM_MAX_CPUID_ENTRIES * kvm_cpuid_entry2.size)
  room.set(kvm_cpuid2.encode({ nent: KVM_MAX_CPUID_ENTRIES }))
  const { bytes } = vcpu.callBytes(KVM_GET_CPUID2, room)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  for (let n = 0; n < kvm_cpuid2.get(view, 0, 'nent'); n++) {
    const entry = kvm_cpuid_entry2.read(view, kvm_cpuid2.size + n * kvm_cpuid_entry2.size)
    if (entry.function !== leaf || entry.index !== subleaf) continue
    const { eax, ebx, ecx, edx } = entry
    return { eax: BigInt(eax), ebx: BigInt(ebx), ecx: BigInt(ecx), edx: BigInt(edx) }
  }
  throw new Misuse(`KVM_GET_CPUID2: no leaf 0x${leaf.toString(16)}, subleaf ${subleaf}`)
}
