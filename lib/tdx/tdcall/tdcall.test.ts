import t from 'tap'
import * as abi from '#abi'
import { DATA_PAGE, guest, TDVMCALL } from '../testdata/guest.ts'
import type { TdOptions } from '../testdata/host.ts'

const REPORT = 'mov ecx, 0xfc00\nxor eax, eax\ntdcall\nhlt\n'
/** A TDCALL; R12 is its status, R13 RCX, R14 RDX, R15 R8. */
const call = (leaf: number, { rcx = 0n, rdx = 0n, r8 = 0n, r9 = 0n }, version = 0) => `
  mov rcx, ${rcx}
  mov rdx, ${rdx}
  mov r8, ${r8}
  mov r9, ${r9}
  mov eax, ${leaf + version * 0x1_0000}
  tdcall
  mov r12, rax
  mov r13, rcx
  mov r14, rdx
  mov r15, r8`

type Inputs = Parameters<typeof call>[1]

/** One TDCALL in a TD of its own: what it came to, in words, and its registers. */
const once = (leaf: number, inputs: Inputs, options: TdOptions = {}, version = 0) => {
  const g = guest(`${call(leaf, inputs, version)}\n${REPORT}`, options)
  const rax = g.enter()
  const { r12, r13, r14, r15 } = g.host.regs
  return { g, rax, said: rax === TDVMCALL ? abi.statusName(r12) : undefined, rcx: r13, rdx: r14, r8: r15 }
}

const ALL = 0xffff_ffff_ffff_ffffn
const ATTRIBUTES = 0x1110_0003_0000_0000n
const TD_CTLS = 0x1110_0003_0000_0017n
const NOTIFY_ENABLES = 0x9110_0003_0000_0010n
const CPUID_SUPERVISOR_VE = 0xa020_0000_0000_0007n
const FEATURES0 = 0x0a00_0003_0000_0008n
const NUM_PKGS = 0x0000_0002_0000_0000n

t.test('VM.RD and VM.WR', async t => {
  const PKS = { attributes: abi.TDX_ATTR_PKS }
  t.equal(once(abi.TDG_VM_RD, { rcx: 1n }).said, 'TDX_OPERAND_INVALID | RCX', 'another VM')
  t.equal(once(abi.TDG_VM_RD, { rdx: 1n << 47n }).said, 'TDX_METADATA_FIELD_ID_INCORRECT')
  t.equal(once(abi.TDG_VM_RD, { rdx: 0x8010_0000_0000_0001n }).said, 'TDX_METADATA_FIELD_NOT_READABLE', 'FATAL')
  t.match(once(abi.TDG_VM_RD, { rdx: ATTRIBUTES }, PKS), { said: 'TDX_SUCCESS', r8: abi.TDX_ATTR_PKS, rdx: ATTRIBUTES })
  t.match(once(abi.TDG_VM_RD, { rdx: ATTRIBUTES }, PKS, 1), { said: 'TDX_SUCCESS', rdx: ATTRIBUTES + 1n }, 'next')
  t.match(once(abi.TDG_VM_RD, { rdx: ALL }, {}, 1), {
    said: 'TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT',
    rdx: 0x8010_0003_0000_0020n,
  })
  t.equal(once(abi.TDG_VM_RD, { rdx: ATTRIBUTES }, {}, 2).said, 'TDX_OPERAND_INVALID | RAX')
  t.equal(once(abi.TDG_VM_WR, { rcx: 1n }).said, 'TDX_OPERAND_INVALID | RCX')
  t.equal(once(abi.TDG_VM_WR, { rdx: ATTRIBUTES, r9: ALL }).said, 'TDX_METADATA_FIELD_NOT_WRITABLE')
  t.equal(once(abi.TDG_VM_WR, { rdx: NOTIFY_ENABLES, r8: 2n, r9: ALL }).said, 'TDX_METADATA_FIELD_VALUE_NOT_VALID')
  const notify = once(abi.TDG_VM_WR, { rdx: NOTIFY_ENABLES, r8: 1n, r9: 1n })
  t.match(notify, { said: 'TDX_SUCCESS', r8: 0n })
  t.equal(notify.g.vcpu.td.notifyEnables, 1n)
})

