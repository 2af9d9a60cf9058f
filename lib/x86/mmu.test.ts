import t from 'tap'
import { RIGHTS } from '#abi'
import { hex } from '#bits'
import { writeCr } from './control.ts'
import { Cpu } from './cpu.ts'
import { explainWalk } from './explain.ts'
import { Fault, Leave } from './fault.ts'
import { PhysicalMemory } from './memory.ts'
import { lookup } from './mmu.ts'
import { STATE } from './state.ts'
import { invlpg } from './system.ts'
import { faultOf, longMode, TestMachine } from './testdata/machine.ts'
import { KEY_SMAP, KEY_SUPERVISOR, KEY_USER } from './tlb.ts'
import type { Access } from './vmx.ts'

const XD = 1n << 63n
const [WP, PG, PE] = [1n << 16n, 1n << 31n, 1n]
const [PSE, PAE, LA57, SMEP, SMAP, PKE] = [0x10n, 0x20n, 0x1000n, 1n << 20n, 1n << 21n, 1n << 22n]
const PKS = 1n << 24n
const LONG = 0x500n
const NXE = 0x800n

type Mode = '32' | 'pae' | '4' | '5'
type Case = {
  readonly name: string
  readonly mode: Mode
  /** Entries from the root down; the last is the leaf. */
  readonly entries: readonly bigint[]
  readonly access?: Access
  readonly key?: number
  readonly cr0?: bigint
  readonly cr4?: bigint
  readonly efer?: bigint
  readonly pkru?: number
  readonly pkrs?: bigint
  /** GPA, or the error code of a page fault. */
  readonly gpa?: bigint
  readonly code?: number
}

const LINEAR: Record<Mode, bigint> = {
  '32': 0x0040_3004n,
  pae: 0x0020_3004n,
  '4': 0x0000_7fff_ffff_e004n,
  '5': 0x00ff_ffff_ffff_e004n,
}
const ROOT = 0x1000n

/** Puts the entries where the walk of LINEAR finds them. Tables are at 0x1000, 0x2000 …; the entries name them. */
const build = (c: Case): TestMachine => {
  const m = new TestMachine({ start: 'flat32' })
  const { cpu } = m
  const linear = LINEAR[c.mode]
  const levels = { '32': 2, pae: 3, '4': 4, '5': 5 }[c.mode]
  const bits = c.mode === '32' ? 10n : 9n
  for (const [n, entry] of c.entries.entries()) {
    const level = BigInt(levels - n)
    const index = (linear >> (12n + bits * (level - 1n))) & ((1n << bits) - 1n)
    const at = ROOT * BigInt(n + 1)
    if (c.mode === '32') m.put32(at + index * 4n, entry)
    else m.put64(at + (c.mode === 'pae' && n === 0 ? index & 3n : index) * 8n, entry)
  }
  cpu.cr3 = ROOT
  cpu.cr4 = (c.mode === '32' ? PSE : PAE) | (c.mode === '5' ? LA57 : 0n) | (c.cr4 ?? 0n)
  cpu.efer = (c.mode === '4' || c.mode === '5' ? LONG : 0n) | (c.efer ?? NXE)
  cpu.cr0 = PE | PG | (c.cr0 ?? WP)
  if (c.mode === '4' || c.mode === '5') {
    cpu.segments[1]!.rights = (cpu.segments[1]!.rights & ~RIGHTS.DB) | RIGHTS.L
    cpu.refresh()
  }
  if (c.pkru !== undefined) cpu.pkru = c.pkru
  if (c.pkrs !== undefined) cpu.msrs.set(0x6e1, c.pkrs)
  return m
}
const [k, u] = [3n, 7n]
/** Protection key 5. */
const KEY5 = 5n << 59n
const four = (leaf: bigint, upper = u): bigint[] => [0x2000n | upper, 0x3000n | upper, 0x4000n | upper, leaf]

