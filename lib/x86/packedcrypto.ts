/** AES rounds, carry-less products and SHA rounds on lanes. FIPS 197 and 180-4; SDM Vol. 2, under the mnemonics. */
import type { Lanes, Packed } from './packed.ts'

// AES. Byte r + 4 * c of a block is row r of column c.

/** A product in GF(2^8) with the polynomial of FIPS 197, "Multiplication". */
const product = (a: number, b: number): number => {
  let sum = 0
  for (let [x, y] = [a, b]; y !== 0; y >>= 1, x = (x << 1) ^ (x & 0x80 ? 0x11b : 0)) if (y & 1) sum ^= x
  return sum
}
const rotated8 = (n: number, by: number): number => ((n << by) | (n >> (8 - by))) & 0xff

/** The S-box: the inverse in the field, then an affine map. FIPS 197, "SubBytes()". */
export const SBOX = Uint8Array.from({ length: 256 }, (_, n) => {
  // The inverse of n is n^254.
  let inverse = 1
  for (let k = 0; k < 254; k++) inverse = product(inverse, n)
  return inverse ^ rotated8(inverse, 1) ^ rotated8(inverse, 2) ^ rotated8(inverse, 3) ^ rotated8(inverse, 4) ^ 0x63
})
export const INVERSE_SBOX = new Uint8Array(256)
for (const [n, substituted] of SBOX.entries()) INVERSE_SBOX[substituted] = n

const timesTable = (by: number): Uint8Array => Uint8Array.from({ length: 256 }, (_, n) => product(n, by))
/** Products with 0 to 14, made where the columns are mixed. */
const TIMES = Array.from({ length: 15 }, (_, by) => timesTable(by))
/** Factors of the rows of a column, for the first row of the result. */
const MIX = [2, 3, 1, 1].map(by => TIMES[by]!)
const INVERSE_MIX = [14, 11, 13, 9].map(by => TIMES[by]!)
const block = new Uint8Array(16)

const mixColumns = (to: Uint8Array, base: number, by: readonly Uint8Array[]): void => {
  const [first, second, third, fourth] = by as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
  for (let n = 0; n < 16; n++) {
    const column = n & 12
    const row = (k: number) => block[column | ((n + k) & 3)]!
    to[base + n] = first[row(0)]! ^ second[row(1)]! ^ third[row(2)]! ^ fourth[row(3)]!
  }
}

/** One round: rows are shifted by `turn` columns each, bytes substituted, columns mixed, and b is the round key. */
const aes =
  (turn: 1 | 3, box: Uint8Array, mix: readonly Uint8Array[] | undefined): Packed =>
  (d, a, b, _imm, bytes) => {
    for (let base = 0; base < bytes; base += 16) {
      for (let n = 0; n < 16; n++) block[n] = box[a.u8[base + ((n + 4 * turn * (n & 3)) & 15)]!]!
      if (mix === undefined) d.u8.set(block, base)
      else mixColumns(d.u8, base, mix)
      for (let n = base; n < base + 16; n++) d.u8[n]! ^= b.u8[n]!
    }
  }

const substituted = (word: number): number =>
  SBOX[word & 0xff]! |
  (SBOX[(word >> 8) & 0xff]! << 8) |
  (SBOX[(word >> 16) & 0xff]! << 16) |
  (SBOX[word >>> 24]! << 24)

/** A product of polynomials over GF(2). */
const carryless = (a: bigint, b: bigint): bigint => {
  let sum = 0n
  for (let [x, y] = [a, b]; y !== 0n; y >>= 1n, x <<= 1n) if ((y & 1n) === 1n) sum ^= x
  return sum
}

// SHA. The SDM counts words from the top of the register.

const ror = (n: number, by: number): number => (n >>> by) | (n << (32 - by))
const rol = (n: number, by: number): number => ror(n, 32 - by)
const ch = (x: number, y: number, z: number): number => (x & y) ^ (~x & z)
const maj = (x: number, y: number, z: number): number => (x & y) ^ (x & z) ^ (y & z)
const parity = (x: number, y: number, z: number): number => x ^ y ^ z
/** FIPS 180-4, "SHA-1 Functions" and "SHA-1 Constants", by the immediate of SHA1RNDS4. */
const SHA1 = [
  { f: ch, k: 0x5a82_7999 },
  { f: parity, k: 0x6ed9_eba1 },
  { f: maj, k: 0x8f1b_bcdc },
  { f: parity, k: 0xca62_c1d6 },
] as const
/** FIPS 180-4, "SHA-224 and SHA-256 Functions". */
const bigSigma0 = (x: number): number => ror(x, 2) ^ ror(x, 13) ^ ror(x, 22)
const bigSigma1 = (x: number): number => ror(x, 6) ^ ror(x, 11) ^ ror(x, 25)
const sigma0 = (x: number): number => ror(x, 7) ^ ror(x, 18) ^ (x >>> 3)
const sigma1 = (x: number): number => ror(x, 17) ^ ror(x, 19) ^ (x >>> 10)
const words = ({ s32 }: Lanes): [number, number, number, number] => [s32[0]!, s32[1]!, s32[2]!, s32[3]!]

