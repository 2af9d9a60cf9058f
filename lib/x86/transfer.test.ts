import t from 'tap'
import { CS, DS, GS, SS } from './insn.ts'
import { loadSegment, setSegmentBase } from './segments.ts'
import {
  CODE,
  CODE32,
  CODE64,
  DATA,
  descriptor,
  faultOf,
  GDT,
  gate64,
  longMode,
  STACK,
  TASK,
  TestMachine,
  USER_CODE32,
  USER_CODE64,
  USER_DATA,
} from './testdata/machine.ts'
import { farJump, iret } from './transfer.ts'
import { EXIT_REASON_HLT, EXIT_REASON_TRIPLE_FAULT } from './vmx.ts'

t.test('from the reset vector in protected mode through compatibility to 64-bit mode', async t => {
  const m = new TestMachine({ start: 'flat32' })
  const { cpu } = m
  // Page tables at 0x1000 that map the first and the last 2 MiB below 4 GiB to themselves.
  m.put64(0x1000n, 0x2007n)
  m.put64(0x2000n, 0x3007n, 0n, 0n, 0x4007n)
  m.put64(0x3000n, 0x87n)
  m.put64(0x4ff8n, 0xffe0_0087n)
  m.put64(0x5000n, 0n, descriptor(0x9b, 0xa))
  m.put(0x6000n, 'ff0f 00500000')
  const { long } = m.asm(
    0xffff_f000n,
    `mov ebx, 0x6000
     lgdt [ebx]
     mov eax, cr4
     or eax, 0x20
     mov cr4, eax
     mov eax, 0x1000
     mov cr3, eax
     mov eax, cr0
     or eax, 0x80000000
     mov cr0, eax
     inc ecx
     jmp 8:long
    long:`,
    32,
  ) as { long: bigint }
  m.asm(long, 'mov rax, 0x123456789abcdef0\nhlt')
  m.asm(0xffff_fff0n, 'jmp -0x1000 + 0x100000000', 32)
  cpu.segments[CS]!.set(0, 0n, 0xffff_ffff, 0xc09b)
  for (const seg of [0, 2, 3, 4, 5]) cpu.segments[seg]!.set(0, 0n, 0xffff_ffff, 0xc093)
  cpu.rip = 0xffff_fff0n
  cpu.cr0 = 0x21n
  cpu.efer = 0x901n
  const modes: string[] = []
  for (let n = 0; n < 13; n++) {
    t.equal(cpu.step(), undefined)
    modes.push(`${cpu.mode}${(cpu.efer & 0x400n) === 0n ? '' : ' LMA'}`)
  }
  t.same(modes, [...Array(10).fill('32'), '32 LMA', '32 LMA', '64 LMA'].slice(0, 13))
  t.equal(cpu.step(), undefined)
  t.equal(cpu.step()?.reason, EXIT_REASON_HLT)
  t.equal(cpu.gpr[0], 0x1234_5678_9abc_def0n)
  t.equal(cpu.gpr[1], 1n)
  t.equal(cpu.instructions, 14)
})

t.test('far jumps and calls: what a code segment asks for', async t => {
  const { cpu } = longMode()
  const jump = (selector: number, offset = CODE) => faultOf(() => farJump(cpu, selector, offset, 4))
  t.equal(jump(0), '#GP(0x0)')
  t.equal(jump(0x100), '#GP(0x100)', 'outside the table')
  t.equal(jump(DATA), '#GP(0x10)')
  t.equal(jump(USER_CODE64), '#GP(0x28)', 'another ring')
  t.equal(jump(0x48), '#GP(0x48)', 'upper half of the TSS')
  t.equal(jump(CODE64, 0x8000_0000_0000n), '#GP(0x0)', 'not canonical')
  t.equal(jump(4), '#GP(0x4)', 'no LDT')
  t.equal(jump(CODE32), 'none')
  t.equal(cpu.mode, 32)
  t.equal(cpu.segments[CS]!.selector, CODE32)
  t.equal(jump(CODE64, CODE + 0x10n), 'none')
  t.equal(cpu.mode, 64)
  t.equal(cpu.next, CODE + 0x10n)
})

t.test('descriptors that are not present, and both L and D', async t => {
  const m = longMode()
  m.put64(GDT + 0x18n, descriptor(0x1b, 0xc))
  t.equal(
    faultOf(() => farJump(m.cpu, CODE32, 0n, 4)),
    '#NP(0x18)',
  )
  m.put64(GDT + 0x18n, descriptor(0x9b, 0xe))
  t.equal(
    faultOf(() => farJump(m.cpu, CODE32, 0n, 4)),
    '#GP(0x18)',
  )
  m.put64(GDT + 0x18n, descriptor(0x98, 0xc, { limit: 1 }))
  t.equal(
    faultOf(() => farJump(m.cpu, CODE32, 0x2000n, 4)),
    '#GP(0x0)',
    'beyond the limit',
  )
  t.equal(
    faultOf(() => farJump(m.cpu, CODE32, 0x1fffn, 4)),
    'none',
  )
  t.equal((m.get64(GDT + 0x18n) >> 40n) & 0xffn, 0x99n, 'accessed')
})

