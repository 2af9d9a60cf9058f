/**
 * What SIMD instructions do to their lanes: one function per operation, on plain bytes. A tier may know a shorter way for
 * a name (a v128 instruction); where it does not, it calls the function.
 */
import { packedCrypto } from './packedcrypto.ts'

/** Up to 32 bytes, seen as lanes of every kind. */
export class Lanes {
  readonly u8 = new Uint8Array(32)
  readonly s8 = new Int8Array(this.u8.buffer)
  readonly u16 = new Uint16Array(this.u8.buffer)
  readonly s16 = new Int16Array(this.u8.buffer)
  readonly u32 = new Uint32Array(this.u8.buffer)
  readonly s32 = new Int32Array(this.u8.buffer)
  readonly u64 = new BigUint64Array(this.u8.buffer)
  readonly s64 = new BigInt64Array(this.u8.buffer)
}

/**
 * `d` becomes the result of `a` and `b` (unary operations use `b` alone); `d` is cleared before. `bytes` is the width:
 * 8 for MMX, 16, 32. Operations on 256 bits work in each half where `laned` says so.
 */
export type Packed = (d: Lanes, a: Lanes, b: Lanes, imm: number, bytes: number) => void

type Kind = 'u8' | 's8' | 'u16' | 's16' | 'u32' | 's32'
const BYTES: Record<Kind, number> = { u8: 1, s8: 1, u16: 2, s16: 2, u32: 4, s32: 4 }

/** Every lane of both operands; what does not fit the lane is cut. */
const each =
  (kind: Kind, of: (a: number, b: number) => number): Packed =>
  (d, a, b, _imm, bytes) => {
    const count = bytes / BYTES[kind]
    const [to, x, y] = [d[kind], a[kind], b[kind]]
    for (let n = 0; n < count; n++) to[n] = of(x[n]!, y[n]!)
  }
const each64 =
  (of: (a: bigint, b: bigint) => bigint): Packed =>
  (d, a, b, _imm, bytes) => {
    for (let n = 0; n < bytes / 8; n++) d.u64[n] = of(a.u64[n]!, b.u64[n]!)
  }
const signed64 = (of: (a: bigint, b: bigint) => bigint): Packed =>
  each64((a, b) => of(BigInt.asIntN(64, a), BigInt.asIntN(64, b)))
const clamp = (low: number, high: number) => (n: number) => (n < low ? low : n > high ? high : n)
const s8 = clamp(-128, 127)
const u8 = clamp(0, 255)
const s16 = clamp(-32768, 32767)
const u16 = clamp(0, 65535)

/** Shifts whose count is one number for all lanes: the low 64 bits of the second operand, or an immediate. */
const shift =
  (kind: 'u16' | 'u32' | 's16' | 's32', of: (a: number, count: number) => number, arithmetic: boolean): Packed =>
  (d, a, b, _imm, bytes) => {
    const size = BYTES[kind]
    const wide = size * 8
    const count = b.u64[0]! >= BigInt(wide) ? wide : Number(b.u64[0]!)
    if (count === wide && !arithmetic) return
    for (let n = 0; n < bytes / size; n++) d[kind][n] = of(a[kind][n]!, Math.min(count, wide - 1))
  }
const shift64 =
  (of: (a: bigint, count: bigint) => bigint): Packed =>
  (d, a, b, _imm, bytes) => {
    const count = b.u64[0]!
    if (count < 64n) for (let n = 0; n < bytes / 8; n++) d.u64[n] = of(a.u64[n]!, count)
  }

/** Lanes `from` of a and b alternating, in each 128 bits: PUNPCKL and PUNPCKH. */
const interleave =
  (size: number, high: boolean): Packed =>
  (d, a, b, _imm, bytes) => {
    const group = Math.min(bytes, 16)
    for (let base = 0; base < bytes; base += group) {
      const start = base + (high ? group / 2 : 0)
      for (let n = 0; n < group / 2; n += size)
        for (let k = 0; k < size; k++) {
          d.u8[base + 2 * n + k] = a.u8[start + n + k]!
          d.u8[base + 2 * n + size + k] = b.u8[start + n + k]!
        }
    }
  }

