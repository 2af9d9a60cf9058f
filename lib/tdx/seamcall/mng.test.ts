import t from 'tap'
import * as abi from '#abi'
import type { Hpa } from '#bits'
import { invariants } from '../invariants.ts'
import { SAPPHIRE_RAPIDS, SILICON } from '../platform.ts'
import { Host, SEPT_LEVELS, type TdOptions } from '../testdata/host.ts'
import { badPages, said } from '../testdata/status.ts'

const tdOf = (host: Host, tdr: bigint) => host.module.tds.get(Number(tdr) as Hpa)!

t.test('MNG.CREATE', async t => {
  const host = new Host().boot()
  const hkid = host.nextHkid()
  const page = host.frame()
  t.equal(
    said(host, abi.TDH_MNG_CREATE, { rcx: 1n, rdx: 3n }),
    'TDX_OPERAND_INVALID | RDX',
    'the key id is looked at first',
  )
  t.equal(said(host, abi.TDH_MNG_CREATE, { rcx: page, rdx: hkid | (1n << 16n) }), 'TDX_OPERAND_INVALID | RDX')
  t.equal(said(host, abi.TDH_MNG_CREATE, { rcx: page, rdx: 2048n }), 'TDX_OPERAND_INVALID | RDX')
  for (const [why, rcx, status] of badPages(host))
    t.equal(said(host, abi.TDH_MNG_CREATE, { rcx, rdx: hkid }), `${status} | RCX`, why)
  t.equal(said(host, abi.TDH_MNG_CREATE, { rcx: page, rdx: hkid }), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_MNG_CREATE, { rcx: page, rdx: hkid }), 'TDX_PAGE_METADATA_INCORRECT | RCX')
  t.equal(said(host, abi.TDH_MNG_CREATE, { rcx: host.frame(), rdx: hkid }), 'TDX_HKID_NOT_FREE')
  host.must(abi.TDH_PHYMEM_PAGE_RDMD, { rcx: page })
  t.same([host.regs.rcx, host.regs.rdx, host.regs.r8], [BigInt(abi.PT_TDR), 0n, 0n])
})

