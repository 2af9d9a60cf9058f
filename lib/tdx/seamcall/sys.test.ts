import t from 'tap'
import * as abi from '#abi'
import { Faults } from '../faults.ts'
import { invariants } from '../invariants.ts'
import { SAPPHIRE_RAPIDS } from '../platform.ts'
import { guest, TDVMCALL } from '../testdata/guest.ts'
import { Host } from '../testdata/host.ts'
import { said } from '../testdata/status.ts'

t.test('from power-on to ready, each step in its turn', async t => {
  const host = new Host({ processors: 2, platform: { ...SAPPHIRE_RAPIDS, packages: 2 } })
  const other = { id: 1, quantum: 0 }
  for (const leaf of [abi.TDH_SYS_RD, abi.TDH_SYS_INFO, abi.TDH_SYS_RDALL])
    t.equal(said(host, leaf, { rdx: 0n }), 'TDX_SYS_LP_INIT_NOT_DONE')
  t.equal(said(host, abi.TDH_SYS_LP_INIT), 'TDX_SYS_LP_INIT_NOT_PENDING')
  t.equal(said(host, abi.TDH_SYS_INIT, { rcx: 1n }), 'TDX_OPERAND_INVALID | RCX')
  t.equal(said(host, abi.TDH_SYS_INIT), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_SYS_INIT), 'TDX_SYS_INIT_NOT_PENDING')
  t.equal(said(host, abi.TDH_SYS_LP_INIT), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_SYS_LP_INIT), 'TDX_SYS_LP_INIT_DONE')
  const { list, base } = host.tdmr()
  const hkid = 64n
  t.equal(
    said(host, abi.TDH_SYS_CONFIG, { rcx: list, rdx: 1n, r8: hkid }),
    'TDX_SYS_CONFIG_NOT_PENDING',
    'LP 1 is missing',
  )
  t.equal(said(host, abi.TDH_SYS_LP_INIT, {}, other), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_SYS_KEY_CONFIG), 'TDX_SYS_KEY_CONFIG_NOT_PENDING')
  t.equal(said(host, abi.TDH_SYS_CONFIG, { rcx: list + 8n, rdx: 1n, r8: hkid }), 'TDX_OPERAND_INVALID | RCX')
  t.equal(said(host, abi.TDH_SYS_CONFIG, { rcx: list, rdx: 0n, r8: hkid }), 'TDX_OPERAND_INVALID | RDX')
  t.equal(said(host, abi.TDH_SYS_CONFIG, { rcx: list, rdx: 65n, r8: hkid }), 'TDX_OPERAND_INVALID | RDX')
  t.equal(
    said(host, abi.TDH_SYS_CONFIG, { rcx: list, rdx: 1n, r8: 3n }),
    'TDX_OPERAND_INVALID | R8',
    'not a private key id',
  )
  t.equal(said(host, abi.TDH_SYS_CONFIG, { rcx: list, rdx: 1n, r8: hkid }), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_SYS_CONFIG, { rcx: list, rdx: 1n, r8: hkid }), 'TDX_SYS_CONFIG_NOT_PENDING')
  t.equal(said(host, abi.TDH_MNG_CREATE), 'TDX_SYS_NOT_READY')
  t.equal(said(host, abi.TDH_SYS_KEY_CONFIG), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_SYS_KEY_CONFIG), 'TDX_KEY_CONFIGURED')
  t.equal(said(host, abi.TDH_SYS_KEY_CONFIG, {}, other), 'TDX_SUCCESS')
  t.equal(host.module.state, 'SYS_READY')
  t.equal(said(host, abi.TDH_SYS_KEY_CONFIG), 'TDX_SYS_KEY_CONFIG_NOT_PENDING')
  t.equal(
    said(host, abi.TDH_MNG_CREATE, { rcx: 0n, rdx: hkid }),
    'TDX_OPERAND_ADDR_RANGE_ERROR | RCX',
    'no TDMR is initialised',
  )
  t.equal(said(host, abi.TDH_SYS_TDMR_INIT, { rcx: base + 4096n }), 'TDX_OPERAND_INVALID | RCX')
  t.equal(said(host, abi.TDH_SYS_TDMR_INIT, { rcx: base }), 'TDX_SUCCESS')
  t.equal(host.regs.rdx, 2n ** 30n)
  t.equal(said(host, abi.TDH_SYS_TDMR_INIT, { rcx: base }), 'TDX_TDMR_ALREADY_INITIALIZED')
  t.equal(
    said(host, abi.TDH_MNG_CREATE, { rcx: host.frame(), rdx: hkid }),
    'TDX_HKID_NOT_FREE',
    'the key id is the module’s',
  )
})

