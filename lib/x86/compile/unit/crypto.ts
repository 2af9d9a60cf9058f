/** AES, SHA and carry-less products as functions of a WebAssembly module, of values alone: what packedcrypto.ts says, in v128. */
import { Module } from '#wasm'
import { INVERSE_SBOX, SBOX } from '../../packedcrypto.ts'
import type { Node } from '../node.ts'
import * as n from '../node.ts'
import { lane, simd, withLane, zeroVector } from '../simd.ts'
import { begin, type Writer } from './writer.ts'

const c = (value: number): Node => n.number(value)
const op = (opcode: number, a: Node, b: Node): Node => simd(opcode, 128, 128, a, b)
const bytes = (of: (k: number) => number): Node =>
  simd(
    0x0c,
    128,
    128,
    undefined,
    undefined,
    Array.from({ length: 16 }, (_, k) => of(k)),
  )
const all = (byte: number): Node => bytes(() => byte)
const shuffled = (v: Node, of: (k: number) => number): Node =>
  simd(
    0x0d,
    128,
    128,
    v,
    v,
    Array.from({ length: 16 }, (_, k) => of(k)),
  )
const xor = (...of: readonly Node[]): Node => of.reduce((a, b) => op(0x51, a, b))
const SWIZZLE = 0x0e
const SUBTRACT = 0x71
const OR = 0x50

/** Sixteen bytes through a table of 256: a swizzle gives 0 for what lies outside of its sixteen. */
const writeTable = (module: Module, table: Uint8Array): number => {
  const { index, w, params } = begin(module, [128], [128])
  const at = w.local(128)
  w.set(at, params[0]!)
  const found = w.local(128)
  w.set(
    found,
    op(
      SWIZZLE,
      bytes(k => table[k]!),
      at,
    ),
  )
  for (let from = 16; from < 256; from += 16) {
    w.set(at, op(SUBTRACT, at, all(16)))
    w.set(
      found,
      op(
        OR,
        found,
        op(
          SWIZZLE,
          bytes(k => table[from + k]!),
          at,
        ),
      ),
    )
  }
  w.put(found)
  return index
}

/** Twice each byte, in the field of FIPS 197. */
const doubled = (w: Writer, v: Node): Node => {
  const shifted = simd(0x6b, 128, 128, v, c(1))
  return w.let(xor(shifted, op(0x4e, simd(0x6c, 128, 128, v, c(7)), all(0x1b))))
}
/** The byte `by` rows further in the same column. */
const further = (v: Node, by: number): Node => shuffled(v, k => (k & 12) | ((k + by) & 3))
const mixed = (w: Writer, v: Node): Node => {
  const two = doubled(w, v)
  return xor(two, further(xor(v, two), 1), further(v, 2), further(v, 3))
}
const mixedBack = (w: Writer, v: Node): Node => {
  const two = doubled(w, v)
  const four = doubled(w, two)
  const eight = doubled(w, four)
  const nine = w.let(xor(eight, v))
  return xor(xor(eight, four, two), further(xor(nine, two), 1), further(xor(nine, four), 2), further(nine, 3))
}

const writeAes = (module: Module): void => {
  const boxes = [writeTable(module, SBOX), writeTable(module, INVERSE_SBOX)] as const
  const rounds = [
    ['aesenc', 1, boxes[0], mixed],
    ['aesenclast', 1, boxes[0], undefined],
    ['aesdec', 3, boxes[1], mixedBack],
    ['aesdeclast', 3, boxes[1], undefined],
  ] as const
  for (const [name, turn, box, mix] of rounds) {
    const { index, w, params } = begin(module, [128, 128], [128])
    const block = w.local(128)
    w.call(box, [shuffled(params[0]!, k => (k + 4 * turn * (k & 3)) & 15)])
    w.code.set(block.n)
    w.put(xor(mix === undefined ? block : mix(w, block), params[1]!))
    module.export(name, index)
  }
  const imc = begin(module, [128], [128])
  imc.w.put(mixedBack(imc.w, imc.params[0]!))
  module.export('aesimc', imc.index)
  const { index, w, params } = begin(module, [128, 32], [128])
  const block = w.local(128)
  w.call(boxes[0], [params[0]!])
  w.code.set(block.n)
  let result = zeroVector()
  for (const k of [0, 2]) {
    const word = w.let(lane(block, k + 1, 4))
    const turned = n.make('i32.rotr', 32, 32, word, c(8))
    result = withLane(withLane(result, k, 4, word), k + 1, 4, n.xor(turned, params[1]!))
  }
  w.put(result)
  module.export('aeskeygenassist', index)
}

const quad = (value: bigint): Node => n.constant(value, 64)
const FOURTH = 0x1111_1111_1111_1111n

