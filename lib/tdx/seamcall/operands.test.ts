import t from 'tap'
import * as abi from '#abi'
import type { Hpa } from '#bits'
import { Faults } from '../faults.ts'
import { Host } from '../testdata/host.ts'
import { said } from '../testdata/status.ts'

/** Leaves with a TD's root as operand, and the register; and those with a vCPU's. */
const OF_TD: readonly (readonly [leaf: number, register: 'rcx' | 'rdx'])[] = [
  [abi.TDH_MEM_PAGE_ADD, 'rdx'],
  [abi.TDH_MEM_PAGE_AUG, 'rdx'],
  [abi.TDH_MEM_PAGE_DEMOTE, 'rdx'],
  [abi.TDH_MEM_PAGE_PROMOTE, 'rdx'],
  [abi.TDH_MEM_PAGE_RELOCATE, 'rdx'],
  [abi.TDH_MEM_PAGE_REMOVE, 'rdx'],
  [abi.TDH_MEM_RANGE_BLOCK, 'rdx'],
  [abi.TDH_MEM_RANGE_UNBLOCK, 'rdx'],
  [abi.TDH_MEM_RD, 'rdx'],
  [abi.TDH_MEM_WR, 'rdx'],
  [abi.TDH_MEM_SEPT_ADD, 'rdx'],
  [abi.TDH_MEM_SEPT_RD, 'rdx'],
  [abi.TDH_MEM_SEPT_REMOVE, 'rdx'],
  [abi.TDH_MEM_TRACK, 'rcx'],
  [abi.TDH_MNG_INIT, 'rcx'],
  [abi.TDH_MNG_RD, 'rcx'],
  [abi.TDH_MNG_WR, 'rcx'],
  [abi.TDH_MR_EXTEND, 'rdx'],
  [abi.TDH_MR_FINALIZE, 'rcx'],
  [abi.TDH_VP_CREATE, 'rdx'],
]
const OF_VCPU: typeof OF_TD = [
  [abi.TDH_VP_ADDCX, 'rdx'],
  [abi.TDH_VP_ENTER, 'rcx'],
  [abi.TDH_VP_INIT, 'rcx'],
  [abi.TDH_VP_RD, 'rcx'],
  [abi.TDH_VP_WR, 'rcx'],
]
/** Leaves with a root whose state is looked at in part only. */
const OTHERS: typeof OF_TD = [
  [abi.TDH_MNG_ADDCX, 'rdx'],
  [abi.TDH_MNG_KEY_CONFIG, 'rcx'],
  [abi.TDH_MNG_KEY_FREEID, 'rcx'],
  [abi.TDH_MNG_VPFLUSHDONE, 'rcx'],
  [abi.TDH_VP_FLUSH, 'rcx'],
]

const ATTRIBUTES = 0x1110_0003_0000_0000n

const nameOf = (leaf: number) =>
  Object.entries(abi)
    .find(([name, value]) => name.startsWith('TDH_') && value === leaf)![0]
    .replaceAll('_', '.')

t.test(
  'a TD operand is looked at in the module’s order: page, fatal, keys, control pages, operation state',
  async t => {
    const host = new Host().boot()
    const tdr = host.td({ attributes: abi.TDX_ATTR_DEBUG })
    const tdvpr = host.vcpu(tdr)
    const td = host.module.tds.get(Number(tdr) as Hpa)!
    const free = host.frame()
    for (const [leaves, root] of [
      [OF_TD, tdr],
      [OF_VCPU, tdvpr],
    ] as const)
      for (const [leaf, register] of leaves) {
        const name = nameOf(leaf)
        // Of a field of TDCS: one of TDR is read in any state.
        const field = leaf === abi.TDH_MNG_RD ? { rdx: ATTRIBUTES } : {}
        const call = (page = root) => said(host, leaf, { ...field, [register]: page })
        const where = register.toUpperCase()
        t.equal(call(0x10_0000_0000n), `TDX_OPERAND_ADDR_RANGE_ERROR | ${where}`, `${name}: no TDMR`)
        t.equal(call(free), `TDX_PAGE_METADATA_INCORRECT | ${where}`, `${name}: a free page`)
        t.equal(call(root | (1n << 45n)), `TDX_OPERAND_INVALID | ${where}`, `${name}: key id bits`)
        const { lifecycle, opState } = td
        const pages = td.tdcx.splice(5)
        td.opState = leaf === abi.TDH_MNG_INIT ? abi.OP_STATE_INITIALIZED : abi.OP_STATE_UNINITIALIZED
        td.lifecycle = abi.TD_BLOCKED
        td.fatal = true
        t.equal(call(), 'TDX_TD_FATAL', `${name}: fatal`)
        td.fatal = false
        t.equal(call(), 'TDX_TD_KEYS_NOT_CONFIGURED', `${name}: keys`)
        td.lifecycle = lifecycle
        t.equal(call(), 'TDX_TDCS_NOT_ALLOCATED', `${name}: control pages`)
        td.tdcx.push(...pages)
        t.equal(call(), 'TDX_OP_STATE_INCORRECT', `${name}: operation state`)
        td.opState = opState
      }
    for (const [leaf, register] of OTHERS) {
      const name = nameOf(leaf)
      const where = register.toUpperCase()
      t.equal(said(host, leaf, { [register]: 0x10_0000_0000n }), `TDX_OPERAND_ADDR_RANGE_ERROR | ${where}`, name)
      t.equal(said(host, leaf, { [register]: free }), `TDX_PAGE_METADATA_INCORRECT | ${where}`, name)
    }
    td.fatal = true
    for (const [leaf, register] of OTHERS.filter(([leaf]) =>
      [abi.TDH_MNG_ADDCX, abi.TDH_MNG_KEY_CONFIG].includes(leaf),
    ))
      t.equal(said(host, leaf, { [register]: tdr }), 'TDX_TD_FATAL', nameOf(leaf))
  },
)

