import t from 'tap'
import * as abi from '#abi'
import type { Hpa } from '#bits'
import { invariants } from '../invariants.ts'
import { Host, SEPT_LEVELS } from '../testdata/host.ts'
import { badPages, said } from '../testdata/status.ts'

const GPA = 0x4000_0000n
const tdOf = (host: Host, tdr: bigint) => host.module.tds.get(Number(tdr) as Hpa)!

/** A runnable TD with tables for GPA. */
const runnable = () => {
  const host = new Host().boot()
  const tdr = host.td()
  host.vcpu(tdr)
  host.tables(tdr, GPA)
  const call = (leaf: number, rcx: bigint, r8 = 0n) => said(host, leaf, { rcx, rdx: tdr, r8 })
  const state = (gpa: bigint) => {
    host.must(abi.TDH_MEM_SEPT_RD, { rcx: gpa, rdx: tdr })
    return Number(host.regs.rdx >> 8n)
  }
  return { host, tdr, td: tdOf(host, tdr), call, state }
}

t.test('what every GPA operand is checked for', async t => {
  const { host, tdr, call } = runnable()
  const leaves: [number, string][] = [
    [abi.TDH_MEM_SEPT_ADD, 'SEPT.ADD'],
    [abi.TDH_MEM_PAGE_AUG, 'PAGE.AUG'],
    [abi.TDH_MEM_PAGE_REMOVE, 'PAGE.REMOVE'],
    [abi.TDH_MEM_RANGE_BLOCK, 'RANGE.BLOCK'],
    [abi.TDH_MEM_RANGE_UNBLOCK, 'RANGE.UNBLOCK'],
    [abi.TDH_MEM_SEPT_RD, 'SEPT.RD'],
    [abi.TDH_MEM_SEPT_REMOVE, 'SEPT.REMOVE'],
  ]
  for (const [leaf, name] of leaves) {
    t.equal(
      said(host, leaf, { rcx: GPA | 1n, rdx: 0x1n << 60n, r8: 0n }).slice(0, 25),
      'TDX_OPERAND_INVALID | RDX',
      `${name}: TDR`,
    )
    t.equal(call(leaf, GPA | 5n), 'TDX_OPERAND_INVALID | RCX', `${name}: level`)
    t.equal(call(leaf, GPA | 9n), 'TDX_OPERAND_INVALID | RCX', `${name}: reserved bits`)
    t.equal(call(leaf, (1n << 52n) | 1n), 'TDX_OPERAND_INVALID | RCX', `${name}: bits above 51`)
    t.equal(call(leaf, (GPA + 0x1000n) | 1n), 'TDX_OPERAND_INVALID | RCX', `${name}: alignment`)
    t.equal(call(leaf, (1n << 47n) | 1n), 'TDX_OPERAND_INVALID | RCX', `${name}: shared`)
  }
  t.equal(call(abi.TDH_MEM_SEPT_ADD, GPA), 'TDX_OPERAND_INVALID | RCX', 'no table hangs under a 4 KiB entry')
  t.equal(call(abi.TDH_MEM_SEPT_ADD, 4n), 'TDX_OPERAND_INVALID | RCX', 'no fifth level')
  t.equal(call(abi.TDH_MEM_PAGE_AUG, GPA | 2n), 'TDX_OPERAND_INVALID | RCX', 'no pages of 1 GiB')
  t.equal(said(host, abi.TDH_MEM_PAGE_ADD, { rcx: GPA | 1n, rdx: tdr }), 'TDX_OPERAND_INVALID | RCX')
})

