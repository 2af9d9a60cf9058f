/**
 * What an instruction costs in hot code, by family: `families.main.ts [REGEX]` prints nanoseconds per instruction, those of
 * an empty loop taken off, the least of some rounds. What leaves compiled code is dearer than the rest by far.
 */
import { CODE, longMode } from '../testdata/machine.ts'

type Family = { readonly name: string; readonly before: string; readonly body: string; readonly count: number }

const DATA = 0x4_0000
const x87 = (...lines: string[]): string => lines.join('\n')
const family = (name: string, body: string, before = ''): Family => ({
  name,
  before,
  body,
  count: body.split('\n').filter(line => line.trim() !== '').length,
})

const FAMILIES: readonly Family[] = [
  family('add r, r (compiled)', 'add rax, rbx\nadd rdx, rbx\nadd rsi, rbx\nadd r8, rbx'),
  family('mulsd (compiled)', 'movapd xmm2, xmm4\nmulsd xmm2, xmm3\nmovapd xmm5, xmm4\nmulsd xmm5, xmm3'),
  family('x87 load, add, store', x87('fld qword [rdi]', 'fadd qword [rdi+8]', 'fstp qword [rdi+32]')),
  family('x87 mul, sub', x87('fld qword [rdi]', 'fmul qword [rdi+8]', 'fsub qword [rdi+16]', 'fstp qword [rdi+32]')),
  family('x87 div', x87('fld qword [rdi]', 'fdiv qword [rdi+8]', 'fstp qword [rdi+32]')),
  family('x87 sqrt', x87('fld qword [rdi]', 'fsqrt', 'fstp qword [rdi+32]')),
  family('x87 stack', x87('fld1', 'fld st0', 'fxch st1', 'faddp st1, st0', 'fstp st0')),
  family('x87 compare', x87('fld qword [rdi]', 'fld qword [rdi+8]', 'fucomip st0, st1', 'fstp st0')),
  family('x87 integers', x87('fild dword [rdi+24]', 'fistp dword [rdi+40]')),
  family('x87 fsin', x87('fld qword [rdi]', 'fsin', 'fstp qword [rdi+32]')),
  family('fnstcw, fldcw', 'fnstcw word [rdi+32]\nfldcw word [rdi+32]'),
  family('mmx', 'movq mm0, qword [rdi]\npaddw mm0, mm1\npshufw mm2, mm0, 0x1b\nmovq qword [rdi+32], mm2'),
  family('aesenc', 'aesenc xmm2, xmm3\naesenc xmm2, xmm4\naesenc xmm2, xmm5\naesenc xmm2, xmm6'),
  family('aesdec', 'aesdec xmm2, xmm3\naesdec xmm2, xmm4'),
  family('aeskeygenassist', 'aeskeygenassist xmm2, xmm3, 1'),
  family('pclmulqdq', 'pclmulqdq xmm2, xmm3, 0x11\npclmulqdq xmm2, xmm3, 0'),
  family('sha256rnds2', 'sha256rnds2 xmm2, xmm3\nsha256rnds2 xmm3, xmm2'),
  family('sha256msg', 'sha256msg1 xmm2, xmm3\nsha256msg2 xmm2, xmm3'),
  family('sha1', 'sha1rnds4 xmm2, xmm3, 1\nsha1nexte xmm2, xmm3\nsha1msg1 xmm4, xmm3\nsha1msg2 xmm4, xmm3'),
  family('fma sd', 'vfmadd231sd xmm2, xmm3, xmm4\nvfmadd231sd xmm5, xmm3, xmm4'),
  family('fma pd, 256', 'vfmadd231pd ymm2, ymm3, ymm4\nvfmadd231pd ymm5, ymm3, ymm4'),
  family('fma ps, 256', 'vfmadd231ps ymm8, ymm9, ymm9\nvfmadd231ps ymm10, ymm9, ymm9'),
  family('f16c', 'vcvtps2ph xmm2, xmm9, 0\nvcvtph2ps xmm3, xmm2'),
  family('gather', 'vpcmpeqd ymm5, ymm5, ymm5\nvpgatherdd ymm4, dword [rdi+ymm7*4], ymm5'),
  family('vmaskmov', 'vmaskmovps ymm4, ymm5, [rdi]\nvmaskmovps [rdi+64], ymm5, ymm4'),
  family('pext, pdep', 'pext rax, rbx, rdx\npdep rax, rbx, rdx'),
  family('popcnt, lzcnt, tzcnt', 'popcnt rax, rbx\nlzcnt rdx, rbx\ntzcnt rsi, rbx'),
  family('pcmpistri', 'pcmpistri xmm2, xmm3, 0xc', 'push rcx'),
  family('rcpps, rsqrtps', 'rcpps xmm2, xmm9\nrsqrtps xmm3, xmm9'),
  family('dpps', 'dpps xmm2, xmm9, 0xff'),
  family('addsubpd', 'addsubpd xmm2, xmm3'),
  family('rdtsc', 'rdtsc'),
  family('cpuid', 'xor eax, eax\nxor ecx, ecx\ncpuid'),
  family('rdrand', 'rdrand rax'),
  family('xgetbv', 'xor ecx, ecx\nxgetbv'),
  family('pushf, popf', 'pushfq\npopfq'),
  family('fxsave', 'fxsave [rdi+256]'),
  family('fxrstor', 'fxrstor [rdi+256]', 'fxsave [rdi+256]'),
  family('xsave, xrstor', 'xor edx, edx\nmov eax, 7\nxsave [rdi+1024]\nxrstor [rdi+1024]'),
  family('ldmxcsr', 'stmxcsr dword [rdi+32]\nldmxcsr dword [rdi+32]'),
  family('lfence, rdfsbase', 'lfence\nrdfsbase rax'),
]

