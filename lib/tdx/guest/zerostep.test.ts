/** The filter against zero-stepping. */
import t from 'tap'
import * as abi from '#abi'
import { invariants } from '../invariants.ts'
import { DATA_PAGE, guest, TDVMCALL } from '../testdata/guest.ts'

const VMCALL = 'mov ecx, 0xfc00\nxor eax, eax\ntdcall\n'
const READ = 1n
/** What the module says in place of an entry: a write, whatever the instruction wanted. */
const FILTERED = { rcx: 2n, rdx: 0n, r8: DATA_PAGE, r9: 0n, r10: 0n, r15: 0n }
const NOTIFY_ENABLES = 0x9110_0003_0000_0010n
const field = (name: string): bigint => abi.VP_FIELDS.find(row => row.name === name)!.id

/** A TD that reads a page which the host has blocked. `before`: what it does first. */
const stepped = (before = '', attributes = 0n) => {
  const g = guest(`${before}${VMCALL}mov rbx, ${DATA_PAGE}\nmov rax, [rbx]\nmov r12, rax\n${VMCALL}hlt`, { attributes })
  t.equal(g.enter(), TDVMCALL)
  g.host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx: DATA_PAGE, rdx: g.tdr })
  g.host.must(abi.TDH_MEM_TRACK, { rcx: g.tdr })
  const unblock = () => g.host.must(abi.TDH_MEM_RANGE_UNBLOCK, { rcx: DATA_PAGE, rdx: g.tdr })
  return { ...g, unblock }
}

t.test('the seventh violation of an instruction is the last that the TD itself has', async t => {
  const g = stepped('', abi.TDX_ATTR_DEBUG)
  const read = (name: string, index = 0n) =>
    g.host.must(abi.TDH_VP_RD, { rcx: g.tdvpr, rdx: field(name) + index }) ?? g.host.regs.r8
  const instructions = () => g.vcpu.cpu!.instructions
  for (let n = 1; n <= 7; n++) {
    t.equal(g.enter(), 48n)
    t.match(g.host.regs, { rcx: READ, r8: DATA_PAGE }, `violation ${n}`)
    read('POSSIBLY_EPF_STEPPING')
    t.equal(g.host.regs.r8, BigInt(Math.min(n, 6)))
  }
  read('LAST_EPF_GPA_LIST_IDX')
  t.equal(g.host.regs.r8, 1n)
  read('LAST_EPF_GPA_LIST')
  t.equal(g.host.regs.r8 & ~0xfffn, DATA_PAGE)
  const before = instructions()
  const refcount = [...g.vcpu.td.refcount]
  for (let n = 0; n < 3; n++) {
    t.equal(g.enter(), 48n)
    t.match(g.host.regs, FILTERED)
  }
  t.equal(instructions(), before)
  t.same(g.vcpu.td.refcount, refcount)
  t.equal(g.vcpu.state, abi.VCPU_READY)
  g.unblock()
  t.equal(g.enter(), TDVMCALL, 'it goes on as if nothing had been')
  read('LAST_EPF_GPA_LIST_IDX')
  t.equal(g.host.regs.r8, 0n, 'and that is progress')
  t.same(invariants(g.host.module), [])
})

t.test('six are forgotten with the next instruction', async t => {
  const g = stepped()
  for (let n = 0; n < 6; n++) t.equal(g.enter(), 48n)
  g.unblock()
  t.equal(g.enter(), TDVMCALL)
  t.equal(g.vcpu.zeroStep.count, 0)
})

t.test('a TD that has asked for it is told by #VE', async t => {
  const notify = `mov rdx, ${NOTIFY_ENABLES}\nxor ecx, ecx\nmov r8d, 1\nmov r9d, 1\nmov eax, 8\ntdcall\n`
  const g = stepped(notify)
  t.equal(g.vcpu.td.notifyEnables, 1n)
  for (let n = 0; n < 8; n++) t.equal(g.enter(), 48n)
  t.match(g.host.regs, FILTERED, 'not while it would fault again')
  g.unblock()
  t.equal(g.enter(), TDVMCALL)
  t.equal(g.host.regs.r15, 20n)
  t.match(g.vcpu.ve, { exitReason: 48, gla: 0n })
  t.equal(g.vcpu.ve.gpa & ~0xfffn, DATA_PAGE)
})

t.test('no #VE where the TD could not take one', async t => {
  const notify = `mov rdx, ${NOTIFY_ENABLES}\nxor ecx, ecx\nmov r8d, 1\nmov r9d, 1\nmov eax, 8\ntdcall\n`
  for (const what of ['VE_INFO is not read', 'an NMI is being handled']) {
    const g = stepped(notify)
    for (let n = 0; n < 7; n++) g.enter()
    g.unblock()
    if (what.startsWith('VE_INFO')) g.vcpu.ve.valid = 0xffff_ffff
    else g.cpu.nmiBlocked = true
    t.equal(g.enter(), TDVMCALL)
    t.not(g.host.regs.r15, 20n, what)
  }
})

t.test('a page that waits to be accepted is none that the TD can touch', async t => {
  const gpa = 0x20_0000n
  const g = guest(`mov rbx, ${gpa}\nmov rax, [rbx]\n${VMCALL}hlt`, { build: (host, tdr) => host.tables(tdr, gpa) })
  for (let n = 0; n < 7; n++) t.equal(g.enter(), 48n)
  g.host.must(abi.TDH_MEM_PAGE_AUG, { rcx: gpa, rdx: g.tdr, r8: g.host.frame() })
  t.equal(g.enter(), 48n)
  t.match(g.host.regs, { ...FILTERED, r8: gpa })
})
