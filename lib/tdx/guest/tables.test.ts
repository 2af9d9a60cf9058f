/** The tables of the module executed row by row: CPUID, RDMSR, WRMSR, MOV to CR0 and CR4, XSETBV in a TD. */
import t from 'tap'
import * as abi from '#abi'
import { nativeCpuid, SAPPHIRE_RAPIDS } from '../platform.ts'
import { type Stub, stub } from '../testdata/stub.ts'

/** The emulated server, with every component that XFAM can name: what a TD may have is the module's to say here. */
const platform = { ...SAPPHIRE_RAPIDS, xcr0: 0x6_02e7n, xss: 0xd900n }
const nativeXfam = BigInt(nativeCpuid(platform, 0xd, 0)[0]) | BigInt(nativeCpuid(platform, 0xd, 1)[2])
const hex = (value: bigint | number) => value.toString(16)

/** CPUID values by the rule: native, fixed bits, then what TD_PARAMS gives, for a TD without features that change them. */
const ruled = (row: abi.CpuidRow, config: abi.CpuidMasks): number[] => {
  const native = nativeCpuid(platform, row.leaf, row.subleaf === abi.CPUID_SUBLEAF_NA ? 0 : row.subleaf)
  const isConfigurable = abi.CPUID_CONFIGURABLE.some(([l, s]) => l === row.leaf && s === row.subleaf)
  return [0, 1, 2, 3].map(r => {
    let v = (native[r]! & ~row.fixed0OrDynamic[r]!) | row.fixed1[r]!
    if (isConfigurable) {
      v = (v & ~row.direct[r]!) | (config[r]! & row.direct[r]!)
      v &= config[r]! | ~row.allow[r]!
    }
    return v >>> 0
  })
}

/** What the rule leaves to the leaf, for a TD with x87 and SSE only: all zero, or these registers. */
const HIDDEN = [0x5, 0xa, 0x14, 0x19, 0x1c, 0x1d]
const SPECIAL: Readonly<Record<string, (v: number[], cpu: Stub['cpu']) => void>> = {
  '1': (v, cpu) => {
    v[0] = nativeCpuid(platform, 1, 0)[0]
    v[1] = v[1]! & 0xff_ffff
    v[2] =
      ((v[2]! & ~((1 << 27) | (1 << 28) | (1 << 12) | (1 << 29))) |
        ((cpu.cr4 & abi.CR4_OSXSAVE) !== 0n ? 1 << 27 : 0)) >>>
      0
  },
  '15': v => {
    v[1] = 100
  },
  '80000001': v => {
    v[3] = (v[3]! | (1 << 11)) >>> 0
  },
  '80000008': v => {
    v[0] = ((v[0]! & ~0xff00) | (48 << 8)) >>> 0
  },
}

t.test('CPUID: every row', async t => {
  const s = stub('cpuid', { maxVcpus: 1, platform })
  for (const row of abi.CPUID_LOOKUP) {
    const subleaf = row.subleaf === abi.CPUID_SUBLEAF_NA ? 0 : row.subleaf
    const name = `${hex(row.leaf)}.${row.subleaf === abi.CPUID_SUBLEAF_NA ? 'any' : hex(subleaf)}`
    const got = s.run({ 0: BigInt(row.leaf), 1: BigInt(subleaf) })
    if (row.faulting) {
      t.equal(got, '#VE 10', name)
      t.equal(s.vcpu.ve.exitQualification, 0n)
      continue
    }
    if (got !== 'done') {
      t.equal(got, 'done', name)
      continue
    }
    const [eax, ecx, edx, ebx] = [8, 9, 10, 11].map(n => Number(s.cpu.gpr[n]!))
    const isDynamic = row.leaf === 0xd || (row.leaf === 7 && subleaf <= 1) || row.leaf === 0x1e
    if (isDynamic) continue
    const want = HIDDEN.includes(row.leaf) ? [0, 0, 0, 0] : ruled(row, [0, 0, 0, 0])
    SPECIAL[hex(row.leaf)]?.(want, s.cpu)
    t.same(
      [eax, ebx, ecx, edx].map(v => hex(v!)),
      want.map(hex),
      name,
    )
  }
})

