/** KVM hypercalls: of a TD TDG.VP.VMCALL with R10 not 0, of an ordinary VM VMCALL. Linux arch/x86/kvm/x86.c, ____kvm_emulate_hypercall. */
import { KVM_EXIT_HYPERCALL, KVM_EXIT_HYPERCALL_LONG_MODE, KVM_HC_MAP_GPA_RANGE, kvm_run_hypercall } from '#abi'
import type { Vcpu } from '../vcpu.ts'

const KVM_ENOSYS = 1000n
const KVM_EINVAL = 22n
/** A Linux error as the guest's R10. */
const negative = (errno: bigint): bigint => BigInt.asUintN(64, -errno)

const KVM_HC_VAPIC_POLL_IRQ = 1n

/**
 * A hypercall from wherever the guest has its registers: number, arguments, and what takes the result.
 * Not modelled: the paravirtual hypercalls that need another vCPU or a clock (kick, yield, send IPI, clock pairing): -KVM_ENOSYS, as a KVM
 * that does not offer them in CPUID answers.
 */
export const hypercall = (
  vcpu: Vcpu,
  nr: bigint,
  [gpa = 0n, pages = 0n, attributes = 0n]: readonly bigint[],
  result: (value: bigint) => void,
): boolean => {
  vcpu.counts.hypercalls++
  if (nr === KVM_HC_VAPIC_POLL_IRQ) {
    result(0n)
    return true
  }
  const isMapGpa = nr === BigInt(KVM_HC_MAP_GPA_RANGE)
  if (!isMapGpa || ((vcpu.vm.exitHypercalls >> BigInt(KVM_HC_MAP_GPA_RANGE)) & 1n) === 0n) {
    result(negative(KVM_ENOSYS))
    return true
  }
  if ((gpa & 0xfffn) !== 0n || pages === 0n || BigInt.asUintN(64, gpa + pages * 4096n) <= gpa) {
    result(negative(KVM_EINVAL))
    return true
  }
  vcpu.exitReason = KVM_EXIT_HYPERCALL
  kvm_run_hypercall.write(vcpu.view, vcpu.exit, {
    nr: BigInt(KVM_HC_MAP_GPA_RANGE),
    args: [gpa, pages, attributes],
    ret: 0n,
    flags: KVM_EXIT_HYPERCALL_LONG_MODE,
  })
  vcpu.complete = () => {
    result(kvm_run_hypercall.get(vcpu.view, vcpu.exit, 'ret'))
    return true
  }
  return false
}

/** A TD's: R10 number, R11 to R14 arguments; the result is in R10. */
export const handleHypercall = (vcpu: Vcpu): boolean => {
  const { args } = vcpu
  return hypercall(vcpu, args.r10, [args.r11, args.r12, args.r13, args.r14], value => {
    args.r10 = value
  })
}
