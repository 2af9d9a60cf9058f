/** From request number to what the ioctl does: one table for each kind of file. What is named here and not modelled says so. */
import * as abi from '#abi'
import { checkExtension } from './capability.ts'
import { Errno } from './errno.ts'
import type { Host } from './host.ts'
import { ioeventfd, registerCoalesced, unregisterCoalesced } from './ioctl/kvm_bus.ts'
import { getClock, kvmclockCtrl, setClock } from './ioctl/kvm_clock.ts'
import { createGuestMemfd } from './ioctl/kvm_create_guest_memfd.ts'
import { createVcpu, setBootCpuId } from './ioctl/kvm_create_vcpu.ts'
import { createVm } from './ioctl/kvm_create_vm.ts'
import { resetDirtyRings } from './ioctl/kvm_dirty_ring.ts'
import { enableCap } from './ioctl/kvm_enable_cap.ts'
import { clearDirtyLog, getDirtyLog } from './ioctl/kvm_get_dirty_log.ts'
import { getVcpuStats, getVmStats } from './ioctl/kvm_get_stats_fd.ts'
import { getSupportedCpuid } from './ioctl/kvm_get_supported_cpuid.ts'
import { irqfd, irqLine, irqLineStatus, setGsiRouting, signalMsi } from './ioctl/kvm_irq.ts'
import { createIrqchip, getIrqchip, setIrqchip } from './ioctl/kvm_irqchip.ts'
import { encryptVcpu, encryptVm } from './ioctl/kvm_memory_encrypt_op.ts'
import { linkGuestMemfd } from './ioctl/kvm_move.ts'
import { getMpState, setMpState } from './ioctl/kvm_mp_state.ts'
import { getFeatureMsrs, getMsrFeatureIndexList, getMsrIndexList } from './ioctl/kvm_msr_lists.ts'
import { getMsrs, setMsrs } from './ioctl/kvm_msrs.ts'
import { createPit, createPit2, getPit, getPit2, reinjectControl, setPit, setPit2 } from './ioctl/kvm_pit.ts'
import { preFaultMemory } from './ioctl/kvm_pre_fault_memory.ts'
import { getCpuid2, setCpuid2 } from './ioctl/kvm_set_cpuid2.ts'
import { setMemoryAttributes } from './ioctl/kvm_set_memory_attributes.ts'
import { setSignalMask } from './ioctl/kvm_set_signal_mask.ts'
import { getVcpuTscKhz, getVmTscKhz, setVcpuTscKhz, setVmTscKhz } from './ioctl/kvm_set_tsc_khz.ts'
import { setUserMemoryRegion, setUserMemoryRegion2 } from './ioctl/kvm_set_user_memory_region.ts'
import { setMsrFilter } from './ioctl/kvm_x86_set_msr_filter.ts'
import { getProtectedRegs, refuseProtected } from './ioctl/protected.ts'
import { setGuestDebug } from './ordinary/debug.ts'
import { getRegs, getSregs, getSregs2, setRegs, setSregs, setSregs2 } from './ordinary/regs.ts'
import {
  getDebugregs,
  getFpu,
  getLapic,
  getVcpuEvents,
  getXcrs,
  getXsave,
  interrupt,
  setDebugregs,
  setFpu,
  setLapic,
  setVcpuEvents,
  setXcrs,
  setXsave,
  translateAddress,
} from './ordinary/state.ts'
import type { Vcpu } from './vcpu.ts'
import type { Vm } from './vm.ts'

/** Takes the ioctl's argument, returns what it returns (0 or more) or throws Errno. */
export type Handler<T> = (file: T, arg: bigint) => number

/** What a TD is refused that has to do with interrupt controllers in the kernel. */
const noPins =
  (name: string): Handler<Vm> =>
  () => {
    throw new Errno('ENOTTY', `${name}: a TD has no in-kernel I/O APIC; enable KVM_CAP_SPLIT_IRQCHIP`)
  }

