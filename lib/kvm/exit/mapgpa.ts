/** TDG.VP.VMCALL<MapGPA>: KVM_EXIT_HYPERCALL with KVM_HC_MAP_GPA_RANGE, 2 MiB at a time. */
import {
  KVM_EXIT_HYPERCALL,
  KVM_EXIT_HYPERCALL_LONG_MODE,
  KVM_HC_MAP_GPA_RANGE,
  KVM_MAP_GPA_RANGE_DECRYPTED,
  KVM_MAP_GPA_RANGE_ENCRYPTED,
  kvm_run_hypercall,
  TDVMCALL_STATUS_ALIGN_ERROR,
  TDVMCALL_STATUS_INVALID_OPERAND,
  TDVMCALL_STATUS_RETRY,
  TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED,
} from '#abi'
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'

const CHUNK = 2n * 1024n * 1024n
const EAGAIN = 11n
const EINVAL = 22n
const U64 = 0xffff_ffff_ffff_ffffn

/** R10 says what is wrong, R11 the GPA to go on from. */
const answer = (vcpu: Vcpu, status: bigint, gpa: bigint): boolean => {
  vcpu.args.r10 = status
  vcpu.args.r11 = gpa
  return true
}

const ask = (vcpu: Vcpu): boolean => {
  const gpa = vcpu.mapGpaNext
  const left = vcpu.mapGpaEnd - gpa
  const isPrivate = (gpa & vcpu.sharedBit) === 0n
  vcpu.exitReason = KVM_EXIT_HYPERCALL
  kvm_run_hypercall.write(vcpu.view, vcpu.exit, {
    nr: BigInt(KVM_HC_MAP_GPA_RANGE),
    args: [
      gpa & ~vcpu.sharedBit,
      (left < CHUNK ? left : CHUNK) / 4096n,
      isPrivate ? KVM_MAP_GPA_RANGE_ENCRYPTED : KVM_MAP_GPA_RANGE_DECRYPTED,
    ],
    ret: 0n,
    flags: KVM_EXIT_HYPERCALL_LONG_MODE,
  })
  vcpu.complete = complete
  return false
}

const complete = (vcpu: Vcpu): boolean => {
  const ret = kvm_run_hypercall.get(vcpu.view, vcpu.exit, 'ret')
  if (ret === EAGAIN) return answer(vcpu, TDVMCALL_STATUS_RETRY, vcpu.mapGpaNext)
  if (ret === EINVAL) return answer(vcpu, TDVMCALL_STATUS_INVALID_OPERAND, vcpu.mapGpaNext)
  if (ret !== 0n) {
    throw new Errno(
      'EINVAL',
      `KVM_RUN: hypercall.ret ${ret} answers MapGPA; want 0, EAGAIN (${EAGAIN}) or EINVAL (${EINVAL})`,
    )
  }
  vcpu.mapGpaNext += CHUNK
  if (vcpu.mapGpaNext >= vcpu.mapGpaEnd) return true
  // A pending event is looked at between chunks.
  if (vcpu.hasEvents) return answer(vcpu, TDVMCALL_STATUS_RETRY, vcpu.mapGpaNext)
  return ask(vcpu)
}

/** R12 start GPA (shared bit set: make shared), R13 bytes. */
export const handleMapGpa = (vcpu: Vcpu): boolean => {
  const { r12: gpa, r13: size } = vcpu.args
  if (((vcpu.vm.exitHypercalls >> BigInt(KVM_HC_MAP_GPA_RANGE)) & 1n) === 0n) {
    return answer(vcpu, TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED, gpa)
  }
  const end = (gpa + size) & U64
  const last = (end - 1n) & U64
  const isLegal = (at: bigint): boolean => at >> BigInt(vcpu.vm.td.gpaWidth) === 0n
  const isSame = (gpa & vcpu.sharedBit) === (last & vcpu.sharedBit)
  if (end <= gpa || !isLegal(gpa) || !isLegal(last) || !isSame) {
    return answer(vcpu, TDVMCALL_STATUS_INVALID_OPERAND, gpa)
  }
  if (((gpa | size) & 0xfffn) !== 0n) return answer(vcpu, TDVMCALL_STATUS_ALIGN_ERROR, gpa)
  vcpu.mapGpaEnd = end
  vcpu.mapGpaNext = gpa
  return ask(vcpu)
}
