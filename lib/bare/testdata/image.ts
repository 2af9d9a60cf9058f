/** Multiboot images out of our own assembler, loaded at 1 MiB: the header's address fields, no ELF. */
import { assemble } from '#x86'

export const AT = 0x10_0000
const MAGIC = 0x1bad_b002

/** An image whose code begins behind the header, in 32-bit protected mode. `flags` beside the address fields. */
export const image = (text: string, { flags = 0, bss = 0x1000 } = {}): Uint8Array => {
  const code = assemble(text, { mode: 32, at: BigInt(AT + 32) }).bytes
  return withHeader(code, flags, bss)
}
/** The same with code that is already made. */
export const withHeader = (code: Uint8Array, flags = 0, bss = 0x1000): Uint8Array => {
  const all = (flags | 0x1_0000) >>> 0
  const end = AT + 32 + code.length
  const words = [MAGIC, all, -(MAGIC + all) >>> 0, AT, AT, end, end + bss, AT + 32]
  const bytes = new Uint8Array(32 + code.length)
  bytes.set(new Uint8Array(Uint32Array.from(words).buffer))
  bytes.set(code, 32)
  return bytes
}

/** Writes AL to the serial line. */
export const SEND = 'mov dx, 0x3f8\nout dx, al'
/** Ends the run with a value. */
export const exit = (value: number): string => `mov eax, ${value}\nout 0xf4, al`
