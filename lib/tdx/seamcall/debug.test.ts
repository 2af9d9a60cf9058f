import t from 'tap'
import * as abi from '#abi'
import { DATA_PAGE, guest, STACK_TOP, TDVMCALL } from '../testdata/guest.ts'
import { Host } from '../testdata/host.ts'
import { said } from '../testdata/status.ts'

const GPA = 0x4000_0000n
const EXCEPTION_BITMAP = 0x0024_0002_0000_4004n

t.test('MEM.RD and MEM.WR: of a debug TD only', async t => {
  const host = new Host().boot()
  const plain = host.td()
  t.equal(said(host, abi.TDH_MEM_RD, { rcx: GPA, rdx: plain }), 'TDX_TD_NON_DEBUG')
  t.equal(said(host, abi.TDH_MEM_WR, { rcx: GPA, rdx: plain }), 'TDX_TD_NON_DEBUG')
  const tdr = host.td({ attributes: abi.TDX_ATTR_DEBUG })
  const read = (rcx: bigint) => said(host, abi.TDH_MEM_RD, { rcx, rdx: tdr, r8: 5n })
  const write = (rcx: bigint, r8: bigint) => said(host, abi.TDH_MEM_WR, { rcx, rdx: tdr, r8 })
  t.equal(said(host, abi.TDH_MEM_RD, { rcx: GPA, rdx: 0x1001n }), 'TDX_OPERAND_INVALID | RDX')
  t.equal(said(host, abi.TDH_MEM_RD, { rcx: GPA, rdx: host.create() }), 'TDX_OP_STATE_INCORRECT')
  for (const call of [read, (rcx: bigint) => write(rcx, 1n)]) {
    t.equal(call(GPA + 4n), 'TDX_OPERAND_INVALID | RCX', 'alignment')
    t.equal(call(1n << 47n), 'TDX_OPERAND_INVALID | RCX', 'shared')
    t.equal(call(GPA), 'TDX_EPT_ENTRY_NOT_PRESENT | RCX', 'no table')
    t.equal(host.regs.rdx, 3n, 'stopped at the root')
  }
  host.page(tdr, GPA, new Uint8Array(4096).fill(0xab))
  t.equal(read(GPA + 0x1000n), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX', 'a free entry')
  t.equal(host.regs.r8, 0n)
  t.equal(write(GPA + 0x1000n, 1n), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX')
  t.equal(read(GPA + 8n), 'TDX_SUCCESS')
  t.equal(host.regs.r8, 0xabab_abab_abab_ababn)
  t.equal(write(GPA + 8n, 0x1122n), 'TDX_SUCCESS')
  t.equal(host.regs.r8, 0xabab_abab_abab_ababn, 'what was there')
  t.equal(read(GPA + 8n), 'TDX_SUCCESS')
  t.equal(host.regs.r8, 0x1122n)
})

const GPR = (n: number) => 0x1020_0003_0000_0000n + BigInt(n)
const RIP = 0x0024_0003_0000_681en
const CR0 = 0x0024_0003_0000_6800n
const CS_RIGHTS = 0x0024_0002_0000_4816n
const LSTAR = 0x1320_0003_0000_2082n
const ALL = 0xffff_ffff_ffff_ffffn
const vmcs = (name: string): bigint => abi.VMCS_FIELDS.find(row => row.name === name)!.id

t.test('VP.RD and VP.WR: the registers of a debug TD', async t => {
  const g = guest(
    `mov r12, 0x1234
    mov ecx, 0xfc00
    xor eax, eax
    tdcall
    mov ecx, 0xfc00
    xor eax, eax
    tdcall
    hlt`,
    { attributes: abi.TDX_ATTR_DEBUG },
  )
  const { host, tdvpr } = g
  const read = (rdx: bigint) => {
    host.must(abi.TDH_VP_RD, { rcx: tdvpr, rdx })
    return host.regs.r8
  }
  const write = (rdx: bigint, r8: bigint, r9 = ALL) => said(host, abi.TDH_VP_WR, { rcx: tdvpr, rdx, r8, r9 })
  t.equal(read(RIP), 0xffff_fff0n, 'before it has run')
  t.equal(read(CS_RIGHTS), 0xc09bn)
  t.equal(g.enter(), TDVMCALL)
  t.equal(read(GPR(12)), 0x1234n)
  t.equal(write(GPR(13), 0x77n), 'TDX_SUCCESS')
  t.equal(read(GPR(13)), 0x77n)
  t.equal(write(GPR(13), 0xff00n, 0xff00n), 'TDX_SUCCESS')
  t.equal(read(GPR(13)), 0xff77n, 'under the mask')
  t.equal(write(LSTAR, 1n), 'TDX_METADATA_FIELD_NOT_WRITABLE')
  t.equal(read(CR0) & 0x8000_0021n, 0x8000_0021n)
  t.equal(write(CR0, 1n << 31n), 'TDX_SUCCESS', 'paging without protection')
  t.equal(g.enter({ r13: 0x55n }), 0x8000_0021n, 'VM entry fails: invalid guest state')
  t.equal(write(CR0, 0x8000_0021n), 'TDX_SUCCESS')
  t.equal(g.enter(), TDVMCALL)
  t.equal(host.regs.r13, 0x55n, 'the host had answered before')
  t.throws(() => read(0x0024_0002_0000_4002n), {
    name: 'NotModelled',
    message: 'metadata field PROCBASED_EXEC_CONTROLS',
  })
  t.equal(read(EXCEPTION_BITMAP), 1n << 18n)
  t.throws(() => write(EXCEPTION_BITMAP, 1n << 6n, 1n << 6n), { name: 'NotModelled' })
})

t.test(
  'VM entry asks of bases that they are canonical as the processor has it, not as the guest has its paging',
  async t => {
    const g = guest('again: mov ecx, 0xfc00\nxor eax, eax\ntdcall\njmp again', { attributes: abi.TDX_ATTR_DEBUG })
    const { host, tdvpr } = g
    t.equal(g.enter(), TDVMCALL)
    host.must(abi.TDH_VP_RD, { rcx: tdvpr, rdx: vmcs('GUEST_CR4') })
    t.equal(host.regs.r8 & abi.CR4_LA57, 0n)
    for (const name of ['GUEST_GS_BASE', 'GUEST_IDTR_BASE']) {
      const write = (r8: bigint) => host.must(abi.TDH_VP_WR, { rcx: tdvpr, rdx: vmcs(name), r8, r9: ALL })
      write(0xff00_0000_0000_0000n)
      t.equal(g.enter(), TDVMCALL, `${name} of 57 bits`)
      write(0xfe00_0000_0000_0000n)
      t.equal(g.enter(), 0x8000_0021n, `${name} of more`)
      write(0n)
      t.equal(g.enter(), TDVMCALL)
    }
  },
)

t.test('the host of a TD that is no debug TD sees none of it', async t => {
  const g = guest('hlt')
  for (const id of [GPR(12), RIP, CR0, LSTAR]) {
    t.equal(said(g.host, abi.TDH_VP_RD, { rcx: g.tdvpr, rdx: id }), 'TDX_METADATA_FIELD_NOT_READABLE')
    t.equal(said(g.host, abi.TDH_VP_WR, { rcx: g.tdvpr, rdx: id, r8: 1n, r9: ALL }), 'TDX_METADATA_FIELD_NOT_WRITABLE')
  }
})

const HP_LOCK_TIMEOUT = 0x9110_0003_0000_0011n
const VM_CTLS = 0x9110_0003_0000_0012n
const ATTRIBUTES = 0x1110_0003_0000_0000n

t.test('MNG.WR', async t => {
  const host = new Host().boot()
  const tdr = host.td()
  const write = (rdx: bigint, r8: bigint, r9 = ALL) => said(host, abi.TDH_MNG_WR, { rcx: tdr, rdx, r8, r9 })
  t.equal(said(host, abi.TDH_MNG_WR, { rcx: 0x1001n }), 'TDX_OPERAND_INVALID | RCX')
  t.equal(said(host, abi.TDH_MNG_WR, { rcx: host.create(), rdx: HP_LOCK_TIMEOUT }), 'TDX_OP_STATE_INCORRECT')
  t.equal(write(0x1n << 47n, 0n), 'TDX_METADATA_FIELD_ID_INCORRECT')
  t.equal(write(ATTRIBUTES, 0n), 'TDX_METADATA_FIELD_NOT_WRITABLE')
  t.equal(write(HP_LOCK_TIMEOUT, 20_000n, 0xffn), 'TDX_METADATA_WR_MASK_NOT_VALID')
  t.equal(write(HP_LOCK_TIMEOUT, 9_999n), 'TDX_METADATA_FIELD_VALUE_NOT_VALID')
  t.equal(write(HP_LOCK_TIMEOUT, 100_000_001n), 'TDX_METADATA_FIELD_VALUE_NOT_VALID')
  t.equal(write(HP_LOCK_TIMEOUT, 20_000n), 'TDX_SUCCESS')
  t.equal(host.regs.r8, 1_000_000n, 'the old value')
  host.must(abi.TDH_MNG_RD, { rcx: tdr, rdx: HP_LOCK_TIMEOUT })
  t.equal(host.regs.r8, 20_000n)
  t.equal(write(VM_CTLS + 1n, 2n), 'TDX_METADATA_FIELD_VALUE_NOT_VALID', 'a bit that is not writable changes')
  t.equal(write(VM_CTLS + 1n, 1n), 'TDX_SUCCESS')
})

t.test('what a debug TD’s host learns of the last VM exit', async t => {
  const g = guest(`mov ecx, 0xfc00\nxor eax, eax\ntdcall\nmov rbx, ${DATA_PAGE}\nmov qword ptr [rbx+8], 1\nhlt`, {
    attributes: abi.TDX_ATTR_DEBUG,
  })
  const read = (name: string, index = 0n): bigint => {
    const row = abi.VMCS_FIELDS.find(field => field.name === name) ?? abi.VP_FIELDS.find(field => field.name === name)!
    g.host.must(abi.TDH_VP_RD, { rcx: g.tdvpr, rdx: row.id + index })
    return g.host.regs.r8
  }
  t.equal(g.enter(), TDVMCALL)
  t.same(
    ['VMCS_EXIT_REASON', 'VM_EXIT_INSTRUCTION_LENGTH', 'LAST_TD_EXIT'].map(name => read(name)),
    [77n, 4n, 2n],
  )
  g.host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx: DATA_PAGE, rdx: g.tdr })
  g.host.must(abi.TDH_MEM_TRACK, { rcx: g.tdr })
  t.equal(g.enter(), 48n)
  t.equal(g.host.regs.rcx & 0x1f80n, 0n, 'the host of a TD knows nothing of linear addresses')
  t.same(
    ['VMCS_EXIT_REASON', 'GUEST_PHYSICAL_ADDRESS', 'GUEST_LINEAR_ADDRESS', 'IDT_VECTORING_INFORMATION'].map(name =>
      read(name),
    ),
    [48n, DATA_PAGE + 8n, DATA_PAGE + 8n, 0n],
  )
  t.equal(read('VMCS_EXIT_QUALIFICATION') & 7n, 2n)
  t.equal(read('LAST_TD_EXIT'), 0n)
  t.same(
    [read('EXCEPTION_BITMAP'), read('I_O_BITMAP_ADDRESS_N', 2n), read('CR3_TARGET_COUNT')],
    [1n << 18n, (1n << 64n) - 1n, 0n],
  )
  t.equal(read('LOW_PASID_DIRECTORY_ADDRESS'), BigInt(g.vcpu.td.tdcx[4]!))
  t.equal(read('VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS'), g.tdvpr)
})

t.test('an exit in the middle of an event’s delivery says which', async t => {
  const g = guest('ud2\nhlt', { attributes: abi.TDX_ATTR_DEBUG })
  const stack = STACK_TOP - 0x1000n
  const field = (name: string) => abi.VMCS_FIELDS.find(row => row.name === name)!.id
  g.host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx: stack, rdx: g.tdr })
  g.host.must(abi.TDH_MEM_TRACK, { rcx: g.tdr })
  t.equal(g.enter(), 48n)
  t.equal(g.host.regs.r8, stack)
  t.equal(g.host.must(abi.TDH_VP_RD, { rcx: g.tdvpr, rdx: field('VMCS_EXIT_REASON') }).r8, 48n)
  g.host.must(abi.TDH_MEM_RANGE_UNBLOCK, { rcx: stack, rdx: g.tdr })
  t.equal(g.enter(), TDVMCALL)
  t.equal(g.host.regs.r15, 6n)
})