t.test('TD_CTLS: what a guest may change', async t => {
  const write = (r8: bigint, configFlags: bigint, initial = 0n) =>
    once(abi.TDG_VM_WR, { rdx: TD_CTLS, r8, r9: 3n }, { configFlags, attributes: initial }).said
  const FLEXIBLE = abi.TDX_CONFIG_FLAGS_FLEXIBLE_PENDING_VE | abi.TDX_CONFIG_FLAGS_NO_RBP_MOD
  const FIXED = abi.TDX_CONFIG_FLAGS_NO_RBP_MOD
  t.equal(write(1n, FIXED), 'TDX_METADATA_FIELD_VALUE_NOT_VALID')
  t.equal(write(0n, FIXED), 'TDX_SUCCESS', 'nothing changes')
  t.equal(write(0n, FIXED, abi.TDX_ATTR_SEPT_VE_DISABLE), 'TDX_METADATA_FIELD_VALUE_NOT_VALID')
  t.equal(write(1n, FLEXIBLE), 'TDX_SUCCESS')
  t.equal(write(2n, FLEXIBLE), 'TDX_METADATA_FIELD_VALUE_NOT_VALID', 'no topology is configured')
})

t.test('VP.RD and VP.WR', async t => {
  t.equal(once(abi.TDG_VP_RD, { rcx: 1n }).said, 'TDX_OPERAND_INVALID | RCX')
  t.equal(once(abi.TDG_VP_RD, { rdx: 0x1020_0003_0000_0000n }).said, 'TDX_METADATA_FIELD_NOT_READABLE', 'RAX')
  t.match(once(abi.TDG_VP_RD, { rdx: ALL }), {
    said: 'TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT',
    rdx: 0xa020_0002_0000_0002n,
  })
  t.match(once(abi.TDG_VP_RD, { rdx: 0xa020_0002_0000_0002n }), {
    said: 'TDX_SUCCESS',
    r8: 0n,
    rdx: CPUID_SUPERVISOR_VE,
  })
  t.equal(once(abi.TDG_VP_WR, { rdx: 0xa020_0002_0000_0002n, r9: ALL }).said, 'TDX_METADATA_FIELD_NOT_WRITABLE')
  t.equal(once(abi.TDG_VP_WR, { rcx: 1n }).said, 'TDX_OPERAND_INVALID | RCX')
  const ve = once(abi.TDG_VP_WR, { rdx: CPUID_SUPERVISOR_VE, r8: 1n, r9: 0xffn })
  t.equal(ve.said, 'TDX_SUCCESS')
  t.ok(ve.g.vcpu.cpuidSupervisorVe)
  t.equal(
    once(abi.TDG_VP_WR, { rdx: CPUID_SUPERVISOR_VE, r8: 2n, r9: 0xffn }).said,
    'TDX_METADATA_FIELD_VALUE_NOT_VALID',
  )
})

t.test('CPUID_CONTROL makes one leaf a #VE', async t => {
  const row = abi.CPUID_LOOKUP.findIndex(({ leaf }) => leaf === 0x15)
  const g = guest(`${call(abi.TDG_VP_WR, { rdx: 0xa120_0000_0000_0000n + BigInt(row), r8: 1n, r9: 3n })}
    mov eax, 0x80000008
    xor ecx, ecx
    cpuid
    mov eax, 0x15
    xor ecx, ecx
    cpuid
    hlt`)
  t.equal(g.enter(), TDVMCALL)
  t.equal(g.host.regs.r15, BigInt(abi.VECTOR_VE))
  t.equal(g.vcpu.ve.exitReason, 10)
})

t.test('SYS.RD and SYS.RDALL', async t => {
  t.match(once(abi.TDG_SYS_RD, { rdx: FEATURES0 }), { said: 'TDX_SUCCESS', r8: 0x1f_0fbfn })
  t.equal(once(abi.TDG_SYS_RD, { rdx: NUM_PKGS }).said, 'TDX_METADATA_FIELD_NOT_READABLE')
  t.equal(once(abi.TDG_SYS_RD, { rdx: 0x0a00_0003_00ff_0000n }).said, 'TDX_METADATA_FIELD_ID_INCORRECT')
  t.match(once(abi.TDG_SYS_RD, { rdx: ALL }), {
    said: 'TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT',
    rdx: 0x0800_0002_0000_0000n,
  })
  t.equal(once(abi.TDG_SYS_RDALL, { rdx: DATA_PAGE + 8n, r8: ALL }).said, 'TDX_OPERAND_INVALID | RDX')
  t.equal(once(abi.TDG_SYS_RDALL, { rdx: 1n << 47n, r8: ALL }).said, 'TDX_OPERAND_INVALID | RDX', 'shared')
  t.equal(once(abi.TDG_SYS_RDALL, { rdx: DATA_PAGE, r8: 1n << 60n }).said, 'TDX_METADATA_FIELD_ID_INCORRECT')
  const { g, said, r8 } = once(abi.TDG_SYS_RDALL, { rdx: DATA_PAGE, r8: ALL })
  t.match({ said, r8 }, { said: 'TDX_SUCCESS', r8: ALL })
  const at = g.vcpu.stage!.frame(DATA_PAGE as never, 'read')
  const { view } = g.host.memory
  t.equal(view.getBigUint64(at + 8, true), 0x0800_0002_0000_0000n, 'the first sequence is VENDOR_ID')
  t.equal(view.getBigUint64(at + 16, true), 0x8086n)
})

