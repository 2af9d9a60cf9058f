import t from 'tap'
import * as abi from '#abi'
import type { Hpa } from '#bits'
import { invariants } from '../invariants.ts'
import { Host } from '../testdata/host.ts'
import { badPages, said } from '../testdata/status.ts'

const VMCS = { notification: 0x2n, pid: 0x2016n, sharedEptp: 0x203cn, pinbased: 0x4000n }
const PEND_NMI = 0x2000_0000_0000_000bn
const ALL = 0xffff_ffff_ffff_ffffn

t.test('VP.CREATE, VP.ADDCX, VP.INIT', async t => {
  const host = new Host().boot()
  const tdr = host.td({ maxVcpus: 2 })
  for (const [why, rcx, status] of badPages(host))
    t.equal(said(host, abi.TDH_VP_CREATE, { rcx, rdx: tdr }), `${status} | RCX`, why)
  t.equal(said(host, abi.TDH_VP_CREATE, { rcx: host.frame(), rdx: host.frame() }), 'TDX_PAGE_METADATA_INCORRECT | RDX')
  const tdvpr = host.frame()
  host.must(abi.TDH_VP_CREATE, { rcx: tdvpr, rdx: tdr })
  t.equal(said(host, abi.TDH_VP_CREATE, { rcx: tdvpr, rdx: tdr }), 'TDX_PAGE_METADATA_INCORRECT | RCX')
  t.equal(said(host, abi.TDH_VP_ADDCX, { rcx: host.frame(), rdx: tdr }), 'TDX_PAGE_METADATA_INCORRECT | RDX')
  t.equal(said(host, abi.TDH_VP_ADDCX, { rcx: tdr, rdx: tdvpr }), 'TDX_PAGE_METADATA_INCORRECT | RCX')
  t.equal(said(host, abi.TDH_VP_INIT, { rcx: tdvpr }), 'TDX_TDCX_NUM_INCORRECT')
  for (let i = 1; i < 15; i++) host.must(abi.TDH_VP_ADDCX, { rcx: host.frame(), rdx: tdvpr })
  t.equal(said(host, abi.TDH_VP_ADDCX, { rcx: host.frame(), rdx: tdvpr }), 'TDX_TDCX_NUM_INCORRECT')
  t.equal(said(host, abi.TDH_VP_INIT, { rcx: tdvpr, r8: 1n << 32n, version: 1 }), 'TDX_OPERAND_INVALID | R8')
  t.equal(said(host, abi.TDH_VP_INIT, { rcx: tdvpr, rdx: 5n }), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_VP_INIT, { rcx: tdvpr }), 'TDX_VCPU_STATE_INCORRECT')
  t.equal(said(host, abi.TDH_VP_ADDCX, { rcx: host.frame(), rdx: tdvpr }), 'TDX_VCPU_STATE_INCORRECT')
  const second = host.vcpu(tdr, { initialise: false })
  t.equal(said(host, abi.TDH_VP_INIT, { rcx: second, r8: 77n, version: 1 }), 'TDX_SUCCESS')
  t.match(host.module.vcpus.get(Number(second) as Hpa), { index: 1, x2apicId: 77, assocLp: 0 })
  const third = host.vcpu(tdr, { initialise: false })
  t.equal(said(host, abi.TDH_VP_INIT, { rcx: third }), 'TDX_MAX_VCPUS_EXCEEDED')
  t.same(invariants(host.module), [])
})

t.test('a vCPU belongs to one processor until it is flushed there', async t => {
  const host = new Host({ processors: 2 }).boot()
  const other = { id: 1, quantum: 10 }
  const tdr = host.td()
  const tdvpr = host.vcpu(tdr)
  host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
  t.equal(said(host, abi.TDH_VP_ENTER, { rcx: tdvpr }, other), 'TDX_VCPU_ASSOCIATED', 'VP.INIT has bound it')
  t.equal(said(host, abi.TDH_VP_RD, { rcx: tdvpr, rdx: PEND_NMI }, other), 'TDX_VCPU_ASSOCIATED')
  t.equal(said(host, abi.TDH_VP_FLUSH, { rcx: tdvpr }, other), 'TDX_VCPU_NOT_ASSOCIATED')
  t.equal(said(host, abi.TDH_VP_FLUSH, { rcx: tdvpr }), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_VP_FLUSH, { rcx: tdvpr }), 'TDX_VCPU_NOT_ASSOCIATED')
  t.equal(said(host, abi.TDH_VP_RD, { rcx: tdvpr, rdx: PEND_NMI }, other), 'TDX_SUCCESS', 'reading binds as well')
  t.equal(said(host, abi.TDH_VP_ENTER, { rcx: tdvpr }), 'TDX_VCPU_ASSOCIATED')
  t.same(invariants(host.module), [])
})

