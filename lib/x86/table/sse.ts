/** MMX, SSE to SSE4.2, AES, PCLMULQDQ and SHA. SDM Vol. 2A to 2D. */
import { type Group, rows } from './row.ts'

const each = (list: string, line: (name: string, opcode: string) => string): string =>
  list
    .trim()
    .split(/\s*,\s*|\n\s*/)
    .filter(item => item !== '')
    .map(item => {
      const [name = '', opcode = ''] = item.split(' ')
      return line(name, opcode)
    })
    .join('\n')

/** Packed integers that MMX and SSE2 share. */
const MMX = `
PACKSSWB 63, PCMPGTB 64, PCMPGTW 65, PCMPGTD 66, PACKUSWB 67
PUNPCKHBW 68, PUNPCKHWD 69, PUNPCKHDQ 6A, PACKSSDW 6B, PCMPEQB 74, PCMPEQW 75, PCMPEQD 76
PSRLW D1, PSRLD D2, PSRLQ D3, PMULLW D5, PSUBUSB D8, PSUBUSW D9, PAND DB, PADDUSB DC, PADDUSW DD, PANDN DF
PSRAW E1, PSRAD E2, PMULHW E5, PSUBSB E8, PSUBSW E9, POR EB, PADDSB EC, PADDSW ED, PXOR EF
PSLLW F1, PSLLD F2, PSLLQ F3, PMADDWD F5, PSUBB F8, PSUBW F9, PSUBD FA, PADDB FC, PADDW FD, PADDD FE`
/** These read only half a register from memory in their MMX form. */
const UNPACK_LOW = 'PUNPCKLBW 60, PUNPCKLWD 61, PUNPCKLDQ 62'
/** The same shape, MMX registers since SSE. */
const MMX_SSE = 'PMINUB DA, PMAXUB DE, PAVGB E0, PAVGW E3, PMULHUW E4, PMINSW EA, PMAXSW EE, PSADBW F6'
/** The same shape, MMX registers since SSE2. */
const MMX_SSE2 = 'PADDQ D4, PMULUDQ F4, PSUBQ FB'
const mmx = (name: string, opcode: string): string => `${name} | NP 0F ${opcode} /r | mm1, mm2/m64 |`
const xmm = (name: string, opcode: string): string => `${name} | 66 0F ${opcode} /r | xmm1, xmm2/m128 |`

const SHIFTS = 'PSRLW 71./2, PSRAW 71./4, PSLLW 71./6, PSRLD 72./2, PSRAD 72./4, PSLLD 72./6, PSRLQ 73./2, PSLLQ 73./6'
const spaced = (opcode: string): string => opcode.replace('.', ' ')

const SSSE3 = `
PSHUFB 00, PHADDW 01, PHADDD 02, PHADDSW 03, PMADDUBSW 04, PHSUBW 05, PHSUBD 06, PHSUBSW 07
PSIGNB 08, PSIGNW 09, PSIGND 0A, PMULHRSW 0B, PABSB 1C, PABSW 1D, PABSD 1E`
const SSE41 = `
PTEST 17, PMULDQ 28, PCMPEQQ 29, PACKUSDW 2B, PMINSB 38, PMINSD 39, PMINUW 3A, PMINUD 3B
PMAXSB 3C, PMAXSD 3D, PMAXUW 3E, PMAXUD 3F, PMULLD 40, PHMINPOSUW 41`
const EXTENSIONS = 'BW.64 0, BD.32 1, BQ.16 2, WD.64 3, WQ.32 4, DQ.64 5'
const xmm38 = (name: string, opcode: string): string => `${name} | 66 0F 38 ${opcode} /r | xmm1, xmm2/m128 |`
const xmm3A = (name: string, opcode: string): string => `${name} | 66 0F 3A ${opcode} /r ib | xmm1, xmm2/m128, imm8 |`

/** Floating point in four forms: PS, PD, SS, SD. */
const ARITHMETIC = 'SQRT 51, ADD 58, MUL 59, SUB 5C, MIN 5D, DIV 5E, MAX 5F'
const LOGIC = 'AND 54, ANDN 55, OR 56, XOR 57, UNPCKL 14, UNPCKH 15'

