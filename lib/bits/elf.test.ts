import fc from 'fast-check'
import t from 'tap'
import { ElfError, readElf } from './elf.ts'

/** A 64-bit executable with two segments, at 1000h and 3000h. */
const good = (): Uint8Array => {
  const bytes = new Uint8Array(0x200)
  const view = new DataView(bytes.buffer)
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  view.setUint16(16, 2, true)
  view.setUint16(18, 62, true)
  view.setBigUint64(24, 0x1010n, true)
  view.setBigUint64(32, 64n, true)
  view.setUint16(54, 56, true)
  view.setUint16(56, 2, true)
  const segment = (at: number, flags: number, offset: bigint, address: bigint, inFile: bigint, size: bigint) => {
    view.setUint32(at, 1, true)
    view.setUint32(at + 4, flags, true)
    for (const [n, value] of [offset, address, address, inFile, size].entries())
      view.setBigUint64(at + 8 + n * 8, value, true)
  }
  segment(64, 5, 0x100n, 0x1000n, 0x80n, 0x80n)
  segment(120, 6, 0x180n, 0x3000n, 0x40n, 0x1000n)
  return bytes
}
const refusal = (change: (bytes: Uint8Array, view: DataView) => void): string => {
  const bytes = good()
  change(bytes, new DataView(bytes.buffer))
  try {
    readElf(bytes, 64)
    return 'taken'
  } catch (error) {
    if (error instanceof ElfError) return error.message
    throw error
  }
}

t.test('segments, their rights, and the entry point', async t => {
  const { type, entry, segments, interpreted } = readElf(good(), 64)
  t.same([type, entry, interpreted], ['exec', 0x1010n, false])
  t.same(
    segments.map(s => [s.virtual, s.bytes.length, s.size, s.readable, s.writable, s.executable]),
    [
      [0x1000n, 0x80, 0x80n, true, false, true],
      [0x3000n, 0x40, 0x1000n, true, true, false],
    ],
  )
})

t.test('what is wrong with a file, in one line', async t => {
  t.throws(() => readElf(good().subarray(0, 40), 64), { message: 'the file has 40 bytes, an ELF header has 64' })
  const cases: [string, (bytes: Uint8Array, view: DataView) => void][] = [
    ["begins with 0x7f45_4c47, not with 7f 'ELF'", b => b.set([0x47], 3)],
    ['ELF class 1, not 2 (64-bit)', b => b.set([1], 4)],
    ['ELF data encoding 2, not 1 (little endian)', b => b.set([2], 5)],
    ['machine 3 (i386), not 62 (x86-64)', (_, v) => v.setUint16(18, 3, true)],
    ['ELF type 1, not 2 (executable)', (_, v) => v.setUint16(16, 1, true)],
    ['has no program headers', (_, v) => v.setUint16(56, 0, true)],
    ['program headers of 32 bytes, not 56', (_, v) => v.setUint16(54, 32, true)],
    ['2 program headers at offset 0x1f0: the file has 512 bytes', (_, v) => v.setBigUint64(32, 0x1f0n, true)],
    ['segment 0: 128 bytes in the file, 16 in memory', (_, v) => v.setBigUint64(104, 16n, true)],
    ['segment 1: 64 bytes at offset 0x1e0, the file has 512', (_, v) => v.setBigUint64(128, 0x1e0n, true)],
    [
      'segment 1 at 0xffff_ffff_ffff_ff00 wraps around the address space',
      (_, v) => v.setBigUint64(136, 0xffff_ffff_ffff_ff00n, true),
    ],
    ['segments 0 and 1 overlap at 0x1040', (_, v) => v.setBigUint64(136, 0x1040n, true)],
    [
      'has no segment to load (PT_LOAD)',
      (_, v) => {
        for (const at of [64, 120]) v.setUint32(at, 4, true)
      },
    ],
    ['the entry point 0x2000 lies in no segment', (_, v) => v.setBigUint64(24, 0x2000n, true)],
  ]
  for (const [want, change] of cases) t.equal(refusal(change), want)
})

t.test('whatever the bytes are, the answer is segments or an ElfError', async t => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(0x1ff), fc.nat(255)), { maxLength: 8 }), fc.nat(0x200), (changes, length) => {
      const said = refusal(bytes => {
        for (const [at, byte] of changes) bytes[at] = byte
      })
      if (said === '') return false
      try {
        readElf(good().subarray(0, length), 64)
      } catch (error) {
        return error instanceof ElfError
      }
      return true
    }),
  )
  t.pass()
})
