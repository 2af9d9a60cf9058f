/** TDG.VP.VMCALL<#VE.RequestMMIO>: KVM_EXIT_MMIO. */

import { KVM_EXIT_MMIO, kvm_run_mmio, TDVMCALL_STATUS_INVALID_OPERAND } from '#abi'
import { readUint, type Size } from '#bits'
import type { Vcpu } from '../vcpu.ts'
import { completeNothing } from './io.ts'

const { offset } = kvm_run_mmio

/** The guest's read: the result is in R11, zero-extended. */
const completeRead = (vcpu: Vcpu): boolean => {
  const size = vcpu.view.getUint32(vcpu.exit + offset.len, true)
  vcpu.args.r11 = readUint(vcpu.view, vcpu.exit + offset.data, size as Size)
  return true
}

/** R12 size, R13 direction, R14 GPA with the shared bit, R15 data. True: answered here. */
export const handleMmio = (vcpu: Vcpu): boolean => {
  const { args, view, exit } = vcpu
  const { r12: size, r13: direction, r14: gpa } = args
  const sharedBit = vcpu.sharedBit
  const isShared = (gpa & sharedBit) !== 0n && ((gpa + size - 1n) & sharedBit) !== 0n
  if ((size !== 1n && size !== 2n && size !== 4n && size !== 8n) || direction > 1n || !isShared) {
    args.r10 = TDVMCALL_STATUS_INVALID_OPERAND
    return true
  }
  const isWrite = direction === 1n
  if (isWrite && vcpu.vm.takesWrite(false, gpa & ~sharedBit, Number(size), args.r15)) return true
  vcpu.exitReason = KVM_EXIT_MMIO
  view.setBigUint64(exit + offset.phys_addr, gpa & ~sharedBit, true)
  view.setBigUint64(exit + offset.data, isWrite ? BigInt.asUintN(Number(size) * 8, args.r15) : 0n, true)
  view.setUint32(exit + offset.len, Number(size), true)
  view.setUint8(exit + offset.is_write, isWrite ? 1 : 0)
  vcpu.complete = isWrite ? completeNothing : completeRead
  return false
}
