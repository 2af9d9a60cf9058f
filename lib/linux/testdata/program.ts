/** Static ELF programs out of our own assembler: text at 400000h, data at 600000h. */
import { assemble } from '#x86'

export const TEXT = 0x40_0000n
export const DATA = 0x60_0000n

/** One file with two segments. `data` is writable and followed by `bss` zero bytes. */
export const program = (text: string, data: string | Uint8Array = '', bss = 0x1000): Uint8Array => {
  const { bytes: code } = assemble(text, { mode: 64, at: TEXT })
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data
  const headers = 64 + 2 * 56
  const dataAt = headers + code.length
  const file = new Uint8Array(dataAt + bytes.length)
  const view = new DataView(file.buffer)
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  view.setUint16(16, 2, true)
  view.setUint16(18, 62, true)
  view.setBigUint64(24, TEXT, true)
  view.setBigUint64(32, 64n, true)
  view.setUint16(54, 56, true)
  view.setUint16(56, 2, true)
  const segment = (at: number, flags: number, values: readonly number[]) => {
    view.setUint32(at, 1, true)
    view.setUint32(at + 4, flags, true)
    for (const [n, value] of values.entries()) view.setBigUint64(at + 8 + n * 8, BigInt(value), true)
  }
  segment(64, 5, [headers, Number(TEXT), Number(TEXT), code.length, code.length, 0x1000])
  segment(120, 6, [dataAt, Number(DATA), Number(DATA), bytes.length, bytes.length + bss, 0x1000])
  file.set(code, headers)
  file.set(bytes, dataAt)
  return file
}

/** A system call: its number and arguments, which are immediates or registers. */
export const call = (number: number, ...args: readonly (string | number | bigint)[]): string =>
  [
    ...args.map((value, n) => `mov ${['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'][n]}, ${value}`),
    `mov eax, ${number}`,
    'syscall',
  ].join('\n')
