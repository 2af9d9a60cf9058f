/** Memory as a running TD meets it: pages of the Secure EPT, shared memory, and what the host does to both. */
import t from 'tap'
import * as abi from '#abi'
import type { Hpa } from '#bits'
import { invariants } from '../invariants.ts'
import { DATA_PAGE, guest, sharedAt, TDVMCALL, TOO_WIDE } from '../testdata/guest.ts'
import { Host, SEPT_LEVELS } from '../testdata/host.ts'

const VMCALL = 'mov ecx, 0xfc00\nxor eax, eax\ntdcall\n'
const REPORT = `${VMCALL}hlt\n`
const hex = (value: bigint) => value.toString(16)

t.test('pages: pending is a #VE or an exit, absent is an exit, accepted is memory', async t => {
  const gpa = 0x20_0000n
  const touch = `mov rbx, ${gpa}\nmov rax, [rbx]\nmov r12, rax\n${REPORT}`
  const aug = (host: Host, tdr: bigint) => host.must(abi.TDH_MEM_PAGE_AUG, { rcx: gpa, rdx: tdr, r8: host.frame() })
  const build = (host: Host, tdr: bigint) => host.tables(tdr, gpa)

  const absent = guest(touch, { build })
  t.equal(absent.enter(), 48n, 'EPT violation')
  t.match(absent.host.regs, { rcx: 1n, rdx: 0n, r8: gpa, r9: 0n })
  aug(absent.host, absent.tdr)
  t.equal(absent.enter(), TDVMCALL)
  t.equal(absent.host.regs.r15, 20n, 'then pending: #VE')
  t.match(absent.vcpu.ve, { exitReason: 48, gpa, gla: gpa })

  const silent = guest(touch, { build, attributes: abi.TDX_ATTR_SEPT_VE_DISABLE })
  aug(silent.host, silent.tdr)
  t.equal(silent.enter(), 48n)
  t.match(silent.host.regs, { rdx: abi.VMX_EEQ_PENDING_EPT_VIOLATION, r8: gpa })

  const accept = `mov rcx, ${gpa}\nmov eax, 6\ntdcall\nmov r13, rax\n`
  const eager = guest(`${accept}${accept}mov r14, r13\n${touch}`, { build })
  t.equal(eager.enter(), 48n, 'ACCEPT of what is not there')
  t.equal(eager.host.regs.rdx & 0xfn, abi.VMX_EEQ_ACCEPT)
  t.equal(eager.host.regs.rcx, 2n)
  t.equal(eager.host.regs.rdx >> 32n, 0n, 'level 0 asked for, level 0 free')
  aug(eager.host, eager.tdr)
  t.equal(eager.enter(), TDVMCALL, 'the TDCALL was executed again')
  t.equal(eager.host.regs.r12, 0n, 'zeroed')
  t.equal(abi.statusName(eager.host.regs.r14), 'TDX_PAGE_ALREADY_ACCEPTED')
  t.same(invariants(eager.host.module), [])
})

t.test('ACCEPT of 2 MiB, of the wrong size, of bad addresses', async t => {
  const gpa = 0x4020_0000n
  const call = (rcx: bigint, into: string) => `mov rcx, ${rcx}\nmov eax, 6\ntdcall\nmov ${into}, rax\n`
  let page = 0n
  const g = guest(
    `${call(gpa | 1n, 'r12')}${call(gpa, 'r13')}${call(gpa | 2n, 'r14')}${call((1n << 47n) | 1n, 'r15')}${VMCALL}
     ${call(0xffe0_0001n, 'r12')}${call(gpa | 0x1001n, 'r13')}${REPORT}`,
    {
      build(host, tdr) {
        host.tables(tdr, gpa, 2)
        page = BigInt(host.memory.allocateRun(512, 2 ** 21))
        host.must(abi.TDH_MEM_PAGE_AUG, { rcx: gpa | 1n, rdx: tdr, r8: page })
        host.memory.write(Number(page) + 0x1f_f000, 8, 5n)
      },
    },
  )
  t.equal(g.enter(), TDVMCALL)
  const { regs } = g.host
  t.equal(regs.r12, 0n)
  t.equal(g.host.memory.read(Number(page) + 0x1f_f000, 8), 0n)
  t.equal(abi.statusName(regs.r13), 'TDX_PAGE_ALREADY_ACCEPTED | 0x1', 'the 2 MiB page holds it')
  t.equal(abi.statusName(regs.r14), 'TDX_OPERAND_INVALID | RCX', 'level 2')
  t.equal(abi.statusName(regs.r15), 'TDX_OPERAND_INVALID | RCX', 'shared')
  t.equal(g.enter(), TDVMCALL)
  t.equal(abi.statusName(g.host.regs.r12), 'TDX_PAGE_SIZE_MISMATCH | 0x1', 'mapped in 4 KiB pages')
  t.equal(abi.statusName(g.host.regs.r13), 'TDX_OPERAND_INVALID | RCX')
})

