/**
 * Random SEAMCALLs and TDCALLs: no register value may be answered with anything but a status, an exit or an exception.
 * Everything follows from the seed. Between batches `invariants` must find nothing.
 */
import * as abi from '#abi'
import { type Hpa, NotModelled } from '#bits'
import type { Cpu } from '#x86'
import { Faults } from './faults.ts'
import { invariants } from './invariants.ts'
import { SEAMCALL_NAMES, TDCALL_NAMES } from './not-modelled.ts'
import { Random } from './random.ts'
import { SEAMCALLS } from './seamcall/index.ts'
import { DATA_PAGE, guest } from './testdata/guest.ts'
import { Host } from './testdata/host.ts'

/** What a run of so many calls came to. */
export type Fuzzed = {
  readonly calls: number
  readonly notModelled: number
  /** How often each status came, by name without its operand. */
  readonly statuses: ReadonlyMap<string, number>
  /** What was inconsistent, and after which call; empty where all is well. */
  readonly wrong: readonly string[]
}

/** Calls to one machine. */
const BATCH = 2000
/** Leaves after which there is nothing left to call. */
const LAST: readonly number[] = [abi.TDH_SYS_LP_SHUTDOWN, abi.TDH_SYS_SHUTDOWN]

const pick = <T>(random: Random, from: readonly T[]): T => from[Number(random.next() % BigInt(from.length))] as T

/** Ids of metadata fields, as they are and a little wrong. */
const FIELDS = [...abi.TD_FIELDS, ...abi.VP_FIELDS, ...abi.VMCS_FIELDS, ...abi.SYS_FIELDS].map(({ id }) => id)
const fieldId = (random: Random): bigint => {
  const id = pick(random, FIELDS)
  const kind = random.next() % 8n
  if (kind === 0n) return id ^ (1n << (random.next() % 64n))
  return kind < 3n ? id + (random.next() % 8n) : id
}

/** Values near what leaves take: frames in use and free, GPAs with levels, field ids, key ids; and rubbish. */
const operand = (random: Random, pool: readonly bigint[]): bigint => {
  const kind = random.next() % 16n
  if (kind < 8n) return pick(random, pool)
  if (kind < 9n) return (random.next() % 64n) << 12n
  if (kind < 11n) return ((random.next() % 4n) << 21n) | (random.next() % 5n)
  if (kind < 12n) return random.next() % 128n
  if (kind < 14n) return fieldId(random)
  return kind < 15n ? pick(random, pool) ^ (1n << (random.next() % 64n)) : random.next()
}

type Call = { leaf: number; version: number; rcx: bigint; rdx: bigint; r8: bigint; r9: bigint; lp: number }

class Tally {
  readonly statuses = new Map<string, number>()
  notModelled = 0
  note(name: string): void {
    this.statuses.set(name, (this.statuses.get(name) ?? 0) + 1)
  }
  /** Runs `call`, which gives a status; what is not modelled is no failure, anything else thrown is. */
  run(call: () => bigint): void {
    try {
      this.note(abi.statusName(abi.statusCode(call())).replace(' | RAX', ''))
    } catch (error) {
      if (!(error instanceof NotModelled)) throw error
      this.notModelled++
    }
  }
}

/** Pages of roots: TDR and TDVPR. */
type Roots = { readonly tds: bigint[]; readonly vcpus: bigint[] }

/** A machine in the middle of its life: a debug TD and a plain one being built, one that runs, one half made. */
const machine = (random: Random) => {
  const host = new Host({ processors: 2 }).boot()
  const pool: bigint[] = [0n, 0xffff_ffff_ffff_ffffn, 1n, 2n, 3n]
  for (let i = 0; i < 48; i++) pool.push(host.frame())
  const run = BigInt(host.memory.allocateRun(1024))
  const large = (run + 0x1f_ffffn) & ~0x1f_ffffn
  pool.push(large, large)
  const tds: bigint[] = []
  const vcpus: bigint[] = []
  for (const [attributes, finalize] of [
    [0n, false],
    [abi.TDX_ATTR_DEBUG, false],
    [0n, true],
    [abi.TDX_ATTR_DEBUG, true],
  ] as const) {
    const tdr = host.td({ attributes })
    const tdvpr = host.vcpu(tdr)
    host.page(tdr, 0x1000n)
    if (finalize) host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
    tds.push(tdr)
    vcpus.push(tdvpr)
    pool.push(tdr, tdr, tdvpr, tdvpr)
  }
  pool.push(host.create(), host.params(), host.nextHkid(), host.nextHkid())
  pool.push(0x1000n, 0x2000n, 0x20_0000n, 0x20_0001n, 0x4000_0002n)
  if (random.next() % 4n === 0n)
    host.module.faults = new Faults({ seed: random.next(), busy: 20, noEntropy: 4, keyGeneration: 4 })
  return { host, pool, roots: { tds, vcpus } }
}