t.test('CPUID: leaf 0xD and leaf 7 by XFAM, with the rule for each bit', async t => {
  for (const xfam of [3n, 7n, 0xe7n, 0x6_00e7n, 0x203n, 0x1803n]) {
    if ((xfam & ~nativeXfam) !== 0n) continue
    const s = stub('cpuid', { xfam, platform })
    const read = (leaf: number, subleaf: number) => {
      t.equal(s.run({ 0: BigInt(leaf), 1: BigInt(subleaf) }), 'done')
      return [8, 11, 9, 10].map(n => Number(s.cpu.gpr[n]!))
    }
    t.equal(read(0xd, 0)[0], Number(xfam & abi.XFAM_XCR0_MASK), `${hex(xfam)}: XCR0 bits`)
    t.equal(read(0xd, 1)[2], Number(xfam & 0xd900n), `${hex(xfam)}: IA32_XSS bits`)
    for (let n = 2; n <= 18; n++) {
      const native = nativeCpuid(platform, 0xd, n)
      const is = ((xfam >> BigInt(n)) & 1n) === 1n
      t.same(read(0xd, n).slice(0, 3), is ? native.slice(0, 3) : [0, 0, 0], `${hex(xfam)}: component ${n}`)
    }
    const features = read(7, 0)
    t.equal((features[1]! >>> 16) & 1, 0, 'AVX-512F was not asked for')
    t.equal((features[2]! >>> 4) & 1, 0, 'OSPKE follows CR4.PKE')
    t.equal((features[2]! >>> 24) & 1, 0, 'nothing raises #DB for a bus lock')
    t.equal((features[3]! >>> 19) & 1, 0, 'nor records branches')
  }
})

t.test('CPUID: what is above the highest leaf, in no row, or the host’s', async t => {
  const s = stub('cpuid')
  for (const leaf of [0x2, 0x9, 0xb, 0x10, 0x16, 0x18, 0x1a, 0x1b, 0x4000_0000, 0x4fff_ffff, 0x8000_0002, 0x8000_0004])
    t.equal(s.run({ 0: BigInt(leaf) }), '#VE 10', hex(leaf))
  for (const leaf of [0x24, 0x3fff_ffff, 0x5000_0000, 0x7fff_ffff, 0x8000_0009, 0xffff_ffff]) {
    t.equal(s.run({ 0: BigInt(leaf) }), 'done', `${hex(leaf)} is the highest`)
    const above = [8, 9, 10, 11].map(n => s.cpu.gpr[n]!)
    t.equal(s.run({ 0: 0x23n }), 'done')
    t.same(
      above,
      [8, 9, 10, 11].map(n => s.cpu.gpr[n]!),
    )
  }
  t.equal(s.run({ 0: 7n, 1: 3n }), '#VE 10', 'a sub-leaf that is in no row')
})

/** TDs for the columns of the MSR table: one without any feature, one with those that the platform has. */
const FEATURES: readonly (readonly [name: string, options: { attributes?: bigint; xfam?: bigint }])[] = [
  ['plain', {}],
  ['PERFMON', { attributes: abi.TDX_ATTR_PERFMON }],
  ['PKS', { attributes: abi.TDX_ATTR_PKS }],
  ['CET', { xfam: 0x1803n }],
  ['PT', { xfam: 0x103n }],
  ['LBR', { xfam: 0x8003n }],
]
const has: Readonly<Record<string, readonly string[]>> = {
  PERFMON: ['PERFMON'],
  PKS: ['PKS'],
  XFAM_CET: ['CET'],
  XFAM_PT: ['PT'],
  XFAM_LBR: ['LBR'],
}

/** What reading or writing zero may come to, by the table's word. A native MSR may refuse zero or a read of its own. */
const allowed = (action: string, write: boolean): readonly string[] => {
  const ve = write ? '#VE 32' : '#VE 31'
  switch (action) {
    case 'native':
      return ['done', '#GP']
    case 've':
      return [ve]
    case 'gp':
      return ['#GP']
    case 'gp-or-ve':
      return ['#GP', ve]
    default:
      return ['done', '#GP', ve]
  }
}

/** Native MSRs that only take commands, are read-only, or do not have the value zero: zero is refused, or a read is. */
const REFUSES: Readonly<Record<string, readonly number[]>> = {
  read: [0x49, 0x10b],
  write: [0xbd, 0x10a, 0x809, 0x80a, 0x80c, 0x80e, ...Array.from({ length: 0x18 }, (_, i) => 0x810 + i)],
}

