import { createCipheriv, createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { Lanes, type PackedName, packed } from './packed.ts'

const lanes = (bytes: Uint8Array): Lanes => {
  const made = new Lanes()
  made.u8.set(bytes)
  return made
}
const run = (name: PackedName, a: Uint8Array, b: Uint8Array, imm = 0, bytes = 16): Uint8Array => {
  const d = new Lanes()
  packed[name](d, lanes(a), lanes(b), imm, bytes)
  return d.u8.slice(0, bytes)
}
const block = fc.uint8Array({ minLength: 16, maxLength: 16 })
const zero = new Uint8Array(16)

/** AES-128's round keys as AESKEYGENASSIST helps to make them. */
const expand = (key: Uint8Array): Uint8Array[] => {
  const keys = [key]
  for (const rcon of [1, 2, 4, 8, 16, 32, 64, 128, 27, 54]) {
    const before = keys.at(-1)!
    const word = run('aeskeygenassist', zero, before, rcon).subarray(12, 16)
    const next = Uint8Array.from(before)
    for (let n = 0; n < 16; n++) next[n]! ^= n < 4 ? word[n]! : next[n - 4]!
    keys.push(next)
  }
  return keys
}
const xor = (a: Uint8Array, b: Uint8Array): Uint8Array => a.map((byte, n) => byte ^ b[n]!)

t.test('AES rounds make the cipher, and the inverse rounds undo it', async t => {
  fc.assert(
    fc.property(block, block, (key, text) => {
      const keys = expand(key)
      let state = xor(text, keys[0]!)
      for (let n = 1; n < 10; n++) state = run('aesenc', state, keys[n]!)
      state = run('aesenclast', state, keys[10]!)
      const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false)
      t.same([...state], [...cipher.update(text)])
      state = xor(state, keys[10]!)
      for (let n = 9; n > 0; n--) state = run('aesdec', state, run('aesimc', zero, keys[n]!))
      t.same([...run('aesdeclast', state, keys[0]!)], [...text])
    }),
    { seed: 1, numRuns: 20 },
  )
})

t.test('256-bit forms work in each half', async t => {
  const [a, b] = [7, 31].map(by => Uint8Array.from({ length: 32 }, (_, n) => n * n * by + n)) as [
    Uint8Array,
    Uint8Array,
  ]
  for (const [name, imm] of [
    ['aesenc', 0],
    ['aesdeclast', 0],
    ['pclmulqdq', 0x11],
  ] as const) {
    const halves = [0, 16].flatMap(n => [...run(name, a.subarray(n, n + 16), b.subarray(n, n + 16), imm)])
    t.same([...run(name, a, b, imm, 32)], halves, name)
  }
})

t.test('PCLMULQDQ: a product of polynomials commutes, distributes over XOR, and 1 and x are what they are', async t => {
  const product = (a: Uint8Array, b: Uint8Array) => [...run('pclmulqdq', a, b, 0)]
  fc.assert(
    fc.property(block, block, block, (a, b, c) => {
      t.same(product(a, b), product(b, a))
      t.same(product(a, xor(b, c)), [...xor(Uint8Array.from(product(a, b)), Uint8Array.from(product(a, c)))])
    }),
    { seed: 1, numRuns: 50 },
  )
  const a = Uint8Array.from({ length: 16 }, (_, n) => n + 0x81)
  t.same(product(a, Uint8Array.of(1)), [...a.subarray(0, 8), ...Array(8).fill(0)])
  t.equal(run('pclmulqdq', a, Uint8Array.of(2))[8], 1, 'the top bit leaves the low half')
})

/** Big-endian words of a padded one-block message. */
const words = (message: string): Uint32Array => {
  const bytes = Buffer.alloc(64)
  bytes.write(message)
  bytes[message.length] = 0x80
  bytes.writeUInt32BE(message.length * 8, 60)
  return Uint32Array.from({ length: 16 }, (_, n) => bytes.readUInt32BE(n * 4))
}
const vector = (...low: number[]): Uint8Array => new Uint8Array(Uint32Array.from(low).buffer)
const lane = (v: Uint8Array, n: number): number => new DataView(v.buffer).getUint32(n * 4, true)

