/** Error numbers that system calls give back negated. Linux, include/uapi/asm-generic/errno-base.h. */
export const ERRNO = {
  EPERM: 1,
  ESRCH: 3,
  EBADF: 9,
  ENOMEM: 12,
  EFAULT: 14,
  EEXIST: 17,
  EINVAL: 22,
  ENOSYS: 38,
  ENODEV: 19,
} as const
export type ErrnoName = keyof typeof ERRNO

/** What a system call returns for an error: the number negated, as 64 bits. */
export const failed = (name: ErrnoName): bigint => BigInt.asUintN(64, BigInt(-ERRNO[name]))
