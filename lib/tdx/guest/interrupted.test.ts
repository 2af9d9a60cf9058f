/** Leaves that take long, when an event of the host's comes in between: what is kept, and how they go on. */
import t from 'tap'
import * as abi from '#abi'
import { type Hpa, hpa } from '#bits'
import { EXIT_REASON_EXTERNAL_INTERRUPT } from '#x86'
import { invariants } from '../invariants.ts'
import { DATA_PAGE, guest, TDVMCALL } from '../testdata/guest.ts'
import { Host } from '../testdata/host.ts'
import { said } from '../testdata/status.ts'

const GPA = 0x4020_0000n
const REPORT = 'mov ecx, 0xfc00\nxor eax, eax\ntdcall\nhlt\n'
const INTERRUPT = BigInt(EXIT_REASON_EXTERNAL_INTERRUPT)

/** An event after so many times that nothing waited, then none for ever. */
const after = (quiet: number): (() => boolean) => {
  let left = quiet
  return () => left-- === 0
}

/** A TD that accepts 2 MiB at GPA, whose last word is 5 before. */
const accepting = () => {
  let page = hpa(0)
  const g = guest(
    `mov rcx, ${GPA | 1n}\nmov eax, 6\ntdcall\nmov r12, rax\nmov rax, ${GPA}\nmov r13, [rax+8]\n${REPORT}`,
    {
      build(host, tdr) {
        host.tables(tdr, GPA, 2)
        page = host.memory.allocateRun(512, 2 ** 21)
        host.memory.fill(page, 2 ** 21, 0x55)
        host.must(abi.TDH_MEM_PAGE_AUG, { rcx: GPA | 1n, rdx: tdr, r8: BigInt(page) })
      },
    },
  )
  const zeroed = () =>
    Array.from({ length: 512 }, (_, n) => g.host.memory.read(hpa(page + n * 4096), 8)).indexOf(0x5555_5555_5555_5555n)
  return { g, page, zeroed }
}

t.test('ACCEPT of 2 MiB: the TD is left before the instruction, and goes on where it was', async t => {
  const { g, page, zeroed } = accepting()
  const { host } = g
  host.lp.interrupted = after(6)
  t.equal(g.enter(), INTERRUPT)
  t.equal(zeroed(), 7)
  host.must(abi.TDH_MEM_SEPT_RD, { rcx: GPA | 1n, rdx: g.tdr })
  t.equal(host.regs.rcx & 0xf_ffff_ffff_f000n, BigInt(page), 'how far it came is not the host’s to see')
  t.equal(host.regs.rdx >> 8n, BigInt(abi.SEPT_PENDING))
  t.same(invariants(host.module), [])
  // What is done is not done again.
  host.memory.write(page, 8, 0x77n)
  host.lp.interrupted = after(100)
  t.equal(g.enter(), INTERRUPT)
  t.equal(zeroed(), 108)
  t.equal(g.enter(), TDVMCALL)
  t.equal(host.regs.r12, abi.TDX_SUCCESS)
  t.equal(zeroed(), -1)
  t.equal(host.memory.read(page, 8), 0x77n)
  host.must(abi.TDH_MEM_SEPT_RD, { rcx: GPA | 1n, rdx: g.tdr })
  t.equal(host.regs.rdx >> 8n, BigInt(abi.SEPT_MAPPED))
  t.same(invariants(host.module), [])
})

t.test('a page that is blocked in between begins anew', async t => {
  const { g, page, zeroed } = accepting()
  const { host, tdr } = g
  host.lp.interrupted = after(6)
  t.equal(g.enter(), INTERRUPT)
  host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx: GPA | 1n, rdx: tdr })
  host.must(abi.TDH_MEM_TRACK, { rcx: tdr })
  host.must(abi.TDH_MEM_RANGE_UNBLOCK, { rcx: GPA | 1n, rdx: tdr })
  host.memory.write(page, 8, 0x5555_5555_5555_5555n)
  t.equal(g.enter(), TDVMCALL)
  t.equal(host.regs.r12, abi.TDX_SUCCESS)
  t.equal(zeroed(), -1, 'from its first byte')
})