t.test('SYS.INIT looks at the CPU', async t => {
  const cpuid = new Map(SAPPHIRE_RAPIDS.cpuid).set(0x1, [0x8_06f8, 0x80_0800, 0, 0xbfeb_fbff] as const)
  const host = new Host({ platform: { ...SAPPHIRE_RAPIDS, cpuid } })
  t.equal(said(host, abi.TDH_SYS_INIT), 'TDX_INCORRECT_CPUID_VALUE')
  t.equal(host.regs.rcx, 0xffff_ffff_0000_0001n)
})

t.test('SYS.CONFIG checks TDMRs, reserved areas and PAMTs', async t => {
  const config = (change: Parameters<Host['tdmr']>[0]) => {
    const host = new Host()
    host.must(abi.TDH_SYS_INIT)
    host.must(abi.TDH_SYS_LP_INIT)
    return said(host, abi.TDH_SYS_CONFIG, { rcx: host.tdmr(change).list, rdx: 1n, r8: 64n })
  }
  t.equal(
    config(info => (info['tdmr_base'] = 4096n)),
    'TDX_INVALID_TDMR',
  )
  t.equal(
    config(info => (info['tdmr_size'] = 0n)),
    'TDX_INVALID_TDMR',
  )
  t.equal(
    config(info => (info['tdmr_base'] = 1n << 41n)),
    'TDX_INVALID_TDMR',
    'key id bits',
  )
  t.equal(
    config(info => (info['tdmr_size'] = 2n ** 64n - 1n)),
    'TDX_INVALID_TDMR',
  )
  t.equal(
    config((_, reserved) => (reserved[0] = reserved[0]! + 1n)),
    'TDX_INVALID_RESERVED_IN_TDMR',
  )
  t.equal(
    config((_, reserved) => (reserved[3] = 1n << 40n)),
    'TDX_INVALID_RESERVED_IN_TDMR | 0x100',
  )
  t.equal(
    config((_, reserved) => (reserved[2] = 0n)),
    'TDX_NON_ORDERED_RESERVED_IN_TDMR | 0x100',
  )
  t.equal(
    config((_, reserved) => (reserved[1] = 0n)),
    'TDX_NON_ORDERED_RESERVED_IN_TDMR',
  )
  t.equal(
    config(info => (info['pamt_4k_size'] = 4096n)),
    'TDX_INVALID_PAMT',
  )
  t.equal(
    config(info => (info['pamt_1g_base'] = 1n)),
    'TDX_INVALID_PAMT | 0x200',
  )
  t.equal(
    config(info => (info['pamt_2m_base'] = 0x3000_0000n)),
    'TDX_PAMT_OUTSIDE_CMRS | 0x100',
  )
  t.equal(
    config((_, reserved) => (reserved[1] = 4096n)),
    'TDX_PAMT_OVERLAP',
  )
  t.equal(
    config(info => (info['pamt_2m_base'] = info['pamt_4k_base']!)),
    'TDX_PAMT_OVERLAP',
  )
  t.equal(
    config((_, reserved) => (reserved[3] = 4096n)),
    'TDX_TDMR_OUTSIDE_CMRS',
    'more memory than there is',
  )
})

