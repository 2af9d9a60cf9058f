import t from 'tap'
import * as abi from '#abi'
import type { Hpa } from '#bits'
import { invariants } from '../invariants.ts'
import { Host } from '../testdata/host.ts'
import { badPages, said } from '../testdata/status.ts'

const GPA = 0x4000_0000n
const MIB2 = 0x20_0000n

/** A TD that runs: `build` may add to it before MR.FINALIZE. */
const running = (
  build: (host: Host, tdr: bigint) => void = () => {},
  options: ConstructorParameters<typeof Host>[0] = {},
) => {
  const host = new Host(options).boot()
  const tdr = host.td()
  host.vcpu(tdr)
  host.tables(tdr, GPA)
  build(host, tdr)
  host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
  const call = (leaf: number, rcx: bigint, r8 = 0n) => said(host, leaf, { rcx, rdx: tdr, r8 })
  const state = (gpa: bigint) => {
    host.must(abi.TDH_MEM_SEPT_RD, { rcx: gpa, rdx: tdr })
    return Number(host.regs.rdx >> 8n)
  }
  const block = (rcx: bigint) => {
    host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx, rdx: tdr })
    host.must(abi.TDH_MEM_TRACK, { rcx: tdr })
  }
  const td = host.module.tds.get(Number(tdr) as Hpa)!
  return { host, tdr, td, call, state, block }
}

t.test('what is taken from a TD that may run must be blocked, and the block tracked', async t => {
  const page = new Uint8Array(4096).fill(7)
  const { host, tdr, td, call } = running((host, tdr) => {
    host.page(tdr, GPA, page)
  })
  const target = host.frame()
  const leaves: [string, number, bigint, bigint][] = [
    ['RELOCATE', abi.TDH_MEM_PAGE_RELOCATE, GPA, target],
    ['REMOVE', abi.TDH_MEM_PAGE_REMOVE, GPA, 0n],
    ['SEPT.REMOVE', abi.TDH_MEM_SEPT_REMOVE, GPA | 1n, 0n],
    ['PROMOTE', abi.TDH_MEM_PAGE_PROMOTE, GPA | 1n, 0n],
  ]
  for (const [name, leaf, rcx, r8] of leaves) {
    t.equal(call(leaf, rcx, r8), 'TDX_GPA_RANGE_NOT_BLOCKED | RCX', name)
    t.not(host.regs.rdx, 0n, `${name} tells of the entry`)
    host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx, rdx: tdr })
    t.equal(call(leaf, rcx, r8), 'TDX_TLB_TRACKING_NOT_DONE | RCX', `${name}: no MEM.TRACK yet`)
    t.equal(host.regs.rdx, 0n, `${name}: nothing to tell`)
    t.equal(call(abi.TDH_MEM_RANGE_UNBLOCK, rcx), 'TDX_TLB_TRACKING_NOT_DONE | SEPT_TREE', `${name}: nor UNBLOCK`)
    host.must(abi.TDH_MEM_TRACK, { rcx: tdr })
    td.refcount[Number((td.epoch - 1n) & 1n) as 0 | 1] = 1
    t.equal(call(leaf, rcx, r8), 'TDX_TLB_TRACKING_NOT_DONE | RCX', `${name}: a vCPU is still in the old epoch`)
    t.equal(said(host, abi.TDH_MEM_TRACK, { rcx: tdr }), 'TDX_PREVIOUS_TLB_EPOCH_BUSY', `${name}: nor another epoch`)
    td.refcount[Number((td.epoch - 1n) & 1n) as 0 | 1] = 0
    host.must(abi.TDH_MEM_RANGE_UNBLOCK, { rcx, rdx: tdr })
  }
})