/** The low half of a product without carries: of each fourth bit at a time, so that sums of ones end before the next. */
const writeLow = (module: Module): number => {
  const { index, w, params } = begin(module, [64, 64], [64])
  const parts = params.map(v => [0n, 1n, 2n, 3n].map(k => w.let(n.and(v, quad(FOURTH << k)))))
  const [x, y] = parts as [Node[], Node[]]
  let whole: Node | undefined
  for (let k = 0; k < 4; k++) {
    let sum: Node | undefined
    for (let i = 0; i < 4; i++) {
      const product = n.mul(8, x[i]!, y[(k - i + 4) & 3]!)
      sum = sum === undefined ? product : n.xor(sum, product)
    }
    const kept = n.and(sum!, quad(FOURTH << BigInt(k)))
    whole = whole === undefined ? kept : n.or(whole, kept)
  }
  w.put(whole!)
  return index
}
/** Bits in the other order. */
const reversed = (w: Writer, v: Node): Node => {
  const step = (of: Node, by: number, mask: bigint): Node =>
    w.let(n.or(n.and(n.shr(8, of, c(by)), quad(mask)), n.shl(8, n.and(of, quad(mask)), c(by))))
  const nibbles = step(step(step(v, 1, 0x5555_5555_5555_5555n), 2, 0x3333_3333_3333_3333n), 4, 0x0f0f_0f0f_0f0f_0f0fn)
  return w.let(n.byteSwap(8, nibbles))
}
const writeProduct = (module: Module): void => {
  const half = writeLow(module)
  const { index, w, params } = begin(module, [64, 64], [128])
  const [low, high] = [w.local(64), w.local(64)]
  w.call(half, params)
  w.code.set(low.n)
  w.call(
    half,
    params.map(v => reversed(w, v)),
  )
  w.code.set(high.n)
  const upper = n.shr(8, reversed(w, high), c(1))
  w.put(withLane(withLane(zeroVector(), 0, 8, low), 1, 8, upper))
  module.export('pclmulqdq', index)
}

/** PEXT and PDEP: one of the mask's ones after the other. */
const writeBits = (module: Module): void => {
  for (const name of ['pext', 'pdep'] as const) {
    const { index, w, params } = begin(module, [64, 64], [64])
    const [from, rest, made, bit] = [w.local(64), w.local(64), w.local(64), w.local(64)]
    w.set(from, params[0]!)
    w.set(rest, params[1]!)
    w.set(bit, quad(1n))
    w.set(made, quad(0n))
    w.code.block(end => {
      w.code.loop(again => {
        w.put(n.isZero(rest))
        w.code.brIf(end)
        const one = w.let(n.and(rest, n.sub(8, quad(0n), rest)))
        const [look, give] = name === 'pext' ? [one, bit] : [bit, one]
        w.set(made, n.or(made, n.select(n.isZero(n.and(from, look)), quad(0n), give)))
        w.set(rest, n.xor(rest, one))
        w.set(bit, n.shl(8, bit, c(1)))
        w.code.br(again)
      })
    })
    w.put(made)
    module.export(name, index)
  }
}

// SHA. The SDM counts words from the top of the register.

const rol = (v: Node, by: number): Node => n.make('i32.rotl', 32, 32, v, c(by & 31))
const ror = (v: Node, by: number): Node => rol(v, 32 - by)
const ch = (x: Node, y: Node, z: Node): Node => n.xor(n.and(x, y), n.and(n.not(4, x), z))
const maj = (x: Node, y: Node, z: Node): Node => n.xor(n.xor(n.and(x, y), n.and(x, z)), n.and(y, z))
const parity = (x: Node, y: Node, z: Node): Node => n.xor(n.xor(x, y), z)
const sum = (...of: readonly Node[]): Node => of.reduce((a, b) => n.add(4, a, b))
const three = (a: Node, b: Node, d: Node): Node => n.xor(n.xor(a, b), d)
const bigSigma0 = (x: Node): Node => three(ror(x, 2), ror(x, 13), ror(x, 22))
const bigSigma1 = (x: Node): Node => three(ror(x, 6), ror(x, 11), ror(x, 25))
const sigma0 = (x: Node): Node => three(ror(x, 7), ror(x, 18), n.shr(4, x, c(3)))
const sigma1 = (x: Node): Node => three(ror(x, 17), ror(x, 19), n.shr(4, x, c(10)))
/** FIPS 180-4, "SHA-1 Functions" and "SHA-1 Constants", by the immediate of SHA1RNDS4. */
const SHA1 = [
  [ch, 0x5a82_7999n],
  [parity, 0x6ed9_eba1n],
  [maj, 0x8f1b_bcdcn],
  [parity, 0xca62_c1d6n],
] as const

