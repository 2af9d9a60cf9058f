import t from 'tap'
import { DATA, DATA16, rows } from '../insn-rows.ts'

const { insn, insn16, insn32 } = rows(t)

const bytes = (first: number, step = 1, count = 16): string =>
  Buffer.from(Array.from({ length: count }, (_, n) => first + n * step)).toString('hex')
const both = (half: string): string => half + half
const ONES = 'ff'.repeat(16)
const ZEROS = '00'.repeat(16)
const UP = '11'.repeat(16)
const words = (...all: number[]): string => all.map(n => Buffer.from(Int32Array.of(n).buffer).toString('hex')).join('')
const floats = (...all: number[]): string => Buffer.from(Float32Array.from(all).buffer).toString('hex')
const doubles = (...all: number[]): string => Buffer.from(Float64Array.from(all).buffer).toString('hex')

// MMX: the x87 registers become valid, which `x87` shows elsewhere.
insn('0f fc c1', 'paddb mm0, mm1', { mm0: 'ff01020304050607', mm1: '0201010101010101' }, { mm0: '0102030405060708' })
insn(
  '0f 60 03',
  'punpcklbw mm0, dword ptr [rbx]',
  { rbx: DATA + 0xffcn, mm0: '01020304', mem: { 4092: 'a1a2a3a4' } },
  { mm0: '01a102a203a304a4' },
)
insn('0f fc c1', 'paddb mm0, mm1', { cr0: 4n }, { fault: 6 })
insn('0f fc c1', 'paddb mm0, mm1', { cr0: 8n }, { fault: 7 })
insn('0f 7e c0', 'movd eax, mm0', { rax: 1n << 40n, mm0: '01020304ffff' }, { rax: 0x0403_0201n })

// Where MMX and XMM meet, both have to be on.
insn('f3 0f d6 c1', 'movq2dq xmm0, mm1', { mm1: '0102030405060708' }, { xmm0: '0102030405060708'.padEnd(32, '0') })
insn('f3 0f d6 c1', 'movq2dq xmm0, mm1', { cr4: 0n }, { fault: 6 })
insn('0f 2d c1', 'cvtps2pi mm0, xmm1', { cr4: 0n }, { fault: 6 })
insn('0f 70 c1 1b', 'pshufw mm0, mm1, 0x1b', { cr4: 0n, mm1: '0100020003000400' }, { mm0: '0400030002000100' })

