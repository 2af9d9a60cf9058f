/** General-purpose instructions. SDM Vol. 2A to 2D, and Vol. 2D, "Opcode Map". */
import { type Group, rows } from './row.ts'

const ALU = ['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'CMP']
const SHIFTS = ['ROL', 'ROR', 'RCL', 'RCR', 'SHL', 'SHR', 'SAL', 'SAR']
const CC = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G']
const BITS = ['BT', 'BTS', 'BTR', 'BTC']
const SEGMENTS = ['ES', 'CS', 'SS', 'DS']

const byte = (value: number): string => value.toString(16).toUpperCase().padStart(2, '0')
const each = <T>(list: readonly T[], line: (item: T, n: number) => string): string => list.map(line).join('\n')

const alu = each(ALU, (name, n) => {
  // CMP writes nothing, so LOCK may not stand before it.
  const lock = name === 'CMP' ? '' : 'lock'
  return `
${name} | ${byte(n * 8)} /r         | r/m8, r8     | ${lock}
${name} | oV ${byte(n * 8 + 1)} /r  | r/mV, rV     | ${lock}
${name} | ${byte(n * 8 + 2)} /r     | r8, r/m8     |
${name} | oV ${byte(n * 8 + 3)} /r  | rV, r/mV     |
${name} | ${byte(n * 8 + 4)} ib     | AL, imm8     |
${name} | oV ${byte(n * 8 + 5)} iZ  | AV, immZ     |
${name} | 80 /${n} ib               | r/m8, imm8   | ${lock}
${name} | oV 81 /${n} iZ            | r/mV, immZ   | ${lock}
${name} | 82 /${n} ib               | r/m8, imm8   | ${lock} i64 dec
${name} | oV 83 /${n} ibs           | r/mV, imm8   | ${lock}`
})

const shifts = each(
  SHIFTS,
  (name, n) => `
${name} | C0 /${n} ib    | r/m8, imm8 | ${name === 'SAL' ? 'dec' : ''}
${name} | oV C1 /${n} ib | r/mV, imm8 | ${name === 'SAL' ? 'dec' : ''}
${name} | D0 /${n}       | r/m8, 1    | ${name === 'SAL' ? 'dec' : ''}
${name} | oV D1 /${n}    | r/mV, 1    | ${name === 'SAL' ? 'dec' : ''}
${name} | D2 /${n}       | r/m8, CL   | ${name === 'SAL' ? 'dec' : ''}
${name} | oV D3 /${n}    | r/mV, CL   | ${name === 'SAL' ? 'dec' : ''}`,
)

const conditions = each(
  CC,
  (cc, n) => `
J${cc}    | oF ${byte(0x70 + n)} cb    | rel8     |
J${cc}    | oF 0F ${byte(0x80 + n)} cZ | relZ     |
SET${cc}  | 0F ${byte(0x90 + n)} /r    | r/m8     |`,
)
const moves = each(CC, (cc, n) => `CMOV${cc} | oV 0F ${byte(0x40 + n)} /r | rV, r/mV |`)

const bits = each(
  BITS,
  (name, n) => `
${name} | oV 0F ${byte(0xa3 + n * 8)} /r | r/mV, rV   | ${n === 0 ? '' : 'lock'}
${name} | oV 0F BA /${n + 4} ib          | r/mV, imm8 | ${n === 0 ? '' : 'lock'}`,
)

const segments = each(
  SEGMENTS,
  (name, n) => `
PUSH | oS ${byte(n * 8 + 6)} | ${name} | i64
${name === 'CS' ? '' : `POP  | oS ${byte(n * 8 + 7)} | ${name} | i64`}`,
)

const base = `
MOV    | 88 /r         | r/m8, r8      |
MOV    | oV 89 /r      | r/mV, rV      |
MOV    | 8A /r         | r8, r/m8      |
MOV    | oV 8B /r      | rV, r/mV      |
MOV    | B0+r ib       | r8, imm8      |
MOV    | o16 B8+r iw   | r16, imm16    |
MOV    | o32 B8+r id   | r32, imm32    |
MOV    | C6 /0 ib      | r/m8, imm8    |
MOV    | oV C7 /0 iZ   | r/mV, immZ    |
MOV    | REX.W + B8+r io | r64, imm64  |
MOV    | A0 mo         | AL, moffs8    |
MOV    | oV A1 mo      | AV, moffsV    |
MOV    | A2 mo         | moffs8, AL    |
MOV    | oV A3 mo      | moffsV, AV    |
MOV    | o16 8C /r     | r/m16, Sreg   |
MOV    | o32 8C /r     | r32/m16, Sreg |
MOV    | REX.W + 8C /r | r64/m16, Sreg |
MOV    | 8E /r         | Sreg, r/m16   |
MOV    | 8E /r         | Sreg, r32/m16 | enc
MOV    | 8E /r         | Sreg, r64/m16 | enc
MOVZX  | oV 0F B6 /r   | rV, r/m8      |
MOVZX  | oV 0F B7 /r   | rV, r/m16     |
MOVSX  | oV 0F BE /r   | rV, r/m8      |
MOVSX  | oV 0F BF /r   | rV, r/m16     |
MOVSXD | o16 63 /r     | r16, r/m16    | o64
MOVSXD | o32 63 /r     | r32, r/m32    | o64
MOVSXD | REX.W + 63 /r | r64, r/m32    |
LEA    | oV 8D /r      | rV, m         |
PAUSE  | F3 90         |               | noB
NOP    | oV 90         |               | noB
XCHG   | oV 90+r       | rV, AV        |
XCHG   | oV 90+r       | AV, rV        | enc
XCHG   | 86 /r         | r/m8, r8      | lock
XCHG   | oV 87 /r      | r/mV, rV      | lock
XCHG   | 86 /r         | r8, r/m8      | enc
XCHG   | oV 87 /r      | rV, r/mV      | enc
XLATB  | D7            | m8@rBX        | =xlat
PUSH   | oS 50+r       | rV            |
PUSH   | oS 6A ibs     | imm8          |
PUSH   | oS 68 iZ      | immZ          |
PUSH   | oS FF /6      | r/mV          |
PUSH   | oS 0F A0      | FS            |
PUSH   | oS 0F A8      | GS            |
POP    | oS 58+r       | rV            |
POP    | oS 8F /0      | r/mV          |
POP    | oS 0F A1      | FS            |
POP    | oS 0F A9      | GS            |
PUSHA  | o16 60        |               | i64
PUSHAD | o32 60        |               | i64
POPA   | o16 61        |               | i64
POPAD  | o32 61        |               | i64
PUSHF  | o16 9C        |               |
PUSHFD | o32 9C        |               | i64
PUSHFQ | o64 9C        |               |
POPF   | o16 9D        |               |
POPFD  | o32 9D        |               | i64
POPFQ  | o64 9D        |               |
ENTER  | oS C8 iw ib   | imm16, imm8   |
LEAVE  | oS C9         |               |
TEST   | 84 /r         | r/m8, r8      |
TEST   | oV 85 /r      | r/mV, rV      |
TEST   | A8 ib         | AL, imm8      |
TEST   | oV A9 iZ      | AV, immZ      |
TEST   | F6 /0 ib      | r/m8, imm8    |
TEST   | oV F7 /0 iZ   | r/mV, immZ    |
TEST   | F6 /1 ib      | r/m8, imm8    | dec
TEST   | oV F7 /1 iZ   | r/mV, immZ    | dec
NOT    | F6 /2         | r/m8          | lock
NOT    | oV F7 /2      | r/mV          | lock
NEG    | F6 /3         | r/m8          | lock
NEG    | oV F7 /3      | r/mV          | lock
MUL    | F6 /4         | r/m8          |
MUL    | oV F7 /4      | r/mV          |
IMUL   | F6 /5         | r/m8          |
IMUL   | oV F7 /5      | r/mV          |
IMUL   | oV 0F AF /r   | rV, r/mV      |
IMUL   | oV 6B /r ibs  | rV, r/mV, imm8 |
IMUL   | oV 69 /r iZ   | rV, r/mV, immZ |
DIV    | F6 /6         | r/m8          |
DIV    | oV F7 /6      | r/mV          |
IDIV   | F6 /7         | r/m8          |
IDIV   | oV F7 /7      | r/mV          |
INC    | o16 40+r      | r16           | i64
INC    | o32 40+r      | r32           | i64
DEC    | o16 48+r      | r16           | i64
DEC    | o32 48+r      | r32           | i64
INC    | FE /0         | r/m8          | lock
INC    | oV FF /0      | r/mV          | lock
DEC    | FE /1         | r/m8          | lock
DEC    | oV FF /1      | r/mV          | lock
CBW    | o16 98        |               |
CWDE   | o32 98        |               |
CDQE   | REX.W + 98    |               |
CWD    | o16 99        |               |
CDQ    | o32 99        |               |
CQO    | REX.W + 99    |               |
DAA    | 27            |               | i64
DAS    | 2F            |               | i64
AAA    | 37            |               | i64
AAS    | 3F            |               | i64
AAM    | D4 ib         | imm8          | i64
AAD    | D5 ib         | imm8          | i64
AAM    | D4 0A         |               | i64 enc
AAD    | D5 0A         |               | i64 enc
SALC   | D6            |               | i64
SHLD   | oV 0F A4 /r ib | r/mV, rV, imm8 |
SHLD   | oV 0F A5 /r   | r/mV, rV, CL  |
SHRD   | oV 0F AC /r ib | r/mV, rV, imm8 |
SHRD   | oV 0F AD /r   | r/mV, rV, CL  |
BSF    | oV 0F BC /r   | rV, r/mV      |
BSR    | oV 0F BD /r   | rV, r/mV      |
BSWAP  | oV 0F C8+r    | rV            |
CMPXCHG | 0F B0 /r     | r/m8, r8      | lock
CMPXCHG | oV 0F B1 /r  | r/mV, rV      | lock
XADD   | 0F C0 /r      | r/m8, r8      | lock
XADD   | oV 0F C1 /r   | r/mV, rV      | lock
BOUND  | o16 62 /r     | r16, m16&16   | i64
BOUND  | o32 62 /r     | r32, m32&32   | i64
LES    | o16 C4 /r     | r16, m16:16   | i64
LES    | o32 C4 /r     | r32, m16:32   | i64
LDS    | o16 C5 /r     | r16, m16:16   | i64
LDS    | o32 C5 /r     | r32, m16:32   | i64
LSS    | o16 0F B2 /r  | r16, m16:16   |
LSS    | o32 0F B2 /r  | r32, m16:32   |
LSS    | REX.W + 0F B2 /r | r64, m16:64 |
LFS    | o16 0F B4 /r  | r16, m16:16   |
LFS    | o32 0F B4 /r  | r32, m16:32   |
LFS    | REX.W + 0F B4 /r | r64, m16:64 |
LGS    | o16 0F B5 /r  | r16, m16:16   |
LGS    | o32 0F B5 /r  | r32, m16:32   |
LGS    | REX.W + 0F B5 /r | r64, m16:64 |
CALL   | oF E8 cZ      | relZ          |
CALL   | oF FF /2      | r/mV          |
CALL   | o16 9A cd     | ptr16:16      | i64 =callfar
CALL   | o32 9A cp     | ptr16:32      | i64 =callfar
CALL   | o16 FF /3     | m16:16        | =callfar
CALL   | o32 FF /3     | m16:32        | =callfar
CALL   | REX.W + FF /3 | m16:64        | =callfar
JMP    | oF EB cb      | rel8          |
JMP    | oF E9 cZ      | relZ          |
JMP    | oF FF /4      | r/mV          |
JMP    | o16 EA cd     | ptr16:16      | i64 =jmpfar
JMP    | o32 EA cp     | ptr16:32      | i64 =jmpfar
JMP    | o16 FF /5     | m16:16        | =jmpfar
JMP    | o32 FF /5     | m16:32        | =jmpfar
JMP    | REX.W + FF /5 | m16:64        | =jmpfar
RET    | oF C3         |               |
RET    | oF C2 iw      | imm16         |
RETF   | oV CB         |               | =retfar
RETF   | oV CA iw      | imm16         | =retfar
IRET   | o16 CF        |               |
IRETD  | o32 CF        |               |
IRETQ  | REX.W + CF    |               |
INT3   | CC            |               |
INT    | CD ib         | imm8          |
INTO   | CE            |               | i64
INT1   | F1            |               |
LOOPNE | oF E0 cb      | rel8          |
LOOPE  | oF E1 cb      | rel8          |
LOOP   | oF E2 cb      | rel8          |
JCXZ   | oF a16 E3 cb  | rel8          | i64
JECXZ  | oF a32 E3 cb  | rel8          |
JRCXZ  | o64 a64 E3 cb | rel8          | f64
CLC    | F8            |               |
STC    | F9            |               |
CMC    | F5            |               |
CLI    | FA            |               |
STI    | FB            |               |
CLD    | FC            |               |
STD    | FD            |               |
LAHF   | 9F            |               | i64
SAHF   | 9E            |               | i64
MOVSB  | A4            | m8@rDI, m8@rSI   | rep =movs
MOVSW  | o16 A5        | m16@rDI, m16@rSI | rep =movs
MOVSD  | o32 A5        | m32@rDI, m32@rSI | rep =movs
MOVSQ  | REX.W + A5    | m64@rDI, m64@rSI | rep =movs
CMPSB  | A6            | m8@rSI, m8@rDI   | rep =cmps
CMPSW  | o16 A7        | m16@rSI, m16@rDI | rep =cmps
CMPSD  | o32 A7        | m32@rSI, m32@rDI | rep =cmps
CMPSQ  | REX.W + A7    | m64@rSI, m64@rDI | rep =cmps
STOSB  | AA            | m8@rDI        | rep =stos
STOSW  | o16 AB        | m16@rDI       | rep =stos
STOSD  | o32 AB        | m32@rDI       | rep =stos
STOSQ  | REX.W + AB    | m64@rDI       | rep =stos
LODSB  | AC            | m8@rSI        | rep =lods
LODSW  | o16 AD        | m16@rSI       | rep =lods
LODSD  | o32 AD        | m32@rSI       | rep =lods
LODSQ  | REX.W + AD    | m64@rSI       | rep =lods
SCASB  | AE            | m8@rDI        | rep =scas
SCASW  | o16 AF        | m16@rDI       | rep =scas
SCASD  | o32 AF        | m32@rDI       | rep =scas
SCASQ  | REX.W + AF    | m64@rDI       | rep =scas
INSB   | 6C            | m8@rDI, DX    | rep =ins
INSW   | o16 6D        | m16@rDI, DX   | rep =ins
INSD   | o32 6D        | m32@rDI, DX   | rep =ins WIG
OUTSB  | 6E            | DX, m8@rSI    | rep =outs
OUTSW  | o16 6F        | DX, m16@rSI   | rep =outs
OUTSD  | o32 6F        | DX, m32@rSI   | rep =outs WIG
IN     | E4 ib         | AL, imm8      |
IN     | oD E5 ib      | AV, imm8      |
IN     | EC            | AL, DX        |
IN     | oD ED         | AV, DX        |
OUT    | E6 ib         | imm8, AL      |
OUT    | oD E7 ib      | imm8, AV      |
OUT    | EE            | DX, AL        |
OUT    | oD EF         | DX, AV        |
CPUID  | 0F A2         |               |
UD2    | 0F 0B         |               |
UD1    | oV 0F B9 /r   | rV, r/mV      | =ud
UD0    | oV 0F FF /r   | rV, r/mV      | =ud
NOP    | oV 0F 1F /0   | r/mV          |
`

/** Hints, and opcodes kept free for more of them. SDM Vol. 2B, "NOP" and "PREFETCHh", Vol. 2D, "Opcode Map". */
const hints = `
PREFETCHNTA | 0F 18 /0     | m8 |
PREFETCHT0  | 0F 18 /1     | m8 |
PREFETCHT1  | 0F 18 /2     | m8 |
PREFETCHT2  | 0F 18 /3     | m8 |
RESERVEDNOP | oV 0F 18 /r  | r/mV, rV | =nop :R dec
RESERVEDNOP | oV 0F 19 /r  | r/mV, rV | =nop :R dec
RESERVEDNOP | oV 0F 1A /r  | r/mV, rV | =nop :R dec
RESERVEDNOP | oV 0F 1B /r  | r/mV, rV | =nop :R dec
RESERVEDNOP | oV 0F 1C /r  | r/mV, rV | =nop :R dec
RESERVEDNOP | oV 0F 1D /r  | r/mV, rV | =nop :R dec
RESERVEDNOP | oV 0F 1E /r  | r/mV, rV | =nop :R dec
RESERVEDNOP | oV 0F 1F /r  | r/mV, rV | =nop :R dec
ENDBR64     | F3 0F 1E FA  |    | =nop
ENDBR32     | F3 0F 1E FB  |    | =nop
PREFETCH    | 0F 0D /0     | m8 | dec
PREFETCH    | 0F 0D /4     | m8 | dec
PREFETCH    | 0F 0D /5     | m8 | dec
PREFETCH    | 0F 0D /6     | m8 | dec
PREFETCH    | 0F 0D /7     | m8 | dec
PREFETCHW   | 0F 0D /1     | m8 |
PREFETCHWT1 | 0F 0D /2     | m8 |
PREFETCHW   | 0F 0D /3     | m8 | dec
RESERVEDNOP | oV 0F 0D /r  | rV, rV   | =nop :MR dec
`

export const general: readonly Group[] = [
  rows('', alu),
  rows('', base),
  rows('', shifts),
  rows('', conditions),
  rows('CMOV', moves),
  rows(
    'LAHF',
    `
LAHF | 9F | | o64
SAHF | 9E | | o64`,
  ),
  rows('', bits),
  rows('', segments),
  rows('', hints),
  rows(
    'MOVBE',
    `
MOVBE | NFx oV 0F 38 F0 /r | rV, mV |
MOVBE | NFx oV 0F 38 F1 /r | mV, rV |`,
  ),
  rows('POPCNT', 'POPCNT | F3 oV 0F B8 /r | rV, r/mV |'),
  rows('LZCNT', 'LZCNT | F3 oV 0F BD /r | rV, r/mV |'),
  rows('BMI1', 'TZCNT | F3 oV 0F BC /r | rV, r/mV |'),
  rows(
    'ADX',
    `
ADCX | 66 oY 0F 38 F6 /r | rV, r/mV | 
ADOX | F3 oY 0F 38 F6 /r | rV, r/mV |`,
  ),
  rows(
    'SSE4_2',
    `
CRC32 | F2 o16 0F 38 F0 /r     | r32, r/m8  | dec
CRC32 | F2 o32 0F 38 F0 /r     | r32, r/m8  |
CRC32 | F2 REX.W + 0F 38 F0 /r | r64, r/m8  |
CRC32 | F2 o16 0F 38 F1 /r     | r32, r/m16 |
CRC32 | F2 o32 0F 38 F1 /r     | r32, r/m32 |
CRC32 | F2 REX.W + 0F 38 F1 /r | r64, r/m64 |`,
  ),
  rows('CX8', 'CMPXCHG8B | 0F C7 /1 | m64 | lock'),
  rows('CX16', 'CMPXCHG16B | REX.W + 0F C7 /1 | m128 | lock'),
  rows('SSE2', 'MOVNTI | NP oY 0F C3 /r | mV, rV |'),
  rows('MOVDIRI', 'MOVDIRI | NP oY 0F 38 F9 /r | mV, rV |'),
  rows(
    'MOVDIR64B',
    `
MOVDIR64B | 66 a16 0F 38 F8 /r | r16, m512 | i64
MOVDIR64B | 66 a32 0F 38 F8 /r | r32, m512 |
MOVDIR64B | 66 a64 0F 38 F8 /r | r64, m512 | o64`,
  ),
  rows('RDRAND', 'RDRAND | NFx oV 0F C7 /6 | rV |'),
  rows('RDSEED', 'RDSEED | NFx oV 0F C7 /7 | rV |'),
  rows(
    'BMI1',
    `
ANDN   | VEX.LZ.0F38.W0 F2 /r | r32a, r32b, r/m32 |
ANDN   | VEX.LZ.0F38.W1 F2 /r | r64a, r64b, r/m64 |
BLSR   | VEX.LZ.0F38.W0 F3 /1 | r32, r/m32 |
BLSR   | VEX.LZ.0F38.W1 F3 /1 | r64, r/m64 |
BLSMSK | VEX.LZ.0F38.W0 F3 /2 | r32, r/m32 |
BLSMSK | VEX.LZ.0F38.W1 F3 /2 | r64, r/m64 |
BLSI   | VEX.LZ.0F38.W0 F3 /3 | r32, r/m32 |
BLSI   | VEX.LZ.0F38.W1 F3 /3 | r64, r/m64 |
BEXTR  | VEX.LZ.0F38.W0 F7 /r | r32a, r/m32, r32b |
BEXTR  | VEX.LZ.0F38.W1 F7 /r | r64a, r/m64, r64b |`,
  ),
  rows(
    'BMI2',
    `
BZHI   | VEX.LZ.0F38.W0 F5 /r    | r32a, r/m32, r32b |
BZHI   | VEX.LZ.0F38.W1 F5 /r    | r64a, r/m64, r64b |
PEXT   | VEX.LZ.F3.0F38.W0 F5 /r | r32a, r32b, r/m32 |
PEXT   | VEX.LZ.F3.0F38.W1 F5 /r | r64a, r64b, r/m64 |
PDEP   | VEX.LZ.F2.0F38.W0 F5 /r | r32a, r32b, r/m32 |
PDEP   | VEX.LZ.F2.0F38.W1 F5 /r | r64a, r64b, r/m64 |
MULX   | VEX.LZ.F2.0F38.W0 F6 /r | r32a, r32b, r/m32 |
MULX   | VEX.LZ.F2.0F38.W1 F6 /r | r64a, r64b, r/m64 |
SHLX   | VEX.LZ.66.0F38.W0 F7 /r | r32a, r/m32, r32b |
SHLX   | VEX.LZ.66.0F38.W1 F7 /r | r64a, r/m64, r64b |
SARX   | VEX.LZ.F3.0F38.W0 F7 /r | r32a, r/m32, r32b |
SARX   | VEX.LZ.F3.0F38.W1 F7 /r | r64a, r/m64, r64b |
SHRX   | VEX.LZ.F2.0F38.W0 F7 /r | r32a, r/m32, r32b |
SHRX   | VEX.LZ.F2.0F38.W1 F7 /r | r64a, r/m64, r64b |
RORX   | VEX.LZ.F2.0F3A.W0 F0 /r ib | r32, r/m32, imm8 |
RORX   | VEX.LZ.F2.0F3A.W1 F0 /r ib | r64, r/m64, imm8 |`,
  ),
]
