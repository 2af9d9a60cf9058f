import t from 'tap'
import { hpa } from '#bits'
import { PhysicalMemory } from '#x86'
import { SharedEpt } from './ept.ts'

/** Walks as the processor does: the entry the walk ends at, and the level it ends at. */
const walk = (memory: PhysicalMemory, root: number, levels: number, gpa: bigint): { entry: bigint; level: number } => {
  let table = root
  for (let level = levels - 1; ; level--) {
    const index = Number((gpa >> BigInt(12 + 9 * level)) & 0x1ffn)
    const entry = memory.read(table + index * 8, 8)
    if ((entry & 7n) === 0n || level === 0) return { entry, level }
    table = Number(entry & 0xf_ffff_ffff_f000n)
  }
}

const SUPPRESS_VE = 1n << 63n

for (const [levels, sharedBit] of [
  [4, 47],
  [5, 51],
] as const) {
  t.test(`${levels} levels: entries are where the processor looks for GPAs with the shared bit`, async t => {
    const memory = new PhysicalMemory(64 * 2 ** 20)
    const ept = new SharedEpt(memory, levels, sharedBit)
    const frame = memory.allocate()
    const shared = 1n << BigInt(sharedBit)
    const at = (gfn: number) => walk(memory, ept.root, levels, shared | (BigInt(gfn) << 12n))

    t.same(at(0x12345), { entry: SUPPRESS_VE, level: levels - 1 }, 'nothing there: a TD exit, no #VE')
    ept.map(0x12345, frame, true)
    t.same(at(0x12345), { entry: BigInt(frame) | 0x77n | SUPPRESS_VE, level: 0 }, 'write-back, PAT ignored, RWX')
    t.same(at(0x12346), { entry: SUPPRESS_VE, level: 0 }, 'its neighbour is untouched')
    t.equal(walk(memory, ept.root, levels, 0x12345n << 12n).level, levels - 1, 'the private alias is not there')
    ept.markMmio(0x40_0000)
    t.same(at(0x40_0000), { entry: 0n, level: 0 }, 'no memslot: #VE')

    t.notOk(ept.zap(0x5_0000, 0x1_0000))
    t.ok(ept.zap(0x1_2000, 0x1000))
    t.same(at(0x12345), { entry: SUPPRESS_VE, level: 0 })
    t.ok(ept.has(0x40_0000))
    t.ok(ept.zap(0, 2 ** 30))
    t.notOk(ept.has(0x40_0000))

    ept.free()
    memory.free(hpa(frame))
    t.equal(memory.used, 0)
  })
}