// SSE keeps what is above 128 bits, VEX clears it; memory is aligned for SSE only.
insn('66 0f fc c1', 'paddb xmm0, xmm1', { xmm0: bytes(0) + UP, xmm1: bytes(1) }, { xmm0: bytes(1, 2) + UP })
insn('c5 f9 fc c1', 'vpaddb xmm0, xmm0, xmm1', { xmm0: bytes(0) + UP, xmm1: bytes(1) }, { xmm0: bytes(1, 2) })
insn(
  'c5 fd fc c1',
  'vpaddb ymm0, ymm0, ymm1',
  { xmm0: both(bytes(0)), xmm1: both(bytes(1)) },
  { xmm0: both(bytes(1, 2)) },
)
insn('66 0f fc 03', 'paddb xmm0, [rbx]', { rbx: DATA + 8n }, { fault: 13 })
insn('c5 f9 fc 03', 'vpaddb xmm0, xmm0, [rbx]', { rbx: DATA + 8n, mem: { 8: '05' } }, { xmm0: `05${'00'.repeat(15)}` })
insn('66 0f fc c1', 'paddb xmm0, xmm1', { cr4: 0n }, { fault: 6 })
insn('c5 f9 fc c1', 'vpaddb xmm0, xmm0, xmm1', { cr4: 0x200n }, { fault: 6 })
insn('c5 f9 fc c1', 'vpaddb xmm0, xmm0, xmm1', { cr0: 8n }, { fault: 7 })
insn('0f 28 03', 'movaps xmm0, [rbx]', { rbx: DATA + 1n }, { fault: 13 })
insn('0f 10 03', 'movups xmm0, [rbx]', { rbx: DATA + 1n, mem: { 1: bytes(3) } }, { xmm0: bytes(3) })
insn('0f 29 03', 'movaps [rbx], xmm0', { rbx: DATA, xmm0: bytes(9) }, { mem: { 0: bytes(9) } })
insn('c5 fc 28 03', 'vmovaps ymm0, [rbx]', { rbx: DATA + 16n }, { fault: 13 })
insn('f3 0f 10 c1', 'movss xmm0, xmm1', { xmm0: bytes(0), xmm1: ONES }, { xmm0: `ffffffff${bytes(4, 1, 12)}` })
insn(
  'f3 0f 10 03',
  'movss xmm0, dword ptr [rbx]',
  { rbx: DATA, xmm0: ONES, mem: { 0: '01020304' } },
  { xmm0: '01020304'.padEnd(32, '0') },
)
insn('66 48 0f 6e c3', 'movq xmm0, rbx', { rbx: 5n, xmm0: ONES }, { xmm0: '05'.padEnd(32, '0') })
insn('66 0f d7 c0', 'pmovmskb eax, xmm0', { rax: 1n << 40n, xmm0: bytes(0x78) }, { rax: 0xff00n })
insn('66 0f 70 c1 1b', 'pshufd xmm0, xmm1, 0x1b', { xmm1: words(0, 1, 2, 3) }, { xmm0: words(3, 2, 1, 0) })
insn(
  '66 0f 38 00 c1',
  'pshufb xmm0, xmm1',
  { xmm0: bytes(0x10), xmm1: `0f80${'00'.repeat(14)}` },
  { xmm0: `1f00${'10'.repeat(14)}` },
)
insn('66 0f 73 d9 04', 'psrldq xmm1, 4', { xmm1: bytes(0) }, { xmm1: `${bytes(4, 1, 12)}00000000` })
insn('66 0f 72 f1 20', 'pslld xmm1, 32', { xmm1: ONES }, { xmm1: ZEROS })
insn('66 0f 72 e1 ff', 'psrad xmm1, 255', { xmm1: words(-5, 5, -1, 1) }, { xmm1: words(-1, 0, -1, 0) })
insn('66 0f d2 c1', 'psrld xmm0, xmm1', { xmm0: ONES, xmm1: '0000000001' }, { xmm0: ZEROS })
insn(
  '66 0f 63 c1',
  'packsswb xmm0, xmm1',
  { xmm0: `ff7f0080${'00'.repeat(12)}`, xmm1: '0100' },
  { xmm0: `7f80${'00'.repeat(6)}01${'00'.repeat(7)}` },
)
insn('66 0f f6 c1', 'psadbw xmm0, xmm1', { xmm0: ONES }, { xmm0: both('f807000000000000') })
insn('66 0f 38 17 c1', 'ptest xmm0, xmm1', { xmm0: ONES, xmm1: bytes(1), of: 1 }, { cf: 1, of: 0 })
insn('66 0f 38 17 c1', 'ptest xmm0, xmm1', { xmm1: bytes(1) }, { zf: 1 })
insn(
  '66 0f 3a 63 c1 0c',
  'pcmpistri xmm0, xmm1, 0xc',
  { xmm0: '6263', xmm1: '61626300' },
  { rcx: 1n, cf: 1, zf: 1, sf: 1 },
)
insn(
  '66 0f 3a 44 c1 01',
  'pclmulqdq xmm0, xmm1, 1',
  { xmm0: `${'00'.repeat(8)}03`, xmm1: '03' },
  { xmm0: '05'.padEnd(32, '0') },
)
insn('66 0f 38 dc c1', 'aesenc xmm0, xmm1', {}, { xmm0: '63'.repeat(16) })
insn('c4 e2 7d dc c1', 'vaesenc ymm0, ymm0, ymm1', { xmm1: both('01'.repeat(16)) }, { xmm0: '62'.repeat(32) })
insn('66 0f 3a df c1 01', 'aeskeygenassist xmm0, xmm1, 1', {}, { xmm0: both('6363636362636363') })
insn('0f 38 c8 03', 'sha1nexte xmm0, [rbx]', { rbx: DATA + 1n }, { xmm0: ZEROS })
insn(
  '66 0f f7 c1',
  'maskmovdqu xmm0, xmm1',
  { rdi: DATA, xmm0: bytes(1), xmm1: '80008000' },
  { mem: { 0: '01', 2: '03' } },
)