t.test('VP.ENTER looks at its operands, then the TD, then the vCPU', async t => {
  const host = new Host().boot()
  const tdr = host.td()
  const tdvpr = host.vcpu(tdr)
  const raw = host.vcpu(tdr, { initialise: false })
  const short = host.frame()
  host.must(abi.TDH_VP_CREATE, { rcx: short, rdx: tdr })
  const enter = (rcx: bigint) => said(host, abi.TDH_VP_ENTER, { rcx })
  t.equal(enter(tdvpr | 1n), 'TDX_OPERAND_INVALID | RCX')
  t.equal(enter(tdvpr | (1n << 54n)), 'TDX_OPERAND_INVALID | RCX')
  t.equal(enter(tdr), 'TDX_PAGE_METADATA_INCORRECT | RCX')
  t.equal(enter(tdvpr), 'TDX_OP_STATE_INCORRECT')
  host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
  t.equal(enter(short), 'TDX_TDCX_NUM_INCORRECT')
  t.equal(enter(raw), 'TDX_VCPU_STATE_INCORRECT')
  t.equal(enter(tdvpr | (1n << 52n)), 'TDX_OPERAND_INVALID | RCX', 'the hint is for after a trap exit')
  t.equal(enter(tdvpr | (1n << 53n)), 'TDX_OPERAND_INVALID | RCX', 'no L2 VM to come back from')
  const td = host.module.tds.get(Number(tdr) as Hpa)!
  td.fatal = true
  t.equal(enter(tdvpr), 'TDX_TD_FATAL')
})

t.test('VP.WR of what KVM writes', async t => {
  const host = new Host().boot()
  const tdr = host.td()
  const tdvpr = host.vcpu(tdr)
  const write = (rdx: bigint, r8: bigint, r9 = ALL) => said(host, abi.TDH_VP_WR, { rcx: tdvpr, rdx, r8, r9 })
  const read = (rdx: bigint) => host.must(abi.TDH_VP_RD, { rcx: tdvpr, rdx }).r8
  t.equal(write(VMCS.pinbased, 0x80n, 0x80n), 'TDX_TD_VMCS_FIELD_NOT_INITIALIZED | 0x2')
  t.equal(write(VMCS.notification, 0x1ffn), 'TDX_METADATA_FIELD_VALUE_NOT_VALID')
  t.equal(write(VMCS.notification, 0xf2n), 'TDX_SUCCESS')
  t.equal(write(VMCS.pinbased, 0x80n, 0x80n), 'TDX_TD_VMCS_FIELD_NOT_INITIALIZED | 0x2016')
  t.equal(write(VMCS.pid, 1n << 50n), 'TDX_METADATA_FIELD_VALUE_NOT_VALID')
  t.equal(
    write(VMCS.pid, 0x1001n),
    'TDX_METADATA_FIELD_VALUE_NOT_VALID',
    'bits that may not be written must not change',
  )
  t.equal(write(VMCS.pid, 0x1040n, ~0x3fn & ALL), 'TDX_SUCCESS')
  t.equal(write(VMCS.pinbased, 0x80n, 0x80n), 'TDX_SUCCESS')
  t.equal(write(VMCS.sharedEptp, 0x5000n, 0xf_ffff_ffff_f000n), 'TDX_SUCCESS')
  t.equal(host.regs.r8, 0n, 'the old value')
  t.equal(read(VMCS.sharedEptp), 0x5000n)
  t.equal(write(PEND_NMI, 1n, 1n), 'TDX_SUCCESS')
  t.equal(read(PEND_NMI), 1n)
  t.equal(write(PEND_NMI, 1n, 0n), 'TDX_METADATA_FIELD_NOT_WRITABLE', 'nothing asked for')
  t.equal(write(0xa020_0002_0000_0002n, 1n), 'TDX_METADATA_FIELD_NOT_WRITABLE', 'VCPU_INDEX')
  t.equal(
    said(host, abi.TDH_VP_RD, { rcx: tdvpr, rdx: 0x1020_0003_0000_0000n }),
    'TDX_METADATA_FIELD_NOT_READABLE',
    'RAX',
  )
  t.equal(said(host, abi.TDH_VP_RD, { rcx: tdvpr, rdx: 0x3fn << 56n }), 'TDX_METADATA_FIELD_ID_INCORRECT')
  t.equal(said(host, abi.TDH_VP_RD, { rcx: tdvpr, rdx: ALL, version: 1 }), 'TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT')
  t.equal(
    said(host, abi.TDH_VP_RD, { rcx: tdvpr, rdx: ALL }),
    'TDX_METADATA_FIELD_ID_INCORRECT',
    'version 0 has no first id',
  )
})
