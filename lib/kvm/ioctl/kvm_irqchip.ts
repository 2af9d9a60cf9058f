/** KVM_CREATE_IRQCHIP, KVM_GET_IRQCHIP and KVM_SET_IRQCHIP: an ordinary VM's interrupt controllers in the kernel. */
import { KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip } from '#abi'
import { hva } from '#bits'
import { Errno } from '../errno.ts'
import { Irqchip } from '../ordinary/irqchip.ts'
import { defaultRoutes } from '../route.ts'
import type { Vm } from '../vm.ts'

/** Both PICs and the I/O APIC, and a local APIC for each vCPU. EEXIST: there is an irqchip; EINVAL: there are vCPUs. */
export const createIrqchip = (vm: Vm): number => {
  if (vm.irqchip !== 'none') throw new Errno('EEXIST', 'KVM_CREATE_IRQCHIP: the VM has its irqchip')
  if (vm.vcpus.size > 0) throw new Errno('EINVAL', 'KVM_CREATE_IRQCHIP: the VM has vCPUs already')
  vm.irqchip = 'kernel'
  vm.chips = new Irqchip(vm)
  vm.routes = defaultRoutes()
  return 0
}

const chipsOf = (vm: Vm, name: string): Irqchip => {
  if (vm.chips === undefined) throw new Errno('ENXIO', `${name}: the VM has no PIC and I/O APIC in the kernel`)
  return vm.chips
}

const unknown = (name: string, id: number): Errno => new Errno('EINVAL', `${name}: chip ${id}; want 0, 1 or 2`)

/** ENXIO: no irqchip in the kernel; EINVAL: no such chip. */
export const getIrqchip = (vm: Vm, arg: bigint): number => {
  const { space } = vm.host
  const { pic, ioapic } = chipsOf(vm, 'KVM_GET_IRQCHIP')
  const { chip_id } = space.get(kvm_irqchip, hva(arg))
  const chip = new Uint8Array(512)
  if (chip_id === KVM_IRQCHIP_IOAPIC) chip.set(ioapic.save())
  else if (chip_id === KVM_IRQCHIP_PIC_MASTER || chip_id === KVM_IRQCHIP_PIC_SLAVE)
    chip.set(pic.save(chip_id === KVM_IRQCHIP_PIC_MASTER))
  else throw unknown('KVM_GET_IRQCHIP', chip_id)
  space.set(kvm_irqchip, hva(arg), { chip })
  return 0
}

/** The same. */
export const setIrqchip = (vm: Vm, arg: bigint): number => {
  const { pic, ioapic } = chipsOf(vm, 'KVM_SET_IRQCHIP')
  const { chip_id, chip } = vm.host.space.get(kvm_irqchip, hva(arg))
  if (chip_id === KVM_IRQCHIP_IOAPIC) ioapic.load(chip)
  else if (chip_id === KVM_IRQCHIP_PIC_MASTER || chip_id === KVM_IRQCHIP_PIC_SLAVE)
    pic.load(chip_id === KVM_IRQCHIP_PIC_MASTER, chip)
  else throw unknown('KVM_SET_IRQCHIP', chip_id)
  return 0
}
