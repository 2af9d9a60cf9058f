/** The first registers of an ordinary VM's vCPU, as the KVM selftests' library sets them (lib/x86/processor.c, vcpu_init_sregs). */
import {
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  KERNEL_CS,
  KERNEL_DS,
  KERNEL_TSS,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_SET_MP_STATE,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_XCRS,
  kvm_dtable,
  kvm_mp_state,
  kvm_regs,
  kvm_segment,
  kvm_sregs,
  kvm_xcr,
  kvm_xcrs,
  XCR0_AVX,
  XCR0_SSE,
  XCR0_X87,
} from '#abi'
import type { Gva } from '#bits'
import type { BootParameters } from '#guest'
import { call } from './ioctl.ts'
import type { Machine } from './machine.ts'

const FLAT = { base: 0n, limit: 0xffff_ffff, present: 1, s: 1, g: 1 }
const data = kvm_segment.encode({ ...FLAT, selector: KERNEL_DS, type: 3 })

/** 64-bit mode at the guest's entry, with what boot code would have loaded into a TD, and the vCPU's number in RSI as there. */
export const startOrdinary = (
  { host, scratch }: Machine,
  fd: number,
  boot: BootParameters,
  { index, entry, stack }: { readonly index: number; readonly entry: Gva; readonly stack: Gva },
): void => {
  const machine = { host, scratch } as Machine
  host.ioctl(fd, KVM_GET_SREGS, scratch)
  host.set(kvm_sregs, scratch, {
    cs: kvm_segment.encode({ ...FLAT, selector: KERNEL_CS, type: 11, l: 1 }),
    ds: data,
    es: data,
    gs: data,
    tr: kvm_segment.encode({ ...FLAT, s: 0, g: 0, limit: 0x67, selector: KERNEL_TSS, type: 11 }),
    ldt: kvm_segment.encode({ unusable: 1 }),
    gdt: kvm_dtable.encode(boot.gdt),
    idt: kvm_dtable.encode(boot.idt),
    cr0: boot.cr0,
    cr3: boot.cr3,
    cr4: boot.cr4,
    efer: EFER_LME | EFER_LMA | EFER_NXE,
  })
  host.ioctl(fd, KVM_SET_SREGS, scratch)
  const xcrs = new Uint8Array(256)
  xcrs.set(kvm_xcr.encode({ xcr: 0, value: XCR0_X87 | XCR0_SSE | XCR0_AVX }))
  call(machine, fd, KVM_SET_XCRS, kvm_xcrs, { nr_xcrs: 1, xcrs })
  host.ioctl(fd, KVM_GET_REGS, scratch)
  host.set(kvm_regs, scratch, { rip: entry, rsp: stack, rsi: BigInt(index), rflags: 2n })
  host.ioctl(fd, KVM_SET_REGS, scratch)
  call(machine, fd, KVM_SET_MP_STATE, kvm_mp_state, { mp_state: 0 })
}
