import t from 'tap'
import { CS, SS } from './insn.ts'
import { ltr } from './segments.ts'
import {
  CODE,
  CODE64,
  DATA,
  descriptor,
  GDT,
  gate32,
  gate64,
  IDT,
  longMode,
  STACK,
  TASK,
  TestMachine,
  USER_CODE64,
  USER_DATA,
} from './testdata/machine.ts'
import { iret } from './transfer.ts'
import {
  EXIT_REASON_EPT_VIOLATION,
  EXIT_REASON_EXCEPTION_NMI,
  EXIT_REASON_HLT,
  EXIT_REASON_PREEMPTION_TIMER,
  EXIT_REASON_TRIPLE_FAULT,
} from './vmx.ts'

const HANDLER = 0x2_8000n
const IST1 = 0x4_0000n
const RING0 = 0x5_0000n

const setGate = (m: TestMachine, vector: number, options: Parameters<typeof gate64>[2] = {}, selector = CODE64) =>
  m.put64(IDT + BigInt(vector * 16), ...gate64(selector, HANDLER + BigInt(vector * 16), options))

/** `longMode` with stacks in the TSS and HLT in every handler. */
const machine = (options: Parameters<typeof longMode>[0] = {}): TestMachine => {
  const m = longMode(options)
  m.put64(TASK + 4n, RING0)
  m.put64(TASK + 36n, IST1)
  for (let n = 0n; n < 256n; n++) m.put(HANDLER + n * 16n, 'f4')
  return m
}
const user = (m: TestMachine): void => {
  m.put64(STACK, CODE, BigInt(USER_CODE64), 0x202n, 0x3_8000n, BigInt(USER_DATA))
  iret(m.cpu, 8)
  m.cpu.rip = m.cpu.next
}
/** Vector of the handler that was entered, and what is on its stack. */
const entered = (m: TestMachine, words: number): [number, ...string[]] => {
  const sp = m.cpu.gpr[4]!
  const pushed = Array.from({ length: words }, (_, n) => m.get64(sp + BigInt(n * 8)).toString(16))
  return [Number(m.cpu.rip - HANDLER) / 16, ...pushed]
}

t.test('#PF from ring 3: RSP0, error code, CR2, RF in the pushed flags', async t => {
  const m = machine()
  const { cpu } = m
  setGate(m, 14)
  user(m)
  m.asm(CODE, 'nop\nmov [0x400000], eax')
  t.equal(cpu.run(100).reason, EXIT_REASON_HLT)
  t.same(entered(m, 6), [14, '6', '20001', '2b', '10202', '38000', '23'])
  t.equal(cpu.cr2, 0x40_0000n)
  t.equal(cpu.gpr[4], RING0 - 48n)
  t.equal(cpu.cpl, 0)
  t.equal(cpu.segments[SS]!.selector, 0)
  t.equal(cpu.segments[CS]!.selector, CODE64)
  t.equal(cpu.rflags, 2n)
})

t.test('in the same ring the stack is aligned to 16; IST takes its own', async t => {
  const m = machine()
  setGate(m, 6)
  m.cpu.gpr[4] = STACK - 3n
  m.asm(CODE, 'ud2')
  m.cpu.run(2)
  t.same(entered(m, 5), [6, '20000', '8', '10002', (STACK - 3n).toString(16), '10'])
  t.equal(m.cpu.gpr[4], STACK - 16n - 40n)

  const ist = machine()
  setGate(ist, 6, { ist: 1 })
  ist.asm(CODE, 'ud2')
  ist.cpu.run(2)
  t.equal(ist.cpu.gpr[4], IST1 - 40n)
  t.equal(ist.cpu.segments[SS]!.selector, DATA, 'SS stays in the same ring')
})

