import t from 'tap'
import { IA32_FMASK, IA32_GS_BASE, IA32_KERNEL_GS_BASE, IA32_LSTAR, IA32_STAR, RFLAGS_NT } from '#abi'
import { describeCpu, IMPLEMENTED } from './cpuid.ts'
import { swapgs, syscall, sysenter, sysexit, sysret } from './fastcalls.ts'
import { CS, GS, SS } from './insn.ts'
import { in_ } from './ports.ts'
import { xgetbv, xsetbv } from './system.ts'
import { CODE, descriptor, exitOf, faultOf, GDT, longMode, TASK, TestMachine } from './testdata/machine.ts'
import { farCall, farJump, iret } from './transfer.ts'
import { EXIT_REASON_HLT, EXIT_REASON_TASK_SWITCH, type VmxControls } from './vmx.ts'

const controls: VmxControls = {
  io: false,
  hlt: true,
  monitorMwait: true,
  wbinvd: false,
  rdpmc: false,
  msr: () => false,
  cr0Mask: 0n,
  cr0Shadow: 0n,
  cr4Mask: 0n,
  cr4Shadow: 0n,
}

t.test('SYSCALL and SYSRET', async t => {
  const m = longMode()
  const { cpu } = m
  cpu.wrmsr(IA32_STAR, (0x18n << 48n) | (8n << 32n))
  cpu.wrmsr(IA32_LSTAR, CODE + 0x100n)
  cpu.wrmsr(IA32_FMASK, 0x200n)
  cpu.rflags = 0x247n
  cpu.cpl = 3
  m.asm(CODE, 'syscall')
  m.asm(CODE + 0x100n, 'sysretq')
  t.equal(cpu.step(), undefined)
  t.equal(cpu.rip, CODE + 0x100n)
  t.equal(cpu.gpr[1], CODE + 2n)
  t.equal(cpu.gpr[11], 0x247n)
  t.equal(cpu.rflags, 0x47n)
  t.equal(cpu.cpl, 0)
  t.same([cpu.segments[CS]!.selector, cpu.segments[SS]!.selector], [8, 0x10])
  t.equal(cpu.step(), undefined)
  t.equal(cpu.rip, CODE + 2n)
  t.equal(cpu.cpl, 3)
  t.equal(cpu.rflags, 0x247n)
  t.same([cpu.segments[CS]!.selector, cpu.segments[SS]!.selector], [0x2b, 0x23])
  cpu.cpl = 0
  cpu.gpr[1] = 1n << 47n
  t.equal(
    faultOf(() => sysret(cpu, 8)),
    '#GP(0x0)',
  )
  cpu.efer &= ~1n
  t.equal(
    faultOf(() => syscall(cpu)),
    '#UD',
  )
})

t.test('SYSENTER and SYSEXIT', async t => {
  const m = longMode()
  const { cpu } = m
  t.equal(
    faultOf(() => sysenter(cpu)),
    '#GP(0x0)',
    'no IA32_SYSENTER_CS',
  )
  cpu.wrmsr(0x174, 8n)
  cpu.wrmsr(0x175, 0x5_0000n)
  cpu.wrmsr(0x176, CODE)
  cpu.cpl = 3
  sysenter(cpu)
  t.equal(cpu.cpl, 0)
  t.equal(cpu.next, CODE)
  t.equal(cpu.gpr[4], 0x5_0000n)
  cpu.gpr[1] = 0x3_8000n
  cpu.gpr[2] = 0x2_1000n
  sysexit(cpu, 8)
  t.same([cpu.cpl, cpu.segments[CS]!.selector, cpu.segments[SS]!.selector], [3, 0x2b, 0x33])
  t.same([cpu.gpr[4], cpu.next], [0x3_8000n, 0x2_1000n])
})

t.test('SWAPGS', async t => {
  const { cpu } = longMode()
  cpu.wrmsr(IA32_GS_BASE, 0x1000n)
  cpu.wrmsr(IA32_KERNEL_GS_BASE, 0xffff_8000_0000_0000n)
  swapgs(cpu)
  t.equal(cpu.segments[GS]!.base, 0xffff_8000_0000_0000n)
  t.equal(cpu.rdmsr(IA32_KERNEL_GS_BASE), 0x1000n)
})

t.test('ports: IOPL, else the bitmap of the TSS, two bytes of it', async t => {
  const m = longMode({ ports: { in: port => BigInt(port & 0xff), out: () => {} } })
  const { cpu } = m
  t.equal(in_(cpu, 0x3f8, 1), 0xf8n)
  cpu.cpl = 3
  const allowed = (port: number, size: 1 | 2 | 4) => faultOf(() => in_(cpu, port, size))
  t.equal(allowed(0x10, 1), '#GP(0x0)', 'the bitmap lies beyond the limit')
  cpu.tr.limit = 0x6a
  m.put64(TASK + 0x68n, 0x00fe_fe01n)
  t.equal(allowed(0, 1), '#GP(0x0)')
  t.equal(allowed(1, 1), 'none')
  t.equal(allowed(1, 4), 'none')
  t.equal(allowed(7, 2), 'none', 'ports 7 and 8')
  t.equal(allowed(7, 4), '#GP(0x0)', 'port 9')
  t.equal(allowed(16, 1), '#GP(0x0)', 'the byte behind the map is read too')
  cpu.rflags |= 0x3000n
  t.equal(allowed(16, 1), 'none')
})

t.test('XSETBV: x87 always, AVX with SSE', async t => {
  const { cpu } = longMode({ cpuid: describeCpu([...IMPLEMENTED, 'XSAVE', 'SSE', 'AVX']) })
  t.equal(
    faultOf(() => xsetbv(cpu, 0, 1n)),
    '#UD',
    'without CR4.OSXSAVE',
  )
  cpu.cr4 |= 1n << 18n
  t.equal(
    faultOf(() => xsetbv(cpu, 0, 2n)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => xsetbv(cpu, 0, 5n)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => xsetbv(cpu, 1, 1n)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => xsetbv(cpu, 0, 7n)),
    'none',
  )
  t.equal(xgetbv(cpu, 0), 7n)
})

t.test('task switches leave a virtual machine, and stop by name elsewhere', async t => {
  const machine = (virtual: boolean) => {
    const m = new TestMachine({ start: 'flat32', ...(virtual ? { controls } : {}) })
    m.put64(GDT, 0n, descriptor(0x89, 0, { base: Number(TASK), limit: 0x67 }))
    Object.assign(m.cpu.gdtr, { base: GDT, limit: 0xf })
    return m.cpu
  }
  const exit = exitOf(() => farJump(machine(true), 8, 0n, 4))
  t.equal(exit?.reason, EXIT_REASON_TASK_SWITCH)
  t.equal(exit?.qualification, 0x8000_0008n)
  t.throws(() => farCall(machine(false), 8, 0n, 4), { name: 'NotModelled' })
  const { cpu } = longMode()
  cpu.rflags |= RFLAGS_NT
  t.equal(
    faultOf(() => iret(cpu, 8)),
    '#GP(0x0)',
    'none in 64-bit mode',
  )
})

t.test('HLT leaves with RIP at itself', async t => {
  const m = longMode()
  m.asm(CODE, 'hlt')
  const exit = m.cpu.run(10)
  t.same([exit.reason, exit.instructionLength, m.cpu.rip], [EXIT_REASON_HLT, 1, CODE])
  t.equal(m.cpu.instructions, 0)
})
