/** What one TDCALL of each leaf costs; what is logged is read by leaves.ts. A loop without any is what they are held against. */
import { type GuestBuilder, test } from '#harness'

const CALLS = 2000
const [GVA, GPA, PAGES] = [0x9000_0000n, 0x1_0000_0000n, 512]
const NOTIFY_ENABLES = 0x9110_0003_0000_0010n
const [ATTRIBUTES, CPUID_USER_VE, FEATURES0] = [0x1110_0003_0000_0000n, 0xa020_0000_0000_0008n, 0x0a00_0003_0000_0008n]

type Call = readonly [
  name: string,
  calls: number,
  call: (g: GuestBuilder, i: ReturnType<GuestBuilder['u64']>) => unknown,
]
const LEAVES: readonly Call[] = [
  ['', CALLS, (g, i) => g.asm('nop', { in: { rax: i }, clobbers: [] })],
  ['TDG.VP.INFO', CALLS, g => g.tdcall.vpInfo()],
  ['TDG.MR.RTMR.EXTEND', CALLS, g => g.tdcall.mrRtmrExtend({ gpa: GPA, index: 2n })],
  ['TDG.MR.REPORT', CALLS, g => g.tdcall.mrReport({ report: GPA, data: GPA + 1024n, type: 0n })],
  ['TDG.MR.VERIFYREPORT', CALLS, g => g.tdcall.mrVerifyreport({ report: GPA })],
  ['TDG.VP.VEINFO.GET', CALLS, g => g.tdcall.vpVeinfoGet()],
  ['TDG.VP.CPUIDVE.SET', CALLS, g => g.tdcall.vpCpuidveSet({ flags: 0n })],
  ['TDG.VM.RD', CALLS, g => g.tdcall.vmRd({ td: 0n, field: ATTRIBUTES })],
  ['TDG.VM.WR', CALLS, g => g.tdcall.vmWr({ td: 0n, field: NOTIFY_ENABLES, value: 0n, mask: 1n })],
  ['TDG.VP.RD', CALLS, g => g.tdcall.vpRd({ field: CPUID_USER_VE })],
  ['TDG.VP.WR', CALLS, g => g.tdcall.vpWr({ field: CPUID_USER_VE, value: 0n, mask: 1n })],
  ['TDG.SYS.RD', CALLS, g => g.tdcall.sysRd({ field: FEATURES0 })],
  ['TDG.SYS.RDALL', CALLS / 10, g => g.tdcall.sysRdall({ buffer: GPA, first: 0xffff_ffff_ffff_ffffn })],
  ['TDG.VP.INVEPT', CALLS, g => g.tdcall.vpInvept({ vms: 0n })],
  ['TDG.MEM.PAGE.ATTR.RD', CALLS, g => g.tdcall.memPageAttrRd({ gpa: GPA })],
  ['TDG.MEM.PAGE.ACCEPT, with its page', PAGES, (g, i) => g.tdcall.memPageAccept({ gpa: i.shl(12n).add(GPA + 4096n) })],
  ['TDG.MEM.PAGE.ACCEPT, accepted before', CALLS, g => g.tdcall.memPageAccept({ gpa: GPA + 4096n })],
  ['TDG.VP.VMCALL, KVM answers', CALLS, g => g.vmcall.cpuid({ leaf: 0n, subleaf: 0n })],
  ['TDCALL of a leaf that there is not', CALLS, g => g.tdcall.raw(31n)],
]

test('what_a_tdcall_costs', async t => {
  const td = t.td({
    slots: [
      { slot: 3, gpa: GPA, size: 4096, isPrivate: true },
      { slot: 4, gpa: GPA + 4096n, size: PAGES * 4096 },
    ],
    map: [{ gva: GVA, gpa: GPA, size: 4096 }],
    guest(g) {
      for (const [, calls, call] of LEAVES) {
        g.sync(1)
        g.repeat(BigInt(calls), i => void call(g, i))
      }
      g.done()
    },
  })
  td.setPrivate(GPA + 4096n, BigInt(PAGES * 4096), true)
  await td.vcpu.until('UCALL_SYNC')
  const costs: Record<string, number> = {}
  for (const [n, [name, calls]] of LEAVES.entries()) {
    const start = performance.now()
    await td.vcpu.until(n + 1 < LEAVES.length ? 'UCALL_SYNC' : 'UCALL_DONE')
    costs[name] = ((performance.now() - start) * 1000) / calls
  }
  t.log(JSON.stringify(costs))
})
