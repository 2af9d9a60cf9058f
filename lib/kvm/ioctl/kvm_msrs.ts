/** KVM_GET_MSRS and KVM_SET_MSRS: the host's view of a guest's MSRs; of a TD, those that KVM emulates. */

import { kvm_msr_entry, kvm_msrs } from '#abi'
import { hva } from '#bits'
import { Errno } from '../errno.ts'
import { readMsr, writeMsr } from '../ordinary/msr.ts'
import type { Vcpu } from '../vcpu.ts'

/** One more than the most entries of a call. Linux arch/x86/kvm/x86.c, MAX_IO_MSRS. */
const MAX_MSRS = 256

const entries = (vcpu: Vcpu, name: string, arg: bigint): { at: bigint; count: number } => {
  const { nmsrs } = vcpu.vm.host.space.get(kvm_msrs, hva(arg))
  if (nmsrs >= MAX_MSRS) throw new Errno('E2BIG', `${name}: ${nmsrs} entries; want fewer than ${MAX_MSRS}`)
  return { at: arg + BigInt(kvm_msrs.size), count: nmsrs }
}

/** How many were read before the first that KVM does not have. */
export const getMsrs = (vcpu: Vcpu, arg: bigint): number => {
  const { space } = vcpu.vm.host
  const { at, count } = entries(vcpu, 'KVM_GET_MSRS', arg)
  for (let i = 0; i < count; i++) {
    const entry = hva(at + BigInt(i * kvm_msr_entry.size))
    const { index } = space.get(kvm_msr_entry, entry)
    const { ordinary } = vcpu
    const value = ordinary === undefined ? vcpu.msrs.get(index, true) : readMsr(vcpu, ordinary, index, true)
    if (value === undefined) return i
    space.set(kvm_msr_entry, entry, { data: value })
  }
  return count
}

/** How many were written before the first that KVM refuses. */
export const setMsrs = (vcpu: Vcpu, arg: bigint): number => {
  const { space } = vcpu.vm.host
  const { at, count } = entries(vcpu, 'KVM_SET_MSRS', arg)
  for (let i = 0; i < count; i++) {
    const { index, data } = space.get(kvm_msr_entry, hva(at + BigInt(i * kvm_msr_entry.size)))
    const { ordinary } = vcpu
    const isSet =
      ordinary === undefined ? vcpu.msrs.set(index, data, true) : writeMsr(vcpu, ordinary, index, data, true)
    if (!isSet) return i
  }
  return count
}
