import t from 'tap'
import * as abi from '#abi'
import { DATA_PAGE, type Guest, guest, TDVMCALL } from '../testdata/guest.ts'

const WRITE_READ = (index: number, value: bigint) => `
  mov ecx, ${index}
  mov eax, ${value & 0xffff_ffffn}
  mov edx, ${value >> 32n}
  wrmsr
  xor eax, eax
  xor edx, edx
  rdmsr
  mov r12, rax
  mov r13, rdx
  mov ecx, 0xfc00
  xor eax, eax
  tdcall
  hlt`
const READ = (index: number) => `
  mov ecx, ${index}
  rdmsr
  mov r12, rax
  mov r13, rdx
  mov ecx, 0xfc00
  xor eax, eax
  tdcall
  hlt`

/** The first byte of the guest's code at a linear address, which is also its GPA. */
const readCode = (g: Guest, at: bigint): number => {
  const frame = g.vcpu.td.tree.frame(Number(at & ~0xfffn), 1)
  return Number(g.host.memory.read(frame + Number(at & 0xfffn), 1))
}

t.test('native MSRs keep what the guest writes', async t => {
  for (const [index, value] of [
    [0x48, 1n],
    [0x174, 0x10n],
    [0x176, 0xffff_8000_0000_1000n],
    [0x277, 0x0007_0406_0007_0406n],
    [0x600, 0x1000n],
    [0x808, 0x20n],
    [0xc000_0081, 0x23_0010_0000_0000n],
    [0xc000_0082, 0xffff_ffff_8000_0000n],
    [0xc000_0084, 0x4_7700n],
    [0xc000_0100, 0x7f00_0000_0000n],
    [0xc000_0102, 0xffff_8880_0000_0000n],
    [0xc000_0103, 5n],
  ] as const) {
    const g = guest(WRITE_READ(index, value))
    t.equal(g.enter(), TDVMCALL)
    t.same([g.host.regs.r15, g.host.regs.r12 | (g.host.regs.r13 << 32n)], [0n, value], index.toString(16))
  }
})

t.test('values that the module makes up', async t => {
  for (const [index, value] of [
    [0xbd, 1n],
    [0x10a, 0xd8d_2a6bn & ~(1n << 4n)],
    [0x345, 0n],
    [0x486, 0x8000_0021n],
  ] as const) {
    const g = guest(READ(index))
    t.equal(g.enter(), TDVMCALL)
    t.equal(g.host.regs.r15, 0n, `${index.toString(16)} does not fault`)
    t.equal(g.host.regs.r12 | (g.host.regs.r13 << 32n), value, index.toString(16))
  }
})

t.test('EFER: SCE may change, the rest is a #VE; XSS within XFAM', async t => {
  const efer = (bits: bigint) => `mov ecx, 0xc0000080\nrdmsr\nxor eax, ${bits}\nwrmsr\n${READ(0xc000_0080)}`
  const sce = guest(efer(1n))
  t.equal(sce.enter(), TDVMCALL)
  t.same([sce.host.regs.r15, sce.host.regs.r12 & 1n], [0n, 0n])
  for (const bits of [0x100n, 0x800n, 2n]) {
    const g = guest(efer(bits))
    t.equal(g.enter(), TDVMCALL)
    t.same([g.host.regs.r15, g.vcpu.ve.exitReason], [20n, 32], bits.toString(16))
  }
  const cet = guest(WRITE_READ(0xda0, 0x1800n), { xfam: 0x1803n })
  t.equal(cet.enter(), TDVMCALL)
  t.same([cet.host.regs.r15, cet.host.regs.r12], [0n, 0x1800n])
  const none = guest(WRITE_READ(0xda0, 0x800n))
  t.equal(none.enter(), TDVMCALL)
  t.equal(none.host.regs.r15, 13n)
})

