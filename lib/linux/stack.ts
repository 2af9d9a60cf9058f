/** The stack a process starts with. System V ABI, AMD64 Supplement, "Initial Stack and Register State". */
import type { AddressSpace } from './space.ts'

/** Auxiliary vector tags. Linux, include/uapi/linux/auxvec.h. */
const AT = {
  NULL: 0n,
  PHDR: 3n,
  PHENT: 4n,
  PHNUM: 5n,
  PAGESZ: 6n,
  BASE: 7n,
  FLAGS: 8n,
  ENTRY: 9n,
  UID: 11n,
  EUID: 12n,
  GID: 13n,
  EGID: 14n,
  PLATFORM: 15n,
  HWCAP: 16n,
  CLKTCK: 17n,
  SECURE: 23n,
  RANDOM: 25n,
  EXECFN: 31n,
} as const

export type Start = {
  readonly name: string
  readonly args: readonly string[]
  readonly environment: readonly string[]
  readonly entry: bigint
  /** Where the program headers are in memory, 0 where no segment holds them. */
  readonly headers: { readonly at: bigint; readonly count: number; readonly size: number }
  /** EDX of CPUID leaf 1. */
  readonly hwcap: number
  /** 16 bytes for the C library's canary. */
  readonly random: Uint8Array
}

/** Writes strings, auxiliary vector, environment, arguments below `top`; the stack pointer, or undefined if it cannot hold them. */
export const buildStack = (space: AddressSpace, top: bigint, start: Start): bigint | undefined => {
  let at = top
  let fits = true
  const put = (bytes: Uint8Array): bigint => {
    at -= BigInt(bytes.length)
    fits &&= space.write(at, bytes)
    return at
  }
  const text = (string: string) => put(new TextEncoder().encode(`${string}\0`))
  put(new Uint8Array(8))
  const name = text(start.name)
  const environment = start.environment.map(text)
  const args = [start.name, ...start.args].map(text)
  const platform = text('x86_64')
  at &= ~0xfn
  const random = put(start.random)
  const auxiliary: bigint[] = [
    ...[AT.HWCAP, BigInt(start.hwcap), AT.PAGESZ, 4096n, AT.CLKTCK, 100n],
    ...[AT.PHDR, start.headers.at, AT.PHENT, BigInt(start.headers.size), AT.PHNUM, BigInt(start.headers.count)],
    ...[AT.BASE, 0n, AT.FLAGS, 0n, AT.ENTRY, start.entry],
    ...[AT.UID, 1000n, AT.EUID, 1000n, AT.GID, 1000n, AT.EGID, 1000n, AT.SECURE, 0n],
    ...[AT.RANDOM, random, AT.EXECFN, name, AT.PLATFORM, platform, AT.NULL, 0n],
  ]
  const words = [BigInt(args.length), ...args, 0n, ...environment, 0n, ...auxiliary]
  // The pointer to argc must be a multiple of 16.
  at = (at - BigInt(words.length * 8)) & ~0xfn
  const bytes = new Uint8Array(words.length * 8)
  const view = new DataView(bytes.buffer)
  for (const [n, word] of words.entries()) view.setBigUint64(n * 8, word, true)
  fits &&= space.write(at, bytes)
  return fits ? at : undefined
}
