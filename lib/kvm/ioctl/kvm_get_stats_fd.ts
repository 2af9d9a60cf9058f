/** KVM_GET_STATS_FD: a descriptor of statistics, to be read with pread(2). Linux virt/kvm/kvm_main.c, kvm_vm_ioctl_get_stats_fd. */
import { KVM_MP_STATE_HALTED } from '#abi'
import { counted, StatsFile, state } from '../stats.ts'
import type { Vcpu } from '../vcpu.ts'
import type { Vm } from '../vm.ts'

/** The one process of this host. */
const NAME = 'kvm-1'

export const getVmStats = (vm: Vm): number =>
  vm.host.descriptors.open(new StatsFile(vm, NAME, counted(vm.counts, ['remote_tlb_flush'])))

export const getVcpuStats = (vcpu: Vcpu): number => {
  const { counts } = vcpu
  return vcpu.vm.host.descriptors.open(
    new StatsFile(vcpu, `${NAME}/vcpu-${vcpu.id}`, [
      ...counted(counts, ['exits', 'io_exits', 'mmio_exits', 'signal_exits', 'halt_exits', 'hypercalls']),
      state('blocking', () => vcpu.mpState === KVM_MP_STATE_HALTED),
    ]),
  )
}
