/**
 * ucall: how a guest reports to the host that runs it. Commands, structure and pool are those of the KVM selftests
 * (tools/testing/selftests/kvm/include/ucall_common.h, lib/ucall_common.c); the TD transports are those of the series
 * "TDX KVM selftests" v13 (lib/x86/ucall.c, lib/x86/tdx/).
 */
import { bytes, struct, u64, u64s } from '#bits'

export const UCALL_NONE = 0
export const UCALL_SYNC = 1
export const UCALL_ABORT = 2
export const UCALL_PRINTF = 3
export const UCALL_DONE = 4
export const UCALL_UNHANDLED = 5

export const UCALL_NAMES = [
  'UCALL_NONE',
  'UCALL_SYNC',
  'UCALL_ABORT',
  'UCALL_PRINTF',
  'UCALL_DONE',
  'UCALL_UNHANDLED',
] as const
export type UcallName = (typeof UCALL_NAMES)[number]

export const UCALL_MAX_ARGS = 7
export const UCALL_BUFFER_LEN = 1024

/** `struct ucall`. `hva` is the structure's own address in the host, put there by whoever sets the pool up. */
export const ucall = struct('ucall', {
  cmd: u64,
  args: u64s(UCALL_MAX_ARGS),
  buffer: bytes(UCALL_BUFFER_LEN),
  hva: u64,
})

/** `KVM_MAX_VCPUS` of the selftests: the most structures a pool holds. */
export const UCALL_POOL_MAX = 512

/** `struct ucall_header` for `capacity` structures: a bitmap of those in use, in whole u64s, then the structures. */
export const ucallPool = (capacity: number): { readonly ucalls: number; readonly size: number } => {
  const ucalls = Math.ceil(capacity / 64) * 8
  return { ucalls, size: ucalls + capacity * ucall.size }
}

/** Payload of a bare ucall (GUEST_UCALL_NONE): there is no structure. */
export const UCALL_PAYLOAD_NONE = 0n
/** Payload of a guest that found no free structure in the pool; the host fails the test. */
export const UCALL_PAYLOAD_NO_MEMORY = 0xffff_ffff_ffff_ffffn

/** GPA (without the shared bit) that a TD's 8-byte MMIO ucall is written to: the HPET, which no memslot covers. */
export const UCALL_MMIO_GPA = 0xfed0_0000n
/** Port of an ordinary x86 VM's ucall: a 1-byte IN with the payload in RDI. */
export const UCALL_PIO_PORT = 0x1000
/** R12 of a ReportFatalError that is a ucall; R13 is the payload. As sean-jc/linux, lib/x86/ucall.c has it. */
export const UCALL_FATAL_MAGIC = 0xa_baca_daban
