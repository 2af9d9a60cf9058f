/** The system calls a computing program makes. Linux, arch/x86/entry/syscalls/syscall_64.tbl and each call's manual page. */
import { IA32_FS_BASE, IA32_GS_BASE } from '#abi'
import { failed } from './errno.ts'
import type { Process } from './process.ts'
import { type Protection, pageDown, pageUp, SPACE_END } from './space.ts'

/** What a program reaches of the world. */
export type World = {
  /** Takes all of it: the program's own output. */
  write(fd: 1 | 2, bytes: Uint8Array): void
}

/** How a system call ends: with RAX, or with the program. */
type Result = bigint | { readonly exit: number }
type Call = (process: Process, world: World, args: readonly bigint[]) => Result

/** A program's time: one nanosecond a tick of the TSC, from an arbitrary start that is the same in every run. */
const EPOCH = 1_000_000_000n
/** The most one write hands over. Linux, MAX_RW_COUNT. */
const MOST = 0x7fff_f000n
const CHUNK = 1 << 16

const int32 = (value: bigint): number => Number(BigInt.asIntN(32, value))

/** Writes what can be read of the bytes; EFAULT where nothing can. */
const output = (process: Process, world: World, fd: 1 | 2, at: bigint, length: bigint): bigint => {
  const wanted = length > MOST ? MOST : length
  let done = 0n
  while (done < wanted) {
    const left = wanted - done
    const place = at + done
    // Up to the end of a page at a time, so that what lies before a page that is not there is written.
    const room = BigInt(CHUNK) - (place & BigInt(CHUNK - 1))
    let size = Number(left < room ? left : room)
    let bytes = process.space.read(place, size)
    if (bytes === undefined) {
      size = Math.min(size, 4096 - Number(place & 0xfffn))
      bytes = process.space.read(place, size)
    }
    if (bytes === undefined) return done === 0n ? failed('EFAULT') : done
    world.write(fd, bytes)
    done += BigInt(size)
  }
  return done
}

const isOutput = (fd: number): fd is 1 | 2 => fd === 1 || fd === 2

const write: Call = (process, world, [fd = 0n, at = 0n, length = 0n]) => {
  const file = int32(fd)
  return isOutput(file) ? output(process, world, file, at, length) : failed('EBADF')
}

const writev: Call = (process, world, [fd = 0n, at = 0n, count = 0n]) => {
  const file = int32(fd)
  if (!isOutput(file)) return failed('EBADF')
  if (count > 1024n) return failed('EINVAL')
  const vector = process.space.read(at, Number(count) * 16)
  if (vector === undefined) return failed('EFAULT')
  const view = new DataView(vector.buffer)
  let done = 0n
  for (let n = 0; n < vector.length; n += 16) {
    const [base, length] = [view.getBigUint64(n, true), view.getBigUint64(n + 8, true)]
    const written = output(process, world, file, base, length)
    if (BigInt.asIntN(64, written) < 0n) return done === 0n ? written : done
    done += written
    if (written < length) break
  }
  return done
}

/** Standard input is empty. */
const read: Call = (_process, _world, [fd = 0n]) => (int32(fd) === 0 ? 0n : failed('EBADF'))

const exit: Call = (_process, _world, [status = 0n]) => ({ exit: int32(status) & 0xff })

const CLOCKS = [0, 1, 2, 3, 4, 5, 6, 7, 11]
const clockGettime: Call = (process, _world, [clock = 0n, at = 0n]) => {
  if (!CLOCKS.includes(int32(clock))) return failed('EINVAL')
  const now = EPOCH + process.cpu.tsc
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, now / 1_000_000_000n, true)
  view.setBigUint64(8, now % 1_000_000_000n, true)
  return process.space.write(at, bytes) ? 0n : failed('EFAULT')
}

/** The break moves where there is room; else it stays, and says where it is. */
const brk: Call = (process, _world, [wanted = 0n]) => {
  const { space, breakStart, breakEnd } = process
  if (wanted < breakStart || wanted > process.breakLimit) return breakEnd
  const [from, to] = [pageUp(breakEnd), pageUp(wanted)]
  if (to > from) space.map({ from, to, read: true, write: true, execute: false })
  else if (to < from) space.unmap(to, from)
  process.breakEnd = wanted
  return wanted
}

const protectionOf = (bits: bigint): Protection => ({
  read: (bits & 1n) !== 0n,
  write: (bits & 2n) !== 0n,
  execute: (bits & 4n) !== 0n,
})
const MAP = { TYPE: 0xfn, FIXED: 0x10n, ANONYMOUS: 0x20n, FIXED_NOREPLACE: 0x10_0000n }
/** The lowest address that may be mapped. Linux, vm.mmap_min_addr. */
const LOWEST = 0x1_0000n

