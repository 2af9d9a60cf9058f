/** How an ioctl or a memory access of the host process fails: the errno KVM gives, and why in words, which KVM does not say. */

const NUMBERS = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOTTY: 25,
  ENOSPC: 28,
  EOPNOTSUPP: 95,
} as const

/** Linux's name of an error. */
export type ErrnoName = keyof typeof NUMBERS

/** An ioctl or system call of the host process fails. `number` is positive, as in errno(3). */
export class Errno extends Error {
  override readonly name = 'Errno'
  readonly code: ErrnoName
  readonly number: number
  /** Names the thing, the value and what would have been right. */
  readonly why: string
  /** The SEAMCALL's completion status, where one is behind the error. */
  readonly hwError: bigint | undefined

  constructor(code: ErrnoName, why: string, hwError?: bigint) {
    super(`${why} (${code})`)
    this.code = code
    this.number = NUMBERS[code]
    this.why = why
    this.hwError = hwError
  }
}
