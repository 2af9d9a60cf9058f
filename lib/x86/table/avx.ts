/** AVX, AVX2, FMA and F16C. SDM Vol. 2A to 2D. */
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

/** Packed integers: 128 bits are AVX, 256 bits AVX2. */
const integers = (bits: 128 | 256): string => {
  const [v, map] = bits === 128 ? ['xmm', 128] : ['ymm', 256]
  const three = (where: string) => (name: string, opcode: string) =>
    `V${name} | VEX.${map}.66.${where}.WIG ${opcode} /r | ${v}1, ${v}2, ${v}3/m${bits} |`
  const two = (name: string, opcode: string) =>
    `V${name} | VEX.${map}.66.0F38.WIG ${opcode} /r | ${v}1, ${v}2/m${bits} |`
  const imm = (name: string, opcode: string) =>
    `V${name} | VEX.${map}.66.0F3A.WIG ${opcode} /r ib | ${v}1, ${v}2, ${v}3/m${bits}, imm8 |`
  const shift = (name: string, opcode: string) => `
V${name} | VEX.${map}.66.0F.WIG ${opcode} /r | ${v}1, ${v}2, xmm3/m128 |`
  const shiftImm = (name: string, opcode: string) =>
    `V${name} | VEX.${map}.66.0F.WIG ${opcode.replace('.', ' ')} ib | ${v}1, ${v}2, imm8 | :VM`
  const extend = (name: string, n: string) => {
    const [suffix, from] = name.split('.')
    const size = (Number(from) * bits) / 128
    return `
VPMOVSX${suffix} | VEX.${map}.66.0F38.WIG 2${n} /r | ${v}1, xmm2/m${size} |
VPMOVZX${suffix} | VEX.${map}.66.0F38.WIG 3${n} /r | ${v}1, xmm2/m${size} |`
  }
  return [
    each(
      `
PUNPCKLBW 60, PUNPCKLWD 61, PUNPCKLDQ 62, PACKSSWB 63, PCMPGTB 64, PCMPGTW 65, PCMPGTD 66, PACKUSWB 67
PUNPCKHBW 68, PUNPCKHWD 69, PUNPCKHDQ 6A, PACKSSDW 6B, PUNPCKLQDQ 6C, PUNPCKHQDQ 6D
PCMPEQB 74, PCMPEQW 75, PCMPEQD 76, PADDQ D4, PMULLW D5, PSUBUSB D8, PSUBUSW D9, PMINUB DA, PAND DB
PADDUSB DC, PADDUSW DD, PMAXUB DE, PANDN DF, PAVGB E0, PAVGW E3, PMULHUW E4, PMULHW E5, PSUBSB E8, PSUBSW E9
PMINSW EA, POR EB, PADDSB EC, PADDSW ED, PMAXSW EE, PXOR EF, PMULUDQ F4, PMADDWD F5, PSADBW F6
PSUBB F8, PSUBW F9, PSUBD FA, PSUBQ FB, PADDB FC, PADDW FD, PADDD FE`,
      three('0F'),
    ),
    each(
      `
PSHUFB 00, PHADDW 01, PHADDD 02, PHADDSW 03, PMADDUBSW 04, PHSUBW 05, PHSUBD 06, PHSUBSW 07
PSIGNB 08, PSIGNW 09, PSIGND 0A, PMULHRSW 0B, PMULDQ 28, PCMPEQQ 29, PACKUSDW 2B, PCMPGTQ 37
PMINSB 38, PMINSD 39, PMINUW 3A, PMINUD 3B, PMAXSB 3C, PMAXSD 3D, PMAXUW 3E, PMAXUD 3F, PMULLD 40`,
      three('0F38'),
    ),
    each('PABSB 1C, PABSW 1D, PABSD 1E', two),
    each('PBLENDW 0E, PALIGNR 0F, MPSADBW 42', imm),
    each('PSRLW D1, PSRLD D2, PSRLQ D3, PSRAW E1, PSRAD E2, PSLLW F1, PSLLD F2, PSLLQ F3', shift),
    each(
      'PSRLW 71./2, PSRAW 71./4, PSLLW 71./6, PSRLD 72./2, PSRAD 72./4, PSLLD 72./6, PSRLQ 73./2, PSRLDQ 73./3, PSLLQ 73./6, PSLLDQ 73./7',
      shiftImm,
    ),
    each('BW.64 0, BD.32 1, BQ.16 2, WD.64 3, WQ.32 4, DQ.64 5', extend),
    `
VPSHUFD   | VEX.${map}.66.0F.WIG 70 /r ib   | ${v}1, ${v}2/m${bits}, imm8 |
VPSHUFHW  | VEX.${map}.F3.0F.WIG 70 /r ib   | ${v}1, ${v}2/m${bits}, imm8 |
VPSHUFLW  | VEX.${map}.F2.0F.WIG 70 /r ib   | ${v}1, ${v}2/m${bits}, imm8 |
VPMOVMSKB | VEX.${map}.66.0F.WIG D7 /r      | r32, ${v}1                   |
VPBLENDVB | VEX.${map}.66.0F3A.W0 4C /r /is4 | ${v}1, ${v}2, ${v}3/m${bits}, ${v}4 |
VMOVNTDQA | VEX.${map}.66.0F38.WIG 2A /r    | ${v}1, m${bits} |`,
  ].join('\n')
}