t.test('a range that was blocked is gone once the vCPU comes back in a new epoch', async t => {
  const g = guest(`mov rbx, ${DATA_PAGE}\nmov rax, [rbx]\n${VMCALL}mov rax, [rbx]\n${REPORT}`)
  t.equal(g.enter(), TDVMCALL)
  g.host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx: DATA_PAGE, rdx: g.tdr })
  g.host.must(abi.TDH_MEM_TRACK, { rcx: g.tdr })
  const before = g.vcpu.epoch
  t.equal(g.enter(), 48n)
  t.equal(g.host.regs.r8, DATA_PAGE)
  t.equal(g.vcpu.epoch, before + 1n)
  g.host.must(abi.TDH_MEM_RANGE_UNBLOCK, { rcx: DATA_PAGE, rdx: g.tdr })
  t.equal(g.enter(), TDVMCALL)
})

t.test('shared memory: the host’s own EPT, its suppress-#VE bits, and addresses that are too wide', async t => {
  const gpa = 0x1000n
  const text = `mov rbx, ${sharedAt(gpa)}\nmov rax, [rbx]\nmov r12, rax\nmov qword ptr [rbx+8], 0x77\n${REPORT}`
  const shared = 1n << 47n
  const g = guest(text)
  t.equal(g.enter(), TDVMCALL)
  t.equal(g.host.regs.r15, 20n, 'with no shared EPT everything is #VE')
  t.match(g.vcpu.ve, { exitReason: 48, gpa: shared | gpa, gla: sharedAt(gpa) })

  const h = guest(text)
  const tables = [0, 1, 2, 3].map(() => h.host.frame())
  const entry = (table: number, index: bigint, value: bigint) =>
    h.host.memory.write(Number(tables[table]! + 8n * index), 8, value)
  const suppressed = 1n << 63n
  entry(0, 256n, suppressed)
  h.host.must(abi.TDH_VP_WR, { rcx: h.tdvpr, rdx: 0x203cn, r8: tables[0]!, r9: 0xf_ffff_ffff_f000n })
  t.equal(h.enter(), 48n, 'suppressed: an exit')
  t.match(h.host.regs, { rcx: 1n, r8: shared | gpa, rdx: 0n })
  entry(0, 256n, tables[1]! | 7n)
  entry(1, 0n, tables[2]! | 7n)
  entry(2, 0n, tables[3]! | 7n)
  const data = h.host.frame()
  entry(3, 1n, data | 0x32n)
  t.equal(h.enter(), 49n, 'writable and not readable: misconfigured')
  entry(3, 1n, data | 0x37n)
  h.host.memory.write(Number(data), 8, 0x1234n)
  t.equal(h.enter(), TDVMCALL)
  t.equal(h.host.regs.r12, 0x1234n)
  t.equal(h.host.memory.read(Number(data) + 8, 8), 0x77n)

  const fetch = guest(`mov rax, ${sharedAt(gpa)}\njmp rax`)
  t.equal(fetch.enter(), TDVMCALL)
  t.same([fetch.host.regs.r15, fetch.host.regs.r12], [14n, sharedAt(gpa)], 'code in shared memory: #PF')

  const wide = guest(`mov rax, ${TOO_WIDE}\nmov rax, [rax]`)
  t.equal(wide.enter(), TDVMCALL)
  t.match(wide.host.regs, { r15: 14n, r14: 9n, r12: TOO_WIDE }, '#PF with P and RSVD')
})

t.test('a private page that the host wrote is a machine check for its TD', async t => {
  const g = guest(`mov rbx, ${DATA_PAGE}\n${VMCALL}mov rax, [rbx]\n${REPORT}`)
  t.equal(g.enter(), TDVMCALL)
  const td = g.host.module.tds.get(Number(g.tdr) as Hpa)!
  const frame = td.tree.frame(Number(DATA_PAGE), 1)
  g.host.module.hostWrote(frame as Hpa)
  t.equal(hex(g.enter()), '6000000500000000')
  t.equal(g.host.regs.r9 & 0xffn, 18n)
  t.equal(abi.statusName(g.enter()), 'TDX_TD_FATAL')
})

t.test('a TD of 52 bits over five levels', async t => {
  const host = new Host().boot()
  const tdr = host.td({ configFlags: 5n, eptp: SEPT_LEVELS.five })
  const tdvpr = host.vcpu(tdr)
  host.tables(tdr, 0xffff_f000n, 1, 4)
  const source = host.memory.allocate()
  host.memory.set(source + 0xff0, new Uint8Array([0xf4]))
  host.must(abi.TDH_MEM_PAGE_ADD, { rcx: 0xffff_f000n, rdx: tdr, r8: host.frame(), r9: BigInt(source) })
  host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
  t.equal(abi.statusName(abi.statusCode(host.call(abi.TDH_VP_ENTER, { rcx: tdvpr }))), 'TDX_NON_RECOVERABLE_VCPU')
  const { cpu } = host.module.inspect(Number(tdvpr) as Hpa)!
  t.equal(cpu!.gpr[3], 52n)
  t.same(invariants(host.module), [])
})
