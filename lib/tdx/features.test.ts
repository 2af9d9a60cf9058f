import t from 'tap'
import { CPUID_LOOKUP, CPUID_SUBLEAF_NA } from '#abi'
import { FEATURES, type Feature, IMPLEMENTED } from '#x86'
import { FEATURE_REGISTERS } from './features.ts'
import { nativeCpuid, SAPPHIRE_RAPIDS, SILICON } from './platform.ts'
import { Host } from './testdata/host.ts'

const fates = FEATURE_REGISTERS.flatMap(({ leaf, subleaf, register, bits }) =>
  Object.entries(bits).map(([bit, [name, fate]]) => ({ leaf, subleaf, register, bit: Number(bit), name, fate })),
)
const has = (platform: typeof SILICON, leaf: number, subleaf: number, register: 0 | 1 | 2 | 3, bit: number): boolean =>
  ((nativeCpuid(platform, leaf, subleaf)[register] >>> bit) & 1) === 1
/** Names that #x86 has as well: what it has not implemented may still be there outside the CPU. */
const features = Object.keys(FEATURES) as Feature[]
const isAt = (name: Feature, leaf: number, subleaf: number, register: number, bit: number): boolean =>
  `${FEATURES[name]}` === `${[leaf, subleaf, register, bit]}`

t.test('every feature bit of the silicon has a name, and stands where somebody answers for it', async t => {
  let seen = 0
  for (const { leaf, subleaf, register } of FEATURE_REGISTERS)
    for (let bit = 0; bit < 32; bit++) {
      if (!has(SILICON, leaf, subleaf, register, bit)) {
        if (has(SAPPHIRE_RAPIDS, leaf, subleaf, register, bit))
          t.fail(`${leaf.toString(16)}.${subleaf}: bit ${bit} is not the silicon's`)
        continue
      }
      seen++
      const feature = features.find(name => isAt(name, leaf, subleaf, register, bit))
      const known = fates.find(
        f => f.leaf === leaf && f.subleaf === subleaf && f.register === register && f.bit === bit,
      )
      const name = feature ?? known?.name
      const isThere = feature !== undefined && IMPLEMENTED.includes(feature)
      if (name === undefined) t.fail(`${leaf.toString(16)}.${subleaf} register ${register}: bit ${bit} has no name`)
      const wanted = isThere || (known !== undefined && known.fate !== 'absent')
      if (has(SAPPHIRE_RAPIDS, leaf, subleaf, register, bit) !== wanted)
        t.fail(`${name}: ${wanted ? 'hidden' : 'claimed'}`)
    }
  t.ok(seen > 120, `${seen} bits`)
})

t.test('no bit has two names or an answer that the CPU gives better', async t => {
  for (const { name, leaf, subleaf, register, bit } of fates) {
    const feature = features.find(f => isAt(f, leaf, subleaf, register, bit))
    if (feature === undefined) continue
    t.equal(name, feature, `${name} is ${feature}`)
    t.notOk(IMPLEMENTED.includes(feature), `${name} is the CPU's own`)
  }
})

t.test('what is only there because SYS.INIT demands it is demanded', async t => {
  for (const { name, leaf, subleaf, register, bit, fate } of fates) {
    if (fate !== 'demanded') continue
    const row = CPUID_LOOKUP.find(r => r.leaf === leaf && (r.subleaf === subleaf || r.subleaf === CPUID_SUBLEAF_NA))
    const isDemanded = row?.checks.some(([r, mask, value]) => r === register && ((mask & value) >>> bit) % 2 === 1)
    t.ok(isDemanded, name)
  }
})

t.test('the module accepts the platform, and the silicon', async t => {
  for (const platform of [SAPPHIRE_RAPIDS, SILICON]) t.equal(new Host({ platform }).boot().module.state, 'SYS_READY')
})

t.test('XSAVE state: sizes as for what is there; leaves of what is not are zero', async t => {
  const cpuid = (leaf: number, subleaf = 0) => nativeCpuid(SAPPHIRE_RAPIDS, leaf, subleaf)
  t.same([SAPPHIRE_RAPIDS.xcr0, SAPPHIRE_RAPIDS.xss], [0x207n, 0x1800n])
  t.same(cpuid(0xd), [0x207, 0xa88, 0xa88, 0])
  t.same(cpuid(0xd, 1), [0xf, 0x240 + 0x100 + 8 + 0x10 + 0x18, 0x1800, 0])
  t.same(cpuid(0xd, 2), [0x100, 0x240, 0, 0])
  for (const subleaf of [5, 6, 7, 8, 15, 17, 18]) t.same(cpuid(0xd, subleaf), [0, 0, 0, 0], `component ${subleaf}`)
  t.same(cpuid(0x14), [1, 0, 0, 0], 'all that SYS.INIT demands of processor trace')
  for (const leaf of [0x19, 0x1c, 0x1d, 0x1e]) t.same(cpuid(leaf), [0, 0, 0, 0], leaf.toString(16))
  for (const subleaf of [0, 1, 2, 3])
    t.same(cpuid(4, subleaf), nativeCpuid(SILICON, 4, subleaf), 'caches are the silicon’s')
})
