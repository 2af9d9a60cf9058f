import t from 'tap'
import { IA32_EFER, IA32_LSTAR, IA32_PAT, IA32_TSC_ADJUST, IA32_TSC_AUX } from '#abi'
import { hex } from '#bits'
import { clts, lmsw, readCr, readDr, writeCr, writeDr } from './control.ts'
import type { Cpu } from './cpu.ts'
import { describeCpu, IMPLEMENTED } from './cpuid.ts'
import { swapgs } from './fastcalls.ts'
import { CS } from './insn.ts'
import { in_ } from './ports.ts'
import { setSegmentBase } from './segments.ts'
import { hlt, invlpg, invpcid, loadTable, rdtsc, sti, tdcall } from './system.ts'
import { CODE, exitOf, faultOf, longMode, TestMachine } from './testdata/machine.ts'
import {
  EXIT_REASON_CPUID,
  EXIT_REASON_CR_ACCESS,
  EXIT_REASON_IO_INSTRUCTION,
  EXIT_REASON_TDCALL,
  EXIT_REASON_VMCALL,
  EXIT_REASON_WBINVD,
  EXIT_REASON_WRMSR,
  EXIT_REASON_XSETBV,
  type VmxControls,
} from './vmx.ts'

const [PE, NE, NW, CD, PG] = [1n, 0x20n, 1n << 29n, 1n << 30n, 1n << 31n]
const [PAE, MCE, VMXE, LA57, PCIDE] = [0x20n, 0x40n, 0x2000n, 0x1000n, 1n << 17n]

/** What a TD owns. */
const td: VmxControls = {
  io: true,
  hlt: true,
  monitorMwait: true,
  wbinvd: true,
  rdpmc: true,
  msr: (index, write) => index === IA32_EFER && write,
  cr0Mask: PE | NE | NW | CD,
  cr0Shadow: PE | NE,
  cr4Mask: MCE | VMXE,
  cr4Shadow: MCE,
}

t.test('CR0: combinations that are #GP(0)', async t => {
  const { cpu } = new TestMachine({ start: 'flat32' })
  const write = (value: bigint) => faultOf(() => writeCr(cpu, 0, value))
  t.equal(write(PG), '#GP(0x0)', 'PG without PE')
  t.equal(write(PE | NW), '#GP(0x0)', 'NW without CD')
  t.equal(write(PE | (1n << 32n)), '#GP(0x0)')
  t.equal(write(PE | NW | CD), 'none')
  t.equal(readCr(cpu, 0), PE | NW | CD | 0x10n, 'ET is always set')
  t.equal(write(PE | 0x40n), 'none')
  t.equal(readCr(cpu, 0), PE | 0x10n, 'undefined bits are ignored')
})

