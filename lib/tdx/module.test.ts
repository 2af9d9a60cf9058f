import t from 'tap'
import * as abi from '#abi'
import { NotModelled } from '#bits'
import { invariants } from './invariants.ts'
import { SEAMCALL_NAMES, SEAMCALLS_NOT_MODELLED, TDCALL_NAMES, TDCALLS_NOT_MODELLED } from './not-modelled.ts'
import { Random } from './random.ts'
import { SEAMCALLS } from './seamcall/index.ts'
import { TDCALLS } from './tdcall/index.ts'
import { Host } from './testdata/host.ts'

const LEAVES = Object.entries(abi).flatMap(([name, value]) =>
  name.startsWith('TDH_') && typeof value === 'number' ? [value] : [],
)

t.test('RAX is checked first: reserved bits, version, module state, leaf', async t => {
  const host = new Host()
  const raw = (rax: bigint) => {
    host.call(0)
    host.regs.rax = rax
    host.module.seamcall(host.lp, host.regs)
    return abi.statusName(host.regs.rax)
  }
  t.equal(raw(1n << 24n), 'TDX_OPERAND_INVALID | RAX')
  t.equal(raw(1n << 63n), 'TDX_OPERAND_INVALID | RAX')
  t.equal(raw(BigInt(abi.TDH_MNG_CREATE) | (1n << 16n)), 'TDX_OPERAND_INVALID | RAX', 'a version the leaf has not')
  t.equal(raw(BigInt(abi.TDH_MNG_CREATE)), 'TDX_SYS_NOT_READY')
  t.equal(raw(42n), 'TDX_SYS_NOT_READY')
  host.boot()
  t.equal(raw(42n), 'TDX_OPERAND_INVALID | RAX', 'the reserved number of MEM.SEPT.WR')
  t.equal(raw(0xffffn), 'TDX_OPERAND_INVALID | RAX')
  t.throws(() => raw(BigInt(abi.TDH_EXPORT_MEM)), { name: 'NotModelled', message: 'TDH.EXPORT.MEM' })
  host.must(abi.TDH_SYS_LP_SHUTDOWN)
  t.equal(raw(BigInt(abi.TDH_MNG_CREATE)), 'TDX_SYS_SHUTDOWN')
  t.equal(host.call(abi.TDH_SYS_LP_SHUTDOWN), abi.TDX_SUCCESS)
})

/** Values that come near what leaves take: frames in use and free, GPAs with levels, key ids, field ids, rubbish. */
const operand = (random: Random, pool: readonly bigint[]): bigint => {
  const kind = random.next() % 10n
  if (kind < 6n) return pool[Number(random.next() % BigInt(pool.length))]!
  if (kind < 7n) return (random.next() % 64n) << 12n
  if (kind < 8n) return ((random.next() % 4n) << 21n) | (random.next() % 5n)
  if (kind < 9n) return random.next() % 128n
  return random.next()
}

t.test('every leaf is built or stops a test by name, and none is both', async t => {
  for (const [name, table, names, gaps] of [
    ['SEAMCALL', SEAMCALLS, SEAMCALL_NAMES, SEAMCALLS_NOT_MODELLED],
    ['TDCALL', TDCALLS, TDCALL_NAMES, TDCALLS_NOT_MODELLED],
  ] as const) {
    const built = table.flatMap(leaf => (leaf === undefined ? [] : [leaf.number]))
    t.same(
      [...built, ...gaps].sort((a, b) => a - b),
      [...names.keys()].sort((a, b) => a - b),
      name,
    )
  }
})

t.test('random SEAMCALLs leave the module consistent', async t => {
  const host = new Host({ processors: 2 }).boot()
  const random = new Random(42n)
  const pool: bigint[] = [0n]
  for (let i = 0; i < 40; i++) pool.push(host.frame())
  const tdr = host.td()
  const tdvpr = host.vcpu(tdr)
  host.page(tdr, 0x1000n)
  const half = host.create()
  pool.push(
    tdr,
    tdvpr,
    half,
    host.params(),
    host.nextHkid(),
    host.nextHkid(),
    0x1000n,
    0x20_0000n,
    0x20_0001n,
    3n,
    2n,
    1n,
  )
  pool.push(tdr, tdvpr, half)
  const leaves = LEAVES.filter(leaf => leaf !== abi.TDH_SYS_LP_SHUTDOWN && leaf !== abi.TDH_SYS_SHUTDOWN)
  const statuses = new Map<string, number>()
  let notModelled = 0
  for (let i = 0; i < 60_000; i++) {
    const leaf = leaves[Number(random.next() % BigInt(leaves.length))]!
    const value = () => operand(random, pool)
    try {
      const status = host.call(
        leaf,
        { rcx: value(), rdx: value(), r8: value(), r9: value(), version: random.next() % 20n === 0n ? 1 : 0 },
        { id: Number(random.next() % 2n), quantum: 20 },
      )
      const name = abi.statusName(abi.statusCode(status))
      statuses.set(name, (statuses.get(name) ?? 0) + 1)
    } catch (error) {
      if (!(error instanceof NotModelled)) throw error
      notModelled++
    }
    if (i % 10_000 === 9_999) t.same(invariants(host.module), [], `consistent after ${i + 1} calls`)
  }
  t.ok(notModelled > 0)
  t.ok((statuses.get('TDX_SUCCESS') ?? 0) > 500, 'many succeed')
  t.ok(statuses.size > 15, `${statuses.size} different statuses`)
})