t.test('DEMOTE of a page that is half accepted: its parts are pending, each for itself', async t => {
  const { g, page } = accepting()
  const { host, tdr } = g
  host.lp.interrupted = after(6)
  t.equal(g.enter(), INTERRUPT)
  host.lp.interrupted = () => false
  host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx: GPA | 1n, rdx: tdr })
  host.must(abi.TDH_MEM_TRACK, { rcx: tdr })
  host.must(abi.TDH_MEM_PAGE_DEMOTE, { rcx: GPA | 1n, rdx: tdr, r8: host.frame() })
  for (const n of [0n, 7n, 511n]) {
    host.must(abi.TDH_MEM_SEPT_RD, { rcx: GPA + n * 4096n, rdx: tdr })
    t.equal(host.regs.rdx >> 8n, BigInt(abi.SEPT_PENDING))
    t.equal(host.regs.rcx & 0xf_ffff_ffff_f000n, BigInt(page) + n * 4096n)
  }
  t.same(invariants(host.module), [])
})

t.test('TDG.MR.REPORT: the TD is left first, and asks again', async t => {
  const g = guest(
    `mov ecx, ${DATA_PAGE}\nmov edx, ${DATA_PAGE + 1024n}\nxor r8d, r8d\nmov eax, ${abi.TDG_MR_REPORT}\ntdcall\nmov r12, rax\n${REPORT}`,
  )
  g.host.lp.interrupted = after(0)
  t.equal(g.enter(), INTERRUPT)
  const at = g.vcpu.stage!.frame(DATA_PAGE as never, 'read')
  t.equal(g.host.memory.read(hpa(at), 1), 0n, 'nothing is written')
  t.equal(g.enter(), TDVMCALL)
  t.equal(g.host.regs.r12, abi.TDX_SUCCESS)
  t.equal(g.host.memory.read(hpa(at), 1), 0x81n)
})

t.test('DEMOTE and PROMOTE start over, with their operands and nothing done', async t => {
  const host = new Host().boot()
  const tdr = host.td()
  host.vcpu(tdr)
  host.tables(tdr, GPA, 2)
  host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
  const page = BigInt(host.memory.allocateRun(512, 2 ** 21))
  host.must(abi.TDH_MEM_PAGE_AUG, { rcx: GPA | 1n, rdx: tdr, r8: page })
  const table = host.frame()
  const calls = [
    [abi.TDH_MEM_PAGE_DEMOTE, { rcx: GPA | 1n, rdx: tdr, r8: table }],
    [abi.TDH_MEM_PAGE_PROMOTE, { rcx: GPA | 1n, rdx: tdr }],
  ] as const
  for (const [leaf, inputs] of calls) {
    host.must(abi.TDH_MEM_RANGE_BLOCK, { rcx: GPA | 1n, rdx: tdr })
    host.must(abi.TDH_MEM_TRACK, { rcx: tdr })
    host.lp.interrupted = after(0)
    t.equal(said(host, leaf, inputs), 'TDX_INTERRUPTED_RESTARTABLE')
    t.same([host.regs.rcx, host.regs.rdx], [GPA | 1n, tdr])
    t.same(invariants(host.module), [])
    t.equal(said(host, leaf, inputs), 'TDX_SUCCESS')
    t.same(invariants(host.module), [])
  }
})

t.test('CACHE.WB is resumed for the key ids that it began with', async t => {
  const host = new Host().boot()
  const ended = () => {
    const tdr = host.td()
    host.must(abi.TDH_MNG_VPFLUSHDONE, { rcx: tdr })
    return tdr
  }
  const writeBack = (rcx = 0n) => said(host, abi.TDH_PHYMEM_CACHE_WB, { rcx })
  const first = ended()
  host.lp.interrupted = after(3)
  t.equal(writeBack(), 'TDX_INTERRUPTED_RESUMABLE')
  t.equal(said(host, abi.TDH_MNG_KEY_FREEID, { rcx: first }), 'TDX_WBCACHE_NOT_COMPLETE')
  const second = ended()
  host.lp.interrupted = after(5)
  t.equal(writeBack(1n), 'TDX_INTERRUPTED_RESUMABLE')
  t.equal(writeBack(1n), 'TDX_SUCCESS')
  t.equal(writeBack(1n), 'TDX_WBCACHE_RESUME_ERROR', 'there is none any more')
  host.must(abi.TDH_MNG_KEY_FREEID, { rcx: first })
  t.equal(said(host, abi.TDH_MNG_KEY_FREEID, { rcx: second }), 'TDX_WBCACHE_NOT_COMPLETE', 'it came later')
  t.equal(writeBack(), 'TDX_SUCCESS')
  host.must(abi.TDH_MNG_KEY_FREEID, { rcx: second })
  t.equal(host.module.tds.get(Number(first) as Hpa)?.lifecycle, abi.TD_TEARDOWN)
})