const FMA = `
FMADDSUB 6, FMSUBADD 7, FMADD 8, FMSUB A, FNMADD C, FNMSUB E`
const fma = (name: string, low: string): string =>
  [
    ['132', '9'],
    ['213', 'A'],
    ['231', 'B'],
  ]
    .map(([order, high]) => {
      const scalar = (Number.parseInt(low, 16) + 1).toString(16).toUpperCase()
      const packed = `
V${name}${order}PS | VEX.X.66.0F38.W0 ${high}${low} /r | X1, X2, X3/mX |
V${name}${order}PD | VEX.X.66.0F38.W1 ${high}${low} /r | X1, X2, X3/mX |`
      return name.length > 6
        ? packed
        : `${packed}
V${name}${order}SS | VEX.LIG.66.0F38.W0 ${high}${scalar} /r | xmm1, xmm2, xmm3/m32 |
V${name}${order}SD | VEX.LIG.66.0F38.W1 ${high}${scalar} /r | xmm1, xmm2, xmm3/m64 |`
    })
    .join('\n')

/** FMA4's fourth register is in the immediate; W says whether it or ModRM.rm is the third operand. */
const FMA4 = `
FMADDSUBP 5C, FMSUBADDP 5E, FMADDP 68, FMADDS 6A, FMSUBP 6C, FMSUBS 6E, FNMADDP 78, FNMADDS 7A, FNMSUBP 7C, FNMSUBS 7E`
const fma4 = (name: string, opcode: string): string =>
  [
    ['S', 0],
    ['D', 1],
  ]
    .map(([type, plus]) => {
      const byte = (Number.parseInt(opcode, 16) + Number(plus)).toString(16).toUpperCase()
      if (name.endsWith('S')) {
        const size = type === 'S' ? 32 : 64
        return `
V${name}${type} | VEX.LIG.66.0F3A.W0 ${byte} /r /is4 | xmm1, xmm2, xmm3/m${size}, xmm4 |
V${name}${type} | VEX.LIG.66.0F3A.W1 ${byte} /r /is4 | xmm1, xmm2, xmm3, xmm4/m${size} | :RVS`
      }
      return `
V${name}${type} | VEX.X.66.0F3A.W0 ${byte} /r /is4 | X1, X2, X3/mX, X4 |
V${name}${type} | VEX.X.66.0F3A.W1 ${byte} /r /is4 | X1, X2, X3, X4/mX | :RVS`
    })
    .join('\n')

const gather = (name: string, opcode: string, w: 0 | 1, index: 32 | 64): string => {
  // Four-byte elements with eight-byte indexes fill half a register.
  const half = w === 0 && index === 64
  return `
${name} | VEX.128.66.0F38.W${w} ${opcode} /r | xmm1, vm${index}x, xmm2 |
${name} | VEX.256.66.0F38.W${w} ${opcode} /r | ${half ? 'xmm1' : 'ymm1'}, vm${index}${w === 1 && index === 32 ? 'x' : 'y'}, ${half ? 'xmm2' : 'ymm2'} |`
}