/** Anonymous memory only. Not modelled: mappings of files (ENODEV). */
const mmap: Call = (process, _world, [hint = 0n, length = 0n, protection = 0n, flags = 0n]) => {
  const { space } = process
  const size = pageUp(length)
  if (length === 0n || (flags & MAP.TYPE) === 0n) return failed('EINVAL')
  if (size === 0n || size > SPACE_END) return failed('ENOMEM')
  if ((flags & MAP.ANONYMOUS) === 0n) return failed('ENODEV')
  const fixed = (flags & (MAP.FIXED | MAP.FIXED_NOREPLACE)) !== 0n
  if (fixed && (hint & 0xfffn) !== 0n) return failed('EINVAL')
  let from: bigint | undefined = pageDown(hint)
  const fits = from >= LOWEST && from + size <= SPACE_END
  if (fixed) {
    if (!fits) return failed(from < LOWEST ? 'EPERM' : 'ENOMEM')
    if ((flags & MAP.FIXED_NOREPLACE) !== 0n && !space.isFree(from, from + size)) return failed('EEXIST')
  } else if (!fits || !space.isFree(from, from + size)) from = space.free(size, process.mmapTop)
  if (from === undefined) return failed('ENOMEM')
  space.map({ from, to: from + size, ...protectionOf(protection) })
  return from
}

const range = (at: bigint, length: bigint): { from: bigint; to: bigint } | undefined => {
  const to = at + pageUp(length)
  return (at & 0xfffn) !== 0n || to > SPACE_END ? undefined : { from: at, to }
}

const munmap: Call = (process, _world, [at = 0n, length = 0n]) => {
  const pages = range(at, length)
  if (pages === undefined || length === 0n) return failed('EINVAL')
  process.space.unmap(pages.from, pages.to)
  return 0n
}

const mprotect: Call = (process, _world, [at = 0n, length = 0n, protection = 0n]) => {
  const pages = range(at, length)
  if (pages === undefined) return failed((at & 0xfffn) !== 0n ? 'EINVAL' : 'ENOMEM')
  if (length === 0n) return 0n
  return process.space.protect(pages.from, pages.to, protectionOf(protection)) ? 0n : failed('ENOMEM')
}

const ARCH_SET_GS = 0x1001n
const ARCH_SET_FS = 0x1002n
const ARCH_GET_FS = 0x1003n
const ARCH_GET_GS = 0x1004n
const archPrctl: Call = ({ cpu, space }, _world, [code = 0n, at = 0n]) => {
  const msr = code === ARCH_SET_FS || code === ARCH_GET_FS ? IA32_FS_BASE : IA32_GS_BASE
  switch (code) {
    case ARCH_SET_FS:
    case ARCH_SET_GS:
      if (at >= SPACE_END) return failed('EPERM')
      cpu.msrs.write(cpu, msr, at)
      return 0n
    case ARCH_GET_FS:
    case ARCH_GET_GS: {
      const bytes = new Uint8Array(8)
      new DataView(bytes.buffer).setBigUint64(0, cpu.msrs.read(cpu, msr) ?? 0n, true)
      return space.write(at, bytes) ? 0n : failed('EFAULT')
    }
    default:
      return failed('EINVAL')
  }
}

/** The one process, the one thread, and its user. */
const ID = 1000n
const identity: Call = () => ID

/** Number → name and meaning. Not modelled: every other system call of Linux (ENOSYS), signals among them. */
export const CALLS: Readonly<Record<number, readonly [name: string, call: Call]>> = {
  0: ['read', read],
  1: ['write', write],
  9: ['mmap', mmap],
  10: ['mprotect', mprotect],
  11: ['munmap', munmap],
  12: ['brk', brk],
  20: ['writev', writev],
  24: ['sched_yield', () => 0n],
  39: ['getpid', identity],
  60: ['exit', exit],
  102: ['getuid', identity],
  104: ['getgid', identity],
  107: ['geteuid', identity],
  108: ['getegid', identity],
  158: ['arch_prctl', archPrctl],
  186: ['gettid', identity],
  218: ['set_tid_address', identity],
  228: ['clock_gettime', clockGettime],
  231: ['exit_group', exit],
}

/** What the program asks for: RAX, or how it ends. */
export const systemCall = (process: Process, world: World): Result => {
  const { gpr } = process.cpu
  const call = CALLS[Number(gpr[0]! & 0xffff_ffffn)]
  if (call === undefined) return failed('ENOSYS')
  return call[1](process, world, [gpr[7]!, gpr[6]!, gpr[2]!, gpr[10]!, gpr[8]!, gpr[9]!])
}

/** The name of the system call in RAX. */
export const nameOfCall = (process: Process): string => {
  const number = Number(process.cpu.gpr[0]! & 0xffff_ffffn)
  return CALLS[number]?.[0] ?? `system call ${number}`
}