const cases: Case[] = [
  { name: '32-bit, 4 KiB', mode: '32', entries: [0x2007n, 0x9007n], gpa: 0x9004n },
  { name: '32-bit, no table', mode: '32', entries: [0x2006n, 0x9007n], code: 0 },
  { name: '32-bit, no page, write', mode: '32', entries: [0x2007n, 0n], access: 'write', code: 2 },
  { name: '32-bit, no page, user', mode: '32', entries: [0x2007n, 0n], key: KEY_USER, code: 4 },
  {
    name: '32-bit, fetch says I/D only with SMEP or NXE',
    mode: '32',
    entries: [0x2007n, 0n],
    access: 'fetch',
    code: 0,
  },
  { name: '32-bit, 4 MiB', mode: '32', entries: [0x0080_0087n], gpa: 0x0080_3004n },
  { name: '32-bit, 4 MiB above 4 GiB', mode: '32', entries: [0x0080_2087n], gpa: 0x1_0080_3004n },
  { name: '32-bit, 4 MiB, bit 21', mode: '32', entries: [0x00a0_0087n], code: 9 },
  { name: 'PAE, 4 KiB', mode: 'pae', entries: [0x2001n, 0x3007n, 0x9007n], gpa: 0x9004n },
  { name: 'PAE, no pointer', mode: 'pae', entries: [0n], code: 0 },
  { name: 'PAE, 2 MiB', mode: 'pae', entries: [0x2001n, 0x80_0087n], gpa: 0x80_3004n },
  { name: 'PAE, bit 62', mode: 'pae', entries: [0x2001n, 0x3007n, 0x9007n | (1n << 62n)], code: 9 },
  { name: 'PAE, NX', mode: 'pae', entries: [0x2001n, 0x3007n, 0x9007n | XD], access: 'fetch', code: 0x11 },
  { name: 'PAE, NX without NXE', mode: 'pae', entries: [0x2001n, 0x3007n, 0x9007n | XD], efer: 0n, code: 9 },
  { name: '4-level, 4 KiB', mode: '4', entries: four(0x9007n), gpa: 0x9004n },
  { name: '4-level, 2 MiB', mode: '4', entries: [0x2007n, 0x3007n, 0x80_0087n], gpa: 0x9f_e004n },
  { name: '4-level, 1 GiB', mode: '4', entries: [0x2007n, 0x4000_0087n], gpa: 0x7fff_e004n },
  { name: '4-level, 1 GiB, bit 13', mode: '4', entries: [0x2007n, 0x4000_2087n], code: 9 },
  { name: '4-level, PS in the root', mode: '4', entries: [0x2087n], code: 9 },
  { name: '4-level, beyond the physical width', mode: '4', entries: four(0x4000_0000_9007n), code: 9 },
  { name: '4-level, ignored bits 62:52', mode: '4', entries: four(0x7ff0_0000_0000_9007n), gpa: 0x9004n },
  { name: 'read-only, supervisor, WP', mode: '4', entries: four(0x9005n), access: 'write', code: 3 },
  { name: 'read-only, supervisor, no WP', mode: '4', entries: four(0x9005n), access: 'write', cr0: 0n, gpa: 0x9004n },
  {
    name: 'read-only, user, no WP',
    mode: '4',
    entries: four(0x9005n),
    access: 'write',
    cr0: 0n,
    key: KEY_USER,
    code: 7,
  },
  { name: 'read-only by an upper level', mode: '4', entries: four(0x9007n, 5n), access: 'write', code: 3 },
  { name: 'supervisor page, user', mode: '4', entries: four(0x9003n), key: KEY_USER, code: 5 },
  { name: 'supervisor by an upper level', mode: '4', entries: four(0x9007n, k), key: KEY_USER, code: 5 },
  { name: 'NX at an upper level', mode: '4', entries: four(0x9007n, u | XD), access: 'fetch', code: 0x11 },
  { name: 'SMEP', mode: '4', entries: four(0x9007n), access: 'fetch', cr4: SMEP, code: 0x11 },
  {
    name: 'SMEP, user code',
    mode: '4',
    entries: four(0x9007n),
    access: 'fetch',
    cr4: SMEP,
    key: KEY_USER,
    gpa: 0x9004n,
  },
  { name: 'SMAP', mode: '4', entries: four(0x9007n), cr4: SMAP, key: KEY_SMAP, code: 1 },
  { name: 'SMAP with AC', mode: '4', entries: four(0x9007n), cr4: SMAP, key: KEY_SUPERVISOR, gpa: 0x9004n },
  { name: 'PKU, access denied', mode: '4', entries: four(0x9007n | (5n << 59n)), cr4: PKE, pkru: 1 << 10, code: 0x21 },
  {
    name: 'PKU, user write',
    mode: '4',
    entries: four(0x9007n | (5n << 59n)),
    cr4: PKE,
    pkru: 2 << 10,
    key: KEY_USER,
    access: 'write',
    code: 0x27,
  },
  {
    name: 'PKU, write denied, read',
    mode: '4',
    entries: four(0x9007n | (5n << 59n)),
    cr4: PKE,
    pkru: 2 << 10,
    gpa: 0x9004n,
  },
  {
    name: 'PKU does not stop fetches',
    mode: '4',
    entries: four(0x9007n | (5n << 59n)),
    cr4: PKE,
    pkru: 3 << 10,
    access: 'fetch',
    gpa: 0x9004n,
  },
  { name: 'PKS, access denied', mode: '4', entries: four(0x9003n | KEY5), cr4: PKS, pkrs: 1n << 10n, code: 0x21 },
  { name: 'PKS of another key', mode: '4', entries: four(0x9003n | KEY5), cr4: PKS, pkrs: 1n << 8n, gpa: 0x9004n },
  { name: 'PKS switched off', mode: '4', entries: four(0x9003n | KEY5), cr4: PKE, pkrs: 1n << 10n, gpa: 0x9004n },
  { name: 'PKS and a user page', mode: '4', entries: four(0x9007n | KEY5), cr4: PKS, pkrs: 1n << 10n, gpa: 0x9004n },
  {
    name: 'PKU and a supervisor page',
    mode: '4',
    entries: four(0x9003n | KEY5),
    cr4: PKE,
    pkru: 1 << 10,
    gpa: 0x9004n,
  },
  {
    name: 'PKS, write denied',
    mode: '4',
    entries: four(0x9003n | KEY5),
    cr4: PKS,
    pkrs: 2n << 10n,
    access: 'write',
    code: 0x23,
  },
  {
    name: 'PKS, write denied, without WP',
    mode: '4',
    entries: four(0x9003n | KEY5),
    cr4: PKS,
    cr0: 0n,
    pkrs: 2n << 10n,
    access: 'write',
    gpa: 0x9004n,
  },
  {
    name: 'PKS, user access: the page itself denies it',
    mode: '4',
    entries: four(0x9003n | KEY5),
    cr4: PKS,
    pkrs: 3n << 10n,
    key: KEY_USER,
    code: 5,
  },
  { name: '5-level, 4 KiB', mode: '5', entries: [0x2007n, 0x3007n, 0x4007n, 0x5007n, 0x9007n], gpa: 0x9004n },
  { name: '5-level, no root entry', mode: '5', entries: [0n], access: 'write', key: KEY_USER, code: 6 },
  {
    name: '5-level, fetch, no page',
    mode: '5',
    entries: [0x2007n, 0x3007n, 0x4007n, 0x5007n, 0n],
    access: 'fetch',
    code: 0x10,
  },
]