export const avx: readonly Group[] = [
  rows('AVX', integers(128)),
  rows('AVX2', integers(256)),
  rows(
    'AVX',
    each(
      'ADD 58, MUL 59, SUB 5C, MIN 5D, DIV 5E, MAX 5F',
      (name, opcode) => `
V${name}PS | VEX.X.0F.WIG ${opcode} /r      | X1, X2, X3/mX       |
V${name}PD | VEX.X.66.0F.WIG ${opcode} /r   | X1, X2, X3/mX       |
V${name}SS | VEX.LIG.F3.0F.WIG ${opcode} /r | xmm1, xmm2, xmm3/m32 |
V${name}SD | VEX.LIG.F2.0F.WIG ${opcode} /r | xmm1, xmm2, xmm3/m64 |`,
    ),
  ),
  rows(
    'AVX',
    each(
      'AND 54, ANDN 55, OR 56, XOR 57, UNPCKL 14, UNPCKH 15',
      (name, opcode) => `
V${name}PS | VEX.X.0F.WIG ${opcode} /r    | X1, X2, X3/mX |
V${name}PD | VEX.X.66.0F.WIG ${opcode} /r | X1, X2, X3/mX |`,
    ),
  ),
  rows(
    'AVX',
    `
VSQRTPS  | VEX.X.0F.WIG 51 /r      | X1, X2/mX            |
VSQRTPD  | VEX.X.66.0F.WIG 51 /r   | X1, X2/mX            |
VSQRTSS  | VEX.LIG.F3.0F.WIG 51 /r | xmm1, xmm2, xmm3/m32 |
VSQRTSD  | VEX.LIG.F2.0F.WIG 51 /r | xmm1, xmm2, xmm3/m64 |
VRSQRTPS | VEX.X.0F.WIG 52 /r      | X1, X2/mX            |
VRSQRTSS | VEX.LIG.F3.0F.WIG 52 /r | xmm1, xmm2, xmm3/m32 |
VRCPPS   | VEX.X.0F.WIG 53 /r      | X1, X2/mX            |
VRCPSS   | VEX.LIG.F3.0F.WIG 53 /r | xmm1, xmm2, xmm3/m32 |
VMOVUPS  | VEX.X.0F.WIG 10 /r      | X1, X2/mX            |
VMOVUPS  | VEX.X.0F.WIG 11 /r      | X2/mX, X1            |
VMOVUPD  | VEX.X.66.0F.WIG 10 /r   | X1, X2/mX            |
VMOVUPD  | VEX.X.66.0F.WIG 11 /r   | X2/mX, X1            |
VMOVSS   | VEX.LIG.F3.0F.WIG 10 /r | xmm1, xmm2, xmm3     |
VMOVSS   | VEX.LIG.F3.0F.WIG 10 /r | xmm1, m32            |
VMOVSS   | VEX.LIG.F3.0F.WIG 11 /r | xmm1, xmm2, xmm3     | :MVR dec
VMOVSS   | VEX.LIG.F3.0F.WIG 11 /r | m32, xmm1            |
VMOVSD   | VEX.LIG.F2.0F.WIG 10 /r | xmm1, xmm2, xmm3     |
VMOVSD   | VEX.LIG.F2.0F.WIG 10 /r | xmm1, m64            |
VMOVSD   | VEX.LIG.F2.0F.WIG 11 /r | xmm1, xmm2, xmm3     | :MVR dec
VMOVSD   | VEX.LIG.F2.0F.WIG 11 /r | m64, xmm1            |
VMOVLPS  | VEX.128.0F.WIG 12 /r    | xmm1, xmm2, m64      |
VMOVHLPS | VEX.128.0F.WIG 12 /r    | xmm1, xmm2, xmm3     |
VMOVLPS  | VEX.128.0F.WIG 13 /r    | m64, xmm1            |
VMOVLPD  | VEX.128.66.0F.WIG 12 /r | xmm1, xmm2, m64      |
VMOVLPD  | VEX.128.66.0F.WIG 13 /r | m64, xmm1            |
VMOVHPS  | VEX.128.0F.WIG 16 /r    | xmm1, xmm2, m64      |
VMOVLHPS | VEX.128.0F.WIG 16 /r    | xmm1, xmm2, xmm3     |
VMOVHPS  | VEX.128.0F.WIG 17 /r    | m64, xmm1            |
VMOVHPD  | VEX.128.66.0F.WIG 16 /r | xmm1, xmm2, m64      |
VMOVHPD  | VEX.128.66.0F.WIG 17 /r | m64, xmm1            |
VMOVSLDUP | VEX.X.F3.0F.WIG 12 /r  | X1, X2/mX            |
VMOVSHDUP | VEX.X.F3.0F.WIG 16 /r  | X1, X2/mX            |
VMOVDDUP | VEX.128.F2.0F.WIG 12 /r | xmm1, xmm2/m64       |
VMOVDDUP | VEX.256.F2.0F.WIG 12 /r | ymm1, ymm2/m256      |
VMOVAPS  | VEX.X.0F.WIG 28 /r      | X1, X2/mX            |
VMOVAPS  | VEX.X.0F.WIG 29 /r      | X2/mX, X1            |
VMOVAPD  | VEX.X.66.0F.WIG 28 /r   | X1, X2/mX            |
VMOVAPD  | VEX.X.66.0F.WIG 29 /r   | X2/mX, X1            |
VMOVNTPS | VEX.X.0F.WIG 2B /r      | mX, X1               |
VMOVNTPD | VEX.X.66.0F.WIG 2B /r   | mX, X1               |
VMOVNTDQ | VEX.X.66.0F.WIG E7 /r   | mX, X1               |
VMOVMSKPS | VEX.X.0F.WIG 50 /r     | r32, X2              |
VMOVMSKPD | VEX.X.66.0F.WIG 50 /r  | r32, X2              |
VMOVDQA  | VEX.X.66.0F.WIG 6F /r   | X1, X2/mX            |
VMOVDQA  | VEX.X.66.0F.WIG 7F /r   | X2/mX, X1            |
VMOVDQU  | VEX.X.F3.0F.WIG 6F /r   | X1, X2/mX            |
VMOVDQU  | VEX.X.F3.0F.WIG 7F /r   | X2/mX, X1            |
VLDDQU   | VEX.X.F2.0F.WIG F0 /r   | X1, mX               |
VMOVD    | VEX.128.66.0F.W0 6E /r  | xmm1, r/m32          |
VMOVQ    | VEX.128.66.0F.W1 6E /r  | xmm1, r/m64          |
VMOVD    | VEX.128.66.0F.W0 7E /r  | r/m32, xmm1          |
VMOVQ    | VEX.128.66.0F.W1 7E /r  | r/m64, xmm1          |
VMOVQ    | VEX.128.F3.0F.WIG 7E /r | xmm1, xmm2/m64       |
VMOVQ    | VEX.128.66.0F.WIG D6 /r | xmm1/m64, xmm2       |
VMASKMOVDQU | VEX.128.66.0F.WIG F7 /r | xmm1, xmm2, m128@rDI | :RM
VUCOMISS | VEX.LIG.0F.WIG 2E /r    | xmm1, xmm2/m32       |
VUCOMISD | VEX.LIG.66.0F.WIG 2E /r | xmm1, xmm2/m64       |
VCOMISS  | VEX.LIG.0F.WIG 2F /r    | xmm1, xmm2/m32       |
VCOMISD  | VEX.LIG.66.0F.WIG 2F /r | xmm1, xmm2/m64       |
VCVTSI2SS  | VEX.LIG.F3.0F.W0 2A /r | xmm1, xmm2, r/m32   |
VCVTSI2SS  | VEX.LIG.F3.0F.W1 2A /r | xmm1, xmm2, r/m64   |
VCVTSI2SD  | VEX.LIG.F2.0F.W0 2A /r | xmm1, xmm2, r/m32   |
VCVTSI2SD  | VEX.LIG.F2.0F.W1 2A /r | xmm1, xmm2, r/m64   |
VCVTTSS2SI | VEX.LIG.F3.0F.W0 2C /r | r32, xmm1/m32       |
VCVTTSS2SI | VEX.LIG.F3.0F.W1 2C /r | r64, xmm1/m32       |
VCVTTSD2SI | VEX.LIG.F2.0F.W0 2C /r | r32, xmm1/m64       |
VCVTTSD2SI | VEX.LIG.F2.0F.W1 2C /r | r64, xmm1/m64       |
VCVTSS2SI  | VEX.LIG.F3.0F.W0 2D /r | r32, xmm1/m32       |
VCVTSS2SI  | VEX.LIG.F3.0F.W1 2D /r | r64, xmm1/m32       |
VCVTSD2SI  | VEX.LIG.F2.0F.W0 2D /r | r32, xmm1/m64       |
VCVTSD2SI  | VEX.LIG.F2.0F.W1 2D /r | r64, xmm1/m64       |
VCVTPS2PD  | VEX.128.0F.WIG 5A /r   | xmm1, xmm2/m64      |
VCVTPS2PD  | VEX.256.0F.WIG 5A /r   | ymm1, xmm2/m128     |
VCVTPD2PS  | VEX.128.66.0F.WIG 5A /r | xmm1, xmm2/m128    |
VCVTPD2PS  | VEX.256.66.0F.WIG 5A /r | xmm1, ymm2/m256    |
VCVTSS2SD  | VEX.LIG.F3.0F.WIG 5A /r | xmm1, xmm2, xmm3/m32 |
VCVTSD2SS  | VEX.LIG.F2.0F.WIG 5A /r | xmm1, xmm2, xmm3/m64 |
VCVTDQ2PS  | VEX.X.0F.WIG 5B /r     | X1, X2/mX           |
VCVTPS2DQ  | VEX.X.66.0F.WIG 5B /r  | X1, X2/mX           |
VCVTTPS2DQ | VEX.X.F3.0F.WIG 5B /r  | X1, X2/mX           |
VCVTTPD2DQ | VEX.128.66.0F.WIG E6 /r | xmm1, xmm2/m128    |
VCVTTPD2DQ | VEX.256.66.0F.WIG E6 /r | xmm1, ymm2/m256    |
VCVTPD2DQ  | VEX.128.F2.0F.WIG E6 /r | xmm1, xmm2/m128    |
VCVTPD2DQ  | VEX.256.F2.0F.WIG E6 /r | xmm1, ymm2/m256    |
VCVTDQ2PD  | VEX.128.F3.0F.WIG E6 /r | xmm1, xmm2/m64     |
VCVTDQ2PD  | VEX.256.F3.0F.WIG E6 /r | ymm1, xmm2/m128    |
VHADDPD  | VEX.X.66.0F.WIG 7C /r   | X1, X2, X3/mX |
VHADDPS  | VEX.X.F2.0F.WIG 7C /r   | X1, X2, X3/mX |
VHSUBPD  | VEX.X.66.0F.WIG 7D /r   | X1, X2, X3/mX |
VHSUBPS  | VEX.X.F2.0F.WIG 7D /r   | X1, X2, X3/mX |
VADDSUBPD | VEX.X.66.0F.WIG D0 /r  | X1, X2, X3/mX |
VADDSUBPS | VEX.X.F2.0F.WIG D0 /r  | X1, X2, X3/mX |
VCMPPS   | VEX.X.0F.WIG C2 /r ib   | X1, X2, X3/mX, imm8 |
VCMPPD   | VEX.X.66.0F.WIG C2 /r ib | X1, X2, X3/mX, imm8 |
VCMPSS   | VEX.LIG.F3.0F.WIG C2 /r ib | xmm1, xmm2, xmm3/m32, imm8 |
VCMPSD   | VEX.LIG.F2.0F.WIG C2 /r ib | xmm1, xmm2, xmm3/m64, imm8 |
VSHUFPS  | VEX.X.0F.WIG C6 /r ib   | X1, X2, X3/mX, imm8 |
VSHUFPD  | VEX.X.66.0F.WIG C6 /r ib | X1, X2, X3/mX, imm8 |
VPINSRW  | VEX.128.66.0F.W0 C4 /r ib | xmm1, xmm2, r32/m16, imm8 |
VPINSRW  | VEX.128.66.0F.W1 C4 /r ib | xmm1, xmm2, r32/m16, imm8 | dec
VPEXTRW  | VEX.128.66.0F.W0 C5 /r ib | r32, xmm1, imm8 |
VPEXTRW  | VEX.128.66.0F.W1 C5 /r ib | r32, xmm1, imm8 | dec
VZEROUPPER | VEX.128.0F.WIG 77     | |
VZEROALL | VEX.256.0F.WIG 77       | |
VLDMXCSR | VEX.LZ.0F.WIG AE /2     | m32 |
VSTMXCSR | VEX.LZ.0F.WIG AE /3     | m32 |
VPHMINPOSUW | VEX.128.66.0F38.WIG 41 /r | xmm1, xmm2/m128 |
VPTEST   | VEX.X.66.0F38.WIG 17 /r | X1, X2/mX |
VTESTPS  | VEX.X.66.0F38.W0 0E /r  | X1, X2/mX |
VTESTPD  | VEX.X.66.0F38.W0 0F /r  | X1, X2/mX |
VPERMILPS | VEX.X.66.0F38.W0 0C /r | X1, X2, X3/mX |
VPERMILPD | VEX.X.66.0F38.W0 0D /r | X1, X2, X3/mX |
VPERMILPS | VEX.X.66.0F3A.W0 04 /r ib | X1, X2/mX, imm8 |
VPERMILPD | VEX.X.66.0F3A.W0 05 /r ib | X1, X2/mX, imm8 |
VBROADCASTSS | VEX.X.66.0F38.W0 18 /r   | X1, m32 |
VBROADCASTSD | VEX.256.66.0F38.W0 19 /r | ymm1, m64 |
VBROADCASTF128 | VEX.256.66.0F38.W0 1A /r | ymm1, m128 |
VMASKMOVPS | VEX.X.66.0F38.W0 2C /r | X1, X2, mX |
VMASKMOVPD | VEX.X.66.0F38.W0 2D /r | X1, X2, mX |
VMASKMOVPS | VEX.X.66.0F38.W0 2E /r | mX, X1, X2 |
VMASKMOVPD | VEX.X.66.0F38.W0 2F /r | mX, X1, X2 |
VPERM2F128 | VEX.256.66.0F3A.W0 06 /r ib | ymm1, ymm2, ymm3/m256, imm8 |
VROUNDPS | VEX.X.66.0F3A.WIG 08 /r ib | X1, X2/mX, imm8 |
VROUNDPD | VEX.X.66.0F3A.WIG 09 /r ib | X1, X2/mX, imm8 |
VROUNDSS | VEX.LIG.66.0F3A.WIG 0A /r ib | xmm1, xmm2, xmm3/m32, imm8 |
VROUNDSD | VEX.LIG.66.0F3A.WIG 0B /r ib | xmm1, xmm2, xmm3/m64, imm8 |
VBLENDPS | VEX.X.66.0F3A.WIG 0C /r ib | X1, X2, X3/mX, imm8 |
VBLENDPD | VEX.X.66.0F3A.WIG 0D /r ib | X1, X2, X3/mX, imm8 |
VDPPS    | VEX.X.66.0F3A.WIG 40 /r ib | X1, X2, X3/mX, imm8 |
VDPPD    | VEX.128.66.0F3A.WIG 41 /r ib | xmm1, xmm2, xmm3/m128, imm8 |
VBLENDVPS | VEX.X.66.0F3A.W0 4A /r /is4 | X1, X2, X3/mX, X4 |
VBLENDVPD | VEX.X.66.0F3A.W0 4B /r /is4 | X1, X2, X3/mX, X4 |
VINSERTF128 | VEX.256.66.0F3A.W0 18 /r ib | ymm1, ymm2, xmm3/m128, imm8 |
VEXTRACTF128 | VEX.256.66.0F3A.W0 19 /r ib | xmm1/m128, ymm2, imm8 |
VPEXTRB  | VEX.128.66.0F3A.W0 14 /r ib | r32/m8, xmm2, imm8 |
VPEXTRB  | VEX.128.66.0F3A.W1 14 /r ib | r32/m8, xmm2, imm8 | dec
VPEXTRW  | VEX.128.66.0F3A.W0 15 /r ib | r32/m16, xmm2, imm8 |
VPEXTRW  | VEX.128.66.0F3A.W1 15 /r ib | r32/m16, xmm2, imm8 | dec
VPEXTRD  | VEX.128.66.0F3A.W0 16 /r ib | r/m32, xmm2, imm8 |
VPEXTRQ  | VEX.128.66.0F3A.W1 16 /r ib | r/m64, xmm2, imm8 |
VEXTRACTPS | VEX.128.66.0F3A.WIG 17 /r ib | r/m32, xmm1, imm8 |
VPINSRB  | VEX.128.66.0F3A.W0 20 /r ib | xmm1, xmm2, r32/m8, imm8 |
VPINSRB  | VEX.128.66.0F3A.W1 20 /r ib | xmm1, xmm2, r32/m8, imm8 | dec
VINSERTPS | VEX.128.66.0F3A.WIG 21 /r ib | xmm1, xmm2, xmm3/m32, imm8 |
VPINSRD  | VEX.128.66.0F3A.W0 22 /r ib | xmm1, xmm2, r/m32, imm8 |
VPINSRQ  | VEX.128.66.0F3A.W1 22 /r ib | xmm1, xmm2, r/m64, imm8 |
VPCMPESTRM | VEX.128.66.0F3A.W0 60 /r ib | xmm1, xmm2/m128, imm8 | gpr
VPCMPESTRI | VEX.128.66.0F3A.W0 61 /r ib | xmm1, xmm2/m128, imm8 | gpr
VPCMPESTRM64 | VEX.128.66.0F3A.W1 60 /r ib | xmm1, xmm2/m128, imm8 | =vpcmpestrm dec gpr
VPCMPESTRI64 | VEX.128.66.0F3A.W1 61 /r ib | xmm1, xmm2/m128, imm8 | =vpcmpestri dec gpr
VPCMPISTRM | VEX.128.66.0F3A.WIG 62 /r ib | xmm1, xmm2/m128, imm8 |
VPCMPISTRI | VEX.128.66.0F3A.WIG 63 /r ib | xmm1, xmm2/m128, imm8 |`,
  ),
  rows(
    'AVX',
    each(
      'AESENC DC, AESENCLAST DD, AESDEC DE, AESDECLAST DF',
      (name, opcode) => `V${name} | VEX.128.66.0F38.WIG ${opcode} /r | xmm1, xmm2, xmm3/m128 |`,
    ),
  ),
  rows(
    'VAES',
    each(
      'AESENC DC, AESENCLAST DD, AESDEC DE, AESDECLAST DF',
      (name, opcode) => `V${name} | VEX.256.66.0F38.WIG ${opcode} /r | ymm1, ymm2, ymm3/m256 |`,
    ),
  ),
  rows(
    'AVX',
    `
VAESIMC          | VEX.128.66.0F38.WIG DB /r    | xmm1, xmm2/m128             |
VAESKEYGENASSIST | VEX.128.66.0F3A.WIG DF /r ib | xmm1, xmm2/m128, imm8       |
VPCLMULQDQ       | VEX.128.66.0F3A.WIG 44 /r ib | xmm1, xmm2, xmm3/m128, imm8 |`,
  ),
  rows('VPCLMULQDQ', 'VPCLMULQDQ | VEX.256.66.0F3A.WIG 44 /r ib | ymm1, ymm2, ymm3/m256, imm8 |'),
  rows(
    'AVX2',
    `
VBROADCASTSS | VEX.X.66.0F38.W0 18 /r   | X1, xmm2   |
VBROADCASTSD | VEX.256.66.0F38.W0 19 /r | ymm1, xmm2 |
VBROADCASTI128 | VEX.256.66.0F38.W0 5A /r | ymm1, m128 |
VPBROADCASTB | VEX.X.66.0F38.W0 78 /r | X1, xmm2/m8  |
VPBROADCASTW | VEX.X.66.0F38.W0 79 /r | X1, xmm2/m16 |
VPBROADCASTD | VEX.X.66.0F38.W0 58 /r | X1, xmm2/m32 |
VPBROADCASTQ | VEX.X.66.0F38.W0 59 /r | X1, xmm2/m64 |
VPERMD   | VEX.256.66.0F38.W0 36 /r    | ymm1, ymm2, ymm3/m256 |
VPERMPS  | VEX.256.66.0F38.W0 16 /r    | ymm1, ymm2, ymm3/m256 |
VPERMQ   | VEX.256.66.0F3A.W1 00 /r ib | ymm1, ymm2/m256, imm8 |
VPERMPD  | VEX.256.66.0F3A.W1 01 /r ib | ymm1, ymm2/m256, imm8 |
VPBLENDD | VEX.X.66.0F3A.W0 02 /r ib   | X1, X2, X3/mX, imm8   |
VPERM2I128 | VEX.256.66.0F3A.W0 46 /r ib | ymm1, ymm2, ymm3/m256, imm8 |
VINSERTI128 | VEX.256.66.0F3A.W0 38 /r ib | ymm1, ymm2, xmm3/m128, imm8 |
VEXTRACTI128 | VEX.256.66.0F3A.W0 39 /r ib | xmm1/m128, ymm2, imm8 |
VPSRLVD  | VEX.X.66.0F38.W0 45 /r | X1, X2, X3/mX |
VPSRLVQ  | VEX.X.66.0F38.W1 45 /r | X1, X2, X3/mX |
VPSRAVD  | VEX.X.66.0F38.W0 46 /r | X1, X2, X3/mX |
VPSLLVD  | VEX.X.66.0F38.W0 47 /r | X1, X2, X3/mX |
VPSLLVQ  | VEX.X.66.0F38.W1 47 /r | X1, X2, X3/mX |
VPMASKMOVD | VEX.X.66.0F38.W0 8C /r | X1, X2, mX |
VPMASKMOVQ | VEX.X.66.0F38.W1 8C /r | X1, X2, mX |
VPMASKMOVD | VEX.X.66.0F38.W0 8E /r | mX, X1, X2 |
VPMASKMOVQ | VEX.X.66.0F38.W1 8E /r | mX, X1, X2 |`,
  ),
  rows(
    'AVX2',
    [
      gather('VPGATHERDD', '90', 0, 32),
      gather('VPGATHERDQ', '90', 1, 32),
      gather('VPGATHERQD', '91', 0, 64),
      gather('VPGATHERQQ', '91', 1, 64),
      gather('VGATHERDPS', '92', 0, 32),
      gather('VGATHERDPD', '92', 1, 32),
      gather('VGATHERQPS', '93', 0, 64),
      gather('VGATHERQPD', '93', 1, 64),
    ].join('\n'),
  ),
  rows('FMA', each(FMA, fma)),
  rows(
    'F16C',
    `
VCVTPH2PS | VEX.128.66.0F38.W0 13 /r    | xmm1, xmm2/m64        |
VCVTPH2PS | VEX.256.66.0F38.W0 13 /r    | ymm1, xmm2/m128       |
VCVTPS2PH | VEX.128.66.0F3A.W0 1D /r ib | xmm1/m64, xmm2, imm8  |
VCVTPS2PH | VEX.256.66.0F3A.W0 1D /r ib | xmm1/m128, ymm2, imm8 |`,
  ),
  // AMD64 Architecture Programmer's Manual Vol. 6, "FMA4 Instructions".
  rows('FMA4', each(FMA4, fma4)),
]