t.test('a TD’s life, state by state', async t => {
  const host = new Host({ processors: 2, platform: { ...SAPPHIRE_RAPIDS, packages: 2 } }).boot()
  const other = { id: 1, quantum: 0 }
  const tdr = host.frame()
  host.must(abi.TDH_MNG_CREATE, { rcx: tdr, rdx: host.nextHkid() })
  const td = tdOf(host, tdr)
  t.equal(td.lifecycle, abi.TD_HKID_ASSIGNED)
  t.equal(said(host, abi.TDH_MNG_ADDCX, { rcx: host.frame(), rdx: tdr }), 'TDX_TD_KEYS_NOT_CONFIGURED')
  t.equal(said(host, abi.TDH_MNG_INIT, { rcx: tdr, rdx: host.params() }), 'TDX_TD_KEYS_NOT_CONFIGURED')
  t.equal(said(host, abi.TDH_MNG_KEY_CONFIG, { rcx: tdr }), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_MNG_KEY_CONFIG, { rcx: tdr }), 'TDX_KEY_CONFIGURED')
  t.equal(td.lifecycle, abi.TD_HKID_ASSIGNED, 'not before the last package')
  t.equal(said(host, abi.TDH_MNG_KEY_CONFIG, { rcx: tdr }, other), 'TDX_SUCCESS')
  t.equal(td.lifecycle, abi.TD_KEYS_CONFIGURED)
  t.equal(said(host, abi.TDH_MNG_KEY_CONFIG, { rcx: tdr }), 'TDX_LIFECYCLE_STATE_INCORRECT')

  for (let i = 0; i < 5; i++) host.must(abi.TDH_MNG_ADDCX, { rcx: host.frame(), rdx: tdr })
  t.equal(said(host, abi.TDH_MNG_INIT, { rcx: tdr, rdx: host.params() }), 'TDX_TDCS_NOT_ALLOCATED')
  t.equal(said(host, abi.TDH_MNG_ADDCX, { rcx: tdr, rdx: tdr }), 'TDX_PAGE_METADATA_INCORRECT | RCX')
  for (let i = 0; i < 4; i++) host.must(abi.TDH_MNG_ADDCX, { rcx: host.frame(), rdx: tdr })
  t.equal(said(host, abi.TDH_MNG_ADDCX, { rcx: host.frame(), rdx: tdr }), 'TDX_TDCX_NUM_INCORRECT')
  t.equal(said(host, abi.TDH_MR_FINALIZE, { rcx: tdr }), 'TDX_OP_STATE_INCORRECT')
  t.equal(said(host, abi.TDH_MNG_INIT, { rcx: tdr, rdx: host.params() }), 'TDX_SUCCESS')
  t.equal(td.opState, abi.OP_STATE_INITIALIZED)
  t.equal(said(host, abi.TDH_MNG_INIT, { rcx: tdr, rdx: host.params() }), 'TDX_OP_STATE_INCORRECT')
  t.equal(said(host, abi.TDH_MR_FINALIZE, { rcx: tdr }), 'TDX_NO_VCPUS')
  const tdvpr = host.vcpu(tdr)
  t.equal(said(host, abi.TDH_VP_ENTER, { rcx: tdvpr }), 'TDX_OP_STATE_INCORRECT')
  t.equal(said(host, abi.TDH_MR_FINALIZE, { rcx: tdr }), 'TDX_SUCCESS')
  t.equal(td.opState, abi.OP_STATE_RUNNABLE)
  t.equal(said(host, abi.TDH_VP_CREATE, { rcx: host.frame(), rdx: tdr }), 'TDX_OP_STATE_INCORRECT')
  t.same(invariants(host.module), [])

  t.equal(said(host, abi.TDH_PHYMEM_CACHE_WB), 'TDX_NO_HKID_READY_TO_WBCACHE')
  t.equal(said(host, abi.TDH_MNG_VPFLUSHDONE, { rcx: tdr }), 'TDX_FLUSHVP_NOT_DONE')
  t.equal(said(host, abi.TDH_MNG_KEY_FREEID, { rcx: tdr }), 'TDX_LIFECYCLE_STATE_INCORRECT')
  host.must(abi.TDH_VP_FLUSH, { rcx: tdvpr })
  t.equal(said(host, abi.TDH_MNG_VPFLUSHDONE, { rcx: tdr }), 'TDX_SUCCESS')
  t.equal(td.lifecycle, abi.TD_BLOCKED)
  t.equal(said(host, abi.TDH_MNG_VPFLUSHDONE, { rcx: tdr }), 'TDX_LIFECYCLE_STATE_INCORRECT')
  t.equal(said(host, abi.TDH_VP_ENTER, { rcx: tdvpr }), 'TDX_TD_KEYS_NOT_CONFIGURED')
  t.equal(said(host, abi.TDH_VP_FLUSH, { rcx: tdvpr }), 'TDX_TD_KEYS_NOT_CONFIGURED')
  t.equal(said(host, abi.TDH_MNG_KEY_FREEID, { rcx: tdr }), 'TDX_WBCACHE_NOT_COMPLETE')
  t.equal(said(host, abi.TDH_PHYMEM_CACHE_WB, { rcx: 2n }), 'TDX_OPERAND_INVALID | RCX')
  t.equal(said(host, abi.TDH_PHYMEM_CACHE_WB, { rcx: 1n }), 'TDX_WBCACHE_RESUME_ERROR')
  host.must(abi.TDH_PHYMEM_CACHE_WB)
  t.equal(said(host, abi.TDH_MNG_KEY_FREEID, { rcx: tdr }), 'TDX_WBCACHE_NOT_COMPLETE', 'the other package')
  host.must(abi.TDH_PHYMEM_CACHE_WB, {}, other)
  t.equal(said(host, abi.TDH_PHYMEM_PAGE_RECLAIM, { rcx: tdvpr }), 'TDX_LIFECYCLE_STATE_INCORRECT')
  t.equal(host.regs.rcx, BigInt(abi.PT_TDVPR), 'the page is told all the same')
  t.equal(said(host, abi.TDH_MNG_KEY_FREEID, { rcx: tdr }), 'TDX_SUCCESS')
  t.equal(td.lifecycle, abi.TD_TEARDOWN)
  t.equal(said(host, abi.TDH_MNG_KEY_RECLAIMID, { rcx: tdr }), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_PHYMEM_PAGE_RECLAIM, { rcx: tdr }), 'TDX_TD_ASSOCIATED_PAGES_EXIST')
  for (const frame of host.owned(tdr)) host.must(abi.TDH_PHYMEM_PAGE_RECLAIM, { rcx: frame })
  t.equal(said(host, abi.TDH_PHYMEM_PAGE_RECLAIM, { rcx: tdr }), 'TDX_SUCCESS')
  t.same([host.regs.rcx, host.regs.rdx, host.regs.r8], [BigInt(abi.PT_TDR), 0n, 0n])
  t.equal(said(host, abi.TDH_PHYMEM_PAGE_RECLAIM, { rcx: tdr }), 'TDX_PAGE_METADATA_INCORRECT | RCX')
  t.same(invariants(host.module), [])
  t.equal(host.module.vcpus.size + host.module.tds.size, 0)
})