for (const c of cases) {
  t.test(c.name, async t => {
    const m = build(c)
    const { cpu, stage } = m
    try {
      const at = lookup(cpu, LINEAR[c.mode], c.access ?? 'read', c.key ?? KEY_SUPERVISOR)
      t.ok(c.gpa !== undefined, `an access was expected to fault with ${c.code}`)
      t.equal(at, stage.frames.get(c.gpa! & ~0xfffn)! + Number(c.gpa! & 0xfffn))
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault
      t.equal(fault.vector, 14)
      t.equal(hex(fault.errorCode!), hex(c.code ?? -1))
      t.equal(fault.cr2, LINEAR[c.mode])
    }
    // A debugger sees the same entries, and where they lead: it judges no rights.
    const seen = explainWalk(cpu, LINEAR[c.mode])
    const isGone = c.entries.some(entry => (entry & 1n) === 0n)
    const isReserved = c.gpa === undefined && ((c.code ?? 0) & 8) !== 0
    t.same(
      seen?.levels.slice(0, c.entries.length).map(({ entry }) => (entry ?? 0n) & ~0x60n),
      c.entries.slice(0, seen?.levels.length).map(entry => entry & ~0x60n),
    )
    if (c.gpa !== undefined) t.equal(seen?.gpa, c.gpa)
    else if (isGone) t.equal(seen?.gpa, undefined)
    else if (!isReserved) t.equal(seen?.levels.length, c.entries.length)
  })
}

