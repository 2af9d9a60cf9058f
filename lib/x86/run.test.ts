import t from 'tap'
import { Cpu } from './cpu.ts'
import { PhysicalMemory } from './memory.ts'
import { random } from './system.ts'
import { CODE, longMode, PAGE, type TestMachine } from './testdata/machine.ts'
import {
  EXIT_REASON_EPT_VIOLATION,
  EXIT_REASON_EXCEPTION_NMI,
  EXIT_REASON_HLT,
  EXIT_REASON_PREEMPTION_TIMER,
} from './vmx.ts'

/** Vector and error code of the exception that ends a run. */
const exception = (m: TestMachine, budget = 100): string => {
  m.cpu.onFault = () => 'stop'
  const { reason, qualification } = m.cpu.run(budget)
  return reason === EXIT_REASON_EXCEPTION_NMI
    ? `${qualification & 0xffn} ${(qualification >> 32n).toString(16)}`
    : `exit ${reason}`
}

t.test('the budget is exact, and a run goes on where it stopped', async t => {
  const m = longMode()
  m.asm(CODE, 'again: inc rax\njmp again')
  t.equal(m.cpu.run(1001).reason, EXIT_REASON_PREEMPTION_TIMER)
  t.equal(m.cpu.gpr[0], 501n)
  t.equal(m.cpu.instructions, 1001)
  t.equal(m.cpu.run(0).reason, EXIT_REASON_PREEMPTION_TIMER)
  m.cpu.run(1)
  t.equal(m.cpu.instructions, 1002)
  t.equal(m.cpu.tsc, 1002n, 'one tick an instruction')
})

t.test('a guest that only faults ends with its budget too', async t => {
  const m = longMode()
  // #UD to itself, on the stack of an IST.
  m.put64(0x1_1060n, 0x0002_8e01_0008_0000n, 0n)
  m.put64(0x1_2024n, 0x4_0000n)
  m.put(CODE, '0f0b')
  t.equal(m.cpu.run(1000).reason, EXIT_REASON_PREEMPTION_TIMER)
  t.equal(m.cpu.instructions, 0)
})

t.test('instructions that cross into another page, and faults of the second page', async t => {
  const m = longMode()
  const at = CODE + 0xffdn
  m.asm(at, 'mov rax, 0x1122334455667788\nhlt')
  m.cpu.rip = at
  t.equal(m.cpu.run(10).reason, EXIT_REASON_HLT)
  t.equal(m.cpu.gpr[0], 0x1122_3344_5566_7788n)

  const gone = longMode()
  gone.asm(at, 'mov rax, 0x1122334455667788')
  gone.put64(0x4000n + 8n * 0x21n, 0n)
  gone.cpu.rip = at
  t.equal(exception(gone), '14 10')
  t.equal(gone.cpu.rip, at)

  const ept = longMode()
  ept.asm(at, 'mov rax, 0x1122334455667788')
  ept.stage.holes.set(CODE + PAGE, ['fetch'])
  ept.cpu.rip = at
  const { reason, gpa, gla, qualification } = ept.cpu.run(1)
  t.equal(reason, EXIT_REASON_EPT_VIOLATION)
  t.equal(gpa, CODE + PAGE)
  t.equal(gla, CODE + PAGE)
  t.equal(qualification, 0x184n)

  const whole = longMode()
  whole.asm(CODE + 0xfffn, 'nop')
  whole.put64(0x4000n + 8n * 0x21n, 0n)
  whole.cpu.rip = CODE + 0xfffn
  t.equal(whole.cpu.step(), undefined, 'the next page is not asked for')
})

t.test('fetches: NX, user pages under SMEP, not canonical, more than 15 bytes', async t => {
  const nx = longMode()
  nx.put64(0x4000n + 8n * 0x20n, CODE | 7n | (1n << 63n))
  t.equal(exception(nx), '14 11')
  const smep = longMode()
  smep.cpu.cr4 |= 1n << 20n
  t.equal(exception(smep), '14 11')
  const far = longMode()
  far.cpu.rip = 0x8000_0000_0000n
  t.equal(exception(far), '13 0')
  const long = longMode()
  long.put(CODE, '66666666666666666666666666666690')
  t.equal(exception(long), '13 0')
  const most = longMode()
  most.put(CODE, '666666666666666666666666666690')
  t.equal(most.cpu.step(), undefined)
  t.equal(most.cpu.rip, CODE + 15n)
  const invalid = longMode()
  invalid.put(CODE, '06')
  t.equal(exception(invalid), '6 0')
})

t.test(
  'code that writes itself runs as written, also through another address, also in the next instruction',
  async t => {
    const m = longMode()
    m.put64(0x4000n + 8n * 0x60n, CODE | 7n)
    const { patched } = m.asm(
      CODE,
      `mov ecx, 3
     again:
     mov byte ptr [0x60000 + patched - 0x20000], 0x90
     patched: hlt
     inc rax
     mov byte ptr [patched], 0xf4
     mov byte ptr [patched], 0x90
     loop again
     hlt`,
    ) as { patched: bigint }
    t.equal(m.cpu.run(100).reason, EXIT_REASON_HLT)
    t.equal(m.cpu.gpr[0], 3n)
    t.ok(patched > CODE)
  },
)

t.test('a page that is written very often still runs', async t => {
  const m = longMode()
  m.asm(CODE, 'mov ecx, 2000\nagain: inc dword ptr [counter]\nloop again\nhlt\ncounter:')
  t.equal(m.cpu.run(10_000).reason, EXIT_REASON_HLT)
  t.equal(m.cpu.instructions, 4001)
})

t.test(
  'two machines in one memory share what was decoded from equal pages, and not the effect of a write to one',
  async t => {
    const memory = new PhysicalMemory(2 ** 26)
    const [a, b] = [memory.allocate(), memory.allocate()]
    const code = Uint8Array.from([0xff, 0xc0, 0xf4])
    memory.set(a, code)
    memory.set(b, code)
    const cpus = [a, b].map(rip => Object.assign(new Cpu({ memory, start: 'flat64' }), { rip: BigInt(rip) }))
    for (const cpu of cpus) cpu.run(10)
    memory.set(a, Uint8Array.from([0xff, 0xc1]))
    cpus.forEach((cpu, n) => {
      cpu.rip = BigInt([a, b][n]!)
      t.equal(cpu.run(10).reason, EXIT_REASON_HLT)
    })
    t.same(
      cpus.map(cpu => [cpu.gpr[0], cpu.gpr[1]]),
      [
        [1n, 1n],
        [2n, 0n],
      ],
    )
  },
)

t.test('features that CPUID does not have are #UD', async t => {
  const m = longMode({ cpuid: () => [0, 0, 0, 0] })
  m.asm(CODE, 'popcnt eax, ecx')
  t.equal(exception(m), '6 0')
})

t.test('two thousand CPUs take two frames each and give them back', async t => {
  const memory = new PhysicalMemory(2 ** 26)
  const cpus = Array.from({ length: 2000 }, () => new Cpu({ memory }))
  t.equal(memory.used, 4000)
  for (const cpu of cpus) cpu.close()
  t.equal(memory.used, 0)
})

t.test('the same seed gives the same random numbers', async t => {
  const draw = (seed: bigint) => {
    const { cpu } = longMode({ seed })
    return [random(cpu), random(cpu)]
  }
  t.same(draw(7n), draw(7n))
  t.not(draw(7n)[0], draw(8n)[0])
})