t.test('MNG.INIT: every field of TD_PARAMS, in the module’s order', async t => {
  const host = new Host().boot()
  const tdr = host.create()
  const init = (options: TdOptions, edit?: (view: DataView) => void) =>
    said(host, abi.TDH_MNG_INIT, { rcx: tdr, rdx: host.params(options, edit) })
  const all: TdOptions = { attributes: 2n, xfam: 0n, maxVcpus: 0, eptp: 0n, configFlags: 8n, tscFrequency: 0 }
  t.equal(said(host, abi.TDH_MNG_INIT, { rcx: tdr, rdx: 512n }), 'TDX_OPERAND_INVALID | RDX')
  t.equal(init(all), 'TDX_OPERAND_INVALID | ATTRIBUTES')
  t.equal(
    init({ ...all, attributes: abi.TDX_ATTR_MIGRATABLE | abi.TDX_ATTR_DEBUG }),
    'TDX_OPERAND_INVALID | ATTRIBUTES',
  )
  delete all.attributes
  t.equal(init(all), 'TDX_OPERAND_INVALID | XFAM')
  for (const xfam of [1n, 0x23n, 0xa3n, 0x803n, 0x2_0003n, 0x13n, 0x1_0000_0003n])
    t.equal(init({ ...all, xfam }), 'TDX_OPERAND_INVALID | XFAM', `XFAM ${xfam.toString(16)}`)
  delete all.xfam
  t.equal(init(all), 'TDX_OPERAND_INVALID | MAX_VCPUS')
  t.equal(init({ ...all, maxVcpus: 577 }), 'TDX_OPERAND_INVALID | MAX_VCPUS')
  delete all.maxVcpus
  t.equal(
    init(all, view => view.setUint8(18, 4)),
    'TDX_OPERAND_INVALID | NUM_L2_VMS',
  )
  t.equal(
    init(all, view => view.setUint8(18, 1)),
    'TDX_TDCS_NOT_ALLOCATED',
  )
  t.equal(
    init(all, view => view.setUint8(20, 1)),
    'TDX_OPERAND_INVALID | RDX',
  )
  t.equal(init(all), 'TDX_OPERAND_INVALID | EXEC_CONTROLS')
  delete all.configFlags
  for (const eptp of [0n, 0x16n, 0x2en, 0x5en, 0x9en, 0x101en])
    t.equal(init({ ...all, eptp }), 'TDX_OPERAND_INVALID | EPTP_CONTROLS', `EPTP ${eptp.toString(16)}`)
  t.equal(
    init({ ...all, configFlags: 1n, eptp: SEPT_LEVELS.four }),
    'TDX_OPERAND_INVALID | EPTP_CONTROLS',
    'a 52-bit TD needs five levels',
  )
  delete all.eptp
  t.equal(init({ tscFrequency: 3 }), 'TDX_OPERAND_INVALID | TSC_FREQUENCY')
  t.equal(init({ tscFrequency: 401 }), 'TDX_OPERAND_INVALID | TSC_FREQUENCY')
  t.equal(
    init({}, view => view.setUint8(42, 1)),
    'TDX_OPERAND_INVALID | RDX',
  )
  t.equal(
    init({}, view => view.setUint8(19, 2)),
    'TDX_OPERAND_INVALID | RDX',
  )
  t.equal(
    init({}, view => view.setUint8(232, 1)),
    'TDX_OPERAND_INVALID | RDX',
  )
  t.equal(
    init({}, view => view.setUint32(256 + 12, 1, true)),
    'TDX_OPERAND_INVALID | CPUID_CONFIG',
  )
  t.equal(host.regs.rcx, 0xffff_ffff_0000_0001n, 'leaf 1')
  t.equal(
    init({}, view => view.setUint32(256, 0x123, true)),
    'TDX_OPERAND_INVALID | CPUID_CONFIG',
    'another model',
  )
  t.equal(
    init({}, view => view.setUint8(256 + 12 * 16, 1)),
    'TDX_OPERAND_INVALID | RDX',
  )
  t.equal(
    init({}, view => view.setUint8(224, 0x10)),
    'TDX_OPERAND_INVALID | IA32_ARCH_CAPABILITIES_CONFIG',
  )
  t.equal(init({ configFlags: 7n, eptp: SEPT_LEVELS.five, attributes: abi.TDX_ATTR_SEPT_VE_DISABLE }), 'TDX_SUCCESS')
  const td = tdOf(host, tdr)
  t.match(td, { tdCtls: 1n, gpaw: 52, xfam: 3n, epoch: 1n, maxVcpus: 4 })
  t.same(invariants(host.module), [])
})

