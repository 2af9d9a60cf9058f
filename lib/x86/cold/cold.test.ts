import t from 'tap'
import { contextOf } from '../compile/context.ts'
import { usualTier, watch } from '../compile/runtime.ts'
import { Cpu } from '../cpu.ts'
import { decode } from '../decode.ts'
import { PhysicalMemory } from '../memory.ts'
import { bytesOf, CODE, longMode } from '../testdata/machine.ts'
import { EXIT_REASON_HLT, EXIT_REASON_PREEMPTION_TIMER } from '../vmx.ts'
import { Shapes } from './shapes.ts'
import { stats } from './stats.ts'

const cpu = new Cpu({ memory: new PhysicalMemory(2 ** 26), start: 'flat64' })
const shapes = new Shapes(contextOf(cpu, false, 0)!)
const handler = (hex: string) => {
  const insn = decode(bytesOf(hex), 0, 64)
  if (typeof insn === 'string') throw new Error(`${hex}: ${insn}`)
  return shapes.find(insn, 0, 0)
}

t.test('register numbers, displacements and immediates share a handler; sizes, meanings and forms do not', async t => {
  const same = (a: string, b: string) => t.equal(handler(a), handler(b), `${a} and ${b}`)
  const other = (a: string, b: string) => t.not(handler(a), handler(b), `${a} and ${b}`)
  same('48 01 d8', '49 01 cf')
  same('48 8b 43 08', '4c 8b 8a 00 01 00 00')
  same('48 8b 43 08', '48 8b 05 10 00 00 00')
  same('48 83 c0 01', '49 83 c7 7f')
  same('74 10', '74 20')
  same('c1 e0 03', 'c1 e2 1f')
  same('00 e0', '00 d8')
  other('48 01 d8', '01 d8')
  other('48 01 d8', '48 29 d8')
  other('48 01 d8', '48 01 c0')
  other('48 8b 43 08', '48 8b 44 8b 08')
  other('74 10', '75 10')
  // Out of the page.
  other('74 10', '74 f0')
  other('c1 e0 03', 'c1 e0 00')
  // The bytes that RET drops are part of what it means.
  other('c2 08 00', 'c2 10 00')
  t.equal(handler('0f a2'), null, 'CPUID is the interpreter’s')
  t.not(handler('00 e0'), null)
})

t.test('what flags a condition follows from is part of its handler', async t => {
  const je = decode(bytesOf('74 10'), 0, 64)
  const sub = handler('29 c8')!.flagsAfter(0)
  const and = handler('21 c8')!.flagsAfter(0)
  if (typeof je === 'string') throw new Error(je)
  t.not(sub, and)
  t.not(shapes.find(je, 0, sub), shapes.find(je, 0, and))
  t.equal(handler('8d 04 08')!.flagsAfter(sub), sub, 'LEA leaves them')
})

const LOOP = 'mov ecx, 1000\nlea rdi, [0x40000]\nagain: add rax, rcx\nmov [rdi], rax\ndec ecx\njne again\nhlt'

t.test('a loop is executed by handlers, and its budget is exact', async t => {
  const before = stats.retired
  const m = longMode({ tier: 'coldstep' })
  m.asm(CODE, LOOP)
  t.equal(m.cpu.run(1_000_000).reason, EXIT_REASON_HLT)
  t.equal(m.cpu.gpr[0], 500500n)
  t.ok(stats.retired - before > 3000, 'by handlers')
  for (const budget of [1, 2, 3, 17, 18, 19, 1000, 1001]) {
    const short = longMode({ tier: 'coldstep' })
    short.asm(CODE, LOOP)
    t.equal(short.cpu.run(budget).reason, EXIT_REASON_PREEMPTION_TIMER)
    t.equal(short.cpu.instructions, budget)
  }
})

t.test('machines share handlers', async t => {
  const run = () => {
    const m = longMode({ tier: 'coldstep' })
    m.asm(CODE, LOOP)
    m.cpu.run(1_000_000)
  }
  run()
  const { handlers } = stats
  run()
  t.equal(stats.handlers, handlers)
})

t.test('records are dropped when there are too many, and made again', async t => {
  const m = longMode({ tier: 'coldstep' })
  // Each round is another page: the old one's records stay until all are dropped.
  const { cpu } = m
  for (let n = 0; n < 3000; n++) {
    m.asm(CODE, `mov eax, ${n}\nadd eax, ${n}\n${'inc eax\n'.repeat(90)}hlt`)
    cpu.rip = CODE
    if (cpu.run(1000).reason !== EXIT_REASON_HLT) t.fail(`round ${n}`)
    if (cpu.gpr[0] !== BigInt(2 * n + 90)) t.fail(`round ${n}`)
    if (stats.dropped > 0) break
  }
  t.ok(stats.dropped > 0)
})

t.test('blocks of content that no frame has are kept, but not for many pages', async t => {
  const m = longMode({ tier: 'coldstep' })
  const { cpu } = m
  /** How many blocks it takes to execute the nth content; four frames take turns. */
  const made = (n: number): number => {
    const at = CODE + BigInt(n % 4) * 0x1000n
    m.asm(at, `mov eax, ${n}\nadd eax, 5\nhlt`)
    cpu.rip = at
    const { blocks } = stats
    t.equal(cpu.run(1000).reason, EXIT_REASON_HLT)
    t.equal(cpu.gpr[0], BigInt(n + 5))
    return stats.blocks - blocks
  }
  for (let n = 0; n < 100; n++) made(n)
  t.equal(made(0), 0, 'kept')
  for (let n = 100; n < 400; n++) made(n)
  t.equal(made(399), 0)
  t.equal(made(300), 0)
  t.ok(made(20) > 0, 'made again')
})

t.test('the environment may name the tier', async t => {
  const before = process.env['SEAMLESS_TIER']
  process.env['SEAMLESS_TIER'] = 'cold'
  t.equal(usualTier(), 'cold')
  if (before === undefined) delete process.env['SEAMLESS_TIER']
  else process.env['SEAMLESS_TIER'] = before
})

t.test('a listing has every block that is made', async t => {
  const m = longMode({ tier: 'coldstep' })
  m.asm(CODE, LOOP)
  const listed: string[] = []
  watch.listing = text => listed.push(text)
  m.cpu.run(1_000_000)
  watch.listing = undefined
  t.match(listed[0], /^block at [0-9a-f]+: [1-9]\d* records\n {2}[0-9a-f]+ {2}mov ecx, 0x3e8 +handler \d+$/m)
})