/** What takes a TD away, which is rare, or there would soon be none. */
const ENDS: readonly number[] = [abi.TDH_MNG_VPFLUSHDONE, abi.TDH_MNG_KEY_FREEID, abi.TDH_PHYMEM_PAGE_RECLAIM]
const ALL_LEAVES = [...SEAMCALL_NAMES.keys()].filter(leaf => !LAST.includes(leaf))
const LEAVES = ALL_LEAVES.filter(leaf => !ENDS.includes(leaf) && SEAMCALLS[leaf] !== undefined)

/** The register in which a leaf wants a TD's root, or a vCPU's. */
const tdRegister = (leaf: number): 'rcx' | 'rdx' | undefined => {
  const name = SEAMCALL_NAMES.get(leaf) ?? ''
  if (/^TDH\.(MEM\.(?!TRACK)|MR\.EXTEND|VP\.CREATE|MNG\.ADDCX)/.test(name)) return 'rdx'
  return /^TDH\.(MNG|MR|MEM)\./.test(name) ? 'rcx' : undefined
}
const vcpuRegister = (leaf: number): 'rcx' | 'rdx' | undefined =>
  leaf === abi.TDH_VP_ADDCX
    ? 'rdx'
    : leaf !== abi.TDH_VP_CREATE && SEAMCALL_NAMES.get(leaf)?.startsWith('TDH.VP.')
      ? 'rcx'
      : undefined

const randomCall = (random: Random, pool: readonly bigint[], { tds, vcpus }: Roots): Call => {
  const leaf =
    random.next() % 100n === 0n
      ? Number(random.next() % 200n)
      : pick(random, random.next() % 50n === 0n ? ALL_LEAVES : LEAVES)
  const call: Call = {
    leaf,
    version: random.next() % 20n === 0n ? 1 : 0,
    rcx: operand(random, pool),
    rdx: operand(random, pool),
    r8: operand(random, pool),
    r9: operand(random, pool),
    lp: Number(random.next() % 2n),
  }
  const [ofTd, ofVcpu] = [tdRegister(leaf), vcpuRegister(leaf)]
  if (random.next() % 4n !== 0n) {
    if (ofTd !== undefined) call[ofTd] = pick(random, tds)
    if (ofVcpu !== undefined) {
      call[ofVcpu] = pick(random, vcpus)
      call.lp = Number(random.next() % 8n) === 0 ? 1 : 0
    }
  }
  if (random.next() % 2n === 0n && /\.(RD|WR)$/.test(SEAMCALL_NAMES.get(leaf) ?? ''))
    call.rdx = leaf === abi.TDH_MEM_RD || leaf === abi.TDH_MEM_WR ? call.rdx : fieldId(random)
  return call
}

