import t from 'tap'
import { CPUID_CONFIGURABLE } from '#abi'
import { FEATURES, type Feature, table } from '#x86'
import { SAPPHIRE_RAPIDS } from '../platform.ts'
import { DATA_PAGE, guest, TDVMCALL } from '../testdata/guest.ts'
import type { TdOptions } from '../testdata/host.ts'
import { configurableBits } from './cpuid.ts'

/** One instruction of each feature of the table that a TD in 64-bit mode can execute. RAX and RDX: a page. ECX: 0. */
const SAMPLE: Partial<Record<Feature, string>> = {
  CMOV: 'cmove esi, edi',
  LAHF: 'lahf',
  MOVBE: 'movbe esi, [rax]',
  POPCNT: 'popcnt esi, edi',
  BMI1: 'andn esi, edi, edi',
  ADX: 'adcx esi, edi',
  SSE4_2: 'crc32 esi, edi',
  CX8: 'cmpxchg8b [rax]',
  CX16: 'cmpxchg16b [rax]',
  SSE2: 'movnti [rax], esi',
  MOVDIRI: 'movdiri [rax], esi',
  MOVDIR64B: 'movdir64b rax, [rdx]',
  RDRAND: 'rdrand esi',
  RDSEED: 'rdseed esi',
  BMI2: 'pext esi, edi, edi',
  TSC: 'rdtsc',
  MSR: 'rdmsr',
  SYSCALL: 'mov ecx, 0xc0000080\nrdmsr\nor eax, 1\nwrmsr\nmov ecx, 0xc0000082\nmov eax, done\nwrmsr\nsyscall',
  SEP: 'sysenter',
  MONITOR: 'monitor',
  SMAP: 'stac',
  XSAVE: 'xgetbv',
  XSAVEOPT: 'xsaveopt [rax]',
  XSAVEC: 'xsavec [rax]',
  XSAVES: 'xsaves [rax]',
  FXSR: 'fxsave [rax]',
  FSGSBASE: 'rdfsbase rsi',
  CLFSH: 'clflush [rax]',
  CLFLUSHOPT: 'clflushopt [rax]',
  CLWB: 'clwb [rax]',
  WAITPKG: 'tpause esi',
  PKU: 'rdpkru',
  SERIALIZE: 'serialize',
  RDTSCP: 'rdtscp',
  RDPID: 'rdpid rsi',
  INVPCID: 'mov esi, 2\ninvpcid rsi, [rax]',
  VMX: 'vmxoff',
  SGX: 'enclu',
  SMX: 'getsec',
  KL: 'aesenc128kl xmm1, [rax]',
  FPU: 'fninit',
  MMX: 'paddb mm1, mm2',
  SSE: 'addps xmm1, xmm2',
  SSSE3: 'pabsb xmm1, xmm2',
  SSE3: 'addsubps xmm1, xmm2',
  SSE4_1: 'pminsb xmm1, xmm2',
  AESNI: 'aesenc xmm1, xmm2',
  PCLMULQDQ: 'pclmulqdq xmm1, xmm2, 0',
  SHA: 'sha1msg1 xmm1, xmm2',
  SSE4A: 'extrq xmm1, xmm2',
  AVX: 'vaddps ymm1, ymm2, ymm3',
  AVX2: 'vpaddb ymm1, ymm2, ymm3',
  VAES: 'vaesenc ymm1, ymm2, ymm3',
  VPCLMULQDQ: 'vpclmulqdq ymm1, ymm2, ymm3, 0',
  FMA: 'vfmadd132ps ymm1, ymm2, ymm3',
  F16C: 'vcvtph2ps ymm1, xmm2',
  FMA4: 'vfmaddps ymm1, ymm2, ymm3, ymm4',
}
/** SWAPGS comes with 64-bit mode, which is already there; LZCNT is BSR where it is missing. */
const UNTRIED: readonly Feature[] = ['LM', 'LZCNT']

const UD = 6n
const REGISTERS = ['eax', 'ebx', 'ecx', 'edx'] as const

/** What a TD with this much of XFAM says of a feature, and whether its instruction is #UD. */
const ask = (feature: Feature, options: TdOptions): { seen: boolean; undefined: boolean } => {
  const [leaf, subleaf, register, bit] = FEATURES[feature]
  const xcr0 = options.xfam ?? 3n
  const cr4 = (1 << 16) | (1 << 18) | ((xcr0 & 0x200n) === 0n ? 0 : 1 << 22)
  const g = guest(
    `mov rax, cr4
    or rax, ${cr4}
    mov cr4, rax
    xor ecx, ecx
    xor edx, edx
    mov eax, ${xcr0}
    xsetbv
    mov eax, ${leaf}
    mov ecx, ${subleaf}
    cpuid
    mov r10d, ${REGISTERS[register]}
    mov eax, ${DATA_PAGE}
    mov rdx, rax
    xor ecx, ecx
    xor edi, edi
    xor esi, esi
    ${SAMPLE[feature]}
    done:
    xor r15d, r15d
    jmp report`,
    options,
  )
  t.equal(g.enter(), TDVMCALL, feature)
  return { seen: (g.host.regs.r10 >> BigInt(bit)) % 2n === 1n, undefined: g.host.regs.r15 === UD }
}

/** Every bit that TD_PARAMS may set on the platform. TD_PARAMS, CPUID_CONFIG: at 256, 16 bytes each. */
const everything = (view: DataView): void => {
  for (const [n, [leaf, subleaf]] of CPUID_CONFIGURABLE.entries())
    if (leaf === 1 || leaf === 7 || leaf >= 0x8000_0000)
      // Family, model and stepping, and what an APIC id is, are no features.
      for (const [r, bits] of configurableBits(SAPPHIRE_RAPIDS, leaf, subleaf).entries())
        if (leaf !== 1 || r > 1) view.setUint32(256 + 16 * n + 4 * r, bits, true)
}

t.test('the table has no feature that is not tried', async t => {
  const features = new Set(table.map(row => row.feature).filter(feature => feature !== ''))
  t.same(new Set([...Object.keys(SAMPLE), ...UNTRIED]), features)
})

for (const [name, options] of [
  ['all that XFAM and CPUID_CONFIG can give', { xfam: 0x207n, edit: everything }],
  ['nothing configured', {}],
] as const)
  t.test(`a TD with ${name}: what CPUID has is executed, what it has not is #UD`, async t => {
    const seen: string[] = []
    for (const feature of Object.keys(SAMPLE) as Feature[]) {
      const asked = ask(feature, options)
      t.equal(asked.undefined, !asked.seen, `${feature}: ${asked.seen ? 'seen' : 'not seen'}`)
      if (asked.seen) seen.push(feature)
    }
    for (const feature of ['SSE2', 'SHA', 'MOVDIR64B']) t.ok(seen.includes(feature), feature)
    for (const feature of ['VMX', 'SGX', 'SMX', 'KL', 'WAITPKG', 'FMA4']) t.notOk(seen.includes(feature), feature)
    for (const feature of ['AVX2', 'PKU', 'SERIALIZE']) t.equal(seen.includes(feature), 'xfam' in options, feature)
  })