t.test('SHA-1 of one block', async t => {
  const message = 'the quick brown fox'
  const w = words(message)
  const quads = [0, 4, 8, 12].map(n => vector(w[n + 3]!, w[n + 2]!, w[n + 1]!, w[n]!))
  for (let n = 4; n < 20; n++) {
    const partial = xor(run('sha1msg1', quads[n - 4]!, quads[n - 3]!), quads[n - 2]!)
    quads.push(run('sha1msg2', partial, quads[n - 1]!))
  }
  const start = vector(0x1032_5476, 0x98ba_dcfe, 0xefcd_ab89, 0x6745_2301)
  let abcd = start
  let before = vector(0, 0, 0, 0xc3d2_e1f0)
  for (let n = 0; n < 20; n++) {
    // E is added to the first word of each four; later it is what A was four rounds before, turned by 30.
    const e = n === 0 ? vector(0, 0, 0, (0xc3d2_e1f0 + lane(quads[0]!, 3)) >>> 0) : run('sha1nexte', before, quads[n]!)
    if (n === 0) e.set(quads[0]!.subarray(0, 12))
    before = abcd
    abcd = run('sha1rnds4', abcd, e, Math.floor(n / 5))
  }
  const e = run('sha1nexte', before, vector(0, 0, 0, 0xc3d2_e1f0))
  const sums = [3, 2, 1, 0].map(n => (lane(abcd, n) + lane(start, n)) >>> 0)
  const digest = [...sums, lane(e, 3)].map(n => n.toString(16).padStart(8, '0')).join('')
  t.equal(digest, createHash('sha1').update(message).digest('hex'))
})

t.test('SHA-256 of one block', async t => {
  const message = 'jumps over the lazy dog'
  const w = words(message)
  const quads = [0, 4, 8, 12].map(n => vector(...w.subarray(n, n + 4)))
  for (let n = 4; n < 16; n++) {
    const [a, b, c, d] = quads.slice(n - 4, n) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
    const sum = run('paddd', run('sha256msg1', a, b), run('palignr', d, c, 4))
    quads.push(run('sha256msg2', sum, d))
  }
  // The first 32 bits of the fractional parts of the cube roots of the first primes, and of their square roots.
  const primes = Array.from({ length: 400 }, (_, n) => n).filter(n => n > 1 && !/^(11+?)\1+$/.test('1'.repeat(n)))
  const fraction = (x: number) => Math.floor((x % 1) * 2 ** 32) >>> 0
  const k = primes.slice(0, 64).map(p => fraction(Math.cbrt(p)))
  const h = primes.slice(0, 8).map(p => fraction(Math.sqrt(p))) as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  let abef = vector(h[5]!, h[4]!, h[1], h[0])
  let cdgh = vector(h[7]!, h[6]!, h[3], h[2])
  for (let n = 0; n < 64; n += 2) {
    const key = vector(k[n]! + lane(quads[n >> 2]!, n & 3), k[n + 1]! + lane(quads[n >> 2]!, (n & 3) + 1), 0, 0)
    const next = run('sha256rnds2', Uint8Array.from([...cdgh, ...key]), abef)
    ;[cdgh, abef] = [abef, next]
  }
  const state = [lane(abef, 3), lane(abef, 2), lane(cdgh, 3), lane(cdgh, 2)]
  state.push(lane(abef, 1), lane(abef, 0), lane(cdgh, 1), lane(cdgh, 0))
  const digest = state.map((n, at) => ((n + h[at]!) >>> 0).toString(16).padStart(8, '0')).join('')
  t.equal(digest, createHash('sha256').update(message).digest('hex'))
})