/** A sequence that works, to be spoilt: a TD made and torn down, a page added, blocked, tracked and removed. */
const sequence = (random: Random, pool: readonly bigint[], tds: readonly bigint[]): Call[] => {
  const tdr = pick(random, tds)
  const [a, b, c] = [pick(random, pool), pick(random, pool), pick(random, pool)]
  const gpa = (random.next() % 8n) << 12n
  const at = (leaf: number, rcx: bigint, rdx = 0n, r8 = 0n, r9 = 0n): Call => ({
    leaf,
    version: 0,
    rcx,
    rdx,
    r8,
    r9,
    lp: 0,
  })
  const page = [
    at(abi.TDH_MEM_PAGE_AUG, gpa, tdr, a),
    at(abi.TDH_MEM_RANGE_BLOCK, gpa, tdr),
    at(abi.TDH_MEM_TRACK, tdr),
    random.next() % 2n === 0n ? at(abi.TDH_MEM_PAGE_RELOCATE, gpa, tdr, b) : at(abi.TDH_MEM_RANGE_UNBLOCK, gpa, tdr),
    at(abi.TDH_MEM_RANGE_BLOCK, gpa, tdr),
    at(abi.TDH_MEM_TRACK, tdr),
    at(abi.TDH_MEM_PAGE_REMOVE, gpa, tdr),
  ]
  const big = 0x40_0001n
  const split = [
    at(abi.TDH_MEM_PAGE_AUG, big, tdr, pool.at(-1) ?? 0n),
    at(abi.TDH_MEM_RANGE_BLOCK, big, tdr),
    at(abi.TDH_MEM_TRACK, tdr),
    at(abi.TDH_MEM_PAGE_DEMOTE, big, tdr, c),
    at(abi.TDH_MEM_RANGE_BLOCK, big, tdr),
    at(abi.TDH_MEM_TRACK, tdr),
    at(abi.TDH_MEM_PAGE_PROMOTE, big, tdr),
  ]
  const life = [
    at(abi.TDH_MNG_CREATE, a, BigInt(70 + Number(random.next() % 8n))),
    at(abi.TDH_MNG_KEY_CONFIG, a),
    ...Array.from({ length: 6 }, () => at(abi.TDH_MNG_ADDCX, pick(random, pool), a)),
    at(abi.TDH_MNG_VPFLUSHDONE, a),
    at(abi.TDH_PHYMEM_CACHE_WB, 0n),
    at(abi.TDH_MNG_KEY_FREEID, a),
    at(abi.TDH_PHYMEM_PAGE_RECLAIM, b),
    at(abi.TDH_PHYMEM_PAGE_RECLAIM, a),
  ]
  return pick(random, [page, split, life])
}

/** One call left out, done twice, swapped with another, or with one operand changed. */
const mutate = (random: Random, calls: readonly Call[], pool: readonly bigint[]): Call[] => {
  const spoilt = [...calls]
  const i = Number(random.next() % BigInt(calls.length))
  const call = spoilt[i] as Call
  switch (Number(random.next() % 5n)) {
    case 0:
      spoilt.splice(i, 1)
      break
    case 1:
      spoilt.splice(i, 0, call)
      break
    case 2:
      spoilt[i] = spoilt[0] as Call
      spoilt[0] = call
      break
    case 3:
      spoilt[i] = { ...call, [pick(random, ['rcx', 'rdx', 'r8'])]: operand(random, pool) }
      break
    default:
      break
  }
  return spoilt
}

/** Host memory that leaves read changes under them, TD_PARAMS above all. */
const scribble = (random: Random, host: Host, pool: readonly bigint[]): void => {
  const at = Number(pick(random, pool))
  if (at <= 3 || at + 4096 > host.memory.u8.length || host.module.isPrivate((at - (at % 4096)) as Hpa)) return
  host.memory.write(at - (at % 4096) + Number(random.next() % 512n) * 8, 8, operand(random, pool))
}

/** `calls` SEAMCALLs: single ones and spoilt sequences. A fresh machine for each batch. */
export const fuzzSeamcalls = (seed: bigint, calls: number): Fuzzed => {
  const random = new Random(seed)
  const tally = new Tally()
  const wrong: string[] = []
  let done = 0
  while (done < calls && wrong.length === 0) {
    const { host, pool, roots } = machine(random)
    const make = ({ leaf, version, lp, ...inputs }: Call) => {
      tally.run(() =>
        host.call(leaf, { ...inputs, version }, { id: lp, quantum: 20, interrupted: () => random.next() % 16n === 0n }),
      )
      done++
    }
    for (const end = Math.min(done + BATCH, calls); done < end; ) {
      if (random.next() % 64n === 0n) scribble(random, host, pool)
      if (random.next() % 4n === 0n)
        for (const call of mutate(random, sequence(random, pool, roots.tds), pool)) make(call)
      else make(randomCall(random, pool, roots))
    }
    for (const what of invariants(host.module)) wrong.push(`seed ${seed}, after ${done} SEAMCALLs: ${what}`)
  }
  return { calls: done, notModelled: tally.notModelled, statuses: tally.statuses, wrong }
}