/** Lanes of a, then of b, each halved in width, in each 128 bits: PACKSS and PACKUS. */
const narrow =
  (from: 's16' | 's32', to: 's8' | 'u8' | 's16' | 'u16', fit: (n: number) => number): Packed =>
  (d, a, b, _imm, bytes) => {
    const group = Math.min(bytes, 16)
    const count = group / BYTES[from]
    for (let base = 0; base < bytes / group; base++)
      for (let n = 0; n < count; n++) {
        d[to][base * 2 * count + n] = fit(a[from][base * count + n]!)
        d[to][base * 2 * count + count + n] = fit(b[from][base * count + n]!)
      }
  }

/** Neighbours of a, then of b, put together, in each 128 bits: PHADD and PHSUB. */
const horizontal =
  (kind: 's16' | 's32', of: (x: number, y: number) => number): Packed =>
  (d, a, b, _imm, bytes) => {
    const group = Math.min(bytes, 16)
    const count = group / BYTES[kind]
    for (let base = 0; base < bytes / BYTES[kind]; base += count)
      for (let n = 0; n < count / 2; n++) {
        d[kind][base + n] = of(a[kind][base + 2 * n]!, a[kind][base + 2 * n + 1]!)
        d[kind][base + count / 2 + n] = of(b[kind][base + 2 * n]!, b[kind][base + 2 * n + 1]!)
      }
  }

/** Low lanes of b made wider: PMOVSX and PMOVZX. */
const widen =
  (from: Kind, to: 's16' | 's32'): Packed =>
  (d, _a, b, _imm, bytes) => {
    for (let n = 0; n < bytes / BYTES[to]; n++) d[to][n] = b[from][n]!
  }
const widen64 =
  (from: Kind): Packed =>
  (d, _a, b, _imm, bytes) => {
    for (let n = 0; n < bytes / 8; n++) d.s64[n] = BigInt(b[from][n]!)
  }

/** 32-bit lanes picked by pairs of immediate bits, in each 128 bits. */
const pick =
  (kind: 'u16' | 'u32', first: number, count: number): Packed =>
  (d, _a, b, imm, bytes) => {
    d.u8.set(b.u8.subarray(0, bytes))
    const group = Math.min(bytes, 16) / BYTES[kind]
    for (let base = 0; base < bytes / BYTES[kind]; base += group)
      for (let n = 0; n < count; n++) d[kind][base + first + n] = b[kind][base + first + ((imm >> (2 * n)) & 3)]!
  }

const sign = (a: number, b: number) => (b < 0 ? -a : b === 0 ? 0 : a)
const high16 = (a: number, b: number) => (a * b) >> 16

const wholeShift =
  (left: boolean): Packed =>
  (d, a, _b, imm, bytes) => {
    for (let base = 0; base < bytes; base += 16)
      for (let n = 0; n < 16; n++) {
        const from = left ? n - imm : n + imm
        if (from >= 0 && from < 16) d.u8[base + n] = a.u8[base + from]!
      }
  }