t.test('IRETQ to ring 3; data segments of the inner ring become null', async t => {
  const m = longMode()
  const { cpu } = m
  loadSegment(cpu, DS, DATA)
  loadSegment(cpu, 0, USER_DATA)
  loadSegment(cpu, GS, DATA)
  setSegmentBase(cpu, GS, 0x1234_5678n)
  m.asm(CODE, `push ${USER_DATA}\npush 0x38000\npush qword 0x202\npush ${USER_CODE64}\npush 0x21000\niretq`)
  cpu.run(6)
  t.equal(cpu.cpl, 3)
  t.equal(cpu.rip, 0x2_1000n)
  t.equal(cpu.gpr[4], 0x3_8000n)
  t.equal(cpu.segments[SS]!.selector, USER_DATA)
  t.equal(cpu.segments[DS]!.selector, 0)
  t.equal(cpu.segments[0]!.selector, USER_DATA)
  t.equal(cpu.segments[GS]!.selector, 0)
  t.equal(cpu.segments[GS]!.base, 0x1234_5678n, 'what a selector allowed goes, not the base')
  t.equal(cpu.rflags, 0x202n)
  m.asm(0x2_1000n, 'push 0x10\npush 0x38000\npush qword 0x202\npush 8\npush 0x21000\niretq')
  const { reason } = cpu.run(6)
  t.equal(reason, EXIT_REASON_TRIPLE_FAULT, 'to an inner ring is #GP, and there is no IDT')
})

t.test('IRETQ to compatibility mode; its flags are not IF and IOPL at CPL 3', async t => {
  const m = longMode()
  const { cpu } = m
  m.asm(CODE, `push ${USER_DATA}\npush 0x38000\npush 0x2\npush ${USER_CODE32}\npush 0x21000\niretq`)
  m.asm(0x2_1000n, 'push 0x3202\npopfd\npushfd\npop eax', 32)
  cpu.run(10)
  t.equal(cpu.mode, 32)
  t.equal(cpu.stackSize, 4)
  t.equal(cpu.gpr[0], 2n)
})

t.test('IRETQ to 64-bit ring 0 takes a null SS, to ring 3 it does not', async t => {
  for (const [cs, ss, want] of [
    [CODE64, 0, 'none'],
    [USER_CODE64, 0, '#GP(0x0)'],
    [USER_CODE64, DATA, '#GP(0x10)'],
    [CODE32, 0, '#GP(0x0)'],
    [CODE64, USER_DATA, '#GP(0x20)'],
    [0, DATA, '#GP(0x0)'],
  ] as const) {
    const m = longMode()
    m.put64(STACK, CODE, BigInt(cs), 2n, STACK, BigInt(ss))
    t.equal(
      faultOf(() => iret(m.cpu, 8)),
      want,
      `${cs} ${ss}`,
    )
  }
})

t.test('a call gate to ring 0 takes the stack from the TSS, and RETF goes back', async t => {
  const m = longMode()
  const { cpu } = m
  m.put64(TASK + 4n, 0x5_0000n)
  const [low, high] = gate64(CODE64, 0x2_2000n, { type: 12, dpl: 3 })
  m.put64(GDT + 0x50n, low, high)
  cpu.gdtr.limit = 0x5f
  m.put64(STACK, 0x2_1000n, BigInt(USER_CODE64), 2n, 0x3_8000n, BigInt(USER_DATA))
  iret(cpu, 8)
  cpu.rip = cpu.next
  m.put64(0x2_3000n, 0x53_0000_0000n)
  m.put(0x2_1000n, 'ff1c2500300200')
  m.asm(0x2_2000n, 'retfq')
  t.equal(cpu.step(), undefined)
  t.equal(cpu.cpl, 0)
  t.equal(cpu.rip, 0x2_2000n)
  t.equal(cpu.gpr[4], 0x5_0000n - 32n)
  t.equal(cpu.segments[SS]!.selector, 0)
  t.same(
    [0n, 8n, 16n, 24n].map(n => m.get64(0x5_0000n - 32n + n)),
    [0x2_1007n, BigInt(USER_CODE64), 0x3_8000n, BigInt(USER_DATA)],
  )
  t.equal(cpu.step(), undefined)
  t.equal(cpu.cpl, 3)
  t.equal(cpu.rip, 0x2_1007n)
  t.equal(cpu.gpr[4], 0x3_8000n)
})

t.test('real mode: far jump, INT through the vector table, IRET', async t => {
  const m = new TestMachine()
  const { cpu } = m
  m.asm(0xffff_fff0n, 'jmp 0x100:0x20', 16)
  m.asm(0x1020n, 'mov ax, 0x30\nmov ss, ax\nmov sp, 0x100\nint 0x21\nhlt', 16)
  m.asm(0x2005n, 'mov bx, 7\niret', 16)
  m.put32(0x21n * 4n, 0x0200_0005n)
  t.equal(cpu.run(100).reason, EXIT_REASON_HLT)
  t.equal(cpu.gpr[3], 7n)
  t.equal(cpu.gpr[4], 0x100n)
  t.equal(cpu.segments[CS]!.base, 0x1000n)
})