/** Sixteen pages from here on that the guest is to accept. */
const PENDING = 0x5000_0000n

/** Addresses of the TD with a level or without, ids, bits, rubbish. */
const guestOperand = (random: Random): bigint => {
  const kind = random.next() % 8n
  if (kind < 2n) return DATA_PAGE + (random.next() % 64n) * 64n
  if (kind < 3n)
    return (random.next() % 2n === 0n ? PENDING : 0n) + (((random.next() % 16n) << 12n) | (random.next() % 3n))
  if (kind < 4n) return (1n << 47n) | ((random.next() % 16n) << 12n)
  if (kind < 6n) return fieldId(random)
  return kind < 7n ? random.next() % 16n : random.next()
}

/** Leaves that take a field of the TD or vCPU itself: RCX is zero. */
const OWN_METADATA: readonly number[] = [abi.TDG_VM_RD, abi.TDG_VM_WR, abi.TDG_VP_RD, abi.TDG_VP_WR]

const TDCALLS = [...TDCALL_NAMES.keys()]
/** Registers that a leaf may read. RSP stays. */
const INPUTS = [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
/** 66 0F 01 CC, then JMP back to it. */
const LOOP = '.again: tdcall\njmp .again\n'

const TDCALL_PREFIX = 0x66

/** A guest in an endless loop of TDCALL, whose registers are ours before each. */
const looping = (random: Random) => {
  const g = guest(LOOP.replaceAll('.again', 'again'), {
    attributes: pick(random, [0n, abi.TDX_ATTR_DEBUG, abi.TDX_ATTR_SEPT_VE_DISABLE]),
    configFlags: pick(random, [4n, 6n, 0n]),
    build: (host, tdr) => {
      host.tables(tdr, PENDING)
      for (let i = 0n; i < 16n; i++)
        host.must(abi.TDH_MEM_PAGE_AUG, { rcx: PENDING + (i << 12n), rdx: tdr, r8: host.frame() })
    },
  })
  // Up to the loop: the first TDCALL with RAX = 1 (VP.INFO).
  g.host.lp.quantum = 200
  g.host.lp.interrupted = () => random.next() % 64n === 0n
  g.enter()
  g.host.lp.quantum = 1
  if (g.cpu.readBytes(g.cpu.rip as never, 1)[0] !== TDCALL_PREFIX) g.enter()
  return g
}

/** `calls` TDCALLs with random registers, each in the middle of a TD that goes on as it can. */
export const fuzzTdcalls = (seed: bigint, calls: number): Fuzzed => {
  const random = new Random(seed)
  const tally = new Tally()
  const wrong: string[] = []
  let done = 0
  while (done < calls && wrong.length === 0) {
    const g = looping(random)
    const { host, vcpu } = g
    const cpu: Cpu = g.cpu
    const { rip, rflags } = cpu
    const rsp = cpu.gpr[4]!
    for (const end = Math.min(done + BATCH, calls); done < end; done++) {
      if (vcpu.state !== abi.VCPU_READY || vcpu.td.fatal) break
      // Whatever the last call led to, this one begins where the loop does.
      cpu.pending.length = 0
      vcpu.lastExit = 'fault'
      cpu.rip = rip
      cpu.rflags = rflags
      cpu.gpr[4] = rsp
      for (const n of INPUTS) cpu.gpr[n] = guestOperand(random)
      const leaf = random.next() % 50n === 0n ? random.next() % 64n : BigInt(pick(random, TDCALLS))
      cpu.gpr[0] = leaf | (random.next() % 20n === 0n ? 1n << 16n : 0n)
      if (OWN_METADATA.includes(Number(leaf)) && random.next() % 4n !== 0n) {
        cpu.gpr[1] = 0n
        cpu.gpr[2] = random.next() % 16n === 0n ? 0xffff_ffff_ffff_ffffn : fieldId(random)
      }
      tally.run(() => {
        const exit = g.enter()
        return (exit & 0xffff_ffffn) === 1n ? cpu.gpr[0]! : exit
      })
    }
    for (const what of invariants(host.module)) wrong.push(`seed ${seed}, after ${done} TDCALLs: ${what}`)
  }
  return { calls: done, notModelled: tally.notModelled, statuses: tally.statuses, wrong }
}
