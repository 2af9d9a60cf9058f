import t from 'tap'
import * as abi from '#abi'
import { type Hpa, NotModelled } from '#bits'
import { cpuOf } from '../guest/make.ts'
import { Host } from '../testdata/host.ts'
import { said } from '../testdata/status.ts'
import { NOT_MODELLED, OF_L2_VMS, ZERO } from './decided.ts'
import { elementSize } from './field.ts'

const ALL = 0xffff_ffff_ffff_ffffn
/** Ids of every element of a row. */
const ids = ({ id, fields, elements }: abi.MetadataField): bigint[] =>
  Array.from({ length: fields * elements }, (_, i) => id + BigInt(i) * (((id >> 50n) & 1n) + 1n))
/** Of CPUID_VALUES the id names leaf and sub-leaf: this is leaf 0, which has none. */
const LEAF_0 = 0x100n
const firstId = (row: abi.MetadataField) => (isCpuidValues(row) ? row.id | LEAF_0 : row.id)
const isCpuidValues = ({ name }: abi.MetadataField) => name === 'CPUID_VALUES'

/** A TD with a vCPU, as both the hosts of debug TDs and of others see it. */
const td = (attributes: bigint) => {
  const host = new Host().boot()
  const tdr = host.td({ attributes })
  const tdvpr = host.vcpu(tdr)
  cpuOf(host.module, host.module.vcpus.get(Number(tdvpr) as Hpa)!)
  return { host, tdr, tdvpr }
}

/** What became of reading every row of a table, by row. */
const outcomes = (rows: readonly abi.MetadataField[], read: (id: bigint) => string): Map<string, Set<string>> => {
  const seen = new Map<string, Set<string>>()
  for (const row of rows) {
    const set = new Set<string>()
    for (const id of isCpuidValues(row)
      ? [firstId(row)]
      : ids(row).filter((_, i) => i < 3 || i === row.fields * row.elements - 1)) {
      try {
        set.add(read(id))
      } catch (error) {
        if (!(error instanceof NotModelled)) throw error
        set.add('NotModelled')
      }
    }
    seen.set(row.name, set)
  }
  return seen
}

const CONTEXTS = [
  ['TD', abi.TD_FIELDS, abi.TDH_MNG_RD, abi.TDH_MNG_WR],
  ['TDVPS', abi.VP_FIELDS, abi.TDH_VP_RD, abi.TDH_VP_WR],
  ['TD VMCS', abi.VMCS_FIELDS, abi.TDH_VP_RD, abi.TDH_VP_WR],
] as const

for (const [context, rows, read, write] of CONTEXTS) {
  for (const [who, attributes] of [
    ['production', 0n],
    ['debug', abi.TDX_ATTR_DEBUG],
  ] as const) {
    t.test(`${context}: every field of a ${who} TD reads and writes as its columns say`, async t => {
      const { host, tdr, tdvpr } = td(attributes)
      const rcx = read === abi.TDH_MNG_RD ? tdr : tdvpr
      const reads = outcomes(rows, rdx => said(host, read, { rcx, rdx }))
      const masks = (row: abi.MetadataField) =>
        who === 'debug' ? [row.debugRd, row.debugWr] : [row.hostRd, row.hostWr]
      for (const row of rows) {
        const [rd = 0n, wr = 0n] = masks(row)
        const expected = OF_L2_VMS.has(row.name)
          ? 'TDX_METADATA_FIELD_ID_INCORRECT'
          : rd === 0n
            ? 'TDX_METADATA_FIELD_NOT_READABLE'
            : NOT_MODELLED.has(row.name)
              ? 'NotModelled'
              : 'TDX_SUCCESS'
        t.same([...reads.get(row.name)!], [expected], `${row.name} is read`)
        if (rd !== 0n && ZERO.has(row.name)) {
          host.call(read, { rcx, rdx: row.id })
          t.equal(host.regs.r8, 0n, `${row.name} is zero`)
        }
        if (wr === 0n && !OF_L2_VMS.has(row.name))
          t.equal(
            said(host, write, { rcx, rdx: firstId(row), r8: 0n, r9: ALL }),
            'TDX_METADATA_FIELD_NOT_WRITABLE',
            `${row.name} is not written`,
          )
      }
      t.equal(
        said(host, read, { rcx, rdx: (rows[0]!.id & ~0xff_ffffn) | 0xff_fff0n }),
        'TDX_METADATA_FIELD_ID_INCORRECT',
      )
    })
  }
}

t.test('what may be written comes back as it was written', async t => {
  const { host, tdr, tdvpr } = td(abi.TDX_ATTR_DEBUG)
  const values: Record<string, bigint> = {
    HP_LOCK_TIMEOUT: 20_000n,
    PEND_NMI: 1n,
    POSTED_INTERRUPT_DESCRIPTOR_ADDRESS: 0x4_0000n,
    SHARED_EPT_POINTER: 0x4_0000n,
    INTERRUPTIBILITY_STATE: 1n,
    GUEST_RFLAGS: 0x202n,
    POSTED_INTERRUPT_NOTIFICATION_VECTOR: 0x40n,
    GUEST_GDTR_LIMIT: 0x17n,
    GUEST_IDTR_LIMIT: 0x17n,
  }
  let written = 0
  for (const [, rows, read, write] of CONTEXTS) {
    const rcx = read === abi.TDH_MNG_RD ? tdr : tdvpr
    for (const row of rows) {
      if (row.debugWr === 0n || NOT_MODELLED.has(row.name) || OF_L2_VMS.has(row.name)) continue
      const size = (1n << BigInt(8 * elementSize(row.id))) - 1n
      const value = (values[row.name] ?? 0x1122_3344_5566_7788n) & row.debugWr & size
      try {
        t.equal(said(host, write, { rcx, rdx: row.id, r8: value, r9: row.debugWr }), 'TDX_SUCCESS', row.name)
      } catch (error) {
        if (!(error instanceof NotModelled)) throw error
        t.match(error.message, /^writing metadata field/, row.name)
        continue
      }
      host.must(read, { rcx, rdx: row.id })
      t.equal(host.regs.r8 & row.debugWr & size, value, `${row.name} reads back`)
      written++
    }
  }
  t.ok(written > 90, `${written} fields`)
})

