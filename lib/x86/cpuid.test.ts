import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { describeCpu, FEATURES, featureNamed, featuresOf, IMPLEMENTED, nativeCpuid } from './cpuid.ts'
import { semantics } from './semantics/index.ts'
import { cpuid, xsetbv } from './system.ts'
import { table } from './table.ts'
import { CODE, longMode } from './testdata/machine.ts'
import { farJump } from './transfer.ts'

const text = (words: readonly number[]): string => {
  const bytes = new DataView(new ArrayBuffer(words.length * 4))
  words.forEach((word, n) => {
    bytes.setUint32(n * 4, word >>> 0, true)
  })
  return Buffer.from(bytes.buffer).toString('latin1').replace(/\0+$/, '')
}

t.test('vendor, family, brand', async t => {
  const [max, b, c, d] = nativeCpuid(0, 0)
  t.equal(text([b, d, c]), 'GenuineIntel')
  t.ok(max >= 0xd)
  t.equal(nativeCpuid(1, 0)[0], 0x806f8)
  const brand = [2, 3, 4].flatMap(n => [...nativeCpuid(0x8000_0000 + n, 0)])
  t.equal(text(brand), 'Seamless virtual processor')
  t.same(nativeCpuid(0x4000_0000, 0), nativeCpuid(0x16, 0), 'beyond the last leaf: the last basic one')
})

t.test('a feature is claimed only if each of its instructions has its semantics', async t => {
  const { has } = featuresOf(nativeCpuid)
  for (const row of table) {
    if (row.feature === '' || !Object.hasOwn(FEATURES, row.feature) || !has(row.feature)) continue
    if (!Object.hasOwn(semantics, row.semantics)) t.fail(`${row.feature} is claimed, ${row.mnemonic} is not there`)
  }
  for (const name of ['SSE2', 'LM', 'SYSCALL', 'SMEP', 'SMAP', 'NX', 'LA57', 'PDPE1GB', 'CX16']) t.ok(has(name), name)
  for (const name of ['VMX', 'SMX', 'SSE4A', 'FMA4', 'CET_SS']) t.notOk(has(name), name)
})

t.test('the table and CPUID name features alike', async t => {
  const unknown = table.filter(row => row.feature !== '' && !Object.hasOwn(FEATURES, row.feature))
  t.same(
    unknown.map(row => `${row.mnemonic}: ${row.feature}`),
    [],
  )
})

t.test('without its feature an instruction is #UD; LZCNT and TZCNT are the scans they once were', async t => {
  const missing = [
    'BMI1',
    'LZCNT',
    'POPCNT',
    'CMOV',
    'LAHF',
    'TSC',
    'MSR',
    'AESNI',
    'AVX2',
    'XSAVEC',
    'RDPID',
    'FSGSBASE',
  ]
  const faults: number[] = []
  const machine = longMode({
    cpuid: describeCpu(IMPLEMENTED.filter(name => !missing.includes(name))),
    onFault: ({ vector }) => {
      faults.push(vector)
      return 'stop'
    },
  })
  const { cpu } = machine
  cpu.cr4 |= 1n << 18n
  cpu.xcr0 = 7n
  const step = (text: string): number | undefined => {
    faults.length = 0
    machine.asm(CODE, text)
    cpu.rip = CODE
    cpu.step()
    return faults[0]
  }
  for (const text of [
    'popcnt eax, ebx',
    'cmove eax, ebx',
    'fcomi st, st1',
    'lahf',
    'rdtsc',
    'rdmsr',
    'aesenc xmm0, xmm1',
    'vpaddd ymm0, ymm1, ymm2',
    'xsavec [rsp]',
    'rdpid rax',
    'rdfsbase rax',
    'andn eax, ebx, ecx',
    'umonitor rax',
    'vmxoff',
  ])
    t.equal(step(text), 6, text)
  cpu.gpr[3] = 0x50n
  t.equal(step('lzcnt eax, ebx'), undefined)
  t.equal(cpu.gpr[0], 6n, 'BSR: the number of the highest bit')
  t.equal(step('tzcnt eax, ebx'), undefined)
  t.equal(cpu.gpr[0], 4n)
  t.equal(step('vpaddd xmm0, xmm1, xmm2'), undefined)
})