t.test('PAGE.RELOCATE moves content and unblocks', async t => {
  const page = new Uint8Array(4096).fill(7)
  let first = 0n
  const { host, tdr, call, state, block } = running((host, tdr) => {
    first = host.page(tdr, GPA, page)
  })
  host.must(abi.TDH_MEM_PAGE_AUG, { rcx: GPA + 0x1000n, rdx: tdr, r8: host.frame() })
  t.equal(call(abi.TDH_MEM_PAGE_RELOCATE, GPA | 1n), 'TDX_OPERAND_INVALID | RCX', 'only 4 KiB pages')
  t.equal(call(abi.TDH_MEM_PAGE_RELOCATE, GPA + 0x2000n), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX', 'free')
  t.equal(call(abi.TDH_MEM_PAGE_RELOCATE, GPA, first), 'TDX_OPERAND_INVALID | R8', 'onto itself')
  block(GPA)
  for (const [why, at, status] of badPages(host))
    t.equal(call(abi.TDH_MEM_PAGE_RELOCATE, GPA, at), `${status} | R8`, why)
  const target = host.frame()
  t.equal(call(abi.TDH_MEM_PAGE_RELOCATE, GPA, target), 'TDX_SUCCESS')
  t.equal(host.regs.rcx, first, 'the old page comes back')
  t.same(host.memory.u8.slice(Number(target), Number(target) + 4096), page)
  t.equal(state(GPA), abi.SEPT_MAPPED)
  host.must(abi.TDH_PHYMEM_PAGE_RDMD, { rcx: first })
  t.equal(host.regs.rcx, BigInt(abi.PT_NDA))
  block(GPA + 0x1000n)
  t.equal(call(abi.TDH_MEM_PAGE_RELOCATE, GPA + 0x1000n, host.frame()), 'TDX_SUCCESS')
  t.equal(state(GPA + 0x1000n), abi.SEPT_PENDING, 'one that waits for the guest goes on waiting')
  t.same(invariants(host.module), [])
})

t.test('PAGE.DEMOTE splits 2 MiB, PAGE.PROMOTE joins it again', async t => {
  const { host, tdr, td, call, state, block } = running()
  const GPA2 = GPA + MIB2
  const large = BigInt(host.memory.allocateRun(1024))
  const base = (large + MIB2 - 1n) & ~(MIB2 - 1n)
  host.must(abi.TDH_MEM_PAGE_AUG, { rcx: GPA2 | 1n, rdx: tdr, r8: base })
  t.equal(call(abi.TDH_MEM_PAGE_DEMOTE, GPA2, 0n), 'TDX_OPERAND_INVALID | RCX', 'a 4 KiB page cannot be split')
  t.equal(call(abi.TDH_MEM_PAGE_DEMOTE, GPA2 | 3n), 'TDX_OPERAND_INVALID | RCX')
  t.equal(said(host, abi.TDH_MEM_PAGE_DEMOTE, { rcx: GPA2 | 1n, rdx: tdr | 2n }), 'TDX_OPERAND_INVALID | RDX')
  t.equal(call(abi.TDH_MEM_PAGE_DEMOTE, GPA | 1n), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX', 'a table')
  t.equal(call(abi.TDH_MEM_PAGE_DEMOTE, (GPA2 + 0x4000_0000n) | 1n), 'TDX_EPT_WALK_FAILED | RCX')
  t.equal(call(abi.TDH_MEM_PAGE_DEMOTE, GPA2 | 1n, 0n), 'TDX_GPA_RANGE_NOT_BLOCKED | RCX')
  host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx: GPA2 | 1n, rdx: tdr })
  t.equal(call(abi.TDH_MEM_PAGE_DEMOTE, GPA2 | 1n, 0n), 'TDX_TLB_TRACKING_NOT_DONE | RCX')
  host.must(abi.TDH_MEM_TRACK, { rcx: tdr })
  for (const [why, at, status] of badPages(host))
    t.equal(call(abi.TDH_MEM_PAGE_DEMOTE, GPA2 | 1n, at), `${status} | R8`, why)
  const table = host.frame()
  const before = td.childCount
  t.equal(call(abi.TDH_MEM_PAGE_DEMOTE, GPA2 | 1n, table), 'TDX_SUCCESS')
  t.equal(td.childCount, before + 1)
  t.equal(state(GPA2 | 1n), abi.SEPT_NL_MAPPED)
  t.equal(state(GPA2 + 0x1f_f000n), abi.SEPT_PENDING)
  host.must(abi.TDH_PHYMEM_PAGE_RDMD, { rcx: base + 0x3000n })
  t.same([host.regs.rcx, host.regs.rdx, host.regs.r8], [BigInt(abi.PT_REG), tdr, 0n])
  t.same(invariants(host.module), [])

  block(GPA2)
  host.must(abi.TDH_MEM_PAGE_REMOVE, { rcx: GPA2, rdx: tdr })
  const removed = host.regs.rcx
  block(GPA2 | 1n)
  const promote = () => call(abi.TDH_MEM_PAGE_PROMOTE, GPA2 | 1n)
  t.equal(promote(), 'TDX_EPT_INVALID_PROMOTE_CONDITIONS | RCX', 'one page is missing')
  host.must(abi.TDH_MEM_RANGE_UNBLOCK, { rcx: GPA2 | 1n, rdx: tdr })
  host.must(abi.TDH_MEM_PAGE_AUG, { rcx: GPA2, rdx: tdr, r8: host.frame() })
  block(GPA2 | 1n)
  t.equal(promote(), 'TDX_EPT_INVALID_PROMOTE_CONDITIONS | RCX', 'another page is in its place')
  host.must(abi.TDH_MEM_RANGE_UNBLOCK, { rcx: GPA2 | 1n, rdx: tdr })
  block(GPA2)
  host.must(abi.TDH_MEM_PAGE_REMOVE, { rcx: GPA2, rdx: tdr })
  host.must(abi.TDH_MEM_PAGE_AUG, { rcx: GPA2, rdx: tdr, r8: removed })
  block(GPA2 | 1n)
  t.equal(call(abi.TDH_MEM_PAGE_PROMOTE, GPA2), 'TDX_OPERAND_INVALID | RCX', 'level 0')
  t.equal(promote(), 'TDX_SUCCESS')
  t.equal(host.regs.rcx, table, 'the table comes back')
  t.equal(td.childCount, before)
  t.equal(state(GPA2 | 1n), abi.SEPT_PENDING)
  t.equal(promote(), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX', 'there is no table any more')
  t.same(invariants(host.module), [])
  t.throws(() => host.call(abi.TDH_MEM_PAGE_PROMOTE, { rcx: GPA2 | 1n, rdx: tdr, version: 1 }), { name: 'NotModelled' })
})

t.test('PROMOTE wants 512 pages that are one: aligned, one behind the other, in one state', async t => {
  const host = new Host().boot()
  const tdr = host.td()
  host.vcpu(tdr)
  host.tables(tdr, GPA)
  const run = BigInt(host.memory.allocateRun(1026))
  const aligned = (run + MIB2 - 1n) & ~(MIB2 - 1n)
  const promote = () => said(host, abi.TDH_MEM_PAGE_PROMOTE, { rcx: GPA | 1n, rdx: tdr })
  const aug = (i: bigint, r8: bigint) => host.must(abi.TDH_MEM_PAGE_AUG, { rcx: GPA + i * 0x1000n, rdx: tdr, r8 })
  const remove = (i: bigint) => host.must(abi.TDH_MEM_PAGE_REMOVE, { rcx: GPA + i * 0x1000n, rdx: tdr })
  const other = aligned === run ? run + 0x1000n : run
  for (let i = 0n; i < 512n; i++) aug(i, other + i * 0x1000n)
  t.equal(promote(), 'TDX_EPT_INVALID_PROMOTE_CONDITIONS | RCX', 'contiguous, but not aligned')
  for (let i = 0n; i < 512n; i++) remove(i)
  for (let i = 0n; i < 512n; i++) aug(i, aligned + i * 0x1000n)
  remove(5n)
  aug(5n, host.frame())
  t.equal(promote(), 'TDX_EPT_INVALID_PROMOTE_CONDITIONS | RCX', 'one in the middle is another')
  remove(5n)
  host.must(abi.TDH_MEM_PAGE_ADD, { rcx: GPA + 0x5000n, rdx: tdr, r8: aligned + 0x5000n, r9: host.frame() })
  t.equal(promote(), 'TDX_EPT_INVALID_PROMOTE_CONDITIONS | RCX', 'one is mapped, the others are pending')
  remove(5n)
  aug(5n, aligned + 0x5000n)
  t.equal(promote(), 'TDX_SUCCESS')
  t.same(invariants(host.module), [])
})

t.test('a page of 1 GiB comes from 512 of 2 MiB, and goes back to them', async t => {
  const bytes = 3 * 2 ** 30
  const host = new Host({ bytes })
  host.bootWith(3)
  const tdr = host.td()
  host.vcpu(tdr)
  host.tables(tdr, GPA, 2)
  host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
  const free = 2n ** 30n
  for (let i = 0n; i < 512n; i++)
    host.must(abi.TDH_MEM_PAGE_AUG, { rcx: (GPA + i * MIB2) | 1n, rdx: tdr, r8: free + i * MIB2 })
  const block = () => {
    host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx: GPA | 2n, rdx: tdr })
    host.must(abi.TDH_MEM_TRACK, { rcx: tdr })
  }
  block()
  t.equal(said(host, abi.TDH_MEM_PAGE_PROMOTE, { rcx: GPA | 2n, rdx: tdr }), 'TDX_SUCCESS')
  const table = host.regs.rcx
  t.same(invariants(host.module), [])
  host.must(abi.TDH_PHYMEM_PAGE_RDMD, { rcx: free + 5n * MIB2 })
  t.equal(host.regs.r8, 2n, 'one page of 1 GiB')
  t.equal(said(host, abi.TDH_MEM_PAGE_AUG, { rcx: GPA, rdx: tdr, r8: table }), 'TDX_EPT_WALK_FAILED | RCX')
  block()
  t.equal(said(host, abi.TDH_MEM_PAGE_DEMOTE, { rcx: GPA | 2n, rdx: tdr, r8: table }), 'TDX_SUCCESS')
  t.same(invariants(host.module), [])
  block()
  host.must(abi.TDH_MEM_PAGE_PROMOTE, { rcx: GPA | 2n, rdx: tdr })
  block()
  t.equal(said(host, abi.TDH_MEM_PAGE_REMOVE, { rcx: GPA | 2n, rdx: tdr }), 'TDX_SUCCESS')
  t.equal(host.regs.rcx, free)
  t.same(invariants(host.module), [])
})