t.test('SEPT.ADD and SEPT.REMOVE', async t => {
  const host = new Host().boot()
  const tdr = host.td({ eptp: SEPT_LEVELS.five, configFlags: 5n })
  const td = tdOf(host, tdr)
  const add = (rcx: bigint, r8: bigint) => said(host, abi.TDH_MEM_SEPT_ADD, { rcx, rdx: tdr, r8 })
  t.equal(add(3n, host.frame()), 'TDX_EPT_WALK_FAILED | RCX')
  t.equal(host.regs.rdx, 4n, 'stopped at the root, at a free entry')
  for (const [why, page, status] of badPages(host)) t.equal(add(4n, page), `${status} | R8`, why)
  t.equal(add(4n, 0xffff_ffff_ffff_ffffn), 'TDX_OPERAND_INVALID | R8')
  const table = host.frame()
  t.equal(add(4n, table), 'TDX_SUCCESS')
  t.equal(add(4n, host.frame()), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX')
  t.same(
    [host.regs.rcx, host.regs.rdx],
    [7n, 4n | (BigInt(abi.SEPT_NL_MAPPED) << 8n)],
    'RWX; the table’s address is not told',
  )
  t.equal(
    said(host, abi.TDH_MEM_SEPT_ADD, { rcx: 4n, rdx: tdr | 1n, r8: host.frame() }),
    'TDX_SUCCESS',
    'ALLOW_EXISTING',
  )
  host.must(abi.TDH_PHYMEM_PAGE_RDMD, { rcx: table })
  t.same([host.regs.rcx, host.regs.rdx], [BigInt(abi.PT_EPT), tdr])
  const inner = host.frame()
  t.equal(add(3n, inner), 'TDX_SUCCESS')
  const remove = (rcx: bigint) => said(host, abi.TDH_MEM_SEPT_REMOVE, { rcx, rdx: tdr })
  t.equal(remove(4n), 'TDX_EPT_PAGE_NOT_FREE | RCX')
  t.equal(remove(3n), 'TDX_SUCCESS', 'before the TD runs nothing need be blocked')
  t.equal(host.regs.rcx, inner)
  t.equal(remove(3n), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX')
  t.equal(td.childCount, 7)
  t.same(invariants(host.module), [])
})

t.test('PAGE.ADD and MR.EXTEND', async t => {
  const { host, tdr, call, state } = runnable()
  const source = host.frame()
  host.memory.write(Number(source), 8, 0x1122n)
  const add = (rcx: bigint, r8: bigint, r9 = source) => said(host, abi.TDH_MEM_PAGE_ADD, { rcx, rdx: tdr, r8, r9 })
  t.equal(add(GPA + 0x20_0000n, host.frame()), 'TDX_EPT_WALK_FAILED | RCX')
  t.equal(add(GPA, 1n, source + 1n), 'TDX_OPERAND_INVALID | R9', 'the source before the target')
  for (const [why, page, status] of badPages(host)) t.equal(add(GPA, page), `${status} | R8`, why)
  t.equal(call(abi.TDH_MR_EXTEND, GPA + 1n), 'TDX_OPERAND_INVALID | RCX')
  t.equal(call(abi.TDH_MR_EXTEND, 1n << 47n), 'TDX_OPERAND_INVALID | RCX')
  t.equal(call(abi.TDH_MR_EXTEND, GPA), 'TDX_EPT_ENTRY_NOT_PRESENT | RCX')
  const target = host.frame()
  t.equal(add(GPA, target), 'TDX_SUCCESS')
  t.equal(host.memory.read(Number(target), 8), 0x1122n)
  t.equal(state(GPA), abi.SEPT_MAPPED)
  t.equal(host.regs.rcx, (1n << 63n) | target | 0xf7n, 'RWX, WB, IPAT, PS, address, suppress #VE')
  t.equal(add(GPA, host.frame()), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX')
  t.equal(add(GPA + 0x1000n, target), 'TDX_PAGE_METADATA_INCORRECT | R8')
  t.equal(call(abi.TDH_MR_EXTEND, GPA + 0xf00n), 'TDX_SUCCESS')
  t.equal(call(abi.TDH_MEM_PAGE_AUG, GPA + 0x1000n, host.frame()), 'TDX_SUCCESS')
  t.equal(call(abi.TDH_MR_EXTEND, GPA + 0x1000n), 'TDX_EPT_ENTRY_NOT_PRESENT | RCX', 'a pending page')
  t.equal(add(GPA + 0x2000n, host.frame(), target), 'TDX_SUCCESS', 'what is private reads as zeroes')
  t.equal(call(abi.TDH_MEM_PAGE_REMOVE, GPA), 'TDX_SUCCESS', 'before MR.FINALIZE with no blocking')
  t.equal(host.regs.rcx, target)
  t.same(invariants(host.module), [])
})

t.test('a page’s way through the states: AUG, BLOCK, UNBLOCK, TRACK, REMOVE', async t => {
  const { host, tdr, td, call, state } = runnable()
  host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
  const page = host.frame()
  t.equal(call(abi.TDH_MEM_RANGE_BLOCK, GPA), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX', 'a free entry')
  t.equal(call(abi.TDH_MEM_PAGE_AUG, GPA, page), 'TDX_SUCCESS')
  t.equal(state(GPA), abi.SEPT_PENDING)
  t.equal(call(abi.TDH_MEM_PAGE_AUG, GPA, host.frame()), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX')
  t.equal(call(abi.TDH_MEM_RANGE_UNBLOCK, GPA), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX')
  t.equal(call(abi.TDH_MEM_PAGE_REMOVE, GPA), 'TDX_GPA_RANGE_NOT_BLOCKED | RCX')
  t.equal(call(abi.TDH_MEM_RANGE_BLOCK, GPA), 'TDX_SUCCESS')
  t.equal(state(GPA), abi.SEPT_PENDING_BLOCKED)
  t.equal(call(abi.TDH_MEM_RANGE_BLOCK, GPA), 'TDX_GPA_RANGE_ALREADY_BLOCKED | RCX')
  t.equal(call(abi.TDH_MEM_PAGE_REMOVE, GPA), 'TDX_TLB_TRACKING_NOT_DONE | RCX')
  t.equal(call(abi.TDH_MEM_RANGE_UNBLOCK, GPA), 'TDX_TLB_TRACKING_NOT_DONE | SEPT_TREE')
  host.must(abi.TDH_PHYMEM_PAGE_RDMD, { rcx: page })
  t.equal(host.regs.r9, 1n, 'BEPOCH is the epoch of the block')
  td.refcount[1] = 1
  host.must(abi.TDH_MEM_TRACK, { rcx: tdr })
  t.equal(td.epoch, 2n)
  t.equal(call(abi.TDH_MEM_PAGE_REMOVE, GPA), 'TDX_TLB_TRACKING_NOT_DONE | RCX', 'a vCPU is still in from before')
  t.equal(said(host, abi.TDH_MEM_TRACK, { rcx: tdr }), 'TDX_PREVIOUS_TLB_EPOCH_BUSY')
  td.refcount[1] = 0
  t.equal(call(abi.TDH_MEM_RANGE_UNBLOCK, GPA), 'TDX_SUCCESS')
  t.equal(state(GPA), abi.SEPT_PENDING)
  host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx: GPA, rdx: tdr })
  host.must(abi.TDH_MEM_TRACK, { rcx: tdr })
  t.equal(call(abi.TDH_MEM_PAGE_REMOVE, GPA), 'TDX_SUCCESS')
  t.equal(host.regs.rcx, page)
  t.equal(state(GPA), abi.SEPT_FREE)
  t.equal(call(abi.TDH_MEM_PAGE_REMOVE, GPA), 'TDX_EPT_ENTRY_STATE_INCORRECT | RCX')

  t.equal(call(abi.TDH_MEM_SEPT_REMOVE, GPA | 1n), 'TDX_GPA_RANGE_NOT_BLOCKED | RCX')
  t.equal(call(abi.TDH_MEM_RANGE_BLOCK, GPA | 1n), 'TDX_SUCCESS')
  t.equal(state(GPA | 1n), abi.SEPT_NL_BLOCKED)
  t.equal(call(abi.TDH_MEM_SEPT_RD, GPA), 'TDX_EPT_WALK_FAILED | RCX', 'nothing is reached through a blocked table')
  t.equal(call(abi.TDH_MEM_SEPT_REMOVE, GPA | 1n), 'TDX_TLB_TRACKING_NOT_DONE | RCX')
  host.must(abi.TDH_MEM_TRACK, { rcx: tdr })
  t.equal(call(abi.TDH_MEM_SEPT_REMOVE, GPA | 1n), 'TDX_SUCCESS')
  t.same(invariants(host.module), [])
})

t.test('a page of 2 MiB has one PAMT entry and 512 pages', async t => {
  const { host, tdr, td, call, state } = runnable()
  const run = host.memory.allocateRun(512, 2 ** 21)
  const children = td.childCount
  const gpa = GPA + 0x20_0000n
  t.equal(call(abi.TDH_MEM_PAGE_AUG, gpa | 1n, BigInt(run) + 4096n), 'TDX_OPERAND_INVALID | R8')
  host.must(abi.TDH_MNG_CREATE, { rcx: BigInt(run) + 4096n, rdx: host.nextHkid() })
  t.equal(
    call(abi.TDH_MEM_PAGE_AUG, gpa | 1n, BigInt(run)),
    'TDX_PAGE_METADATA_INCORRECT | R8',
    'one page in it is used',
  )
  const other = host.memory.allocateRun(512, 2 ** 21)
  t.equal(call(abi.TDH_MEM_PAGE_AUG, gpa | 1n, BigInt(other)), 'TDX_SUCCESS')
  t.equal(td.childCount, children + 512)
  t.equal(state(gpa | 1n), abi.SEPT_PENDING)
  t.equal(call(abi.TDH_MEM_SEPT_RD, gpa), 'TDX_EPT_WALK_FAILED | RCX')
  t.equal(host.regs.rdx, 1n | (BigInt(abi.SEPT_PENDING) << 8n))
  host.must(abi.TDH_PHYMEM_PAGE_RDMD, { rcx: BigInt(other) + 0x5000n })
  t.same([host.regs.rcx, host.regs.rdx, host.regs.r8], [BigInt(abi.PT_REG), tdr, 1n])
  t.equal(
    said(host, abi.TDH_MNG_CREATE, { rcx: BigInt(other) + 0x5000n, rdx: host.nextHkid() }),
    'TDX_PAGE_METADATA_INCORRECT | RCX',
  )
  t.same(invariants(host.module), [])
  const reclaim = (at: bigint) => said(host, abi.TDH_PHYMEM_PAGE_RECLAIM, { rcx: at })
  t.equal(reclaim(BigInt(other) + 0x5000n), 'TDX_OPERAND_INVALID | RCX', 'its middle is not it')
  t.same([host.regs.rcx, host.regs.rdx, host.regs.r8], [BigInt(abi.PT_REG), tdr, 1n], 'but what it is in is told')
  t.equal(reclaim(BigInt(other)), 'TDX_LIFECYCLE_STATE_INCORRECT')
  t.equal(call(abi.TDH_MEM_PAGE_REMOVE, gpa | 1n), 'TDX_SUCCESS')
  t.equal(td.childCount, children)
  t.same(invariants(host.module), [])
})

t.test('PHYMEM leaves', async t => {
  const host = new Host().boot()
  const tdr = host.td()
  const free = host.frame()
  for (const leaf of [abi.TDH_PHYMEM_PAGE_RDMD, abi.TDH_PHYMEM_PAGE_RECLAIM]) {
    t.equal(said(host, leaf, { rcx: 1n }), 'TDX_OPERAND_INVALID | RCX')
    t.equal(said(host, leaf, { rcx: 1n << 50n }), 'TDX_OPERAND_INVALID | RCX')
    t.equal(said(host, leaf, { rcx: 1n << 35n }), 'TDX_OPERAND_ADDR_RANGE_ERROR | RCX')
  }
  t.equal(said(host, abi.TDH_PHYMEM_PAGE_RECLAIM, { rcx: free }), 'TDX_PAGE_METADATA_INCORRECT | RCX')
  t.equal(said(host, abi.TDH_PHYMEM_PAGE_RECLAIM, { rcx: tdr }), 'TDX_LIFECYCLE_STATE_INCORRECT')
  t.equal(said(host, abi.TDH_PHYMEM_PAGE_WBINVD, { rcx: free | (70n << 41n) }), 'TDX_SUCCESS', 'with a key id')
  t.equal(said(host, abi.TDH_PHYMEM_PAGE_WBINVD, { rcx: tdr }), 'TDX_PAGE_METADATA_INCORRECT | RCX')
})