/** The operations by mnemonic, without the V of the VEX forms. */
export const packed = {
  paddb: each('u8', (a, b) => a + b),
  paddw: each('u16', (a, b) => a + b),
  paddd: each('u32', (a, b) => a + b),
  paddq: each64((a, b) => a + b),
  psubb: each('u8', (a, b) => a - b),
  psubw: each('u16', (a, b) => a - b),
  psubd: each('u32', (a, b) => a - b),
  psubq: each64((a, b) => a - b),
  paddsb: each('s8', (a, b) => s8(a + b)),
  paddsw: each('s16', (a, b) => s16(a + b)),
  paddusb: each('u8', (a, b) => u8(a + b)),
  paddusw: each('u16', (a, b) => u16(a + b)),
  psubsb: each('s8', (a, b) => s8(a - b)),
  psubsw: each('s16', (a, b) => s16(a - b)),
  psubusb: each('u8', (a, b) => u8(a - b)),
  psubusw: each('u16', (a, b) => u16(a - b)),
  pminub: each('u8', Math.min),
  pminuw: each('u16', Math.min),
  pminud: each('u32', Math.min),
  pminsb: each('s8', Math.min),
  pminsw: each('s16', Math.min),
  pminsd: each('s32', Math.min),
  pmaxub: each('u8', Math.max),
  pmaxuw: each('u16', Math.max),
  pmaxud: each('u32', Math.max),
  pmaxsb: each('s8', Math.max),
  pmaxsw: each('s16', Math.max),
  pmaxsd: each('s32', Math.max),
  pavgb: each('u8', (a, b) => (a + b + 1) >> 1),
  pavgw: each('u16', (a, b) => (a + b + 1) >> 1),
  pcmpeqb: each('u8', (a, b) => (a === b ? -1 : 0)),
  pcmpeqw: each('u16', (a, b) => (a === b ? -1 : 0)),
  pcmpeqd: each('u32', (a, b) => (a === b ? -1 : 0)),
  pcmpeqq: each64((a, b) => (a === b ? -1n : 0n)),
  pcmpgtb: each('s8', (a, b) => (a > b ? -1 : 0)),
  pcmpgtw: each('s16', (a, b) => (a > b ? -1 : 0)),
  pcmpgtd: each('s32', (a, b) => (a > b ? -1 : 0)),
  pcmpgtq: signed64((a, b) => (a > b ? -1n : 0n)),
  pmullw: each('s16', (a, b) => a * b),
  pmulhw: each('s16', high16),
  pmulhuw: each('u16', (a, b) => Math.floor((a * b) / 65536)),
  pmulhrsw: each('s16', (a, b) => (((a * b) >> 14) + 1) >> 1),
  pmulld: each('s32', Math.imul),
  pmuludq: each64((a, b) => (a & 0xffff_ffffn) * (b & 0xffff_ffffn)),
  pmuldq: each64((a, b) => BigInt.asIntN(32, a) * BigInt.asIntN(32, b)),
  pand: each64((a, b) => a & b),
  pandn: each64((a, b) => ~a & b),
  por: each64((a, b) => a | b),
  pxor: each64((a, b) => a ^ b),
  psignb: each('s8', sign),
  psignw: each('s16', sign),
  psignd: each('s32', sign),
  pabsb: each('s8', (_a, b) => Math.abs(b)),
  pabsw: each('s16', (_a, b) => Math.abs(b)),
  pabsd: each('s32', (_a, b) => Math.abs(b)),
  psllw: shift('u16', (a, n) => a << n, false),
  pslld: shift('u32', (a, n) => a << n, false),
  psllq: shift64((a, n) => a << n),
  psrlw: shift('u16', (a, n) => a >>> n, false),
  psrld: shift('u32', (a, n) => a >>> n, false),
  psrlq: shift64((a, n) => a >> n),
  psraw: shift('s16', (a, n) => a >> n, true),
  psrad: shift('s32', (a, n) => a >> n, true),
  pslldq: wholeShift(true),
  psrldq: wholeShift(false),
  punpcklbw: interleave(1, false),
  punpcklwd: interleave(2, false),
  punpckldq: interleave(4, false),
  punpcklqdq: interleave(8, false),
  punpckhbw: interleave(1, true),
  punpckhwd: interleave(2, true),
  punpckhdq: interleave(4, true),
  punpckhqdq: interleave(8, true),
  packsswb: narrow('s16', 's8', s8),
  packuswb: narrow('s16', 'u8', u8),
  packssdw: narrow('s32', 's16', s16),
  packusdw: narrow('s32', 'u16', u16),
  phaddw: horizontal('s16', (x, y) => x + y),
  phaddd: horizontal('s32', (x, y) => x + y),
  phaddsw: horizontal('s16', (x, y) => s16(x + y)),
  phsubw: horizontal('s16', (x, y) => x - y),
  phsubd: horizontal('s32', (x, y) => x - y),
  phsubsw: horizontal('s16', (x, y) => s16(x - y)),
  pmovsxbw: widen('s8', 's16'),
  pmovsxbd: widen('s8', 's32'),
  pmovsxbq: widen64('s8'),
  pmovsxwd: widen('s16', 's32'),
  pmovsxwq: widen64('s16'),
  pmovsxdq: widen64('s32'),
  pmovzxbw: widen('u8', 's16'),
  pmovzxbd: widen('u8', 's32'),
  pmovzxbq: widen64('u8'),
  pmovzxwd: widen('u16', 's32'),
  pmovzxwq: widen64('u16'),
  pmovzxdq: widen64('u32'),
  pshufd: pick('u32', 0, 4),
  pshuflw: pick('u16', 0, 4),
  pshufhw: pick('u16', 4, 4),
  pshufw: pick('u16', 0, 4),
  pshufb: (d, a, b, _imm, bytes) => {
    const group = Math.min(bytes, 16)
    for (let n = 0; n < bytes; n++) if (b.u8[n]! < 128) d.u8[n] = a.u8[n - (n % group) + (b.u8[n]! & (group - 1))]!
  },
  palignr: (d, a, b, imm, bytes) => {
    const group = Math.min(bytes, 16)
    for (let base = 0; base < bytes; base += group)
      for (let n = 0; n < group; n++) {
        const from = n + imm
        if (from < group) d.u8[base + n] = b.u8[base + from]!
        else if (from < 2 * group) d.u8[base + n] = a.u8[base + from - group]!
      }
  },
  pmaddwd: (d, a, b, _imm, bytes) => {
    for (let n = 0; n < bytes / 4; n++) d.s32[n] = a.s16[2 * n]! * b.s16[2 * n]! + a.s16[2 * n + 1]! * b.s16[2 * n + 1]!
  },
  pmaddubsw: (d, a, b, _imm, bytes) => {
    for (let n = 0; n < bytes / 2; n++)
      d.s16[n] = s16(a.u8[2 * n]! * b.s8[2 * n]! + a.u8[2 * n + 1]! * b.s8[2 * n + 1]!)
  },
  psadbw: (d, a, b, _imm, bytes) => {
    for (let n = 0; n < bytes; n++) d.u16[(n >> 3) * 4]! += Math.abs(a.u8[n]! - b.u8[n]!)
  },
  mpsadbw: (d, a, b, imm, bytes) => {
    for (let base = 0; base < bytes; base += 16) {
      const control = base === 0 ? imm : imm >> 3
      const from = base + (control & 4)
      const block = base + (control & 3) * 4
      for (let n = 0; n < 8; n++) {
        let sum = 0
        for (let k = 0; k < 4; k++) sum += Math.abs(a.u8[from + n + k]! - b.u8[block + k]!)
        d.u16[base / 2 + n] = sum
      }
    }
  },
  phminposuw: (d, _a, b) => {
    let at = 0
    for (let n = 1; n < 8; n++) if (b.u16[n]! < b.u16[at]!) at = n
    d.u16[0] = b.u16[at]!
    d.u16[1] = at
  },
  pblendw: (d, a, b, imm, bytes) => {
    for (let n = 0; n < bytes / 2; n++) d.u16[n] = ((imm >> (n & 7)) & 1 ? b : a).u16[n]!
  },
  blendps: (d, a, b, imm, bytes) => {
    for (let n = 0; n < bytes / 4; n++) d.u32[n] = ((imm >> n) & 1 ? b : a).u32[n]!
  },
  blendpd: (d, a, b, imm, bytes) => {
    for (let n = 0; n < bytes / 8; n++) d.u64[n] = ((imm >> n) & 1 ? b : a).u64[n]!
  },
  shufps: (d, a, b, imm, bytes) => {
    for (let base = 0; base < bytes / 4; base += 4)
      for (let n = 0; n < 4; n++) d.u32[base + n] = (n < 2 ? a : b).u32[base + ((imm >> (2 * n)) & 3)]!
  },
  shufpd: (d, a, b, imm, bytes) => {
    for (let n = 0; n < bytes / 8; n++) d.u64[n] = (n & 1 ? b : a).u64[(n & ~1) + ((imm >> n) & 1)]!
  },
  insertps: (d, a, b, imm) => {
    d.u8.set(a.u8.subarray(0, 16))
    d.u32[(imm >> 4) & 3] = b.u32[imm >> 6]!
    for (let n = 0; n < 4; n++) if ((imm >> n) & 1) d.u32[n] = 0
  },
  movddup: (d, _a, b, _imm, bytes) => {
    for (let n = 0; n < bytes / 8; n++) d.u64[n] = b.u64[n & ~1]!
  },
  movsldup: (d, _a, b, _imm, bytes) => {
    for (let n = 0; n < bytes / 4; n++) d.u32[n] = b.u32[n & ~1]!
  },
  movshdup: (d, _a, b, _imm, bytes) => {
    for (let n = 0; n < bytes / 4; n++) d.u32[n] = b.u32[n | 1]!
  },
  ...packedCrypto,
} satisfies Record<string, Packed>

export type PackedName = keyof typeof packed