export const sse: readonly Group[] = [
  rows('MMX', each(MMX, mmx)),
  rows(
    'MMX',
    each(UNPACK_LOW, (name, opcode) => `${name} | NP 0F ${opcode} /r | mm1, mm2/m32 |`),
  ),
  rows('SSE', each(MMX_SSE, mmx)),
  rows('SSE2', each(MMX_SSE2, mmx)),
  rows('SSE2', each(`${MMX}, ${UNPACK_LOW}, ${MMX_SSE}, ${MMX_SSE2}, PUNPCKLQDQ 6C, PUNPCKHQDQ 6D`, xmm)),
  rows(
    'MMX',
    each(SHIFTS, (name, opcode) => `${name} | NP 0F ${spaced(opcode)} ib | mm, imm8 |`),
  ),
  rows(
    'SSE2',
    each(
      `${SHIFTS}, PSRLDQ 73./3, PSLLDQ 73./7`,
      (name, opcode) => `${name} | 66 0F ${spaced(opcode)} ib | xmm1, imm8 |`,
    ),
  ),
  rows(
    'SSSE3',
    each(SSSE3, (name, opcode) => `${name} | NP 0F 38 ${opcode} /r | mm1, mm2/m64 |`),
  ),
  rows('SSSE3', each(SSSE3, xmm38)),
  rows(
    'SSSE3',
    `
PALIGNR | NP 0F 3A 0F /r ib | mm1, mm2/m64, imm8   |
PALIGNR | 66 0F 3A 0F /r ib | xmm1, xmm2/m128, imm8 |`,
  ),
  rows(
    'MMX',
    `
MOVD | NP 0F 6E /r         | mm, r/m32   |
MOVQ | NP REX.W + 0F 6E /r | mm, r/m64   |
MOVD | NP 0F 7E /r         | r/m32, mm   |
MOVQ | NP REX.W + 0F 7E /r | r/m64, mm   |
MOVQ | NP 0F 6F /r         | mm1, mm2/m64 |
MOVQ | NP 0F 7F /r         | mm1/m64, mm2 |
EMMS | NP 0F 77            |             |`,
  ),
  rows(
    'SSE2',
    `
MOVD    | 66 0F 6E /r         | xmm, r/m32      |
MOVQ    | F3 0F 7E /r         | xmm1, xmm2/m64  |
MOVQ    | 66 0F D6 /r         | xmm2/m64, xmm1  |
MOVQ    | 66 REX.W + 0F 6E /r | xmm, r/m64      |
MOVD    | 66 0F 7E /r         | r/m32, xmm      |
MOVQ    | 66 REX.W + 0F 7E /r | r/m64, xmm      |
MOVDQA  | 66 0F 6F /r         | xmm1, xmm2/m128 |
MOVDQA  | 66 0F 7F /r         | xmm2/m128, xmm1 |
MOVDQU  | F3 0F 6F /r         | xmm1, xmm2/m128 |
MOVDQU  | F3 0F 7F /r         | xmm2/m128, xmm1 |
MOVQ2DQ | F3 0F D6 /r         | xmm, mm         |
MOVDQ2Q | F2 0F D6 /r         | mm, xmm         |
MOVNTDQ | 66 0F E7 /r         | m128, xmm1      |
MASKMOVDQU | 66 0F F7 /r      | xmm1, xmm2, m128@rDI |
PMOVMSKB | 66 0F D7 /r        | r32, xmm        |
PSHUFD  | 66 0F 70 /r ib      | xmm1, xmm2/m128, imm8 |
PSHUFHW | F3 0F 70 /r ib      | xmm1, xmm2/m128, imm8 |
PSHUFLW | F2 0F 70 /r ib      | xmm1, xmm2/m128, imm8 |
PINSRW  | 66 0F C4 /r ib      | xmm, r32/m16, imm8 |
PEXTRW  | 66 0F C5 /r ib      | r32, xmm, imm8  |
MOVUPD  | 66 0F 10 /r         | xmm1, xmm2/m128 |
MOVSD   | F2 0F 10 /r         | xmm1, xmm2/m64  |
MOVUPD  | 66 0F 11 /r         | xmm2/m128, xmm1 |
MOVSD   | F2 0F 11 /r         | xmm1/m64, xmm2  |
MOVLPD  | 66 0F 12 /r         | xmm1, m64       |
MOVLPD  | 66 0F 13 /r         | m64, xmm1       |
MOVHPD  | 66 0F 16 /r         | xmm1, m64       |
MOVHPD  | 66 0F 17 /r         | m64, xmm1       |
MOVAPD  | 66 0F 28 /r         | xmm1, xmm2/m128 |
MOVAPD  | 66 0F 29 /r         | xmm2/m128, xmm1 |
MOVNTPD | 66 0F 2B /r         | m128, xmm1      |
MOVMSKPD | 66 0F 50 /r        | r32, xmm        |
UCOMISD | 66 0F 2E /r         | xmm1, xmm2/m64  |
COMISD  | 66 0F 2F /r         | xmm1, xmm2/m64  |
CMPPD   | 66 0F C2 /r ib      | xmm1, xmm2/m128, imm8 |
CMPSD   | F2 0F C2 /r ib      | xmm1, xmm2/m64, imm8  |
SHUFPD  | 66 0F C6 /r ib      | xmm1, xmm2/m128, imm8 |
CVTPI2PD  | 66 0F 2A /r       | xmm, mm/m64     |
CVTSI2SD  | F2 0F 2A /r       | xmm1, r/m32     |
CVTSI2SD  | F2 REX.W + 0F 2A /r | xmm1, r/m64   |
CVTTPD2PI | 66 0F 2C /r       | mm, xmm/m128    |
CVTTSD2SI | F2 0F 2C /r       | r32, xmm1/m64   |
CVTTSD2SI | F2 REX.W + 0F 2C /r | r64, xmm1/m64 |
CVTPD2PI  | 66 0F 2D /r       | mm, xmm/m128    |
CVTSD2SI  | F2 0F 2D /r       | r32, xmm1/m64   |
CVTSD2SI  | F2 REX.W + 0F 2D /r | r64, xmm1/m64 |
CVTPS2PD  | NP 0F 5A /r       | xmm1, xmm2/m64  |
CVTPD2PS  | 66 0F 5A /r       | xmm1, xmm2/m128 |
CVTSS2SD  | F3 0F 5A /r       | xmm1, xmm2/m32  |
CVTSD2SS  | F2 0F 5A /r       | xmm1, xmm2/m64  |
CVTDQ2PS  | NP 0F 5B /r       | xmm1, xmm2/m128 |
CVTPS2DQ  | 66 0F 5B /r       | xmm1, xmm2/m128 |
CVTTPS2DQ | F3 0F 5B /r       | xmm1, xmm2/m128 |
CVTTPD2DQ | 66 0F E6 /r       | xmm1, xmm2/m128 |
CVTDQ2PD  | F3 0F E6 /r       | xmm1, xmm2/m64  |
CVTPD2DQ  | F2 0F E6 /r       | xmm1, xmm2/m128 |
LFENCE    | NP 0F AE /5       |                 | reg
MFENCE    | NP 0F AE /6       |                 | reg`,
  ),
  rows(
    'SSE',
    `
MOVUPS   | NP 0F 10 /r    | xmm1, xmm2/m128 |
MOVSS    | F3 0F 10 /r    | xmm1, xmm2/m32  |
MOVUPS   | NP 0F 11 /r    | xmm2/m128, xmm1 |
MOVSS    | F3 0F 11 /r    | xmm2/m32, xmm1  |
MOVLPS   | NP 0F 12 /r    | xmm1, m64       |
MOVHLPS  | NP 0F 12 /r    | xmm1, xmm2      |
MOVLPS   | NP 0F 13 /r    | m64, xmm1       |
MOVHPS   | NP 0F 16 /r    | xmm1, m64       |
MOVLHPS  | NP 0F 16 /r    | xmm1, xmm2      |
MOVHPS   | NP 0F 17 /r    | m64, xmm1       |
MOVAPS   | NP 0F 28 /r    | xmm1, xmm2/m128 |
MOVAPS   | NP 0F 29 /r    | xmm2/m128, xmm1 |
MOVNTPS  | NP 0F 2B /r    | m128, xmm1      |
MOVMSKPS | NP 0F 50 /r    | r32, xmm        |
UCOMISS  | NP 0F 2E /r    | xmm1, xmm2/m32  |
COMISS   | NP 0F 2F /r    | xmm1, xmm2/m32  |
RSQRTPS  | NP 0F 52 /r    | xmm1, xmm2/m128 |
RSQRTSS  | F3 0F 52 /r    | xmm1, xmm2/m32  |
RCPPS    | NP 0F 53 /r    | xmm1, xmm2/m128 |
RCPSS    | F3 0F 53 /r    | xmm1, xmm2/m32  |
CMPPS    | NP 0F C2 /r ib | xmm1, xmm2/m128, imm8 |
CMPSS    | F3 0F C2 /r ib | xmm1, xmm2/m32, imm8  |
SHUFPS   | NP 0F C6 /r ib | xmm1, xmm2/m128, imm8 |
CVTPI2PS  | NP 0F 2A /r   | xmm, mm/m64     |
CVTSI2SS  | F3 0F 2A /r   | xmm1, r/m32     |
CVTSI2SS  | F3 REX.W + 0F 2A /r | xmm1, r/m64 |
CVTTPS2PI | NP 0F 2C /r   | mm, xmm/m64     |
CVTTSS2SI | F3 0F 2C /r   | r32, xmm1/m32   |
CVTTSS2SI | F3 REX.W + 0F 2C /r | r64, xmm1/m32 |
CVTPS2PI  | NP 0F 2D /r   | mm, xmm/m64     |
CVTSS2SI  | F3 0F 2D /r   | r32, xmm1/m32   |
CVTSS2SI  | F3 REX.W + 0F 2D /r | r64, xmm1/m32 |
LDMXCSR  | NP 0F AE /2    | m32             |
STMXCSR  | NP 0F AE /3    | m32             |
SFENCE   | NP 0F AE /7    |                 | reg
PSHUFW   | NP 0F 70 /r ib | mm1, mm2/m64, imm8 |
PINSRW   | NP 0F C4 /r ib | mm, r32/m16, imm8 |
PEXTRW   | NP 0F C5 /r ib | r32, mm, imm8   |
PMOVMSKB | NP 0F D7 /r    | r32, mm         |
MOVNTQ   | NP 0F E7 /r    | m64, mm         |
MASKMOVQ | NP 0F F7 /r    | mm1, mm2, m64@rDI |`,
  ),
  rows(
    'SSE',
    each(
      ARITHMETIC,
      (name, opcode) => `
${name}PS | NP 0F ${opcode} /r | xmm1, xmm2/m128 |
${name}SS | F3 0F ${opcode} /r | xmm1, xmm2/m32  |`,
    ),
  ),
  rows(
    'SSE2',
    each(
      ARITHMETIC,
      (name, opcode) => `
${name}PD | 66 0F ${opcode} /r | xmm1, xmm2/m128 |
${name}SD | F2 0F ${opcode} /r | xmm1, xmm2/m64  |`,
    ),
  ),
  rows(
    'SSE',
    each(LOGIC, (name, opcode) => `${name}PS | NP 0F ${opcode} /r | xmm1, xmm2/m128 |`),
  ),
  rows(
    'SSE2',
    each(LOGIC, (name, opcode) => `${name}PD | 66 0F ${opcode} /r | xmm1, xmm2/m128 |`),
  ),
  rows(
    'SSE3',
    `
MOVSLDUP | F3 0F 12 /r | xmm1, xmm2/m128 |
MOVDDUP  | F2 0F 12 /r | xmm1, xmm2/m64  |
MOVSHDUP | F3 0F 16 /r | xmm1, xmm2/m128 |
HADDPD   | 66 0F 7C /r | xmm1, xmm2/m128 |
HADDPS   | F2 0F 7C /r | xmm1, xmm2/m128 |
HSUBPD   | 66 0F 7D /r | xmm1, xmm2/m128 |
HSUBPS   | F2 0F 7D /r | xmm1, xmm2/m128 |
ADDSUBPD | 66 0F D0 /r | xmm1, xmm2/m128 |
ADDSUBPS | F2 0F D0 /r | xmm1, xmm2/m128 |
LDDQU    | F2 0F F0 /r | xmm1, m128      |`,
  ),
  rows('SSE4_1', each(SSE41, xmm38)),
  rows(
    'SSE4_1',
    each(EXTENSIONS, (name, n) => {
      const [suffix, bits] = name.split('.')
      return `
PMOVSX${suffix} | 66 0F 38 2${n} /r | xmm1, xmm2/m${bits} |
PMOVZX${suffix} | 66 0F 38 3${n} /r | xmm1, xmm2/m${bits} |`
    }),
  ),
  rows(
    'SSE4_1',
    each('ROUNDPS 08, ROUNDPD 09, BLENDPS 0C, BLENDPD 0D, PBLENDW 0E, DPPS 40, DPPD 41, MPSADBW 42', xmm3A),
  ),
  rows(
    'SSE4_1',
    `
PBLENDVB  | 66 0F 38 10 /r    | xmm1, xmm2/m128, <XMM0> | :RM
BLENDVPS  | 66 0F 38 14 /r    | xmm1, xmm2/m128, <XMM0> |
BLENDVPD  | 66 0F 38 15 /r    | xmm1, xmm2/m128, <XMM0> |
MOVNTDQA  | 66 0F 38 2A /r    | xmm1, m128              |
ROUNDSS   | 66 0F 3A 0A /r ib | xmm1, xmm2/m32, imm8    |
ROUNDSD   | 66 0F 3A 0B /r ib | xmm1, xmm2/m64, imm8    |
PEXTRB    | 66 0F 3A 14 /r ib | r32/m8, xmm2, imm8      |
PEXTRW    | 66 0F 3A 15 /r ib | r32/m16, xmm, imm8      |
PEXTRD    | 66 0F 3A 16 /r ib | r/m32, xmm2, imm8       |
PEXTRQ    | 66 REX.W + 0F 3A 16 /r ib | r/m64, xmm2, imm8 |
EXTRACTPS | 66 0F 3A 17 /r ib | r/m32, xmm1, imm8       |
PINSRB    | 66 0F 3A 20 /r ib | xmm1, r32/m8, imm8      |
INSERTPS  | 66 0F 3A 21 /r ib | xmm1, xmm2/m32, imm8    |
PINSRD    | 66 0F 3A 22 /r ib | xmm1, r/m32, imm8       |
PINSRQ    | 66 REX.W + 0F 3A 22 /r ib | xmm1, r/m64, imm8 |`,
  ),
  rows('SSE4_2', each('PCMPGTQ 37', xmm38)),
  rows('SSE4_2', each('PCMPESTRM 60, PCMPESTRI 61, PCMPISTRM 62, PCMPISTRI 63', xmm3A)),
  rows(
    'SSE4_2',
    `
PCMPESTRM64 | 66 REX.W + 0F 3A 60 /r ib | xmm1, xmm2/m128, imm8 | =pcmpestrm dec
PCMPESTRI64 | 66 REX.W + 0F 3A 61 /r ib | xmm1, xmm2/m128, imm8 | =pcmpestri dec`,
  ),
  rows('AESNI', each('AESIMC DB, AESENC DC, AESENCLAST DD, AESDEC DE, AESDECLAST DF', xmm38)),
  rows('AESNI', each('AESKEYGENASSIST DF', xmm3A)),
  rows('PCLMULQDQ', each('PCLMULQDQ 44', xmm3A)),
  rows(
    'SHA',
    each(
      'SHA1NEXTE C8, SHA1MSG1 C9, SHA1MSG2 CA, SHA256MSG1 CC, SHA256MSG2 CD',
      (name, opcode) => `${name} | NP 0F 38 ${opcode} /r | xmm1, xmm2/m128 |`,
    ),
  ),
  rows(
    'SHA',
    `
SHA256RNDS2 | NP 0F 38 CB /r    | xmm1, xmm2/m128, <XMM0> |
SHA1RNDS4   | NP 0F 3A CC /r ib | xmm1, xmm2/m128, imm8   |`,
  ),
  // AMD64 Architecture Programmer's Manual Vol. 4, "EXTRQ", "INSERTQ", "MOVNTSD", "MOVNTSS".
  rows(
    'SSE4A',
    `
EXTRQ   | 66 0F 78 /0 ib ib | xmm1, imm8, imm8       |
EXTRQ   | 66 0F 79 /r       | xmm1, xmm2             |
INSERTQ | F2 0F 78 /r ib ib | xmm1, xmm2, imm8, imm8 |
INSERTQ | F2 0F 79 /r       | xmm1, xmm2             |
MOVNTSS | F3 0F 2B /r       | m32, xmm1              |
MOVNTSD | F2 0F 2B /r       | m64, xmm1              |`,
  ),
]