t.test('SELF_IPI: a vector below 16 is a #VE for an APIC write, after the instruction', async t => {
  const send = (value: number) =>
    guest(`mov ecx, 0x83f\nmov eax, ${value}\nxor edx, edx\nwrmsr\nmov ebx, 1\n${READ(0x820)}`)
  for (const vector of [0, 2, 15]) {
    const g = send(vector)
    t.equal(g.enter(), TDVMCALL)
    const { ve, vapic } = g.vcpu
    t.same([g.host.regs.r15, ve.exitReason, ve.exitQualification], [20n, 56, 0x3f0n], `${vector}`)
    // R14: the RIP that was pushed.
    t.equal(readCode(g, g.host.regs.r14), 0xbb, 'RIP is past WRMSR')
    t.equal(vapic.requested, 0)
  }
  const legal = send(16)
  t.equal(legal.enter(), TDVMCALL)
  t.same([legal.host.regs.r15, legal.vcpu.vapic.requested], [0n, 16])
  const reserved = send(0x10f)
  t.equal(reserved.enter(), TDVMCALL)
  t.same([reserved.host.regs.r15, reserved.vcpu.ve.valid], [13n, 0], 'reserved bits come first')
})

t.test('every MSR of the table does what it says, read and write', async t => {
  const g = guest('mov ecx, 0xfc00\nxor eax, eax\ntdcall\nhlt')
  t.equal(g.enter(), TDVMCALL)
  const { cpu, vcpu, host } = g
  const { readMsr, writeMsr } = await import('./msr.ts')
  const outcome = (index: number, write: boolean): string => {
    cpu.gpr[1] = BigInt(index)
    cpu.gpr[0] = 0n
    cpu.gpr[2] = 0n
    try {
      return (write ? writeMsr : readMsr)(host.module.platform, vcpu, cpu)
    } catch (error) {
      return (error as Error).name
    }
  }
  const inCpu = [0x10, 0x174, 0x175, 0x176, 0x277, 0xc000_0080, 0xc000_0081, 0xc000_0082, 0xc000_0084]
  for (const row of abi.MSR_LOOKUP) {
    for (const write of [false, true]) {
      const action = write ? row.write : row.read
      const plain = typeof action === 'object' ? action.else : action
      if (inCpu.includes(row.first) || (row.first >= 0xc000_0100 && plain === 'native')) continue
      const legal = {
        native: row.first === 0x83f && write ? ['apic-write'] : ['done', 'gp'],
        ve: ['ve'],
        gp: ['gp'],
        'gp-or-ve': ['gp', 've'],
        module: ['done', 've', 'gp', 'NotModelled'],
      }[plain]
      const got = outcome(row.first, write)
      t.ok(
        legal.includes(got) || (typeof action === 'object' && got === 'done'),
        `${row.name} ${write ? 'write' : 'read'}: ${got}`,
      )
    }
  }
  for (const index of [0x1b, 0x3a, 0x8b, 0x2000, 0xbfff_ffff, 0xc000_2000, 0x802, 0x830])
    t.same([outcome(index, false), outcome(index, true)], ['ve', 've'], `${index.toString(16)} is in no row`)
})

t.test('IA32_PKRS of a TD with PKS is what its pages are checked with', async t => {
  const [PDPT, KEY_1, ALIAS] = [0xffff_d000n, 1n << 59n, 0x2_4000_0000n + DATA_PAGE - 0xc000_0000n]
  const g = guest(
    `mov rax, ${(3n << 30n) | 0x83n | KEY_1}
    mov ebx, ${PDPT}
    mov [rbx+72], rax
    mov rax, cr4
    bts rax, 24
    mov cr4, rax
    mov rdi, ${ALIAS}
    mov [rdi], rdi
    mov ecx, ${abi.IA32_PKRS}
    mov eax, 4
    xor edx, edx
    wrmsr
    xor eax, eax
    rdmsr
    mov r12d, eax
    mov ecx, 0xfc00
    xor eax, eax
    tdcall
    mov rax, [rdi]
    hlt`,
    { attributes: abi.TDX_ATTR_PKS },
  )
  t.equal(g.enter(), TDVMCALL)
  t.same([g.host.regs.r15, g.host.regs.r12], [0n, 4n], 'it reads as it was written')
  t.equal(g.enter(), TDVMCALL)
  const { r15, r14, r12 } = g.host.regs
  t.same([r15, r14, r12], [14n, 0x21n, ALIAS], 'the translation that was there does not help')
})