t.test('versions: only the leaves that have one, and no further', async t => {
  const host = new Host().boot()
  for (const leaf of [
    abi.TDH_MNG_RD,
    abi.TDH_VP_RD,
    abi.TDH_MEM_SEPT_ADD,
    abi.TDH_MEM_SEPT_REMOVE,
    abi.TDH_MEM_PAGE_PROMOTE,
  ])
    t.equal(said(host, leaf, { version: 2 }), 'TDX_OPERAND_INVALID | RAX', nameOf(leaf))
})

t.test('a GPA that no table leads to is told with the level where the walk stopped', async t => {
  const host = new Host().boot()
  const tdr = host.td({ attributes: abi.TDX_ATTR_DEBUG })
  for (const [leaf, rcx] of [
    [abi.TDH_MEM_PAGE_ADD, 0n],
    [abi.TDH_MEM_PAGE_AUG, 0n],
    [abi.TDH_MEM_PAGE_DEMOTE, 1n],
    [abi.TDH_MEM_PAGE_PROMOTE, 1n],
    [abi.TDH_MEM_PAGE_RELOCATE, 0n],
    [abi.TDH_MEM_PAGE_REMOVE, 0n],
    [abi.TDH_MEM_RANGE_BLOCK, 0n],
    [abi.TDH_MEM_RANGE_UNBLOCK, 0n],
    [abi.TDH_MEM_SEPT_RD, 0n],
    [abi.TDH_MEM_SEPT_REMOVE, 1n],
    [abi.TDH_MEM_SEPT_ADD, 1n],
  ] as const) {
    t.equal(said(host, leaf, { rcx, rdx: tdr }), 'TDX_EPT_WALK_FAILED | RCX', nameOf(leaf))
    t.equal(host.regs.rdx, 3n, `${nameOf(leaf)}: at the root`)
  }
  t.equal(
    said(host, abi.TDH_MR_EXTEND, { rcx: 0n, rdx: tdr }),
    'TDX_EPT_ENTRY_NOT_PRESENT | RCX',
    'MR.EXTEND says not present',
  )
})

t.test('locks: every leaf that takes one can find it taken', async t => {
  const host = new Host().boot()
  const names = new Set<string>()
  for (let leaf = 0; leaf < 100; leaf++) {
    const faults = new Faults({ seed: BigInt(leaf), busy: 1 })
    for (let i = 0; i < 20 && faults.seamcall(leaf) !== undefined; i++) {
      host.module.faults = faults
      names.add(said(host, leaf, { rcx: 5n, rdx: 6n }))
      if (i === 0 && nameOf(leaf).startsWith('TDH.MEM.'))
        t.same([host.regs.rcx, host.regs.rdx], [0n, 0n], `${nameOf(leaf)}: nothing is told`)
    }
  }
  t.same([...names].map(name => name.split(' | ')[1] ?? name).sort(), [
    'KOT',
    'OP_STATE',
    'RCX',
    'RDX',
    'SEPT_TREE',
    'TDVPR',
    'TDX_SYS_BUSY',
    'TD_EPOCH',
    'WBCACHE',
  ])
})