t.test('interrupt gates clear IF, trap gates do not; INT n asks for the DPL', async t => {
  const m = machine()
  setGate(m, 0x80, { type: 15, dpl: 3 })
  setGate(m, 13)
  user(m)
  m.asm(CODE, 'int 0x80')
  m.cpu.run(2)
  t.same(entered(m, 5), [0x80, '20002', '2b', '202', '38000', '23'])
  t.equal(m.cpu.rflags, 0x202n)

  const denied = machine()
  setGate(denied, 0x80)
  setGate(denied, 13)
  user(denied)
  denied.asm(CODE, 'int 0x80')
  denied.cpu.run(2)
  t.same(entered(denied, 2), [13, (0x80 * 8 + 2).toString(16), '20000'])
})

t.test('gates that are bad: what the second exception is, with EXT', async t => {
  const second = (how: (m: TestMachine) => void, code = 'ud2'): string => {
    const m = machine()
    for (const vector of [8, 10, 11, 12, 13, 14]) setGate(m, vector)
    how(m)
    m.asm(CODE, code)
    m.cpu.run(3)
    const [vector, errorCode] = entered(m, 1)
    return `${vector} ${errorCode}`
  }
  t.equal(
    second(m => setGate(m, 6, { type: 5 })),
    '13 33',
  )
  t.equal(
    second(m => setGate(m, 6, { present: 0 })),
    '11 33',
  )
  t.equal(
    second(m => setGate(m, 6, {}, 0)),
    '13 1',
  )
  t.equal(
    second(m => setGate(m, 6, {}, DATA)),
    '13 11',
  )
  t.equal(
    second(m => setGate(m, 6, {}, 0x18)),
    '13 19',
    'not 64-bit code',
  )
  const short = (m: TestMachine) => {
    m.cpu.idtr.limit = 0xef
  }
  t.equal(second(short, 'int 0x20'), '13 102', 'beyond the limit')
})

t.test('a second contributory exception is #DF, and a third a triple fault', async t => {
  const outcome = (gates: readonly number[], code: string, stack = STACK) => {
    const m = machine()
    for (const vector of gates) setGate(m, vector)
    m.cpu.gpr[4] = stack
    m.asm(CODE, code)
    const { reason } = m.cpu.run(10)
    return reason === EXIT_REASON_HLT ? entered(m, 1) : reason
  }
  t.same(outcome([8, 13], 'mov eax, [0x400000]'), [8, '0'], '#PF, #GP')
  t.same(outcome([8], 'int 0x20'), [8, '0'], '#GP, #GP')
  t.same(outcome([8, 13], 'ud2'), [13, '33'], '#UD, #GP: one after the other')
  t.equal(outcome([13], 'mov eax, [0x400000]'), EXIT_REASON_TRIPLE_FAULT)
  t.equal(outcome([8, 14], 'push rax', 0x40_0000n), EXIT_REASON_TRIPLE_FAULT, 'no stack for #DF')
})

t.test('external interrupts wait for IF and for the shadow of STI, NMIs for the IRET of the one before', async t => {
  const m = machine()
  const { cpu } = m
  setGate(m, 0x30)
  setGate(m, 2)
  cpu.inject({ vector: 0x30, kind: 'external' })
  m.asm(CODE, 'nop\nsti\nnop\nnop')
  t.equal(cpu.run(3).reason, EXIT_REASON_PREEMPTION_TIMER)
  t.equal(cpu.rip, 0x2_8300n, 'taken after the NOP that follows STI')
  t.equal(m.get64(cpu.gpr[4]!), 0x2_0003n)
  m.asm(0x2_8300n, 'nop\nnop')
  m.asm(HANDLER + 32n, 'nop\niretq')
  cpu.inject({ vector: 2, kind: 'nmi' })
  cpu.step()
  t.equal(cpu.rip, HANDLER + 33n)
  cpu.inject({ vector: 2, kind: 'nmi' })
  t.ok(cpu.nmiBlocked)
  cpu.step()
  t.equal(cpu.rip, 0x2_8300n, 'IRET comes before the second NMI')
  cpu.step()
  t.equal(cpu.rip, HANDLER + 33n)
})

