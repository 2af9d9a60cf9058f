/** The text of asm blocks as bytes. */
import { assemble } from '#x86'

const texts = new Map<string, Uint8Array>()
/** The bytes of an asm block; the same text is read once. RangeError where they hang on the place they end up at. */
export const assembled = (text: string): Uint8Array => {
  let bytes = texts.get(text)
  if (bytes === undefined) {
    bytes = assemble(text, { mode: 64, at: 0n }).bytes
    const elsewhere = assemble(text, { mode: 64, at: 0x40n }).bytes
    if (bytes.length !== elsewhere.length || bytes.some((byte, i) => byte !== elsewhere[i]))
      throw new RangeError(`an asm block names an address by a distance; put it in a register first: ${text.trim()}`)
    if (texts.size >= MOST_TEXTS) texts.clear()
    texts.set(text, bytes)
  }
  return bytes
}
const MOST_TEXTS = 4096