/** Zero is no vector that may be sent: the write is done, and is an APIC-write exit. SDM Vol. 3C, "Virtualizing MSR-Based APIC Accesses". */
const SELF_IPI = 0x83f

for (const [name, options] of FEATURES) {
  t.test(`MSRs: every row, RDMSR and WRMSR, in a TD with ${name}`, async t => {
    const read = stub('rdmsr', { ...options, platform })
    const write = stub('wrmsr', { ...options, platform })
    let rows = 0
    for (const row of abi.MSR_LOOKUP) {
      for (const index of new Set([row.first, row.last])) {
        for (const isWrite of [false, true]) {
          const action = isWrite ? row.write : row.read
          const isWith = typeof action === 'object' && (has[action.with] ?? []).includes(name)
          const word = typeof action === 'object' ? (isWith ? 'native' : action.else) : action
          const what = `${hex(index)} ${row.name} ${isWrite ? 'WRMSR' : 'RDMSR'}`
          let got: string
          try {
            got = (isWrite ? write : read).run({ 1: BigInt(index) })
          } catch (error) {
            if ((error as Error).name !== 'NotModelled') throw error
            got = 'NotModelled'
            t.ok(index >= 0x480 && index <= 0x492, `${what} is a capability of L2 VMs`)
            continue
          }
          const refuses = REFUSES[isWrite ? 'write' : 'read']!.includes(index)
          const want =
            index === SELF_IPI && isWrite
              ? ['#VE 56']
              : word === 'native'
                ? refuses
                  ? ['#GP']
                  : ['done', ...(index === 0xc000_0080 ? ['#GP'] : [])]
                : allowed(word, isWrite)
          if (!want.includes(got)) t.fail(`${what}: ${got}, should be ${want.join(' or ')}`)
          rows++
        }
      }
    }
    t.ok(rows > 250, `${rows} accesses`)
    for (const index of [
      0x1b, 0x3a, 0x8b, 0x2000, 0x4000_0000, 0xbfff_ffff, 0xc000_2000, 0x802, 0x803, 0x80d, 0x80f, 0x828, 0x830, 0x832,
      0x83e,
    ])
      t.same(
        [read.run({ 1: BigInt(index) }), write.run({ 1: BigInt(index) })],
        ['#VE 31', '#VE 32'],
        `${hex(index)}: in no row`,
      )
  })
}

const CR0_NOW = 0x8000_0031n
const PE = 1n
const WP = 1n << 16n
const NW = 1n << 29n
const CD = 1n << 30n
const PG = 1n << 31n

t.test('MOV to CR0: every row, in order', async t => {
  const s = stub('mov cr0, rax')
  const now = s.cpu.cr0
  for (const [why, value, want] of [
    ['as it is', now, 'done'],
    ['NE = 0', now & ~0x20n, '#GP'],
    ['bits 63:32', now | (1n << 32n), '#GP'],
    ['PE = 0 and PG = 1', now & ~PE, '#GP'],
    ['NE = 0 before NW', (now & ~0x20n) | NW, '#GP'],
    ['NW = 1', now | NW | CD, '#VE 28'],
    ['CD = 1', now | CD, '#VE 28'],
    ['WP, TS, AM', now | WP | 8n | (1n << 18n), 'done'],
    ['EM', now | 4n, 'done'],
  ] as const)
    t.equal(s.run({ 0: value }), want, why)
  t.equal(s.run({ 0: now | (1n << 6n) | (1n << 19n) | (1n << 28n) }), 'done', 'ignored reserved bits')
  t.equal(s.cpu.cr0 & 0x1008_0040n, 0n, 'keep their old value')
  t.equal(now & PG, PG)
  t.equal(now & CR0_NOW, CR0_NOW & now)
  const withCet = { ...platform, msr: { ...platform.msr, cr4Fixed1: platform.msr.cr4Fixed1 | abi.CR4_CET } }
  const cet = stub('mov cr0, rax', { xfam: 0x1803n, platform: withCet })
  const enable = (cpu: Stub['cpu']) => {
    cpu.cr0 |= WP
    cpu.cr4 |= abi.CR4_CET
  }
  t.equal(cet.run({ 0: (now | CD) & ~WP }, enable), '#GP', 'CR4.CET = 1 and WP = 0, before CD')
  t.equal(cet.run({ 0: now | WP | CD }, enable), '#VE 28', 'with WP it is CD that counts')
  const clts = stub('clts')
  t.equal(clts.run(), 'done', 'CLTS is native')
  const lmsw = stub('lmsw ax')
  t.equal(lmsw.run({ 0: 0xfn }), 'done', 'LMSW writes bits 3:1 only')
  t.equal(lmsw.cpu.cr0 & 0xfn, 0xfn)
  const read = stub('mov rax, cr0')
  t.equal(read.run(), 'done')
  t.equal(read.cpu.gpr[8]! & 0x6000_0021n, 0x21n, 'PE and NE read 1, NW and CD 0')
})