t.test('paging with LME: PAE is needed, LMA follows, and 64-bit mode cannot leave', async t => {
  const { cpu } = new TestMachine({ start: 'flat32' })
  cpu.wrmsr(IA32_EFER, 0x100n)
  t.equal(
    faultOf(() => writeCr(cpu, 0, PE | PG)),
    '#GP(0x0)',
    'without PAE',
  )
  writeCr(cpu, 4, PAE)
  cpu.segments[CS]!.rights |= 1 << 13
  t.equal(
    faultOf(() => writeCr(cpu, 0, PE | PG)),
    '#GP(0x0)',
    'with CS.L',
  )
  cpu.segments[CS]!.rights &= ~(1 << 13)
  writeCr(cpu, 0, PE | PG)
  t.equal(cpu.rdmsr(IA32_EFER), 0x500n)
  t.equal(cpu.mode, 32)
  t.equal(
    faultOf(() => cpu.wrmsr(IA32_EFER, 0n)),
    '#GP(0x0)',
    'LME while paging',
  )
  t.equal(
    faultOf(() => writeCr(cpu, 4, 0n)),
    '#GP(0x0)',
    'PAE while LMA',
  )
  t.equal(
    faultOf(() => writeCr(cpu, 4, PAE | LA57)),
    '#GP(0x0)',
  )
  writeCr(cpu, 0, PE)
  t.equal(cpu.rdmsr(IA32_EFER), 0x100n)

  const long = longMode().cpu
  t.equal(
    faultOf(() => writeCr(long, 0, PE)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => writeCr(long, 3, 1n << 46n)),
    '#GP(0x0)',
    'beyond the physical width',
  )
  t.equal(
    faultOf(() => writeCr(long, 8, 16n)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => writeCr(long, 1, 0n)),
    '#UD',
  )
  const cr3 = long.cr3
  long.cr3 = cr3 | 1n
  t.equal(
    faultOf(() => writeCr(long, 4, long.cr4 | PCIDE)),
    '#GP(0x0)',
    'the current PCID would not be 0',
  )
  long.cr3 = cr3
  writeCr(long, 4, long.cr4 | PCIDE)
  writeCr(long, 3, cr3 | (1n << 63n) | 5n)
  t.equal(readCr(long, 3), cr3 | 5n)
  writeCr(long, 3, cr3)
  writeCr(long, 4, long.cr4 & ~PCIDE)
  long.cpuid = describeCpu(IMPLEMENTED.filter(name => name !== 'PCID'))
  t.equal(
    faultOf(() => writeCr(long, 4, long.cr4 | PCIDE)),
    '#GP(0x0)',
    'no PCIDs in this CPU',
  )
  t.equal(
    faultOf(() => writeCr(long, 4, long.cr4 | VMXE)),
    '#GP(0x0)',
  )
})

t.test('PAE: the four pointers are loaded and checked when CR3 is', async t => {
  const m = new TestMachine({ start: 'flat32' })
  const { cpu } = m
  m.put64(0x1020n, 0x2001n, 0n, 0x3001n, 0x4001n)
  m.put64(0x1040n, 0x2003n)
  writeCr(cpu, 4, PAE)
  writeCr(cpu, 3, 0x1040n)
  t.equal(
    faultOf(() => writeCr(cpu, 0, PE | PG)),
    '#GP(0x0)',
    'bit 1 of a pointer',
  )
  t.equal(cpu.cr0 & PG, 0n)
  writeCr(cpu, 3, 0x1020n)
  writeCr(cpu, 0, PE | PG)
  m.put64(0x1020n, 0n)
  t.same(cpu.pdptes, [0x2001n, 0n, 0x3001n, 0x4001n])
  t.equal(
    faultOf(() => writeCr(cpu, 3, 0x1040n)),
    '#GP(0x0)',
  )
  t.equal(cpu.cr3, 0x1020n)
})

t.test('CPL 3 may not', async t => {
  const { cpu } = longMode()
  cpu.cpl = 3
  t.equal(
    faultOf(() => readCr(cpu, 0)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => cpu.rdmsr(IA32_EFER)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => clts(cpu)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => loadTable(cpu, cpu.gdtr, 0n, 0)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => hlt(cpu)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => invlpg(cpu, 0n)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => in_(cpu, 0x80, 1)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => sti(cpu)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => swapgs(cpu)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => rdtsc(cpu)),
    'none',
  )
  cpu.cr4 |= 4n
  t.equal(
    faultOf(() => rdtsc(cpu)),
    '#GP(0x0)',
  )
})

