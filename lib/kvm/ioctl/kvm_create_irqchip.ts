/** KVM_CREATE_IRQCHIP: an ordinary VM's interrupt controllers in the kernel. */
import { Errno } from '../errno.ts'
import type { Vm } from '../vm.ts'

/**
 * EEXIST: there is an irqchip; EINVAL: there are vCPUs.
 * Not modelled: the PIC, the I/O APIC and the PIT behind it; each vCPU has its local APIC.
 */
export const createIrqchip = (vm: Vm): number => {
  if (vm.irqchip !== 'none') throw new Errno('EEXIST', 'KVM_CREATE_IRQCHIP: the VM has its irqchip')
  if (vm.vcpus.size > 0) throw new Errno('EINVAL', 'KVM_CREATE_IRQCHIP: the VM has vCPUs already')
  vm.irqchip = 'kernel'
  return 0
}