t.test('single step: #DB after the instruction, MOV SS takes the next along', async t => {
  const m = machine()
  const { cpu } = m
  setGate(m, 1)
  m.asm(CODE, 'push qword 0x102\npopfq\nmov ss, eax\nnop\nnop')
  cpu.gpr[0] = BigInt(DATA)
  m.asm(HANDLER + 16n, 'iretq')
  const seen: string[] = []
  for (let n = 0; n < 8 && seen.length < 2; n++) {
    cpu.step()
    if (cpu.rip === HANDLER + 16n) seen.push(m.get64(cpu.gpr[4]!).toString(16))
  }
  t.same(seen, ['20009', '2000a'])
  t.equal(cpu.dr[6]! & 0x4000n, 0x4000n)
})

t.test('an exception can stop the run instead', async t => {
  const m = machine({ onFault: () => 'stop' })
  m.asm(CODE, 'mov eax, [0x400000]')
  const { reason, qualification } = m.cpu.run(1)
  t.equal(reason, EXIT_REASON_EXCEPTION_NMI)
  t.equal(qualification & 0xffn, 14n)
  t.equal(qualification >> 32n, 0n)
  t.equal(m.cpu.rip, CODE)
})

t.test('an event whose delivery leaves the guest is delivered when it comes back', async t => {
  const m = machine()
  const { cpu } = m
  setGate(m, 0x30)
  cpu.rflags |= 0x200n
  m.asm(CODE, 'nop')
  m.stage.holes.set(0x2_f000n, ['write'])
  cpu.inject({ vector: 0x30, kind: 'external' })
  const { reason, gpa } = cpu.run(10)
  t.equal(reason, EXIT_REASON_EPT_VIOLATION)
  t.equal(gpa, 0x2_fff8n)
  t.equal(cpu.rip, CODE)
  m.stage.holes.clear()
  t.equal(cpu.run(10).reason, EXIT_REASON_HLT)
  t.same(entered(m, 3), [0x30, '20000', '8', '202'])
})

t.test('legacy protected mode: a 32-bit gate to ring 0 by the TSS, and back', async t => {
  const m = new TestMachine({ start: 'flat32' })
  const { cpu } = m
  m.put64(
    GDT,
    0n,
    descriptor(0x9b, 0xc),
    descriptor(0x93, 0xc),
    descriptor(0xfb, 0xc),
    descriptor(0xf3, 0xc),
    descriptor(0x89, 0, { base: Number(TASK), limit: 0x67 }),
  )
  m.put32(TASK + 4n, RING0, 0x10n)
  m.put64(IDT + 0x80n * 8n, gate32(8, Number(HANDLER), { dpl: 3 }))
  m.put64(IDT + 13n * 8n, gate32(8, Number(HANDLER) + 0x100))
  Object.assign(cpu.gdtr, { base: GDT, limit: 0x2f })
  Object.assign(cpu.idtr, { base: IDT, limit: 0x7ff })
  ltr(cpu, 0x28)
  cpu.gpr[4] = STACK
  cpu.rip = CODE
  m.asm(CODE, `push 0x23\npush ${STACK}\npush 0x1b\npush 0x21000\nretf`, 32)
  m.asm(0x2_1000n, 'int 0x80\nmov eax, cr0', 32)
  m.asm(HANDLER, 'inc ecx\niretd', 32)
  m.put(HANDLER + 0x100n, 'f4')
  t.equal(cpu.run(100).reason, EXIT_REASON_HLT)
  t.equal(cpu.gpr[1], 1n)
  t.same(
    [0n, 4n, 8n, 12n, 16n, 20n].map(n => m.get32(cpu.gpr[4]! + n).toString(16)),
    ['0', '21002', '1b', '10002', '30000', '23'],
  )
})