/** The operations by mnemonic; SHA256RNDS2 finds XMM0 in the upper half of `a`. */
export const packedCrypto = {
  aesenc: aes(1, SBOX, MIX),
  aesenclast: aes(1, SBOX, undefined),
  aesdec: aes(3, INVERSE_SBOX, INVERSE_MIX),
  aesdeclast: aes(3, INVERSE_SBOX, undefined),
  aesimc: (d, _a, b) => {
    block.set(b.u8.subarray(0, 16))
    mixColumns(d.u8, 0, INVERSE_MIX)
  },
  aeskeygenassist: (d, _a, b, imm) => {
    for (const n of [0, 2]) {
      const word = substituted(b.u32[n + 1]!)
      d.u32[n] = word
      d.u32[n + 1] = ror(word, 8) ^ imm
    }
  },
  pclmulqdq: (d, a, b, imm, bytes) => {
    for (let base = 0; base < bytes / 8; base += 2) {
      const whole = carryless(a.u64[base + (imm & 1)]!, b.u64[base + ((imm >> 4) & 1)]!)
      d.u64[base] = whole
      d.u64[base + 1] = whole >> 64n
    }
  },
  sha1msg1: (d, a, b) => {
    const [w3, w2, w1, w0] = words(a)
    d.s32.set([b.s32[2]! ^ w3, b.s32[3]! ^ w2, w3 ^ w1, w2 ^ w0])
  },
  sha1msg2: (d, a, b) => {
    const w16 = rol(a.s32[3]! ^ b.s32[2]!, 1)
    d.s32.set([rol(a.s32[0]! ^ w16, 1), rol(a.s32[1]! ^ b.s32[0]!, 1), rol(a.s32[2]! ^ b.s32[1]!, 1), w16])
  },
  sha1nexte: (d, a, b) => {
    d.u8.set(b.u8.subarray(0, 16))
    d.s32[3]! += rol(a.s32[3]!, 30)
  },
  sha1rnds4: (d, a, b, imm) => {
    const { f, k } = SHA1[imm & 3]!
    let [w3, w2, w1, w0] = words(a)
    let e = 0
    for (let n = 3; n >= 0; n--) {
      const next = (f(w1, w2, w3) + rol(w0, 5) + b.s32[n]! + e + k) | 0
      ;[w0, w1, w2, w3, e] = [next, w0, rol(w1, 30), w2, w3]
    }
    d.s32.set([w3, w2, w1, w0])
  },
  sha256msg1: (d, a, b) => {
    for (let n = 0; n < 4; n++) d.s32[n] = a.s32[n]! + sigma0(n === 3 ? b.s32[0]! : a.s32[n + 1]!)
  },
  sha256msg2: (d, a, b) => {
    d.s32[0] = a.s32[0]! + sigma1(b.s32[2]!)
    d.s32[1] = a.s32[1]! + sigma1(b.s32[3]!)
    d.s32[2] = a.s32[2]! + sigma1(d.s32[0]!)
    d.s32[3] = a.s32[3]! + sigma1(d.s32[1]!)
  },
  sha256rnds2: (d, a, b) => {
    let [h, g, dd, c] = words(a)
    let [f, e, bb, aa] = words(b)
    for (const key of [a.s32[4]!, a.s32[5]!]) {
      const one = (ch(e, f, g) + bigSigma1(e) + key + h) | 0
      const two = (maj(aa, bb, c) + bigSigma0(aa)) | 0
      ;[aa, bb, c, dd, e, f, g, h] = [(one + two) | 0, aa, bb, c, (dd + one) | 0, e, f, g]
    }
    d.s32.set([f, e, bb, aa])
  },
} satisfies Record<string, Packed>
