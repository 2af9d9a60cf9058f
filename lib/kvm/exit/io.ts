/** TDG.VP.VMCALL<Instruction.IO>: KVM_EXIT_IO. */

import {
  KVM_EXIT_IO,
  KVM_EXIT_IO_IN,
  KVM_EXIT_IO_OUT,
  KVM_PIO_PAGE_OFFSET,
  kvm_run_io,
  TDVMCALL_STATUS_INVALID_OPERAND,
} from '#abi'
import { readUint, type Size, writeUint } from '#bits'
import type { Vcpu } from '../vcpu.ts'

const DATA_OFFSET = BigInt(KVM_PIO_PAGE_OFFSET)
const { offset } = kvm_run_io

/** The guest's IN: the result is in R11, zero-extended. */
const completeIn = (vcpu: Vcpu): boolean => {
  const size = vcpu.view.getUint8(vcpu.exit + offset.size)
  vcpu.args.r11 = readUint(vcpu.view, vcpu.pio, size as Size)
  return true
}

/** R12 size, R13 direction, R14 port, R15 data. True: answered here. */
export const handleIo = (vcpu: Vcpu): boolean => {
  const { args, view, exit } = vcpu
  const { r12: size, r13: direction } = args
  if (direction > 1n || (size !== 1n && size !== 2n && size !== 4n)) {
    args.r10 = TDVMCALL_STATUS_INVALID_OPERAND
    return true
  }
  const isWrite = direction === 1n
  const bytes = Number(size) as Size
  if (isWrite && vcpu.vm.takesWrite(true, args.r14 & 0xffffn, bytes, args.r15)) return true
  if (isWrite) writeUint(view, vcpu.pio, bytes, args.r15)
  vcpu.exitReason = KVM_EXIT_IO
  view.setUint8(exit + offset.direction, isWrite ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN)
  view.setUint8(exit + offset.size, bytes)
  view.setUint16(exit + offset.port, Number(args.r14 & 0xffffn), true)
  view.setUint32(exit + offset.count, 1, true)
  view.setBigUint64(exit + offset.data_offset, DATA_OFFSET, true)
  vcpu.complete = isWrite ? completeNothing : completeIn
  return false
}

/** An exit whose answer carries nothing: R10 stays 0 as the guest passed it. */
export const completeNothing = (): boolean => true