t.test('MSRs of a CPU by itself', async t => {
  const { cpu } = longMode()
  t.equal(hex(cpu.rdmsr(IA32_PAT)), '0x7_0406_0007_0406')
  t.equal(
    faultOf(() => cpu.wrmsr(IA32_PAT, 2n)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => cpu.wrmsr(IA32_LSTAR, 1n << 57n)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => cpu.wrmsr(IA32_TSC_AUX, 1n << 32n)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => cpu.rdmsr(0x1234)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => cpu.wrmsr(IA32_EFER, cpu.efer | 2n)),
    '#GP(0x0)',
  )
  cpu.wrmsr(IA32_TSC_AUX, 5n)
  t.equal(cpu.msrs.tscAux, 5n)
  const before = rdtsc(cpu)
  cpu.wrmsr(0x10, 1000n)
  t.equal(rdtsc(cpu), 1000n)
  t.equal(cpu.rdmsr(IA32_TSC_ADJUST), BigInt.asUintN(64, 1000n - before), 'the adjustment follows the TSC')
  cpu.wrmsr(IA32_TSC_ADJUST, 7n)
  t.equal(rdtsc(cpu), before + 7n, 'the TSC follows the adjustment')
  cpu.wrmsr(0x10, 1000n)
  t.equal(before, 0n)
})

t.test('owned bits leave, before anything but privilege is checked', async t => {
  const { cpu } = longMode({ controls: td })
  const write = (n: number, value: bigint) => {
    const exit = exitOf(() => writeCr(cpu, n, value))
    return exit === undefined ? 'native' : `${exit.reason} ${hex(exit.qualification)}`
  }
  cpu.cr0 |= NE
  cpu.cr4 |= MCE | VMXE
  t.equal(readCr(cpu, 4) & (MCE | VMXE), MCE, 'the shadow')
  t.equal(write(0, cpu.cr0 & ~PE), `${EXIT_REASON_CR_ACCESS} 0x0`)
  t.equal(write(4, cpu.cr4), `${EXIT_REASON_CR_ACCESS} 0x4`, 'VMXE is set and shown clear')
  t.equal(write(4, readCr(cpu, 4) | 0x80n), 'native')
  t.equal(cpu.cr4 & VMXE, VMXE, 'owned bits stay')
  t.equal(write(0, readCr(cpu, 0) | 2n), 'native')
})

t.test('what leaves a virtual machine, with the length of the instruction', async t => {
  const run = (code: string, before: (cpu: ReturnType<typeof longMode>['cpu']) => void = () => {}) => {
    const m = longMode({ controls: td, cpuid: describeCpu([...IMPLEMENTED, 'XSAVE']) })
    before(m.cpu)
    m.asm(CODE, code)
    const { reason, qualification, instructionLength } = m.cpu.run(1)
    t.equal(m.cpu.rip, CODE)
    return [reason, hex(qualification), instructionLength]
  }
  t.same(run('cpuid'), [EXIT_REASON_CPUID, '0x0', 2])
  t.same(run('tdcall'), [EXIT_REASON_TDCALL, '0x0', 4])
  t.same(run('vmcall'), [EXIT_REASON_VMCALL, '0x0', 3])
  t.same(run('wbinvd'), [EXIT_REASON_WBINVD, '0x0', 2])
  t.same(run('mov cr0, rcx'), [EXIT_REASON_CR_ACCESS, '0x100', 3])
  const efer = (cpu: ReturnType<typeof longMode>['cpu']) => {
    cpu.gpr[1] = 0xc000_0080n
  }
  t.same(run('wrmsr', efer), [EXIT_REASON_WRMSR, '0x0', 2])
  t.same(run('out 0x80, al'), [EXIT_REASON_IO_INSTRUCTION, hex(0x80_0040n), 2])
  const port = (cpu: ReturnType<typeof longMode>['cpu']) => {
    cpu.gpr[2] = 0x3f8n
    cpu.gpr[1] = 2n
    cpu.gpr[7] = 0x3_8000n
    cpu.gpr[6] = 0x3_8000n
  }
  t.same(run('in eax, dx', port), [EXIT_REASON_IO_INSTRUCTION, hex(0x3f8_000bn), 1])
  t.same(run('rep insw', port), [EXIT_REASON_IO_INSTRUCTION, hex(0x3f8_0039n), 3])
  t.same(run('outsb', port), [EXIT_REASON_IO_INSTRUCTION, hex(0x3f8_0010n), 1])
  const xsave = (cpu: ReturnType<typeof longMode>['cpu']) => {
    cpu.cr4 |= 1n << 18n
  }
  t.same(run('xsetbv', xsave), [EXIT_REASON_XSETBV, '0x0', 3])
})