const bit = (n: number) => 1n << BigInt(n)

t.test('MOV to CR4: every row', async t => {
  const KL = bit(19)
  const [PKE, CET, PKS, UINTR, MCE, VMXE, SMXE] = [bit(22), bit(23), bit(24), bit(25), bit(6), bit(13), bit(14)]
  const plain = stub('mov cr4, rax')
  const now = plain.cpu.cr4 & ~VMXE
  for (const [why, value, want] of [
    ['as it reads', now, 'done'],
    ['bits 63:32', now | bit(32), '#GP'],
    ['PKE without XFAM.9', now | PKE, '#GP'],
    ['CET without XFAM.11 and 12', now | CET, '#GP'],
    ['UINTR without XFAM.14', now | UINTR, '#GP'],
    ['PKS without ATTRIBUTES.PKS', now | PKS, '#GP'],
    ['Key Locker', now | KL, '#GP'],
    ['MCE = 0', now & ~MCE, '#VE 28'],
    ['VMXE = 1', now | VMXE, '#VE 28'],
    ['SMXE = 1', now | SMXE, '#VE 28'],
    ['bit 15', now | bit(15), '#GP'],
    ['PGE, OSFXSR, SMEP', now | bit(7) | bit(9) | bit(20), 'done'],
    ['PAE = 0 in 64-bit mode', now & ~bit(5), '#GP'],
    ['LA57 changes with paging on', now | bit(12), '#GP'],
  ] as const)
    t.equal(plain.run({ 0: value }), want, why)
  const pku = stub('mov cr4, rax', { xfam: 0x203n, platform })
  t.equal(pku.run({ 0: now | PKE }), 'done', 'PKE with XFAM.9')
  const pks = stub('mov cr4, rax', { attributes: abi.TDX_ATTR_PKS })
  t.equal(pks.run({ 0: now | PKE }), '#GP')
  const read = stub('mov rax, cr4')
  t.equal(read.run(), 'done')
  t.equal(read.cpu.gpr[8]! & (MCE | VMXE | SMXE), MCE, 'MCE reads 1, VMXE and SMXE 0')
})

t.test('XSETBV: what XFAM and the combinations allow', async t => {
  const s = stub('xsetbv', { xfam: 0x6_00e7n, platform })
  const withXsave = stub('mov rsi, rax\nmov rdi, cr4\nbts rdi, 18\nmov cr4, rdi\nmov rax, rsi\nxsetbv', {
    xfam: 0x6_00e7n,
    platform,
  })
  const set = (value: bigint, xcr = 0n) => withXsave.run({ 0: value & 0xffff_ffffn, 1: xcr, 2: value >> 32n })
  for (const [value, want] of [
    [1n, 'done'],
    [3n, 'done'],
    [7n, 'done'],
    [0xe7n, 'done'],
    [0x6_00e7n, 'done'],
    [0n, '#GP'],
    [2n, '#GP'],
    [5n, '#GP'],
    [0xe3n, '#GP'],
    [0x27n, '#GP'],
    [0x2_0007n, '#GP'],
    [0x203n, '#GP'],
    [1n << 62n, '#GP'],
  ] as const)
    t.equal(set(value), want, hex(value))
  t.equal(set(3n, 1n), '#GP', 'there is only XCR0')
  t.equal(s.run({ 0: 3n }), '#UD', 'without CR4.OSXSAVE')
})
