/** What each SEAMCALL and TDCALL costs: every leaf that can be called more than once on a machine that stays on. */
import { fileURLToPath } from 'node:url'
import * as abi from '#abi'
import { type Hpa, hpa } from '#bits'
import { collect } from '#harness'
import { Host } from '#kvm'
import { median, type Row } from './measure.ts'

const GPA = 0x4000_0000n
const MIB2 = 2n ** 21n
const LIVES = 30
const REPEATS = 200

const leafName = (leaf: number): string =>
  (
    Object.entries(abi).find(([name, value]) => name.startsWith('TDH_') && value === leaf)?.[0] ?? `leaf ${leaf}`
  ).replaceAll('_', '.')

/** Times SEAMCALLs of one machine, leaf by leaf. */
class Timed {
  readonly host = new Host()
  readonly times = new Map<string, number[]>()
  readonly #seam = this.host.tdx().seam(0)

  /** One SEAMCALL that succeeds, noted. */
  call(leaf: number, rcx = 0n, rdx = 0n, r8 = 0n, r9 = 0n, note = leafName(leaf)): bigint {
    const start = performance.now()
    const status = this.#seam.call(leaf, rcx, rdx, r8, r9)
    const took = (performance.now() - start) * 1000
    if (status >> 63n !== 0n) throw new Error(`${leafName(leaf)}: ${abi.statusName(status)}`)
    const known = this.times.get(note)
    if (known === undefined) this.times.set(note, [took])
    else known.push(took)
    return this.#seam.regs.r8
  }

  frame(): bigint {
    return BigInt(this.host.memory.allocate())
  }
  free(frame: bigint): void {
    this.host.memory.free(hpa(Number(frame)))
  }
}

/** A debug TD from nothing to nothing; what only a whole life has. `inside` has it while it may run. */
const life = (m: Timed, inside: (tdr: bigint, tdvpr: bigint) => void): void => {
  const tdx = m.host.tdx()
  const hkid = tdx.keyIds.allocate()
  const [tdr, tdvpr] = [m.frame(), m.frame()]
  const pages: bigint[] = []
  const page = (): bigint => {
    const at = m.frame()
    pages.push(at)
    return at
  }
  m.call(abi.TDH_MNG_CREATE, tdr, BigInt(hkid))
  m.call(abi.TDH_MNG_KEY_CONFIG, tdr)
  for (let i = 0; i < tdx.info.tdcsPages; i++) m.call(abi.TDH_MNG_ADDCX, page(), tdr)
  const params = hpa(Number(m.frame()))
  m.host.memory.set(
    params,
    abi.TD_PARAMS.encode({
      attributes: abi.TDX_ATTR_DEBUG,
      xfam: 3n,
      max_vcpus: 1,
      eptp_controls: 0x1en,
      config_flags: abi.TDX_CONFIG_FLAGS_NO_RBP_MOD,
      tsc_frequency: 100,
    }),
  )
  m.call(abi.TDH_MNG_INIT, tdr, BigInt(params))
  m.host.memory.free(params)
  m.call(abi.TDH_VP_CREATE, tdvpr, tdr)
  for (let i = 1; i < tdx.info.tdvpsPages; i++) m.call(abi.TDH_VP_ADDCX, page(), tdvpr)
  m.call(abi.TDH_VP_INIT, tdvpr)
  for (const level of [3n, 2n, 1n])
    m.call(abi.TDH_MEM_SEPT_ADD, (GPA & ~((1n << (12n + 9n * level)) - 1n)) | level, tdr, page())
  const source = m.frame()
  m.call(abi.TDH_MEM_PAGE_ADD, GPA, tdr, page(), source)
  m.free(source)
  for (let at = 0n; at < 4096n; at += 256n) m.call(abi.TDH_MR_EXTEND, GPA + at, tdr)
  m.call(abi.TDH_MR_FINALIZE, tdr)
  inside(tdr, tdvpr)
  m.call(abi.TDH_VP_FLUSH, tdvpr)
  m.call(abi.TDH_MNG_VPFLUSHDONE, tdr)
  m.call(abi.TDH_PHYMEM_CACHE_WB)
  m.call(abi.TDH_MNG_KEY_FREEID, tdr)
  tdx.keyIds.free(hkid)
  for (const at of [...pages, tdvpr, tdr]) {
    m.call(abi.TDH_PHYMEM_PAGE_RECLAIM, at)
    m.call(abi.TDH_PHYMEM_PAGE_WBINVD, at)
    m.free(at)
  }
}

const TDR_FIELD = abi.TD_FIELDS.find(({ name }) => name === 'ATTRIBUTES')!.id
const VP_FIELD = abi.VP_FIELDS.find(({ name }) => name === 'PEND_NMI')!.id
const GPR_FIELD = abi.VP_FIELDS.find(({ name }) => name === 'RBX')?.id ?? VP_FIELD
const SYS_FIELD = abi.SYS_FIELDS.find(({ name }) => name === 'VENDOR_ID')!.id
const TD_WRITABLE = abi.TD_FIELDS.find(({ name }) => name === 'HP_LOCK_TIMEOUT')!