t.test('SSE, AVX, MMX and x87 under CR0 and CR4', async t => {
  const faults: number[] = []
  const machine = longMode({
    onFault: ({ vector }) => {
      faults.push(vector)
      return 'stop'
    },
  })
  const { cpu } = machine
  const [MP, EM, TS, OSFXSR, OSXSAVE] = [2n, 4n, 8n, 0x200n, 0x4_0000n]
  const texts = [
    'addps xmm0, xmm1',
    'vaddps xmm0, xmm1, xmm2',
    'paddb mm0, mm1',
    'fld1',
    'wait',
    'fxsave [rsp]',
    'xsave [rsp]',
  ]
  const all = (cr0: bigint, cr4: bigint, xcr0: bigint): (number | undefined)[] =>
    texts.map(text => {
      faults.length = 0
      cpu.cr0 = 0x8001_0031n | cr0
      cpu.cr4 = 0xa0n | cr4
      cpu.xcr0 = xcr0
      cpu.x87.fsw = 0
      cpu.x87.ftw = 0
      machine.asm(CODE, text)
      cpu.rip = CODE
      cpu.step()
      return faults[0]
    })
  const fine = undefined
  const both = OSFXSR | OSXSAVE
  //                                  SSE   AVX   MMX   x87   WAIT  FXSAVE XSAVE
  t.same(all(MP, both, 7n), /*     */ [fine, fine, fine, fine, fine, fine, fine])
  t.same(all(MP, OSFXSR, 7n), /*   */ [fine, 6, fine, fine, fine, fine, 6])
  t.same(all(MP, OSXSAVE, 7n), /*  */ [6, fine, fine, fine, fine, fine, fine])
  t.same(all(MP, both, 3n), /*     */ [fine, 6, fine, fine, fine, fine, fine])
  t.same(all(MP | TS, both, 7n), /**/ [7, 7, 7, 7, 7, 7, 7])
  t.same(all(TS, both, 7n), /*     */ [7, 7, 7, 7, fine, 7, 7])
  t.same(all(EM, both, 7n), /*     */ [6, fine, 6, 7, fine, 7, fine])
  t.same(all(EM | TS, both, 7n), /**/ [6, 7, 6, 7, fine, 7, 7])
})

t.test('every feature has a bit of its own, and the description sets exactly those it is given', async t => {
  const places = Object.values(FEATURES).map(place => place.join(' '))
  t.equal(new Set(places).size, places.length)
  const { has } = featuresOf(describeCpu(['FPU', 'AVX2']))
  t.ok(has('AVX2'))
  t.notOk(has('BMI1'))
  t.ok(IMPLEMENTED.length > 30)
})

t.test('bits that follow registers: OSXSAVE, OSPKE, SYSCALL, the XSAVE size', async t => {
  const { cpu } = longMode({ cpuid: describeCpu(['XSAVE', 'XSAVEC', 'SSE', 'AVX', 'PKU', 'SYSCALL', 'LM']) })
  const bit = (leaf: number, register: number, n: number) => (cpuid(cpu, leaf, 0)[register]! >>> n) & 1
  t.equal(bit(1, 2, 27), 0)
  t.equal(bit(7, 2, 4), 0)
  t.equal(bit(0x8000_0001, 3, 11), 1)
  cpu.cr4 |= (1n << 18n) | (1n << 22n)
  t.equal(bit(1, 2, 27), 1)
  t.equal(bit(7, 2, 4), 1)
  t.same([cpuid(cpu, 0xd, 0)[1], cpuid(cpu, 0xd, 1)[1]], [576, 576])
  xsetbv(cpu, 0, 7n)
  t.same([cpuid(cpu, 0xd, 0)[1], cpuid(cpu, 0xd, 1)[1]], [0x340, 0x340])
  xsetbv(cpu, 0, 0x207n)
  t.same([cpuid(cpu, 0xd, 0)[1], cpuid(cpu, 0xd, 1)[1]], [0xa88, 0x348])
  farJump(cpu, 0x18, 0n, 4)
  t.equal(bit(0x8000_0001, 3, 11), 0, 'no SYSCALL outside 64-bit mode')
})

t.test('features have the names of the SDM, of Linux and of QEMU', async t => {
  // Of /proc/cpuinfo, where the processor here has the feature at all; then what QEMU's -cpu calls otherwise.
  const linux =
    'fpu de pse tsc msr pae mce cx8 apic sep pge cmov pat pse36 clflush mmx fxsr sse sse2 syscall nx pdpe1gb rdtscp lm pni pclmulqdq monitor ssse3 fma cx16 pcid sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave avx f16c rdrand hypervisor lahf_lm abm 3dnowprefetch fsgsbase tsc_adjust bmi1 avx2 smep bmi2 erms invpcid rdseed adx smap clflushopt clwb sha_ni xsaveopt xsavec xgetbv1 xsaves wbnoinvd umip pku ospke waitpkg vaes vpclmulqdq la57 rdpid cldemote movdiri movdir64b serialize'
  const qemu = 'sse4.1 sse4.2 tsc-deadline lahf-lm sha-ni pclmuldq pse36 PSE-36 pks ibt shstk'
  for (const name of `${linux} ${qemu}`.split(' ')) t.ok(featureNamed(name), name)
  t.equal(featureNamed('tsc-adjust'), 'TSC_ADJUST')
  for (const name of ['avx512f', 'constructor', '', 'sse5']) t.equal(featureNamed(name), undefined, name)
})

t.test('features that have been asked for all there is do not hold the answer, nor what that is of', async t => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const answer = (): [WeakRef<object>, ReturnType<typeof featuresOf>] => {
    const machine = { words: nativeCpuid(1, 0) }
    return [
      new WeakRef(machine),
      featuresOf((leaf, subleaf) => (leaf === 1 ? machine.words : nativeCpuid(leaf, subleaf))),
    ]
  }
  const [held, features] = answer()
  const { summary } = features
  await new Promise(setImmediate)
  collect()
  t.equal(held.deref(), undefined)
  t.equal(features.summary, summary)
  t.ok(features.has('SSE2'))
})