// Floating point: rounding, exceptions, DAZ and FTZ.
insn(
  '0f 58 c1',
  'addps xmm0, xmm1',
  { xmm0: floats(1, 2, 3, 4), xmm1: floats(1, 1, 1, -4) },
  { xmm0: floats(2, 3, 4, 0) },
)
insn(
  'f2 0f 58 c1',
  'addsd xmm0, xmm1',
  { xmm0: doubles(1, 9), xmm1: doubles(2 ** -60, 5) },
  { xmm0: doubles(1, 9), mxcsr: 0x1fa0 },
)
insn(
  'f2 0f 58 c1',
  'addsd xmm0, xmm1',
  { xmm0: doubles(1), xmm1: doubles(2 ** -60), mxcsr: 0x5f80 },
  { xmm0: doubles(1 + 2 ** -52, 0), mxcsr: 0x5fa0 },
)
insn(
  'f3 0f 5e c1',
  'divss xmm0, xmm1',
  { xmm0: floats(1) },
  { xmm0: floats(Number.POSITIVE_INFINITY, 0, 0, 0), mxcsr: 0x1f84 },
)
insn('f3 0f 5e c1', 'divss xmm0, xmm1', { xmm0: floats(1), mxcsr: 0x1d80 }, { fault: 19, mxcsr: 0x1d84 })
insn('f3 0f 5e c1', 'divss xmm0, xmm1', { xmm0: floats(1), mxcsr: 0x1d80, cr4: 0x200n }, { fault: 6, mxcsr: 0x1d84 })
insn('f3 0f 58 c1', 'addss xmm0, xmm1', { xmm0: '01', mxcsr: 0x1f80 }, { xmm0: '01'.padEnd(32, '0'), mxcsr: 0x1f82 })
insn('f3 0f 58 c1', 'addss xmm0, xmm1', { xmm0: '01', mxcsr: 0x1fc0 }, { xmm0: ZEROS })
insn(
  'f3 0f 59 c1',
  'mulss xmm0, xmm1',
  { xmm0: floats(2 ** -100), xmm1: floats(2 ** -40), mxcsr: 0x9f80 },
  { xmm0: ZEROS, mxcsr: 0x9fb0 },
)
insn(
  'f3 0f 5d c1',
  'minss xmm0, xmm1',
  { xmm0: '0000c07f', xmm1: floats(1) },
  { xmm0: floats(1, 0, 0, 0), mxcsr: 0x1f81 },
)
insn('0f 2e c1', 'ucomiss xmm0, xmm1', { xmm0: '0000c07f', of: 1 }, { cf: 1, pf: 1, zf: 1, of: 0 })
insn('0f 2f c1', 'comiss xmm0, xmm1', { xmm0: '0000c07f' }, { cf: 1, pf: 1, zf: 1, mxcsr: 0x1f81 })
insn('f2 48 0f 2d c0', 'cvtsd2si rax, xmm0', { xmm0: doubles(2.5) }, { rax: 2n, mxcsr: 0x1fa0 })
insn('f2 0f 2c c0', 'cvttsd2si eax, xmm0', { xmm0: doubles(2 ** 31) }, { rax: 0x8000_0000n, mxcsr: 0x1f81 })
insn('66 0f 3a 0b c1 0b', 'roundsd xmm0, xmm1, 0xb', { xmm1: doubles(-2.5) }, { xmm0: doubles(-2, 0) })
insn(
  'c4 e2 f1 b8 c2',
  'vfmadd231pd xmm0, xmm1, xmm2',
  { xmm0: doubles(1, 1), xmm1: doubles(3, 4), xmm2: doubles(5, 6) },
  { xmm0: doubles(16, 25) },
)
insn('c4 e2 79 13 c1', 'vcvtph2ps xmm0, xmm1', { xmm1: '003c00c0' }, { xmm0: floats(1, -2, 0, 0) })
insn('c5 fc 77', 'vzeroall', { xmm0: both(ONES), xmm3: both(ONES) }, { xmm0: ZEROS, xmm3: ZEROS })
insn('c5 f8 77', 'vzeroupper', { xmm0: both(ONES) }, { xmm0: ONES })
insn(
  'c4 e2 69 92 04 8b',
  'vgatherdps xmm0, [rbx + xmm1*4], xmm2',
  { rbx: DATA, xmm0: words(9, 9, 9, 9), xmm1: words(1, 0, 0, 2), xmm2: words(-1, 0, 0, -1), mem: { 4: '05', 8: '06' } },
  { xmm0: words(5, 9, 9, 6), xmm2: ZEROS },
)
insn('0f ae 13', 'ldmxcsr dword ptr [rbx]', { rbx: DATA, mem: { 0: '00000100' } }, { fault: 13 })
insn('0f ae 1b', 'stmxcsr dword ptr [rbx]', { rbx: DATA }, { mem: { 0: '801f' } })
insn32('66 0f 6e c3', 'movd xmm0, ebx', { rbx: 7n, xmm0: ONES }, { xmm0: '07'.padEnd(32, '0') })
insn32('c5 fc 77', 'vzeroall', { xmm0: both(ONES) }, { xmm0: ZEROS })
insn16('0f 10 07', 'movups xmm0, [bx]', { rbx: DATA16, mem: { 0: bytes(1) } }, { xmm0: bytes(1) })
insn16('66 0f 6e c3', 'movd xmm0, ebx', { rbx: 7n }, { xmm0: '07'.padEnd(32, '0') })
// Real mode has no VEX.
insn16('c5 f9 fc c1', 'vpaddb xmm0, xmm0, xmm1', {}, { fault: 6 })