t.test('SYS.RD tells what the kernel needs to know', async t => {
  const host = new Host().boot()
  const read = (id: bigint) => host.must(abi.TDH_SYS_RD, { rdx: id }).r8
  t.equal(read(0x9800_0001_0000_0100n), 6n * 4096n, 'TDCS_BASE_SIZE')
  t.equal(read(0x9800_0001_0000_0200n), 6n * 4096n, 'TDVPS_BASE_SIZE')
  t.equal(read(0x0a00_0003_0000_0008n), 0x1f_0fbfn, 'TDX_FEATURES0')
  t.equal(read(0x1900_0003_0000_0003n), 3n, 'XFAM_FIXED1')
  t.equal(read(0x9900_0001_0000_0004n), 12n, 'NUM_CPUID_CONFIG')
  t.equal(read(0x9900_0003_0000_0400n), 0xffff_ffff_0000_0001n, 'the first configurable leaf')
  t.equal(said(host, abi.TDH_SYS_RD, { rdx: 0xffff_ffff_ffff_ffffn }), 'TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT')
  t.equal(host.regs.rdx, 0x0000_0002_0000_0000n)
  t.equal(said(host, abi.TDH_SYS_RD, { rdx: 0x9900_0003_00ff_ffffn }), 'TDX_METADATA_FIELD_ID_INCORRECT')
  t.equal(said(host, abi.TDH_SYS_RD, { rdx: (1n << 34n) | 0x9800_0001_0000_0100n }), 'TDX_METADATA_FIELD_ID_INCORRECT')
})

t.test('SYS.INFO writes its structures', async t => {
  const host = new Host().boot()
  const info = host.frame()
  const cmrs = host.frame()
  t.equal(said(host, abi.TDH_SYS_INFO, { rcx: info + 8n, rdx: 1024n, r8: cmrs, r9: 32n }), 'TDX_OPERAND_INVALID | RCX')
  t.equal(said(host, abi.TDH_SYS_INFO, { rcx: info, rdx: 512n, r8: cmrs, r9: 32n }), 'TDX_OPERAND_INVALID | RDX')
  t.equal(said(host, abi.TDH_SYS_INFO, { rcx: info, rdx: 1024n, r8: cmrs + 8n, r9: 32n }), 'TDX_OPERAND_INVALID | R8')
  t.equal(said(host, abi.TDH_SYS_INFO, { rcx: info, rdx: 1024n, r8: cmrs, r9: 31n }), 'TDX_OPERAND_INVALID | R9')
  host.must(abi.TDH_SYS_INFO, { rcx: info, rdx: 1024n, r8: cmrs, r9: 32n })
  t.same([host.regs.rdx, host.regs.r9], [1024n, 32n])
  t.equal(abi.TDSYSINFO.get(host.memory.view, Number(info), 'tdcs_base_size'), 6 * 4096)
  t.equal(host.memory.read(Number(cmrs) + 8, 8), BigInt(host.memory.u8.length))
})

t.test('SYS.CONFIG: TDMRs stand in order', async t => {
  const host = new Host()
  host.must(abi.TDH_SYS_INIT)
  host.must(abi.TDH_SYS_LP_INIT)
  const { list } = host.tdmr()
  const second = host.memory.allocate()
  host.memory.set(second, host.memory.bytes((Number(list) + 512) as typeof second, 512))
  host.memory.write((Number(list) + 8) as typeof second, 8, BigInt(second))
  t.equal(said(host, abi.TDH_SYS_CONFIG, { rcx: list, rdx: 2n, r8: 64n }), 'TDX_NON_ORDERED_TDMR | 0x1')
})