const noArgument = (name: string, arg: bigint): void => {
  if (arg !== 0n) throw new Errno('EINVAL', `${name}: argument ${arg}; it takes none`)
}

/** ioctls of /dev/kvm. */
export const SYSTEM: ReadonlyMap<number, Handler<Host>> = new Map<number, Handler<Host>>([
  [
    abi.KVM_GET_API_VERSION,
    (_host, arg) => {
      noArgument('KVM_GET_API_VERSION', arg)
      return abi.KVM_API_VERSION
    },
  ],
  [
    abi.KVM_GET_VCPU_MMAP_SIZE,
    (_host, arg) => {
      noArgument('KVM_GET_VCPU_MMAP_SIZE', arg)
      return abi.KVM_VCPU_MMAP_SIZE
    },
  ],
  [abi.KVM_CHECK_EXTENSION, (host, arg) => checkExtension(host, undefined, Number(arg))],
  [abi.KVM_CREATE_VM, createVm],
  [abi.KVM_GET_SUPPORTED_CPUID, getSupportedCpuid],
  [abi.KVM_GET_MSR_INDEX_LIST, getMsrIndexList],
  [abi.KVM_GET_MSR_FEATURE_INDEX_LIST, getMsrFeatureIndexList],
  [abi.KVM_GET_MSRS, getFeatureMsrs],
])

/** ioctls of any VM. */
const ANY_VM: readonly (readonly [number, Handler<Vm>])[] = [
  [abi.KVM_CHECK_EXTENSION, (vm, arg) => checkExtension(vm.host, vm, Number(arg))],
  [abi.KVM_ENABLE_CAP, enableCap],
  [abi.KVM_CREATE_VCPU, createVcpu],
  [abi.KVM_SET_USER_MEMORY_REGION, setUserMemoryRegion],
  [abi.KVM_SET_USER_MEMORY_REGION2, setUserMemoryRegion2],
  [abi.KVM_CREATE_GUEST_MEMFD, createGuestMemfd],
  [abi.KVM_SET_MEMORY_ATTRIBUTES, setMemoryAttributes],
  [abi.KVM_SET_TSC_KHZ, setVmTscKhz],
  [abi.KVM_GET_TSC_KHZ, getVmTscKhz],
  [abi.KVM_X86_SET_MSR_FILTER, setMsrFilter],
  [abi.KVM_GET_DIRTY_LOG, getDirtyLog],
  [abi.KVM_CLEAR_DIRTY_LOG, clearDirtyLog],
  [abi.KVM_RESET_DIRTY_RINGS, resetDirtyRings],
  [abi.KVM_GET_STATS_FD, getVmStats],
  [abi.KVM_IOEVENTFD, ioeventfd],
  [abi.KVM_REGISTER_COALESCED_MMIO, registerCoalesced],
  [abi.KVM_UNREGISTER_COALESCED_MMIO, unregisterCoalesced],
  [abi.KVM_GET_CLOCK, getClock],
  [abi.KVM_SET_CLOCK, setClock],
  [abi.KVM_SET_BOOT_CPU_ID, setBootCpuId],
  [abi.KVM_SIGNAL_MSI, signalMsi],
  [abi.KVM_SET_GSI_ROUTING, setGsiRouting],
  [abi.KVM_IRQFD, irqfd],
  [abi.KVM_IRQ_LINE, irqLine],
  [abi.KVM_IRQ_LINE_STATUS, irqLineStatus],
  [abi.KVM_GET_IRQCHIP, getIrqchip],
  [abi.KVM_SET_IRQCHIP, setIrqchip],
  [abi.KVM_GET_PIT, getPit],
  [abi.KVM_SET_PIT, setPit],
  [abi.KVM_GET_PIT2, getPit2],
  [abi.KVM_SET_PIT2, setPit2],
  [abi.KVM_REINJECT_CONTROL, reinjectControl],
  // Real-mode support of old processors: accepted and without effect.
  [abi.KVM_SET_TSS_ADDR, () => 0],
  [abi.KVM_SET_IDENTITY_MAP_ADDR, () => 0],
]

