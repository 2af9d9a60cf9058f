import { crc32 } from 'node:zlib'
import t from 'tap'
import { CODE, longMode, type TestMachine } from '../testdata/machine.ts'
import { EXIT_REASON_HLT } from '../vmx.ts'
import { stats, type TierName } from './runtime.ts'
import { keepTranslations, liveOf, MOST_BYTES, MOST_REGIONS, saveTranslations } from './store.ts'
import { moduleOf, type Shared, unpack } from './translation.ts'

const machine = (tier: TierName, text: string): TestMachine => {
  const m = longMode({ tier, onFault: () => 'stop' })
  m.asm(CODE, text)
  return m
}

t.test('a guest that changes its code for ever has so many regions and frames, and no more', async t => {
  // Every round writes another constant into the loop, and runs it; in this tier each of them is compiled.
  const rounds = 400
  const m = machine(
    'compile',
    `mov rcx, ${rounds}\nagain: lea rbx, [rip+target]\nmov [rip+target+1], ecx\njmp rbx\ntarget: mov eax, 0x01010101\n` +
      'add rdx, rax\nlea rbx, [rip+next]\njmp rbx\nnext: dec rcx\njne again\nhlt',
  )
  const before = stats.regions
  const used = m.memory.used
  t.equal(m.cpu.run(10_000_000).reason, EXIT_REASON_HLT)
  t.equal(m.cpu.gpr[2], BigInt((rounds * (rounds + 1)) / 2))
  const live = liveOf(m.memory)
  t.ok(stats.regions - before > MOST_REGIONS, `${stats.regions - before} regions were made`)
  t.ok(live.count <= MOST_REGIONS, `${live.count} regions are left`)
  t.ok(live.bytes > 0 && live.bytes <= MOST_BYTES, `${live.bytes} bytes`)
  t.ok(live.maps <= MOST_REGIONS, `${live.maps} maps`)
  t.ok(m.memory.used - used < 16, 'frames in use')
})

t.test('a second machine with the same code starts with it compiled', async t => {
  const text = `mov ecx, 5000\nagain: imul rax, rax, 0x1234567\nadd rax, rcx\nmov [rsp-8], rax\nloop again\nhlt`
  const run = (): { compiled: number; shared: number; retired: number; rax: bigint; instructions: number } => {
    const { regions, shared, retired } = stats
    const m = machine('auto', text)
    t.equal(m.cpu.run(1_000_000).reason, EXIT_REASON_HLT)
    return {
      compiled: stats.regions - regions,
      shared: stats.shared - shared,
      retired: stats.retired - retired,
      rax: m.cpu.gpr[0]!,
      instructions: m.cpu.instructions,
    }
  }
  const [first, second] = [run(), run()]
  t.ok(first.compiled > 0)
  t.equal(second.compiled, 0)
  t.ok(second.shared > 0)
  t.ok(second.retired > first.retired, 'the interpreter has less to do')
  t.equal(second.rax, first.rax)
  t.equal(second.instructions, first.instructions)
})

t.test('a page is packed with all that another process needs to enter its regions', async t => {
  const kept = new Map<string, Uint8Array<ArrayBuffer>>()
  const asked: string[] = []
  const keeper = {
    nameOf: (bytes: Uint8Array) => `${crc32(bytes)}`,
    get: (name: string) => {
      asked.push(name)
      return kept.get(name)
    },
    put: (name: string, bytes: Uint8Array) => kept.set(name, Uint8Array.from(bytes)),
  }
  keepTranslations(keeper)
  t.teardown(() => keepTranslations(undefined))
  // A computed jump, flags of a comparison with a constant, and a loop around a call.
  const text = `mov ecx, 4000\nagain: call twice\nlea rbx, [rip+on]\njmp rbx\non: cmp eax, 0x7654321\nsetb dl\nloop again\nhlt\ntwice: add eax, ecx\nadd eax, eax\nret`
  const m = machine('auto', text)
  t.equal(m.cpu.run(1_000_000).reason, EXIT_REASON_HLT)
  saveTranslations()
  t.equal(asked.length, 1)
  const packed = kept.get(asked[0]!)
  const own = m.cpu.fetch.page!.compiled[m.cpu.context!.id]!.shared!
  const empty = (): Shared => ({ ...own, modules: new Map() })
  const other = empty()
  unpack(packed!, other)
  t.ok(own.modules.size > 1)
  t.same([...other.modules.keys()].sort(), [...own.modules.keys()].sort())
  for (const [offset, made] of own.modules) {
    const { module: _, ...rest } = other.modules.get(offset)!
    const { module: _mine, ...wanted } = made
    t.same(rest, wanted, `the region at ${offset}`)
    t.ok(moduleOf(other.modules.get(offset)!))
  }
  for (const wrong of [
    { ...empty(), bytes: own.bytes.map((byte, n) => (n === 4095 ? byte ^ 1 : byte)) },
    { ...empty(), context: { ...own.context, name: `${own.context.name} MORE` } },
  ]) {
    unpack(packed!, wrong)
    t.equal(wrong.modules.size, 0)
  }
  // Nothing new, nothing to keep.
  kept.clear()
  saveTranslations()
  t.equal(kept.size, 0)
})