t.test('PHYMEM.PAGE.WBINVD: a page in no TDMR, a page that a TD has', async t => {
  const host = new Host().boot()
  const wbinvd = (rcx: bigint) => said(host, abi.TDH_PHYMEM_PAGE_WBINVD, { rcx })
  t.equal(wbinvd(2n ** 34n), 'TDX_OPERAND_ADDR_RANGE_ERROR | RCX')
  t.equal(wbinvd(host.create()), 'TDX_PAGE_METADATA_INCORRECT | RCX')
  t.equal(wbinvd(host.frame()), 'TDX_SUCCESS')
})

t.test('SYS.UPDATE: a TD goes on under the next module', async t => {
  const g = guest(`mov ecx, 0xfc00\nxor eax, eax\nmov r12d, 1\ntdcall\nmov r12d, 2\ntdcall\nhlt`)
  const { host } = g
  const { module } = host
  const other = { id: 1, quantum: 0 }
  t.equal(g.enter(), TDVMCALL)
  t.equal(said(host, abi.TDH_SYS_UPDATE), 'TDX_SYS_STATE_INCORRECT', 'it runs')
  t.throws(() => module.install(), /SYS_READY/)
  host.must(abi.TDH_SYS_SHUTDOWN)
  t.equal(said(host, abi.TDH_SYS_UPDATE), 'TDX_SYS_SHUTDOWN')
  module.install()
  t.equal(said(host, abi.TDH_VP_ENTER, { rcx: g.tdvpr }), 'TDX_SYS_NOT_READY')
  t.equal(said(host, abi.TDH_SYS_UPDATE), 'TDX_SYS_STATE_INCORRECT')
  host.must(abi.TDH_SYS_INIT)
  host.must(abi.TDH_SYS_LP_INIT)
  t.equal(said(host, abi.TDH_SYS_UPDATE), 'TDX_SYS_STATE_INCORRECT', 'LP 1 is missing')
  host.must(abi.TDH_SYS_LP_INIT, {}, other)
  t.throws(() => host.call(abi.TDH_SYS_CONFIG, { rcx: host.frame(), rdx: 1n, r8: 64n }), { name: 'NotModelled' })
  host.must(abi.TDH_SYS_UPDATE)
  t.equal(said(host, abi.TDH_SYS_UPDATE), 'TDX_SYS_STATE_INCORRECT', 'once')
  t.equal(g.enter(), TDVMCALL)
  t.equal(host.regs.r12, 2n)
  t.same(invariants(module), [])
})

t.test('SYS.UPDATE without a module before', async t => {
  const host = new Host()
  host.must(abi.TDH_SYS_INIT)
  host.must(abi.TDH_SYS_LP_INIT)
  t.equal(said(host, abi.TDH_SYS_UPDATE), 'TDX_SYS_INVALID_HANDOFF')
  const ended = new Host().boot()
  ended.must(abi.TDH_SYS_LP_SHUTDOWN)
  t.throws(() => ended.module.install(), { name: 'NotModelled' })
})

t.test('leaves that want the module for themselves, while another processor is in it', async t => {
  const host = new Host()
  const { list } = host.tdmr()
  const busy = (run: () => void): void => {
    host.module.faults = new Faults({ seed: 1n, busy: 1 })
    run()
    host.module.faults = undefined
  }
  const isBusy = (leaf: number, inputs: Parameters<Host['call']>[1] = {}) =>
    busy(() => t.equal(said(host, leaf, inputs), 'TDX_SYS_BUSY'))
  host.must(abi.TDH_SYS_INIT)
  host.must(abi.TDH_SYS_LP_INIT)
  isBusy(abi.TDH_SYS_CONFIG, { rcx: list, rdx: 1n, r8: 64n })
  isBusy(abi.TDH_SYS_UPDATE)
  host.must(abi.TDH_SYS_CONFIG, { rcx: list, rdx: 1n, r8: 64n })
  isBusy(abi.TDH_SYS_KEY_CONFIG)
  host.must(abi.TDH_SYS_KEY_CONFIG)
  isBusy(abi.TDH_SYS_SHUTDOWN)
  t.equal(host.module.state, 'SYS_READY')
})