/** What can be done again and again to one TD. */
const repeatable =
  (m: Timed) =>
  (tdr: bigint, tdvpr: bigint): void => {
    const small = GPA + 0x1000n
    const large = GPA + MIB2
    const track = () => m.call(abi.TDH_MEM_TRACK, tdr)
    const block = (gpa: bigint) => {
      m.call(abi.TDH_MEM_RANGE_BLOCK, gpa, tdr)
      track()
    }
    const run = BigInt(m.host.memory.allocateRun(512, 2 ** 21))
    const [frame, spare, table, buffer] = [m.frame(), m.frame(), m.frame(), m.frame()]
    for (let i = 0; i < REPEATS; i++) {
      m.call(abi.TDH_MEM_SEPT_RD, small, tdr)
      m.call(abi.TDH_MNG_RD, tdr, TDR_FIELD)
      m.call(abi.TDH_MNG_WR, tdr, TD_WRITABLE.id, 20_000n, TD_WRITABLE.hostWr)
      m.call(abi.TDH_VP_RD, tdvpr, GPR_FIELD)
      m.call(abi.TDH_VP_WR, tdvpr, VP_FIELD, 0n, 1n)
      m.call(abi.TDH_MEM_RD, GPA, tdr)
      m.call(abi.TDH_MEM_WR, GPA, tdr, BigInt(i))
      m.call(abi.TDH_PHYMEM_PAGE_RDMD, frame)
      m.call(abi.TDH_SYS_RD, 0n, SYS_FIELD)
      m.call(abi.TDH_MEM_PAGE_AUG, small, tdr, frame)
      block(small)
      m.call(abi.TDH_MEM_RANGE_UNBLOCK, small, tdr)
      block(small)
      m.call(abi.TDH_MEM_PAGE_RELOCATE, small, tdr, spare)
      block(small)
      m.call(abi.TDH_MEM_PAGE_REMOVE, small, tdr)
    }
    for (let i = 0; i < REPEATS / 10; i++) {
      m.call(abi.TDH_SYS_INFO, buffer, 1024n, spare, 32n)
      m.call(abi.TDH_SYS_RDALL, 0n, buffer, 0xffff_ffff_ffff_ffffn)
      m.call(abi.TDH_MEM_PAGE_AUG, large | 1n, tdr, run, 0n, 'TDH.MEM.PAGE.AUG of 2 MiB')
      block(large | 1n)
      m.call(abi.TDH_MEM_PAGE_DEMOTE, large | 1n, tdr, table)
      block(large | 1n)
      m.call(abi.TDH_MEM_PAGE_PROMOTE, large | 1n, tdr)
      block(large | 1n)
      m.call(abi.TDH_MEM_PAGE_REMOVE, large | 1n, tdr, 0n, 0n, 'TDH.MEM.PAGE.REMOVE of 2 MiB')
      m.call(abi.TDH_MEM_SEPT_ADD, large | 1n, tdr, table)
      block(large | 1n)
      m.call(abi.TDH_MEM_SEPT_REMOVE, large | 1n, tdr)
    }
    m.host.memory.freeRun(Number(run) as Hpa, 512)
    for (const at of [frame, spare, table, buffer]) m.free(at)
  }

const seamcalls = (): Map<string, number> => {
  const m = new Timed()
  for (let i = 0; i < LIVES; i++) life(m, i === 0 ? repeatable(m) : () => {})
  m.host.close()
  return new Map([...m.times].map(([name, times]) => [name, median(times)]))
}

const tdcalls = async (): Promise<Map<string, number>> => {
  const { tests } = await collect(fileURLToPath(new URL('testdata/leaves_test.ts', import.meta.url)))
  const said: string[] = []
  await tests[0]!.run({
    seed: 1n,
    timeout: 0,
    deadline: () => false,
    emit: event => {
      if (event.type === 'output') said.push(event.text)
    },
  })
  const costs = JSON.parse(said.join('')) as Record<string, number>
  const loop = costs[''] ?? 0
  return new Map(
    Object.entries(costs).flatMap(([name, cost]) => (name === '' ? [] : [[name, Math.max(0, cost - loop)]])),
  )
}

/** Microseconds per call, the median of each round. What a round before them warmed up is not among them. */
export const leafRows = async (rounds: number): Promise<Row[]> => {
  const figures = new Map<string, number[]>()
  for (let round = -1; round < rounds; round++)
    for (const costs of [seamcalls(), await tdcalls()])
      for (const [name, cost] of costs) {
        const known = figures.get(name) ?? []
        figures.set(name, known)
        if (round >= 0) known.push(cost)
      }
  return [...figures].map(([what, ours]) => ({ what, unit: 'µs', ours }))
}

/** Two tables' worth of rows as one, without columns that no leaf has. */
export const leafTable = (rows: readonly Row[]): string =>
  [
    '| leaf | µs | min to max |',
    '| --- | ---: | ---: |',
    ...rows.map(({ what, ours }) => {
      const us = (figure: number) => figure.toFixed(2)
      return `| ${what} | ${us(median(ours))} | ${us(Math.min(...ours))} to ${us(Math.max(...ours))} |`
    }),
  ].join('\n')
