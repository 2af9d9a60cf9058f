/** Blocks of memory: what C calls memcpy, memset and memcmp, by the string instructions. */
import type { GuestBuilder } from './builder.ts'
import { GuestString } from './says.ts'
import { i32, u64 } from './types.ts'
import { type In, Value } from './value.ts'

const asWord = (g: GuestBuilder, value: In<'u64'>): Value<'u64'> => (value instanceof Value ? value : g.u64(value))

/** Copies `n` bytes; the blocks do not overlap. */
export const memcpy = (g: GuestBuilder, to: In<'u64'>, from: In<'u64'>, n: In<'u64'>): void => {
  g.asm('rep movsb', { in: { rdi: to, rsi: from, rcx: n }, clobbers: ['rdi', 'rsi', 'rcx'] })
}

/** Sets `n` bytes. */
export const memset = (g: GuestBuilder, to: In<'u64'>, byte: In<'u8'>, n: In<'u64'>): void => {
  const value = byte instanceof Value ? byte.as(u64) : byte
  g.asm('rep stosb', { in: { rdi: to, rax: value, rcx: n }, clobbers: ['rdi', 'rcx'] })
}

/** The difference of the first two bytes that differ, 0 where none do. */
export const memcmp = (g: GuestBuilder, a: In<'u64'>, b: In<'u64'>, n: In<'u64'>): Value<'i32'> => {
  const text = `
    xor eax, eax
    xor edx, edx
    test rcx, rcx
    jz same
    repe cmpsb
    movzx eax, byte ptr [rsi - 1]
    movzx edx, byte ptr [rdi - 1]
  same:
    sub eax, edx`
  const ins = { rsi: a, rdi: b, rcx: n }
  return g.asm(text, { in: ins, out: ['rax'], clobbers: ['rdx', 'rsi', 'rdi', 'rcx'] }).rax.as(i32)
}

/** A string for `%s`: the NUL-terminated bytes at `at`, at most `max` of them. All `max` bytes have to be readable. */
export const stringAt = (g: GuestBuilder, at: In<'u64'>, max: number): GuestString => {
  const words = Math.ceil(max / 8)
  const base = asWord(g, at)
  return new GuestString(Array.from({ length: words }, (_, i) => g.load(base.add(BigInt(8 * i)), u64)))
}