/** ioctls of a TD's VM. */
export const VM: ReadonlyMap<number, Handler<Vm>> = new Map<number, Handler<Vm>>([
  ...ANY_VM,
  [abi.KVM_CREATE_IRQCHIP, noPins('KVM_CREATE_IRQCHIP')],
  [abi.KVM_CREATE_PIT, noPins('KVM_CREATE_PIT')],
  [abi.KVM_CREATE_PIT2, noPins('KVM_CREATE_PIT2')],
  [abi.KVM_MEMORY_ENCRYPT_OP, encryptVm],
  [abi.KVM_LINK_GUEST_MEMFD, linkGuestMemfd],
])

/** ioctls of an ordinary VM. */
export const ORDINARY_VM: ReadonlyMap<number, Handler<Vm>> = new Map<number, Handler<Vm>>([
  ...ANY_VM,
  [abi.KVM_CREATE_IRQCHIP, createIrqchip],
  [abi.KVM_CREATE_PIT, createPit],
  [abi.KVM_CREATE_PIT2, createPit2],
  [
    abi.KVM_MEMORY_ENCRYPT_OP,
    () => {
      throw new Errno('ENOTTY', 'KVM_MEMORY_ENCRYPT_OP: an ordinary VM has nothing encrypted')
    },
  ],
])

/**
 * ioctls of any vCPU. KVM_RUN is not here: the host calls it without a look-up.
 * Not modelled: nested state, machine checks, and Xen's and Hyper-V's own on a vCPU.
 */
const ANY_VCPU: readonly (readonly [number, Handler<Vcpu>])[] = [
  [abi.KVM_SET_CPUID2, setCpuid2],
  [abi.KVM_GET_CPUID2, getCpuid2],
  [abi.KVM_GET_MP_STATE, getMpState],
  [abi.KVM_SET_MP_STATE, setMpState],
  [abi.KVM_SET_SIGNAL_MASK, setSignalMask],
  [abi.KVM_GET_STATS_FD, getVcpuStats],
  [abi.KVM_KVMCLOCK_CTRL, kvmclockCtrl],
  [abi.KVM_GET_MSRS, getMsrs],
  [abi.KVM_SET_MSRS, setMsrs],
  [abi.KVM_GET_TSC_KHZ, getVcpuTscKhz],
  [abi.KVM_SET_TSC_KHZ, setVcpuTscKhz],
  [abi.KVM_GET_VCPU_EVENTS, getVcpuEvents],
  [abi.KVM_INTERRUPT, interrupt],
  [
    abi.KVM_NMI,
    vcpu => {
      if (vcpu.ordinary === undefined) vcpu.isNmiPending = true
      else vcpu.ordinary.nmi()
      return 0
    },
  ],
  [
    abi.KVM_SMI,
    () => {
      throw new Errno('ENOTTY', 'KVM_SMI: there is no system management mode (IA32_SMBASE) here')
    },
  ],
]

