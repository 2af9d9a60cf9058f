/** KVM_SET_TSC_KHZ and KVM_GET_TSC_KHZ: a VM's frequency is what INIT_VM gives the TDX module; a TD vCPU's cannot be changed. */
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'
import type { Vm } from '../vm.ts'

/** The most a processor can scale to: Linux keeps it in 31 bits. */
const MAX_KHZ = 0x7fff_ffffn

/** 0 means the host's own frequency. EINVAL: too fast, or vCPUs exist. */
export const setVmTscKhz = (vm: Vm, arg: bigint): number => {
  if (arg >= MAX_KHZ) throw new Errno('EINVAL', `KVM_SET_TSC_KHZ: ${arg} kHz is not below ${MAX_KHZ}`)
  if (vm.vcpus.size > 0) throw new Errno('EINVAL', 'KVM_SET_TSC_KHZ: the VM has vCPUs; set it before the first')
  vm.tscKhz = arg === 0n ? vm.host.platform.tscFrequency * 25_000 : Number(arg)
  return 0
}

export const getVmTscKhz = (vm: Vm): number => vm.tscKhz

/** An ordinary vCPU counts as its VM does: EINVAL for another frequency. */
export const setVcpuTscKhz = (vcpu: Vcpu, arg: bigint): number => {
  if (!vcpu.vm.isTd && (arg === 0n || Number(arg) === vcpu.vm.tscKhz)) return 0
  throw new Errno('EINVAL', "KVM_SET_TSC_KHZ: a TD's TSC is the TDX module's; set the VM's frequency before INIT_VM")
}

export const getVcpuTscKhz = (vcpu: Vcpu): number => vcpu.vm.tscKhz
