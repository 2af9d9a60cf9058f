/** KVM_TDX_FINALIZE_VM: the measurement is closed and the TD may run. Linux arch/x86/kvm/vmx/tdx.c, tdx_td_finalize. */
import { Errno } from '../errno.ts'
import type { Vm } from '../vm.ts'

/** EINVAL: not initialized, or finalized already; EBUSY; EIO with hw_error: the module refuses, and the VM is dead. */
export const finalizeVm = (vm: Vm): void => {
  if (vm.td.state !== 'initialized') {
    throw new Errno('EINVAL', `KVM_TDX_FINALIZE_VM: the TD is ${vm.td.state}; want initialized and not yet finalized`)
  }
  vm.td.finalize()
}