const timeOf = ({ before, body }: Family): { ms: number; per: number } => {
  const m = longMode({ tier: 'auto' })
  const { cpu } = m
  cpu.cr4 |= 0x5_0600n
  cpu.xcr0 = 7n
  cpu.mxcsr = 0x1fa0
  const saves = ['r15d', 'r14'] as const
  const text = [
    `mov edi, ${DATA}`,
    'fninit',
    before,
    'again: mov r13d, 1000',
    'inner:',
    body,
    'dec r13d',
    'jne inner',
    `dec ${saves[0]}`,
    'jne again',
    'hlt',
  ].join('\n')
  m.asm(CODE, text)
  const one = (value: number): bigint => {
    const view = new DataView(new ArrayBuffer(8))
    view.setFloat64(0, value)
    return view.getBigUint64(0)
  }
  m.put64(BigInt(DATA), one(1.2345678), one(0.98765432), one(3.75), 77n)
  const bytes = new DataView(cpu.vec.buffer, cpu.vec.byteOffset)
  for (let n = 0; n < 8; n++)
    for (let lane = 0; lane < 4; lane++) bytes.setFloat64(n * 32 + lane * 8, 1 + 1 / (n * 4 + lane + 3), true)
  for (let lane = 0; lane < 8; lane++) {
    bytes.setFloat32(9 * 32 + lane * 4, 0.75 + lane / 1000, true)
    bytes.setUint32(7 * 32 + lane * 4, lane * 3, true)
  }
  bytes.setBigUint64(5 * 32, 0x8000_0000_8000_0000n, true)
  const start = cpu.rip
  const stack = cpu.gpr[4]!
  const round = (turns: number): number => {
    cpu.rip = start
    cpu.gpr[4] = stack
    cpu.gpr[15] = BigInt(turns)
    const from = performance.now()
    cpu.run(2 ** 40)
    return performance.now() - from
  }
  round(3)
  let turns = 4
  let ms = round(turns)
  while (ms < 30 && turns < 20_000) {
    turns *= 4
    ms = round(turns)
  }
  for (let n = 0; n < 3; n++) ms = Math.min(ms, round(turns))
  cpu.close()
  return { ms, per: (ms * 1e6) / (turns * 1000) }
}

const only = new RegExp(process.argv[2] ?? '')
const empty = timeOf(family('empty', '')).per
for (const known of FAMILIES) {
  if (!only.test(known.name)) continue
  const { per } = timeOf(known)
  console.log(`${known.name.padEnd(24)} ${((per - empty) / known.count).toFixed(2).padStart(10)} ns`)
}