/** ioctls of an ordinary VM's vCPU. */
export const ORDINARY_VCPU: ReadonlyMap<number, Handler<Vcpu>> = new Map<number, Handler<Vcpu>>([
  ...ANY_VCPU,
  [abi.KVM_GET_REGS, getRegs],
  [abi.KVM_SET_REGS, setRegs],
  [abi.KVM_GET_SREGS, getSregs],
  [abi.KVM_SET_SREGS, setSregs],
  [abi.KVM_GET_SREGS2, getSregs2],
  [abi.KVM_SET_SREGS2, setSregs2],
  [abi.KVM_GET_FPU, getFpu],
  [abi.KVM_SET_FPU, setFpu],
  [abi.KVM_GET_XSAVE, getXsave],
  [abi.KVM_GET_XSAVE2, getXsave],
  [abi.KVM_SET_XSAVE, setXsave],
  [abi.KVM_GET_XCRS, getXcrs],
  [abi.KVM_SET_XCRS, setXcrs],
  [abi.KVM_GET_DEBUGREGS, getDebugregs],
  [abi.KVM_SET_DEBUGREGS, setDebugregs],
  [abi.KVM_SET_VCPU_EVENTS, setVcpuEvents],
  [abi.KVM_GET_LAPIC, getLapic],
  [abi.KVM_SET_LAPIC, setLapic],
  [abi.KVM_PRE_FAULT_MEMORY, preFaultMemory],
  [abi.KVM_TRANSLATE, translateAddress],
  [abi.KVM_SET_GUEST_DEBUG, setGuestDebug],
  [
    abi.KVM_MEMORY_ENCRYPT_OP,
    () => {
      throw new Errno('EINVAL', 'KVM_MEMORY_ENCRYPT_OP: an ordinary VM has nothing encrypted')
    },
  ],
])

/** ioctls of a TD's vCPU. */
export const VCPU: ReadonlyMap<number, Handler<Vcpu>> = new Map<number, Handler<Vcpu>>([
  ...ANY_VCPU,
  [abi.KVM_MEMORY_ENCRYPT_OP, encryptVcpu],
  [abi.KVM_PRE_FAULT_MEMORY, preFaultMemory],
  // Unconfirmed: KVM has nothing to translate with.
  [abi.KVM_TRANSLATE, refuseProtected('KVM_TRANSLATE', 'page tables')],
  [abi.KVM_GET_REGS, getProtectedRegs],
  [abi.KVM_SET_REGS, refuseProtected('KVM_SET_REGS', 'registers')],
  [abi.KVM_GET_SREGS, refuseProtected('KVM_GET_SREGS', 'system registers')],
  [abi.KVM_SET_SREGS, refuseProtected('KVM_SET_SREGS', 'system registers')],
  [abi.KVM_GET_SREGS2, refuseProtected('KVM_GET_SREGS2', 'system registers')],
  [abi.KVM_SET_SREGS2, refuseProtected('KVM_SET_SREGS2', 'system registers')],
  [abi.KVM_GET_DEBUGREGS, refuseProtected('KVM_GET_DEBUGREGS', 'debug registers')],
  [abi.KVM_SET_DEBUGREGS, refuseProtected('KVM_SET_DEBUGREGS', 'debug registers')],
  [abi.KVM_SET_GUEST_DEBUG, refuseProtected('KVM_SET_GUEST_DEBUG', 'debug registers')],
  [abi.KVM_GET_FPU, refuseProtected('KVM_GET_FPU', 'FPU registers')],
  [abi.KVM_SET_FPU, refuseProtected('KVM_SET_FPU', 'FPU registers')],
  [abi.KVM_GET_XSAVE, refuseProtected('KVM_GET_XSAVE', 'extended registers')],
  [abi.KVM_GET_XSAVE2, refuseProtected('KVM_GET_XSAVE2', 'extended registers')],
  [abi.KVM_SET_XSAVE, refuseProtected('KVM_SET_XSAVE', 'extended registers')],
  [abi.KVM_GET_XCRS, refuseProtected('KVM_GET_XCRS', 'extended control registers')],
  [abi.KVM_SET_XCRS, refuseProtected('KVM_SET_XCRS', 'extended control registers')],
  [abi.KVM_GET_LAPIC, refuseProtected('KVM_GET_LAPIC', 'local APIC registers')],
  [abi.KVM_SET_LAPIC, refuseProtected('KVM_SET_LAPIC', 'local APIC registers')],
  // Unconfirmed: only an NMI can be injected into a TD.
  [abi.KVM_SET_VCPU_EVENTS, refuseProtected('KVM_SET_VCPU_EVENTS', 'pending events')],
])
