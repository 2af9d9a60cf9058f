import t from 'tap'
import * as abi from '#abi'
import { NotModelled } from '#bits'
import { invariants } from '../invariants.ts'
import { Random } from '../random.ts'
import { SeamcallRegs } from '../registers.ts'
import { DATA_PAGE, guest, TDVMCALL } from '../testdata/guest.ts'

/** Addresses of the TD, with a level or without; bits; rubbish. */
const near = (random: Random): bigint => {
  const kind = random.next() % 4n
  if (kind === 0n) return DATA_PAGE + (random.next() % 8n) * 64n
  if (kind === 1n) return ((random.next() % 0x10_0000n) << 12n) | (random.next() % 3n)
  return kind === 2n ? random.next() % 16n : random.next()
}

const VMCALL = 'mov ecx, 0xfc00\nxor eax, eax\ntdcall\n'
const REPORT = `${VMCALL}hlt\n`

t.test('a TD boots from its reset vector and talks to its host', async t => {
  const g = guest(`
    mov r10, 0
    mov r11, 0x1e
    mov r12, 0x1122334455667788
    mov rdx, 0x99
    ${VMCALL}
    add r12, 1
    mov rbx, rdx
    mov ecx, 0xfc08
    xor eax, eax
    tdcall
    hlt`)
  t.equal(g.enter({ rbp: 5n }), TDVMCALL)
  t.match(g.host.regs, { rcx: 0xfc00n, r11: 0x1en, r12: 0x1122_3344_5566_7788n, rdx: 0n, rbx: 0n, rsi: 0n, rbp: 5n })
  t.equal(g.enter({ r12: 41n, rdx: 7n, rbx: 8n }), TDVMCALL)
  t.match(g.host.regs, { rcx: 0xfc08n, r12: 42n, rbx: 0x99n }, 'RDX was not the host’s to change')
  t.equal(g.cpu.gpr[0], 0n)
  t.equal(g.vcpu.state, abi.VCPU_READY)
  t.same(invariants(g.host.module), [])
  g.host.destroy(g.tdr)
  t.same(invariants(g.host.module), [])
  t.equal(g.host.module.vcpus.size, 0)
})

