/** The x87 unit. SDM Vol. 2A, under "F…", and Vol. 2D, "Escape Opcode Instructions". */
import { type Group, rows } from './row.ts'

const ARITHMETIC = ['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUB', 'FSUBR', 'FDIV', 'FDIVR']
/** DC and DE swap the roles of the operands, and with them SUB and SUBR, DIV and DIVR. */
const REVERSED = ['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUBR', 'FSUB', 'FDIVR', 'FDIV']

const hex = (value: number): string => value.toString(16).toUpperCase()
const each = (names: readonly string[], line: (name: string, n: number) => string): string => names.map(line).join('\n')
/** The ModRM byte of the register form of digit `n`. */
const at = (n: number): string => hex(0xc0 + n * 8)
const compares = (n: number): boolean => n === 2 || n === 3

const arithmetic = each(
  ARITHMETIC,
  (name, n) => `
${name} | D8 /${n}       | m32fp        |
${name} | D8 ${at(n)}+i  | ST(0), ST(i) |
${name} | DC /${n}       | m64fp        |
${name.replace('F', 'FI')} | DA /${n} | m32int |
${name.replace('F', 'FI')} | DE /${n} | m16int |`,
)

const reversed = each(REVERSED, (name, n) =>
  compares(n)
    ? `
${name} | DC ${at(n)}+i | ST(0), ST(i) | dec`
    : `
${name}  | DC ${at(n)}+i | ST(i), ST(0) |
${name}P | DE ${at(n)}+i | ST(i), ST(0) |
${name}P | DE ${hex(0xc1 + n * 8)} | | enc`,
)

const constants = each(
  ['FLD1', 'FLDL2T', 'FLDL2E', 'FLDPI', 'FLDLG2', 'FLDLN2', 'FLDZ'],
  (name, n) => `${name} | D9 ${hex(0xe8 + n)} | |`,
)

const functions = each(
  [
    'F2XM1',
    'FYL2X',
    'FPTAN',
    'FPATAN',
    'FXTRACT',
    'FPREM1',
    'FDECSTP',
    'FINCSTP',
    'FPREM',
    'FYL2XP1',
    'FSQRT',
    'FSINCOS',
    'FRNDINT',
    'FSCALE',
    'FSIN',
    'FCOS',
  ],
  (name, n) => `${name} | D9 ${hex(0xf0 + n)} | |`,
)

const moves = each(
  ['FCMOVB', 'FCMOVE', 'FCMOVBE', 'FCMOVU'],
  (name, n) => `
${name} | DA ${at(n)}+i | ST(0), ST(i) |
${name.replace('FCMOV', 'FCMOVN')} | DB ${at(n)}+i | ST(0), ST(i) |`,
)

const rest = `
FLD     | D9 /0       | m32fp        |
FLD     | D9 C0+i     | ST(i)        |
FST     | D9 /2       | m32fp        |
FSTP    | D9 /3       | m32fp        |
FLDENV  | o16 D9 /4   | m14byte      |
FLDENV  | o32 D9 /4   | m28byte      | WIG
FLDCW   | D9 /5       | m2byte       |
FNSTENV | o16 D9 /6   | m14byte      |
FNSTENV | o32 D9 /6   | m28byte      | WIG
FNSTCW  | D9 /7       | m2byte       |
FXCH    | D9 C8+i     | ST(0), ST(i) |
FXCH    | D9 C9       |              | enc
FCOM    | D8 D1       |              | enc
FCOMP   | D8 D9       |              | enc
FUCOM   | DD E1       |              | enc
FUCOMP  | DD E9       |              | enc
FNOP    | D9 D0       |              |
FSTPNCE | D9 D8+i     | ST(i)        | =fstp dec
FCHS    | D9 E0       |              |
FABS    | D9 E1       |              |
FTST    | D9 E4       |              |
FXAM    | D9 E5       |              |
FUCOMPP | DA E9       |              |
FILD    | DB /0       | m32int       |
FISTTP  | DB /1       | m32int       |
FIST    | DB /2       | m32int       |
FISTP   | DB /3       | m32int       |
FLD     | DB /5       | m80fp        |
FSTP    | DB /7       | m80fp        |
FNENI   | DB E0       |              | =fnop dec
FNDISI  | DB E1       |              | =fnop dec
FNCLEX  | DB E2       |              |
FNINIT  | DB E3       |              |
FNSETPM | DB E4       |              | =fnop dec
FLD     | DD /0       | m64fp        |
FISTTP  | DD /1       | m64int       |
FST     | DD /2       | m64fp        |
FSTP    | DD /3       | m64fp        |
FRSTOR  | o16 DD /4   | m94byte      |
FRSTOR  | o32 DD /4   | m108byte     | WIG
FNSAVE  | o16 DD /6   | m94byte      |
FNSAVE  | o32 DD /6   | m108byte     | WIG
FNSTSW  | DD /7       | m2byte       |
FFREE   | DD C0+i     | ST(i)        |
FXCH    | DD C8+i     | ST(0), ST(i) | dec
FST     | DD D0+i     | ST(i)        |
FSTP    | DD D8+i     | ST(i)        |
FUCOM   | DD E0+i     | ST(0), ST(i) |
FUCOMP  | DD E8+i     | ST(0), ST(i) |
FCOMP   | DE D0+i     | ST(0), ST(i) | dec
FCOMPP  | DE D9       |              |
FILD    | DF /0       | m16int       |
FISTTP  | DF /1       | m16int       |
FIST    | DF /2       | m16int       |
FISTP   | DF /3       | m16int       |
FBLD    | DF /4       | m80bcd       |
FILD    | DF /5       | m64int       |
FBSTP   | DF /6       | m80bcd       |
FISTP   | DF /7       | m64int       |
FFREEP  | DF C0+i     | ST(i)        |
FXCH    | DF C8+i     | ST(0), ST(i) | dec
FSTP    | DF D0+i     | ST(i)        | dec
FSTP    | DF D8+i     | ST(i)        | dec
FNSTSW  | DF E0       | AX           |
`

export const fpu: readonly Group[] = [
  rows('FPU', arithmetic),
  rows('FPU', reversed),
  rows('FPU', constants),
  rows('FPU', functions),
  rows('CMOV', moves),
  rows(
    'CMOV',
    `
FUCOMI  | DB E8+i     | ST(0), ST(i) |
FCOMI   | DB F0+i     | ST(0), ST(i) |
FUCOMIP | DF E8+i     | ST(0), ST(i) |
FCOMIP  | DF F0+i     | ST(0), ST(i) |`,
  ),
  rows('FPU', rest),
]
