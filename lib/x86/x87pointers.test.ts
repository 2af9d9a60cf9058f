import t from 'tap'
import { describeCpu, IMPLEMENTED } from './cpuid.ts'
import { CODE, CODE64, longMode, TestMachine } from './testdata/machine.ts'

const AREA = 0x4_0000n

const prepare = (options: Parameters<typeof longMode>[0] = {}) => {
  const machine = longMode(options)
  const { cpu } = machine
  cpu.gpr[3] = AREA
  cpu.x87.fcw = 0x37f
  const run = (text: string, steps: number): void => {
    machine.asm(CODE, text)
    cpu.rip = CODE
    for (let n = 0; n < steps; n++) cpu.step()
  }
  return { ...machine, cpu, run, get64: (at: bigint) => machine.get64(at), get32: (at: bigint) => machine.get32(at) }
}

t.test('FIP follows every instruction but control instructions', async t => {
  const { cpu, run, get64, get32 } = prepare()
  run('fld1\nfldz\nfnstcw [rbx]\nfldcw [rbx]\nfxsave64 [rbx]\nfnstenv [rbx + 512]', 6)
  t.equal(get64(AREA + 8n), CODE + 2n, 'of FLDZ')
  t.equal(get32(AREA + 512n + 12n), CODE + 2n)
  t.equal(cpu.x87.fcs, 0, 'selectors are not kept')
  t.equal(cpu.x87.fdp, 0n)
  run('fninit', 1)
  t.equal(cpu.x87.fip, 0n)
})

t.test('FDP and FOP are those of the last unmasked exception', async t => {
  const { cpu, run } = prepare()
  run('fld1\nfadd dword ptr [rbx + 8]', 2)
  t.same([cpu.x87.fdp, cpu.x87.fop], [0n, 0], 'no exception, no trace')
  cpu.x87.fcw = 0x37b
  run('fld1\nfdiv dword ptr [rbx + 8]', 2)
  t.same([cpu.x87.fip, cpu.x87.fdp], [CODE + 2n, AREA + 8n])
  t.equal(cpu.x87.fop, 0x073, 'D8 /6 with [rbx + disp8]')
})

t.test('a processor without FDP_EXCPTN_ONLY and ZERO_FCS_FDS keeps operand and selectors always', async t => {
  const old = IMPLEMENTED.filter(name => name !== 'FDP_EXCPTN_ONLY' && name !== 'ZERO_FCS_FDS')
  const { cpu, run } = prepare({ cpuid: describeCpu(old) })
  run('fld dword ptr [rbx + 4]\nfld1', 2)
  t.same([cpu.x87.fip, cpu.x87.fdp], [CODE + 3n, AREA + 4n])
  t.same([cpu.x87.fcs, cpu.x87.fds], [CODE64, cpu.segments[3]!.selector])
})

t.test('real mode: the environment has linear addresses, in both sizes', async t => {
  const machine = new TestMachine({ start: 'reset' })
  const { cpu } = machine
  for (const s of cpu.segments) s.set(0, 0n, 0xffff, s.rights)
  const run = (hex: string): void => {
    machine.put(0x8000n, hex)
    cpu.rip = 0x8000n
    cpu.step()
  }
  for (const [prefix, at] of [
    ['', 0x4006n],
    ['66', 0x400cn],
  ] as const) {
    Object.assign(cpu.x87, { fcs: 0x1000, fip: 0x1234n, fds: 0x2000, fdp: 0x5678n, fop: 0x7a5 })
    run(`${prefix} d9 36 00 40`)
    t.equal(Number(machine.get32(at) & 0xffffn), 0x1234)
    t.equal(Number(machine.get32(at + (prefix === '' ? 2n : 4n)) & 0xffffn), 0x17a5)
    Object.assign(cpu.x87, { fcs: 1, fip: 0n, fds: 1, fdp: 0n, fop: 0 })
    run(`${prefix} d9 26 00 40`)
    const { fcs, fip, fds, fdp, fop } = cpu.x87
    t.same([fcs, fip, fds, fdp, fop], [0, 0x1_1234n, 0, 0x2_5678n, 0x7a5])
  }
})
