/** TDG.VP.VMCALL<#VE.RequestMMIO>: KVM_EXIT_MMIO. */

import { KVM_EXIT_MMIO, kvm_run_mmio, TDVMCALL_STATUS_INVALID_OPERAND } from '#abi'
import { readUint, type Size } from '#bits'
import { WORD } from '#tdx'
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
  const { args, view, exit, sharedHigh, vm } = vcpu
  // In halves: a bigint of each register would cost more than all the rest.
  const { words } = args
  const size = words[WORD.R12]!
  const isSize = (size === 1 || size === 2 || size === 4 || size === 8) && words[WORD.R12 + 1] === 0
  const direction = words[WORD.R13]!
  const isDirection = direction <= 1 && words[WORD.R13 + 1] === 0
  const low = words[WORD.R14]!
  const high = words[WORD.R14 + 1]!
  const lastHigh = low + size > 0x1_0000_0000 ? high + 1 : high
  if (!isSize || !isDirection || (high & lastHigh & sharedHigh) === 0) {
    args.r10 = TDVMCALL_STATUS_INVALID_OPERAND
    return true
  }
  const isWrite = direction === 1
  if (isWrite && !vm.bus.isEmpty && vm.takesWrite(false, args.r14 & ~vcpu.sharedBit, size, args.r15)) return true
  vcpu.exitReason = KVM_EXIT_MMIO
  view.setUint32(exit + offset.phys_addr, low, true)
  view.setUint32(exit + offset.phys_addr + 4, high & ~sharedHigh, true)
  const shown = size === 1 ? 0xff : size === 2 ? 0xffff : -1
  view.setUint32(exit + offset.data, isWrite ? words[WORD.R15]! & shown : 0, true)
  view.setUint32(exit + offset.data + 4, isWrite && size === 8 ? words[WORD.R15 + 1]! : 0, true)
  view.setUint32(exit + offset.len, size, true)
  view.setUint8(exit + offset.is_write, direction)
  vcpu.complete = isWrite ? completeNothing : completeRead
  return false
}