/** All ids by asking for the next one. */
const walk = (host: Host, leaf: number, rcx: bigint, version: number, from = ALL): string[] => {
  const names: string[] = []
  const tables = [...abi.TD_FIELDS, ...abi.VMCS_FIELDS, ...abi.VP_FIELDS, ...abi.SYS_FIELDS]
  let next = from
  for (let guard = 0; guard < 3000; guard++) {
    const status = host.call(leaf, { rcx, rdx: next, version })
    // CPUID leaves that are a #VE are not to be read, and end the walk, as in the module.
    if (status === abi.TDX_METADATA_FIELD_NOT_READABLE) return names
    if (names.length === 0 && next === ALL) {
      if (status !== abi.TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT) throw new Error(abi.statusName(status))
    } else if (status !== abi.TDX_SUCCESS) throw new Error(abi.statusName(status))
    next = host.regs.rdx
    if (next === ALL) return names
    const row = tables.find(({ id }) => id === next)
    if (row !== undefined) names.push(row.name)
  }
  throw new Error('the walk does not end')
}

/** MIG_DEC_KEY_SET, the next field that the host may read. */
const AFTER_CPUID = 0x9810_0000_0000_0001n

t.test('in sequence: next ids lead through every readable field, in the order of the table', async t => {
  const { host, tdr, tdvpr } = td(0n)
  const readable = (rows: readonly abi.MetadataField[]) =>
    rows.filter(row => row.hostRd !== 0n && !OF_L2_VMS.has(row.name) && !isCpuidValues(row)).map(row => row.name)
  t.same(
    [...walk(host, abi.TDH_MNG_RD, tdr, 1), 'MIG_DEC_KEY_SET', ...walk(host, abi.TDH_MNG_RD, tdr, 1, AFTER_CPUID)],
    readable(abi.TD_FIELDS),
  )
  t.same(walk(host, abi.TDH_SYS_RD, 0n, 0), readable(abi.SYS_FIELDS))
  const ofVcpu = walk(host, abi.TDH_VP_RD, tdvpr, 1)
  t.same(ofVcpu, readable([...abi.VMCS_FIELDS, ...abi.VP_FIELDS]), 'of a vCPU, to its end')
})

t.test('SYS.RDALL: a list of every readable field', async t => {
  const host = new Host().boot()
  t.equal(said(host, abi.TDH_SYS_RDALL, { rdx: 0x1008n, r8: ALL }), 'TDX_OPERAND_INVALID | RDX')
  t.equal(host.regs.r8, ALL)
  const page = host.frame()
  t.equal(said(host, abi.TDH_SYS_RDALL, { rdx: page, r8: 1n }), 'TDX_METADATA_FIELD_ID_INCORRECT', 'another size')
  t.equal(said(host, abi.TDH_SYS_RDALL, { rdx: page, r8: abi.SYS_FIELDS[0]!.id }), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_SYS_RDALL, { rdx: page, r8: ALL }), 'TDX_SUCCESS')
  t.equal(host.regs.r8, ALL, 'all of it fits')
  const { view } = host.memory
  const header = view.getBigUint64(Number(page), true)
  const end = Number(page) + Number(header & 0xffffn)
  let at = Number(page) + 8
  let elements = 0
  for (let sequences = Number((header >> 16n) & 0xffffn); sequences > 0; sequences--) {
    const id = view.getBigUint64(at, true)
    const perField = Number((id >> 34n) & 0xfn) + 1
    const fields = Number((id >> 38n) & 0x1ffn) + 1
    at += 8
    for (let i = 0; i < perField * fields; i++, at += 8, elements++) {
      const single = (id & 0xfffc_0003_00ff_ffffn) + BigInt(i)
      host.must(abi.TDH_SYS_RD, { rdx: single })
      if (host.regs.r8 !== view.getBigUint64(at, true)) t.fail(`element ${single.toString(16)} differs from SYS.RD`)
    }
  }
  t.equal(at, end)
  t.equal(
    elements,
    abi.SYS_FIELDS.reduce((sum, row) => sum + row.fields * row.elements, 0),
  )
  const tdr = host.td()
  t.equal(said(host, abi.TDH_SYS_RDALL, { rdx: tdr, r8: ALL }), 'TDX_SUCCESS', 'a private page is not written')
})

t.test('SYS.SHUTDOWN', async t => {
  const host = new Host().boot()
  t.equal(said(host, abi.TDH_SYS_SHUTDOWN, { rcx: 1n }), 'TDX_OPERAND_INVALID | RCX')
  t.equal(said(host, abi.TDH_SYS_SHUTDOWN), 'TDX_SUCCESS')
  t.equal(said(host, abi.TDH_SYS_RD, { rdx: ALL }), 'TDX_SYS_SHUTDOWN')
  t.equal(said(host, abi.TDH_SYS_LP_SHUTDOWN), 'TDX_SUCCESS')
})