t.test('MNG.INIT on a platform with TSX: HLE and RTM go together', async t => {
  const host = new Host({ platform: SILICON }).boot()
  const tdr = host.create()
  const init = (ebx: number) =>
    said(host, abi.TDH_MNG_INIT, {
      rcx: tdr,
      rdx: host.params({}, view => view.setUint32(256 + 16 * 5 + 4, ebx, true)),
    })
  t.equal(init(1 << 4), 'TDX_OPERAND_INVALID | CPUID_CONFIG', 'HLE without RTM')
  t.equal(host.regs.rcx, 7n)
  t.equal(init((1 << 4) | (1 << 11)), 'TDX_SUCCESS')
  t.ok(tdOf(host, tdr).cpuid?.flags.tsx)
})

t.test('MNG.RD', async t => {
  const host = new Host().boot()
  const early = host.create()
  t.equal(
    said(host, abi.TDH_MNG_RD, { rcx: early, rdx: 0x8010_0002_0000_0005n }),
    'TDX_SUCCESS',
    'LIFECYCLE_STATE any time',
  )
  t.equal(host.regs.r8, BigInt(abi.TD_KEYS_CONFIGURED))
  t.equal(said(host, abi.TDH_MNG_RD, { rcx: early, rdx: 0x1110_0003_0000_0000n }), 'TDX_OP_STATE_INCORRECT')
  const tdr = host.td({ attributes: abi.TDX_ATTR_SEPT_VE_DISABLE, tscFrequency: 84 })
  const read = (rdx: bigint) => host.must(abi.TDH_MNG_RD, { rcx: tdr, rdx }).r8
  t.equal(read(0x1110_0003_0000_0000n), abi.TDX_ATTR_SEPT_VE_DISABLE)
  t.equal(read(0x1110_0001_0000_000cn), 84n, 'TSC_FREQUENCY')
  t.equal(read(0x1100_0000_0000_000cn), 84n, 'context and size are ignored')
  t.equal(read(0x9210_0003_0000_0000n), 1n, 'TD_EPOCH')
  const values = 0x9410_0003_0000_0000n
  t.equal(read(values | (0x15n << 9n) | (1n << 8n)), 1n | (84n << 32n), 'CPUID 0x15: EAX and EBX')
  t.equal(read(values | (0x15n << 9n) | (1n << 8n) | 1n), 25_000_000n, 'ECX and EDX')
  t.equal(read(values | (1n << 16n) | (8n << 9n) | (1n << 8n)) & 0xffn, 52n, 'CPUID 0x8000_0008')
  t.equal(said(host, abi.TDH_MNG_RD, { rcx: tdr, rdx: values | (0xbn << 9n) }), 'TDX_METADATA_FIELD_ID_INCORRECT')
  t.equal(
    said(host, abi.TDH_MNG_RD, { rcx: tdr, rdx: 0x1110_0003_0000_0017n }),
    'TDX_METADATA_FIELD_NOT_READABLE',
    'TD_CTLS',
  )
  t.equal(said(host, abi.TDH_MNG_RD, { rcx: tdr, rdx: 0x3f10_0003_0000_0000n }), 'TDX_METADATA_FIELD_ID_INCORRECT')
  t.equal(
    said(host, abi.TDH_MNG_RD, { rcx: tdr, rdx: abi.MD_FIELD_ID_NA, version: 1 }),
    'TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT',
  )
  t.equal(host.regs.rdx, 0x8010_0000_0000_0001n)
  host.must(abi.TDH_MNG_RD, { rcx: tdr, rdx: 0x8010_0000_0000_0001n, version: 1 })
  t.equal(host.regs.rdx, 0x8010_0002_0000_0002n)
  const debug = host.td({ attributes: abi.TDX_ATTR_DEBUG })
  t.equal(said(host, abi.TDH_MNG_RD, { rcx: debug, rdx: 0x1110_0003_0000_0017n }), 'TDX_SUCCESS', 'a debug TD is open')
})