const wordsOf = (w: Writer, v: Node): Node[] => [0, 1, 2, 3].map(k => w.let(lane(v, k, 4)))
const vectorOf = (words: readonly Node[]): Node =>
  words.reduce((made, word, k) => withLane(made, k, 4, word), zeroVector())

const writeSha = (module: Module): void => {
  const write = (name: string, params: number, of: (w: Writer, a: Node[], b: Node[], key: Node[]) => Node[]): void => {
    const made = begin(module, new Array<128>(params).fill(128), [128])
    const { w } = made
    const [a, b, key = []] = made.params.map(v => wordsOf(w, v))
    w.put(vectorOf(of(w, a!, b!, key)))
    module.export(name, made.index)
  }
  write('sha1msg1', 2, (_w, a, b) => [
    n.xor(b[2]!, a[0]!),
    n.xor(b[3]!, a[1]!),
    n.xor(a[0]!, a[2]!),
    n.xor(a[1]!, a[3]!),
  ])
  write('sha1msg2', 2, (w, a, b) => {
    const last = w.let(rol(n.xor(a[3]!, b[2]!), 1))
    return [rol(n.xor(a[0]!, last), 1), rol(n.xor(a[1]!, b[0]!), 1), rol(n.xor(a[2]!, b[1]!), 1), last]
  })
  write('sha1nexte', 2, (_w, a, b) => [b[0]!, b[1]!, b[2]!, sum(b[3]!, rol(a[3]!, 30))])
  for (const [kind, [f, k]] of SHA1.entries())
    write(`sha1rnds4.${kind}`, 2, (w, a, b) => {
      let [w3, w2, w1, w0] = a as [Node, Node, Node, Node]
      let e: Node = c(0)
      for (let round = 3; round >= 0; round--) {
        const next = w.let(sum(f(w1, w2, w3), rol(w0, 5), b[round]!, e, n.constant(k, 32)))
        ;[w0, w1, w2, w3, e] = [next, w0, w.let(rol(w1, 30)), w2, w3]
      }
      return [w3, w2, w1, w0]
    })
  write('sha256msg1', 2, (_w, a, b) => [0, 1, 2, 3].map(k => sum(a[k]!, sigma0(k === 3 ? b[0]! : a[k + 1]!))))
  write('sha256msg2', 2, (w, a, b) => {
    const first = [sum(a[0]!, sigma1(b[2]!)), sum(a[1]!, sigma1(b[3]!))].map(word => w.let(word))
    return [...first, sum(a[2]!, sigma1(first[0]!)), sum(a[3]!, sigma1(first[1]!))]
  })
  write('sha256rnds2', 3, (w, first, second, keys) => {
    let [h, g, d, cc] = first as [Node, Node, Node, Node]
    let [f, e, b, a] = second as [Node, Node, Node, Node]
    for (const key of keys.slice(0, 2)) {
      const one = w.let(sum(ch(e, f, g), bigSigma1(e), key, h))
      const two = sum(maj(a, b, cc), bigSigma0(a))
      ;[a, b, cc, d, e, f, g, h] = [w.let(sum(one, two)), a, b, cc, w.let(sum(d, one)), e, f, g]
    }
    return [f, e, b, a]
  })
}

export const cryptoModule = (): Uint8Array<ArrayBuffer> => {
  const module = new Module()
  writeAes(module)
  writeProduct(module)
  writeBits(module)
  writeSha(module)
  return module.finish()
}

const AES = new Set(['aesenc', 'aesenclast', 'aesdec', 'aesdeclast'])
const SHA = new Set(['sha1msg1', 'sha1msg2', 'sha1nexte', 'sha256msg1', 'sha256msg2'])

/** The operation on 16 bytes by one of these functions; SHA256RNDS2 finds XMM0 in the upper half of `a`. */
export const cryptoCall = (
  name: string,
  a: Node,
  b: Node,
  imm: number,
  call: (name: string, ...args: Node[]) => Node,
): Node | undefined => {
  const low = (v: Node): Node => (v.width === 'pair' ? v.a! : v)
  if (AES.has(name) || SHA.has(name)) return call(name, low(a), low(b))
  switch (name) {
    case 'aesimc':
      return call(name, low(b))
    case 'aeskeygenassist':
      return call(name, low(b), c(imm))
    case 'pclmulqdq':
      return call(name, lane(low(a), imm & 1, 8), lane(low(b), (imm >> 4) & 1, 8))
    case 'sha1rnds4':
      return call(`${name}.${imm & 3}`, low(a), low(b))
    case 'sha256rnds2':
      return a.width === 'pair' ? call(name, a.a!, low(b), a.b!) : undefined
    default:
      return undefined
  }
}
