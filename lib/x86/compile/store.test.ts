import t from 'tap'
import { CODE, longMode, type TestMachine } from '../testdata/machine.ts'
import { EXIT_REASON_HLT } from '../vmx.ts'
import { stats, type TierName } from './runtime.ts'
import { liveOf, MOST_BYTES, MOST_REGIONS } from './store.ts'

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