t.test('TDCALL: #GP(0) above ring 0, #UD where there is no virtualization', async t => {
  const { cpu } = longMode({ controls: td })
  cpu.cpl = 3
  t.equal(
    faultOf(() => tdcall(cpu)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => tdcall(longMode().cpu)),
    '#UD',
  )
})

t.test('advance moves past the instruction that left, and clears RF', async t => {
  const m = longMode({ controls: td })
  m.asm(CODE, 'cpuid\nnop')
  m.cpu.run(1)
  m.cpu.rflags |= 0x1_0000n
  m.cpu.advance(2)
  t.equal(m.cpu.rip, CODE + 2n)
  t.equal(m.cpu.rflags, 2n)
  t.equal(m.cpu.instructions, 1)
})

t.test('LMSW sets PE and never clears it; CLTS', async t => {
  const { cpu } = new TestMachine()
  lmsw(cpu, 0xfn)
  t.equal(cpu.cr0 & 0xfn, 0xfn)
  lmsw(cpu, 0n)
  t.equal(cpu.cr0 & 0xfn, 1n)
  lmsw(cpu, 9n)
  clts(cpu)
  t.equal(cpu.cr0 & 0xfn, 1n)
})

t.test('debug registers: aliases, reserved bits, general detect', async t => {
  const { cpu } = longMode()
  writeDr(cpu, 0, 0x1234n)
  writeDr(cpu, 6, 0xffff_ffffn)
  t.equal(hex(readDr(cpu, 4)), '0xffff_efff')
  cpu.cr4 |= 8n
  t.equal(
    faultOf(() => readDr(cpu, 4)),
    '#UD',
  )
  t.equal(
    faultOf(() => writeDr(cpu, 7, 1n << 32n)),
    '#GP(0x0)',
  )
  writeDr(cpu, 7, 0xffff_dfffn)
  t.equal(hex(cpu.dr[7]!), '0xffff_07ff')
  writeDr(cpu, 7, 0n)
  writeDr(cpu, 7, 0x2000n)
  t.equal(
    faultOf(() => readDr(cpu, 0)),
    '#DB',
  )
})

t.test('bases may be as wide as the processor has addresses, whatever CR4.LA57 says', async t => {
  const wide = 1n << 55n
  const tries: readonly (readonly [string, (cpu: Cpu, base: bigint) => void])[] = [
    ['LGDT', (cpu, base) => loadTable(cpu, cpu.gdtr, base, 0xff)],
    ['LIDT', (cpu, base) => loadTable(cpu, cpu.idtr, base, 0xff)],
    ['WRFSBASE', (cpu, base) => setSegmentBase(cpu, 4, base)],
    ['IA32_GS_BASE', (cpu, base) => cpu.wrmsr(0xc000_0101, base)],
    ['IA32_LSTAR', (cpu, base) => cpu.wrmsr(0xc000_0082, base)],
    ['INVPCID', (cpu, base) => invpcid(cpu, 0n, 0n, base)],
  ]
  for (const [name, act] of tries) {
    const { cpu } = longMode()
    t.equal(cpu.width, 48, 'four levels')
    t.doesNotThrow(() => act(cpu, wide), name)
    t.equal(
      faultOf(() => act(cpu, 1n << 57n)),
      '#GP(0x0)',
      `${name}, wider than any`,
    )
    cpu.cpuid = describeCpu(IMPLEMENTED.filter(feature => feature !== 'LA57'))
    t.equal(
      faultOf(() => act(cpu, wide)),
      '#GP(0x0)',
      `${name}, on a processor of 48 bits`,
    )
  }
})