t.test(
  'accessed and dirty bits: every level on the way, dirty at a write, none where the access is denied',
  async t => {
    const m = build({ name: '', mode: '4', entries: four(0x9007n) })
    const { cpu } = m
    lookup(cpu, LINEAR['4'], 'read', KEY_SUPERVISOR)
    const at = (n: bigint) =>
      [0x1000n + 255n * 8n, 0x2000n + 511n * 8n, 0x3000n + 511n * 8n, 0x4000n + 510n * 8n][Number(n)]!
    for (const n of [0n, 1n, 2n, 3n]) t.equal(m.get64(at(n)) & 0x60n, 0x20n)
    lookup(cpu, LINEAR['4'], 'write', KEY_SUPERVISOR)
    t.equal(m.get64(at(2n)) & 0x60n, 0x20n)
    t.equal(m.get64(at(3n)) & 0x60n, 0x60n)

    const denied = build({ name: '', mode: '4', entries: four(0x9005n) })
    t.match(
      faultOf(() => lookup(denied.cpu, LINEAR['4'], 'write', KEY_USER)),
      '#PF(0x7)',
    )
    t.equal(denied.get64(at(3n)) & 0x60n, 0n)
  },
)

t.test('every access of a walk goes through the second stage', async t => {
  const leaves = (hole: bigint, how: Access, access: Access) => {
    const m = build({ name: '', mode: '4', entries: four(0x9007n) })
    m.stage.holes.set(hole, [how])
    try {
      lookup(m.cpu, LINEAR['4'], access, KEY_SUPERVISOR)
    } catch (leave) {
      if (!(leave instanceof Leave)) throw leave
      const { reason, qualification, gla, gpa } = leave.exit
      t.equal(reason, 48)
      t.equal(gla, LINEAR['4'])
      return [hex(qualification), hex(gpa)]
    }
    return undefined
  }
  t.same(leaves(0x1000n, 'read', 'read'), ['0x81', '0x17f8'])
  t.same(leaves(0x4000n, 'read', 'fetch'), ['0x81', '0x4ff0'])
  t.same(leaves(0x2000n, 'write', 'read'), ['0x83', '0x2ff8'])
  t.same(leaves(0x9000n, 'read', 'read'), ['0x181', '0x9004'])
  t.same(leaves(0x9000n, 'write', 'write'), ['0x182', '0x9004'])
  t.same(leaves(0x9000n, 'fetch', 'fetch'), ['0x184', '0x9004'])
  t.equal(leaves(0x9000n, 'write', 'read'), undefined)
})

t.test('the TLB keeps a translation until it is told, and by privilege', async t => {
  const m = build({ name: '', mode: '4', entries: four(0x9003n) })
  const { cpu, stage } = m
  const linear = LINEAR['4']
  const leaf = 0x4000n + 510n * 8n
  m.put(0x9004n, 'aa')
  m.put(0xa004n, 'bb')
  t.equal(cpu.read(linear, 1), 0xaan)
  m.put64(leaf, 0xa007n)
  t.equal(cpu.read(linear, 1), 0xaan, 'stale, as on hardware')
  t.equal(cpu.read(linear - 4n, 8), 0xaan << 32n)
  cpu.cpl = 3
  t.equal(cpu.read(linear, 1), 0xbbn, 'another privilege does not see it')
  cpu.cpl = 0
  invlpg(cpu, linear)
  t.equal(cpu.read(linear, 1), 0xbbn)
  stage.frames.set(0xa000n, stage.frames.get(0x9000n)!)
  stage.generation++
  cpu.followStage()
  t.equal(cpu.read(linear, 1), 0xaan, 'the second stage moved the page')
  m.put64(leaf, 0x9003n)
  writeCr(cpu, 3, cpu.cr3)
  t.equal(cpu.read(linear, 1), 0xaan)
  cpu.cpl = 3
  t.match(
    faultOf(() => cpu.read(linear, 1)),
    '#PF(0x5)',
  )
})