t.test('PAGE.ATTR.RD and WR: the TD’s own view', async t => {
  t.match(once(abi.TDG_MEM_PAGE_ATTR_RD, { rcx: DATA_PAGE + 5n }), { said: 'TDX_SUCCESS', rcx: DATA_PAGE, rdx: 0n })
  t.match(once(abi.TDG_MEM_PAGE_ATTR_RD, { rcx: 1n << 47n }), { said: 'TDX_OPERAND_INVALID | RCX', rcx: 0n })
  const free = once(abi.TDG_MEM_PAGE_ATTR_RD, { rcx: 0x1000n })
  t.equal(free.rax, 48n, 'nothing there: an EPT violation for the host')
  t.equal(free.g.host.regs.r8, 0x1000n)
  t.match(once(abi.TDG_MEM_PAGE_ATTR_WR, { rcx: DATA_PAGE }), { said: 'TDX_SUCCESS', rcx: DATA_PAGE })
  t.match(once(abi.TDG_MEM_PAGE_ATTR_WR, { rcx: DATA_PAGE, rdx: 1n }), { said: 'TDX_OPERAND_INVALID | RDX', rcx: 0n })
  t.equal(once(abi.TDG_MEM_PAGE_ATTR_WR, { rcx: DATA_PAGE, r8: 1n }).said, 'TDX_OPERAND_INVALID | R8')
  t.equal(once(abi.TDG_MEM_PAGE_ATTR_WR, { rcx: DATA_PAGE | 3n }).said, 'TDX_OPERAND_INVALID | RCX')
  t.equal(once(abi.TDG_MEM_PAGE_ATTR_WR, { rcx: 1n << 47n }).said, 'TDX_OPERAND_INVALID | RCX')
  t.equal(once(abi.TDG_MEM_PAGE_ATTR_WR, { rcx: 0xffe0_0001n }).said, 'TDX_PAGE_SIZE_MISMATCH | 0x1')
  const missing = once(abi.TDG_MEM_PAGE_ATTR_WR, { rcx: 0x1000n })
  t.same([missing.rax, missing.g.host.regs.rdx & 0xfn], [48n, abi.VMX_EEQ_ATTR_WR])
})

t.test('VP.ENTER, INVEPT and INVVPID name L2 VMs, of which there are none', async t => {
  t.equal(once(abi.TDG_VP_ENTER, { rcx: 1n, rdx: 0x80n }).said, 'TDX_OPERAND_INVALID | RDX', 'not aligned')
  t.equal(once(abi.TDG_VP_ENTER, { rcx: 1n, rdx: 1n << 47n }).said, 'TDX_OPERAND_INVALID | RDX', 'shared')
  t.equal(once(abi.TDG_VP_ENTER, { rcx: 1n, rdx: 0x1000n }).said, 'TDX_OPERAND_INVALID | RCX')
  t.equal(once(abi.TDG_VP_ENTER, { rcx: 0n, rdx: 0x1000n }).said, 'TDX_OPERAND_INVALID | RCX', 'nor itself')
  t.equal(once(abi.TDG_VP_INVEPT, {}).said, 'TDX_SUCCESS')
  t.equal(once(abi.TDG_VP_INVEPT, { rcx: 1n }).said, 'TDX_OPERAND_INVALID | RCX')
  t.equal(once(abi.TDG_VP_INVEPT, { rcx: 2n }).said, 'TDX_OPERAND_INVALID | RCX')
  t.equal(once(abi.TDG_VP_INVVPID, { rcx: 1n << 52n }).said, 'TDX_OPERAND_INVALID | RCX')
})

t.test('leaves of service TDs stop by name', async t => {
  t.throws(() => once(abi.TDG_SERVTD_RD, {}), { name: 'NotModelled', message: 'TDG.SERVTD.RD' })
})