t.test('every register goes out and comes back under its own mask bit, both ways', async t => {
  const names = ['rdx', 'rbx', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const
  const numbers = [2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
  const loads = names.map((name, i) => `mov ${name}, ${0x100 + i}`).join('\n')
  for (const [i, name] of names.entries()) {
    const mask = 1 << numbers[i]!
    const g = guest(`${loads}\nmov ecx, ${mask}\nxor eax, eax\ntdcall\nhlt`, { configFlags: 0n })
    t.equal(g.enter(), TDVMCALL)
    for (const [j, other] of names.entries())
      t.equal(g.host.regs[other], j === i ? BigInt(0x100 + j) : 0n, `${name} selected: ${other} at the host`)
    const answers = Object.fromEntries(names.map((other, j) => [other, BigInt(0x200 + j)]))
    g.host.lp.quantum = 0
    g.enter(answers)
    for (const [j] of names.entries())
      t.equal(
        g.cpu.gpr[numbers[j]!],
        BigInt(j === i ? 0x200 + j : 0x100 + j),
        `${name} selected: ${names[j]} in the guest`,
      )
    t.equal(g.cpu.gpr[1], BigInt(mask), 'RCX is the mask still')
  }
})

t.test('masks that the guest may not use', async t => {
  for (const [mask, flags, legal] of [
    ['1', 4n, false],
    ['2', 4n, false],
    ['0x10', 4n, false],
    ['0x20', 4n, false],
    ['0x20', 0n, true],
    ['0x100000000', 4n, false],
    ['0xffff0000', 4n, true],
  ] as const) {
    const g = guest(`mov rcx, ${mask}\nxor eax, eax\ntdcall\nmov r12, rax\n${REPORT}`, { configFlags: flags })
    t.equal(g.enter(), TDVMCALL)
    if (legal) t.equal(g.host.regs.rcx, BigInt(mask), `${mask} leaves`)
    else t.equal(abi.statusName(g.host.regs.r12), 'TDX_OPERAND_INVALID | RCX', `${mask} does not`)
  }
})

t.test('XMM registers follow their mask', async t => {
  const g = guest(`
    mov rax, 0x1111
    movq xmm1, rax
    mov rax, 0x2222
    movq xmm2, rax
    mov ecx, 0x20000
    xor eax, eax
    tdcall
    movq r12, xmm1
    movq r13, xmm2
    ${REPORT}`)
  const { host } = g
  const xmm = new Uint8Array(256).fill(0xee)
  host.regs = new SeamcallRegs({ ...host.regs.values(), rax: BigInt(abi.TDH_VP_ENTER), rcx: g.tdvpr, xmm })
  host.module.seamcall(host.lp, host.regs)
  const view = new DataView(xmm.buffer)
  t.same([view.getBigUint64(16, true), view.getBigUint64(32, true)], [0x1111n, 0n], 'only the chosen one shows')
  view.setBigUint64(16, 0x3333n, true)
  view.setBigUint64(32, 0x4444n, true)
  host.regs = new SeamcallRegs({ ...host.regs.values(), rax: BigInt(abi.TDH_VP_ENTER), rcx: g.tdvpr })
  host.module.seamcall(host.lp, host.regs)
  t.same([host.regs.r12, host.regs.r13], [0x3333n, 0x2222n])
})

t.test('TDCALL leaves: INFO, unknown numbers, versions', async t => {
  const g = guest(
    `
    mov eax, 1
    tdcall
    mov r12, rcx
    mov r13, rdx
    mov r14, r8
    mov r15, r9
    ${VMCALL}
    mov eax, 0x77
    tdcall
    mov r12, rax
    mov rax, 0x10001
    tdcall
    mov r13, rax
    mov rcx, 4
    mov eax, 5
    tdcall
    mov r14, rax
    mov eax, 3
    tdcall
    mov r15, rax
    ${REPORT}`,
    { attributes: abi.TDX_ATTR_SEPT_VE_DISABLE },
  )
  t.equal(g.enter(), TDVMCALL)
  t.match(g.host.regs, { r12: 48n, r13: abi.TDX_ATTR_SEPT_VE_DISABLE, r14: 1n | (4n << 32n), r15: 0n })
  t.equal(g.enter(), TDVMCALL)
  t.equal(abi.statusName(g.host.regs.r12), 'TDX_OPERAND_INVALID | RAX')
  t.equal(abi.statusName(g.host.regs.r13), 'TDX_OPERAND_INVALID | RAX')
  t.equal(abi.statusName(g.host.regs.r14), 'TDX_OPERAND_INVALID | RCX')
  t.equal(abi.statusName(g.host.regs.r15), 'TDX_NO_VALID_VE_INFO')
})

t.test('TDCALL outside 64-bit mode is #GP(0), which without an IDT is the end', async t => {
  const g = guest('xor eax, eax\ntdcall\n', { mode: 32 })
  t.equal(abi.statusName(abi.statusCode(g.enter())), 'TDX_NON_RECOVERABLE_VCPU')
  t.equal(g.host.regs.rax & 0xffffn, 2n, 'a triple fault')
  t.equal(abi.statusName(g.enter()), 'TDX_VCPU_STATE_INCORRECT')
  t.equal(g.vcpu.state, abi.VCPU_DISABLED)
})

t.test('a timer interrupt of the host preempts the guest, who does not notice', async t => {
  const g = guest(`mov r12, 0\nagain:\nadd r12, 1\ncmp r12, 1000\njne again\n${REPORT}`)
  g.host.lp.quantum = 100
  let exits = 0
  while (g.enter() === 1n) {
    exits++
    t.match(g.host.regs, { rcx: 0n, rdx: 0n, r8: 0n, r9: 0n, r12: 0n })
  }
  t.equal(g.host.regs.rax, TDVMCALL)
  t.equal(g.host.regs.r12, 1000n)
  t.equal(exits, 30)
})

t.test('instructions that are a #VE: reason, qualification, length; the second one is #DF', async t => {
  for (const [text, reason, qualification, length] of [
    ['mov dx, 0x3f8\nmov al, 0x41\nout dx, al', 30n, 0x3f8_0000n, 1n],
    ['in eax, 0x60', 30n, 0x60_004bn, 2n],
    ['hlt', 12n, 0n, 1n],
    ['wbinvd', 54n, 0n, 2n],
    ['vmcall', 18n, 0n, 3n],
    ['mov eax, 0x40000000\ncpuid', 10n, 0n, 2n],
    ['mov ecx, 0x1b\nrdmsr', 31n, 0n, 2n],
    ['mov ecx, 0x10\nwrmsr', 32n, 0n, 2n],
    ['mov rax, cr4\nand rax, -65\nmov cr4, rax', 28n, 0x4n, 3n],
  ] as const) {
    const g = guest(text)
    t.equal(g.enter(), TDVMCALL, text)
    t.equal(g.host.regs.r15, 20n, `${text}: vector`)
    t.equal(g.host.regs.r13 & abi.RFLAGS_RF, abi.RFLAGS_RF, 'RF is set in the pushed flags')
    t.match(g.vcpu.ve, {
      exitReason: Number(reason),
      exitQualification: qualification,
      instructionLength: Number(length),
    })
    t.equal(g.enter(), TDVMCALL, 'the handler ends in HLT, with VE_INFO still to be read')
    t.equal(g.host.regs.r15, 8n, '#DF')
  }
})

t.test('TDG.VP.VEINFO.GET tells and makes room', async t => {
  const g = guest(`
    mov rsi, handler_20
    mov dx, 0x3f8
    out dx, al
    hlt`)
  t.equal(g.enter(), TDVMCALL)
  const { cpu, host } = g
  cpu.gpr[0] = 3n
  host.lp.quantum = 1
  // Steps the guest by hand into VEINFO.GET: the code at `report` is XOR EAX, EAX; TDCALL.
  const tdcall = cpu.rip - 4n
  g.enter()
  cpu.rip = tdcall
  cpu.gpr[0] = 3n
  g.enter()
  t.same([cpu.gpr[0], cpu.gpr[1], cpu.gpr[2], cpu.gpr[10]], [0n, 30n, 0x3f8_0000n, 1n])
  t.equal(g.vcpu.ve.valid, 0)
  cpu.rip = tdcall
  cpu.gpr[0] = 3n
  g.enter()
  t.equal(abi.statusName(cpu.gpr[0]!), 'TDX_NO_VALID_VE_INFO')
  t.same([cpu.gpr[1], cpu.gpr[10]], [0n, 0n])
})

t.test('instructions that are #UD or #GP(0)', async t => {
  for (const [text, vector] of [
    ['seamcall', 6n],
    ['rdpmc', 13n],
    ['mov ecx, 0x98\nrdmsr', 13n],
    ['mov ecx, 0x8c\nwrmsr', 13n],
    ['mov ecx, 0x801\nrdmsr', 13n],
    ['mov ecx, 0x6e0\nrdmsr', 13n],
    ['mov rax, cr4\nbts rax, 18\nmov cr4, rax\nmov ecx, 1\nxsetbv', 13n],
    ['mov rax, cr4\nbts rax, 18\nmov cr4, rax\nxor ecx, ecx\nxor edx, edx\nmov eax, 7\nxsetbv', 13n],
    ['mov rax, cr4\nbts rax, 22\nmov cr4, rax', 13n],
    ['mov rax, cr4\nbts rax, 19\nmov cr4, rax', 13n],
    ['mov rax, cr0\nand rax, -33\nmov cr0, rax', 13n],
  ] as const) {
    const g = guest(text)
    t.equal(g.enter(), TDVMCALL, text)
    t.equal(g.host.regs.r15, vector, `${text}: vector`)
    t.equal(g.vcpu.ve.valid, 0)
  }
})

t.test('NMIs and posted interrupts of the host', async t => {
  const g = guest(`${VMCALL}nop\nnop\n${REPORT}`)
  t.equal(g.enter(), TDVMCALL)
  g.host.must(abi.TDH_VP_WR, { rcx: g.tdvpr, rdx: 0x2000_0000_0000_000bn, r8: 1n, r9: 1n })
  t.equal(g.enter(), TDVMCALL)
  t.equal(g.host.regs.r15, 2n, 'the NMI handler')
  t.equal(g.vcpu.pendNmi, false)

  const p = guest(`${VMCALL}nop\n${VMCALL}sti\nnop\nnop\n${REPORT}`)
  t.equal(p.enter(), TDVMCALL)
  const pid = p.host.frame()
  const write = (rdx: bigint, r8: bigint, r9: bigint) => p.host.must(abi.TDH_VP_WR, { rcx: p.tdvpr, rdx, r8, r9 })
  write(2n, 0xf2n, 0xffffn)
  write(0x2016n, pid, ~0x3fn & 0xffff_ffff_ffff_ffffn)
  write(0x4000n, 0x80n, 0x80n)
  p.host.memory.write(Number(pid) + 8, 1, 1n) // vector 0x40
  p.host.memory.write(Number(pid) + 32, 1, 1n)
  t.equal(p.enter(), TDVMCALL)
  t.equal(p.host.regs.r15, 0n, 'interrupts are off')
  p.host.must(abi.TDH_VP_RD, { rcx: p.tdvpr, rdx: 0x9120_0003_0000_0100n })
  t.equal(p.host.regs.r8, 1n, 'VCPU_STATE_DETAILS: one is waiting')
  t.equal(p.enter(), TDVMCALL)
  t.equal(p.host.regs.r15, 0x40n, 'after STI it comes')
  t.equal(p.vcpu.vapic.isr[2], 1)
})

t.test('RTMRs', async t => {
  const g = guest(`
    mov rdi, ${DATA_PAGE}
    xor eax, eax
  fill:
    mov [rdi+rax], al
    add eax, 1
    cmp eax, 48
    jne fill
    mov rcx, ${DATA_PAGE}
    mov edx, 2
    mov eax, 2
    tdcall
    mov r12, rax
    mov rcx, ${DATA_PAGE + 8n}
    mov eax, 2
    tdcall
    mov r13, rax
    mov rcx, ${DATA_PAGE}
    mov edx, 4
    mov eax, 2
    tdcall
    mov r14, rax
    mov rcx, ${1n << 47n}
    mov eax, 2
    tdcall
    mov r15, rax
    ${REPORT}`)
  t.equal(g.enter(), TDVMCALL)
  const { regs } = g.host
  t.same([regs.r12, regs.r13, regs.r14, regs.r15].map(abi.statusName), [
    'TDX_SUCCESS',
    'TDX_OPERAND_INVALID | RCX',
    'TDX_OPERAND_INVALID | RDX',
    'TDX_OPERAND_INVALID | RCX',
  ])
  t.equal(
    Buffer.from(g.vcpu.td.rtmr[2]).toString('hex'),
    'fe83f742d1cab5c709a0c424729831fbff9b5bb9748a618f0b6ea04fe1fde4d546f4040e7fc9587b2e6badada6c941b0',
  )
})

t.test('random TDCALLs with random registers', async t => {
  const g = guest('again:\ntdcall\njmp again')
  const random = new Random(7n)
  g.host.lp.quantum = 12
  t.equal(abi.statusName(g.enter() & ~0xffn), 'TDX_SUCCESS')
  let notModelled = 0
  for (let i = 0; i < 3000; i++) {
    const { gpr } = g.cpu
    for (let n = 0; n < 16; n++) if (n !== 4) gpr[n] = near(random)
    gpr[0] = random.next() % 34n
    g.host.lp.quantum = 2
    try {
      g.enter()
    } catch (error) {
      if (!(error instanceof NotModelled)) throw error
      notModelled++
      g.cpu.advance(4)
    }
    if (g.vcpu.state !== abi.VCPU_READY || g.vcpu.td.fatal) t.fail('the TD died')
  }
  t.ok(notModelled > 0)
  t.same(invariants(g.host.module), [])
})