t.test('a write that crosses into a page that faults writes nothing', async t => {
  const m = build({ name: '', mode: '4', entries: four(0x9007n) })
  const { cpu } = m
  const end = (LINEAR['4'] & ~0xfffn) + 0xffcn
  t.equal(
    faultOf(() => cpu.write(end, 8, ~0n & 0xffff_ffff_ffff_ffffn)),
    '#PF(0x2) at 0x7fff_ffff_f000',
  )
  t.equal(m.get64(0x9ff8n), 0n)
  m.put64(0x4000n + 511n * 8n, 0xb007n)
  cpu.write(end, 8, 0x1122_3344_5566_7788n)
  t.equal(m.get64(0x9ff8n), 0x5566_7788_0000_0000n)
  t.equal(m.get32(0xb000n), 0x1122_3344n)
  t.equal(cpu.read(end, 8), 0x1122_3344_5566_7788n)
  t.same(cpu.readBytes(end + 3n, 2), Uint8Array.of(0x55, 0x44))
})

t.test('the TLB grows for a guest that misses often, and still knows what was where', async t => {
  const m = longMode()
  const { cpu } = m
  const used = m.memory.used
  const mask = cpu.tlb.mask
  for (let n = 0n; n < 256n; n++) m.put64(0x8_0000n + n * 0x1000n, n)
  for (let round = 0; round < 5; round++) {
    for (let n = 0n; n < 256n; n++) if (cpu.read(0x8_0000n + n * 0x1000n, 8) !== n) t.fail(`page ${n}`)
  }
  t.ok(cpu.tlb.mask > mask)
  t.equal(cpu.words[STATE.TLB / 4], cpu.tlb.frame)
  cpu.close()
  t.equal(m.memory.used, used + 256 - 2)
})

t.test('what lies outside the second stage is asked for in parts of a page and 8 bytes', async t => {
  const memory = new PhysicalMemory(2 ** 26)
  const end = memory.u8.length
  const seen: [string, number, number, bigint?][] = []
  const cpu = new Cpu({
    memory,
    start: 'flat64',
    outside: {
      read(gpa, size) {
        seen.push(['read', gpa - end, size])
        return 0x1122_3344_5566_7788n & ((1n << BigInt(8 * size)) - 1n)
      },
      write: (gpa, size, value) => seen.push(['write', gpa - end, size, value]),
    },
  })
  const at = BigInt(end)
  t.equal(cpu.read(at + 0x10n, 4), 0x5566_7788n)
  cpu.write(at + 0x10n, 8, 5n)
  t.same(seen.splice(0), [
    ['read', 0x10, 4],
    ['write', 0x10, 8, 5n],
  ])
  // Across the edge of what there is: one half here, one there.
  memory.write(end - 2, 2, 0xbbaan)
  t.equal(cpu.read(at - 2n, 4), 0x7788_bbaan)
  cpu.write(at - 2n, 4, 0x4433_2211n)
  t.equal(memory.read(end - 2, 2), 0x2211n)
  t.same(seen.splice(0), [
    ['read', 0, 2],
    ['write', 0, 2, 0x4433n],
  ])
  cpu.writeBytes(
    at + 0xff8n,
    Uint8Array.from({ length: 16 }, (_, n) => n + 1),
  )
  t.same(cpu.readBytes(at + 0xffcn, 8), Uint8Array.of(0x88, 0x77, 0x66, 0x55, 0x88, 0x77, 0x66, 0x55))
  t.same(seen.splice(0), [
    ['write', 0xff8, 8, 0x0807_0605_0403_0201n],
    ['write', 0x1000, 8, 0x100f_0e0d_0c0b_0a09n],
    ['read', 0xffc, 4],
    ['read', 0x1000, 4],
  ])
  cpu.close()
})