t.test('MR.REPORT: checks in order', async t => {
  const at = DATA_PAGE
  const said = (inputs: Inputs) => once(abi.TDG_MR_REPORT, inputs).said
  t.equal(said({ rcx: at + 64n, rdx: at + 1n, r8: 1n }), 'TDX_OPERAND_INVALID | RCX', 'alignment of the report')
  t.equal(said({ rcx: 1n << 53n, rdx: at + 1n, r8: 1n }), 'TDX_OPERAND_INVALID | RDX', 'alignment of the data')
  t.equal(said({ rcx: 1n << 53n, rdx: 1n << 53n, r8: 1n }), 'TDX_OPERAND_INVALID | RDX', 'the data’s address')
  t.equal(said({ rcx: 1n << 53n, rdx: at, r8: 1n }), 'TDX_OPERAND_INVALID | R8', 'sub-type')
  t.equal(said({ rcx: 1n << 53n, rdx: at }), 'TDX_OPERAND_INVALID | RCX', 'the report’s address')
  t.equal(said({ rcx: at, rdx: at }), 'TDX_SUCCESS')
  const missing = once(abi.TDG_MR_REPORT, { rcx: at, rdx: 0x1000n })
  t.equal(missing.rax, 48n, 'data that is not mapped: an EPT violation')
})

t.test('a report is verified on the platform that made it, and no changed one', async t => {
  const VERIFY = (n: number) => `mov ecx, ${DATA_PAGE}\nmov eax, ${abi.TDG_MR_VERIFYREPORT}\ntdcall\nmov r${n}, rax\n`
  const flip = (offset: number) => `mov eax, ${DATA_PAGE + BigInt(offset)}\nxor byte [rax], 1\n`
  const g = guest(`${call(abi.TDG_MR_REPORT, { rcx: DATA_PAGE, rdx: DATA_PAGE + 1024n })}
    ${VERIFY(10)}${flip(130)}${VERIFY(11)}${flip(130)}${flip(16)}${VERIFY(13)}${flip(16)}${flip(300)}${VERIFY(14)}
    ${REPORT}`)
  t.equal(g.enter(), TDVMCALL)
  const { r10, r11, r12, r13, r14 } = g.host.regs
  t.same(
    [r12, r10, r11, r13, r14].map(abi.statusName),
    ['TDX_SUCCESS', 'TDX_SUCCESS', 'TDX_INVALID_REPORTMACSTRUCT', 'TDX_INVALID_CPUSVN', 'TDX_SUCCESS'],
    'REPORTDATA and CPUSVN are under the MAC; TEE_TCB_INFO by its hash only',
  )
  t.equal(once(abi.TDG_MR_VERIFYREPORT, { rcx: DATA_PAGE + 64n }).said, 'TDX_OPERAND_INVALID | RCX')
  t.equal(once(abi.TDG_MR_VERIFYREPORT, { rcx: 1n << 47n }).said, 'TDX_OPERAND_INVALID | RCX', 'shared')
})

t.test('a report may go to shared memory', async t => {
  const gpa = 0x4000_0000n
  const g = guest(`${call(abi.TDG_MR_REPORT, { rcx: (1n << 47n) | gpa, rdx: DATA_PAGE })}\n${REPORT}`)
  t.equal(g.enter(), TDVMCALL)
  t.equal(g.host.regs.r15, BigInt(abi.VECTOR_VE), 'no shared page: a #VE')
  t.equal(g.vcpu.ve.gpa, (1n << 47n) | gpa)
})

t.test('topology enumeration: off, CPUID 0x1F is a #VE; on, it is the vCPU’s x2APIC id', async t => {
  const code = (enable: boolean) => `
    ${enable ? call(abi.TDG_VM_WR, { rdx: TD_CTLS, r8: 2n, r9: 2n }) : ''}
    mov eax, 0x1f
    mov ecx, 1
    cpuid
    mov r10, rax
    mov r11, rcx
    mov r13, rdx
    mov ecx, 0x802
    rdmsr
    mov r14, rax
    mov eax, 1
    cpuid
    shr ebx, 24
    mov r12, rbx
    xor r15d, r15d
    ${REPORT}`
  const off = guest(code(false))
  t.equal(off.enter(), TDVMCALL)
  t.same([off.host.regs.r15, off.vcpu.ve.exitReason], [BigInt(abi.VECTOR_VE), 10])
  const on = guest(code(true), { x2apicId: 6, maxVcpus: 4 })
  t.equal(on.enter(), TDVMCALL)
  const { r10, r11, r12, r13, r14, r15 } = on.host.regs
  t.same([r10, r11, r12, r13, r14, r15], [3n, 0x201n, 6n, 6n, 6n, 0n])
})
